"""What a simulated disk does to a store, beside the contract that all stores keep (tests/contracts)."""

from __future__ import annotations

import pytest

from graft.errors import StorageError, StoreCorrupt, SyncFailed
from graft.interfaces import Entry, Turn
from graft.raft import Configuration, HardState, Kind
from graft.raft import Entry as RaftEntry
from graft.raft.effects import Persist
from graft.raft.records import SnapshotMeta
from graft.sim.disk import Image
from graft.sim.machine import Command, Machine
from graft.sim.store import SimulatedStore


def entries(first: int, last: int, term: int) -> list[Entry]:
    return [Entry(index, term, b"%d" % term) for index in range(first, last + 1)]


def written(*turns: Turn) -> SimulatedStore:
    store = SimulatedStore()
    for turn in turns:
        store.commit(turn)
    return store


def test_a_turn_that_meets_eio_is_not_there_and_the_next_one_is() -> None:
    store = written(Turn(entries=entries(1, 2, 1)))
    store.trouble = "eio"
    with pytest.raises(StorageError, match="eio"):
        store.commit(Turn(entries=entries(3, 3, 1)))
    assert store.bounds().last == 2
    store.commit(Turn(entries=entries(3, 3, 1)))
    assert store.bounds().last == 3


@pytest.mark.parametrize("lands", [False, True])
def test_a_turn_whose_sync_fails_may_be_there(lands: bool) -> None:
    store = written(Turn(entries=entries(1, 2, 1), hard_state=b"old"))
    store.trouble, store.lands = "fsync", lands
    with pytest.raises(SyncFailed):
        store.commit(Turn(entries=entries(3, 3, 1), hard_state=b"new", changes=[("runs", b"k", b"v")]))
    found = store.copy()
    assert (found.bounds().last, found.hard_state(), found.get("runs", b"k")) == (
        (3, b"new", b"v") if lands else (2, b"old", None)
    )


def test_a_misdirected_write_damages_the_place_it_hit_and_shows_what_lay_in_the_one_it_missed() -> None:
    store = written(Turn(entries=entries(1, 4, 1)), Turn(truncate_from=3, entries=entries(3, 4, 2)))
    assert store.overwritten() == [3, 4]
    assert store.misdirect(3, onto=1)
    assert store.damaged(1, 4) == [1]
    assert store.entries(3, 3) == entries(3, 3, 1)
    assert not store.misdirect(2, onto=4)  # nothing lay there before: it is missing
    assert store.damaged(1, 4) == [1, 2, 4]
    with pytest.raises(StoreCorrupt):
        store.entries(2, 4)
    store.commit(Turn(repaired=[*entries(1, 2, 1), *entries(3, 4, 2)]))
    assert store.entries(1, 4) == entries(1, 2, 1) + entries(3, 4, 2)


def test_a_copy_is_the_file_of_that_moment() -> None:
    store = written(Turn(entries=entries(1, 2, 1), changes=[("runs", b"k", b"1")]))
    old = store.copy()
    store.commit(Turn(entries=entries(3, 3, 1), changes=[("runs", b"k", b"2")], applied=2))
    assert (old.bounds().last, old.get("runs", b"k")) == (2, b"1")


def test_an_image_comes_back_through_its_store() -> None:
    hard = HardState(3, "b", ((0, 0), (1, 2)), ((0, Configuration()),))
    image = Image(hard, incarnation=7)
    command = Command("c1.1", "write", "k", 5).encode()
    machine = Machine()
    machine.apply(command)
    image.commit(Persist(1, (RaftEntry(1, 2, Kind.COMMAND, command),)), 1, machine.changes)
    assert image.started() == 1
    image.hard_state = HardState()  # what is kept at hand does not count
    recovered = image.recovered()
    assert (recovered.hard_state, recovered.last, recovered.applied) == (hard, 1, 1)
    again = image.machine({})
    assert (again.read("k"), again.applied_ids(), again.state_hash) == (5, {"c1.1"}, machine.state_hash)


def test_a_snapshot_takes_the_place_of_the_state_and_the_starts_are_kept() -> None:
    image = Image(HardState())
    image.started()
    machine = Machine()
    machine.apply(Command("c1.1", "write", "k", 5).encode())
    data = machine.dump()
    meta = SnapshotMeta("s", 9, 2, Configuration(), 0, len(data))
    image.stage(meta, 0, data)
    image.install(meta, HardState(2), keep_log=False)
    assert (image.first, image.last, image.applied) == (10, 9, 9)
    assert image.recovered().applied == 9
    assert image.machine({}).state_hash == machine.state_hash
    assert (image.starts, image.store.spare_rows()) == (1, 0)
