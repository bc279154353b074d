"""Reading stored entries for the core."""

from __future__ import annotations

from graft import raft
from graft.errors import StoreCorrupt
from graft.interfaces import Store
from graft.raft import effects as fx
from graft.raft import events as ev
from graft.raft_driver.hard_state import from_stored


def read_entries(store: Store, effect: fx.ReadEntries) -> ev.EntriesRead:
    """Blocks. An answer that ends early is right: the log may have been purged or truncated meanwhile."""
    try:
        found = store.entries(effect.first, effect.last, effect.max_bytes)
    except StoreCorrupt:
        return _read_damaged(store, effect)
    if found and found[0].index != effect.first:
        found = []
    return ev.EntriesRead(effect.read, tuple(map(from_stored, found)))


def _read_damaged(store: Store, effect: fx.ReadEntries) -> ev.EntriesRead:
    """Which entry is damaged: the good ones before it are still of use."""
    good: list[raft.Entry] = []
    size = 0
    for index in range(effect.first, effect.last + 1):
        try:
            good.extend(map(from_stored, store.entries(index, index)))
        except StoreCorrupt:
            return ev.EntriesRead(effect.read, tuple(good), corrupt=index)
        size += len(good[-1].data) if good else 0
        if size > effect.max_bytes:
            break
    return ev.EntriesRead(effect.read, tuple(good))
