"""Handing committed entries to the state machine: in order, each once, and not more than it can take (5.3).

What is committed and no longer in memory is read back from the store, so an applier that falls behind costs disk
reads, not memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import repair, retention
from .effects import ApplyEntries
from .log import OVERHEAD_BYTES
from .records import Entry

if TYPE_CHECKING:
    from .state import State


def flush(s: State) -> None:
    """End of a call: hand over what became committed, while there is room."""
    config = s.config
    while s.applying < s.commit and s.applying_bytes < config.max_apply_bytes and not s.reading_apply:
        first = s.applying + 1
        room = config.max_apply_bytes - s.applying_bytes
        most = 1 if s.takes("apply.small_step") else config.max_append_entries
        entries = s.log.slice(first, s.commit, room, most)
        if entries is None:
            last = min(s.commit, s.log.window_first - 1)
            if intact_until(s, last) < first:
                return  # damaged: `repair` is at it
            s.reading_apply = True
            repair.read(s, "apply", first, last, room)
            return
        hand_over(s, entries)


def intact_until(s: State, last: int) -> int:
    return last if not s.log.corrupt else repair.readable(s, last)


def hand_over(s: State, entries: tuple[Entry, ...]) -> None:
    assert entries[0].index == s.applying + 1, (entries[0].index, s.applying)
    size = sum([len(entry.data) for entry in entries]) + OVERHEAD_BYTES * len(entries)
    s.applying = entries[-1].index
    s.applying_sizes.append((s.applying, size))
    s.applying_bytes += size
    s.effects.append(ApplyEntries(entries))


def entries_read(s: State, entries: tuple[Entry, ...]) -> None:
    s.reading_apply = False
    if entries and entries[0].index == s.applying + 1 and entries[-1].index <= s.commit:
        hand_over(s, entries)


def applied(s: State, index: int) -> None:
    """The state machine has applied up to `index`."""
    if index <= s.applied:
        return
    assert index <= s.applying, (index, s.applying)
    s.applied = index
    sizes = s.applying_sizes
    while sizes and sizes[0][0] <= index:
        s.applying_bytes -= sizes.popleft()[1]


def applied_durably(s: State, index: int) -> None:
    """The synced state machine covers the log up to `index`: what was needed only to get there may go."""
    if index <= s.applied_durable:
        return
    applied(s, index)
    s.applied_durable = index
    retention.forget_covered(s)
    retention.compact(s)
