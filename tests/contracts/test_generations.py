"""Snapshots inside a store: staging, switching, sweeping, dumping; and repair. Over all of `conftest.STANDS`."""

from __future__ import annotations

from typing import Any

import pytest

from graft.errors import StoreCorrupt, StoreFull
from graft.interfaces import Entry, LogBounds, Store, Switch, Turn
from graft.storage.turns import SWEEP_STEP


def some_entries(first: int, last: int, term: int = 1, data: bytes = b"data") -> list[Entry]:
    return [Entry(index, term, data) for index in range(first, last + 1)]


def key(number: int) -> bytes:
    return number.to_bytes(8, "big")


def rows_of(store: Store) -> list[tuple[str, bytes, bytes]]:
    with store.dump() as dump:
        return list(dump.rows)


OLD = [("runs", key(n), b"old %d" % n) for n in range(10)]
NEW = [("runs", key(n), b"new %d" % n) for n in range(5, 20)] + [("meta", b"engine", b"new")]


def stage(store: Store) -> None:
    store.commit(Turn(entries=some_entries(1, 10), changes=OLD, applied=6, hard_state=b"before"))
    store.commit(Turn(staging=NEW[:9]))
    store.commit(Turn(staging=NEW[9:]))


def test_staged_rows_are_not_seen_before_the_switch(stand: Any) -> None:
    stage(stand.store)
    for store in stand.before_and_after_a_restart():
        assert store.scan("runs") == [(k, v) for _, k, v in OLD]
        assert store.get("runs", key(15)) is None
        assert store.get("meta", b"engine") is None
        assert store.spare_rows() == len(NEW)
        assert store.bounds() == LogBounds(1, 10, 6)
        assert rows_of(store) == OLD


def test_a_switch_replaces_state_log_and_hard_state_at_once(stand: Any) -> None:
    stage(stand.store)
    stand.store.commit(Turn(hard_state=b"after", switch=Switch(index=50, term=7)))
    for store in stand.before_and_after_a_restart():
        assert store.bounds() == LogBounds(first=51, last=50, applied=50, purged_term=7)
        assert store.entries(0, 99) == []
        assert store.hard_state() == b"after"
        assert store.scan("runs") == [(k, v) for t, k, v in NEW if t == "runs"]
        assert store.get("meta", b"engine") == b"new"
        assert store.spare_rows() == len(OLD)
    stand.store.commit(Turn(entries=some_entries(51, 52), changes=[("runs", key(0), b"next")], applied=51))
    assert stand.restart().get("runs", key(0)) == b"next"


def test_a_switch_may_keep_the_log_behind_it(stand: Any) -> None:
    stage(stand.store)
    stand.store.commit(Turn(switch=Switch(index=8, term=1, keep_log=True)))
    for store in stand.before_and_after_a_restart():
        assert store.bounds() == LogBounds(first=9, last=10, applied=8, purged_term=1)
        assert [entry.index for entry in store.entries(0, 99)] == [9, 10]
        assert store.hard_state() == b"before"


def test_old_rows_are_swept_in_steps_and_make_room_for_the_next(stand: Any) -> None:
    count = 2 * SWEEP_STEP + 10
    stand.store.commit(Turn(changes=[("steps", key(n), b"old") for n in range(count)]))
    stand.store.commit(Turn(staging=NEW))
    stand.store.commit(Turn(switch=Switch(5, 1)))
    left = stand.store.spare_rows()
    assert left == count
    while left:
        stand.store.commit(Turn(sweep=True))
        assert 0 < left - stand.store.spare_rows() <= SWEEP_STEP
        left = stand.store.spare_rows()
    stand.store.commit(Turn(sweep=True))
    assert rows_of(stand.restart()) == sorted(NEW, key=lambda row: row[0] == "meta")
    stand.store.commit(Turn(staging=OLD))
    stand.store.commit(Turn(switch=Switch(9, 2)))
    for store in stand.before_and_after_a_restart():
        assert rows_of(store) == OLD


@pytest.mark.parametrize(
    "turn",
    [
        Turn(switch=Switch(5, 1)),
        Turn(switch=Switch(11, 1, keep_log=True)),
        Turn(switch=Switch(20, 1), entries=some_entries(11, 11)),
        Turn(switch=Switch(20, 1), changes=[("runs", b"k", b"v")]),
        Turn(switch=Switch(20, 1), applied=7),
        Turn(switch=Switch(20, 1), purge_to=3),
        Turn(staging=[("runs", b"k", b"v")], sweep=True),
        Turn(repaired=some_entries(11, 11)),
        Turn(repaired=some_entries(0, 0)),
    ],
)
def test_a_turn_that_contradicts_itself_writes_nothing(store: Store, turn: Turn) -> None:
    stage(store)
    with pytest.raises(ValueError, match=r"."):
        store.commit(turn)
    assert store.bounds() == LogBounds(1, 10, 6)
    assert rows_of(store) == OLD
    assert store.spare_rows() == len(NEW)


def test_staging_that_does_not_fit_is_refused_and_leaves_the_state_alone(stand_with_quota: Any) -> None:
    store = stand_with_quota(1 << 20).store
    store.commit(Turn(entries=some_entries(1, 3), changes=OLD, applied=3))

    def stage_for_ever() -> None:
        for n in range(2000):
            store.commit(Turn(staging=[("values", key(n), b"v" * 3000)]))

    with pytest.raises(StoreFull):
        stage_for_ever()
    assert rows_of(store) == OLD
    while store.spare_rows():
        store.commit(Turn(sweep=True))
    store.commit(Turn(entries=some_entries(4, 4)))


def test_a_dump_is_of_one_moment(store: Store) -> None:
    store.commit(Turn(entries=some_entries(1, 9), changes=OLD, applied=3))
    with store.dump() as dump:
        assert dump.applied == 3
        first = next(dump.rows)
        store.commit(Turn(changes=[("runs", k, b"later") for _, k, _ in OLD], applied=4))
        assert [first, *dump.rows] == OLD


def test_a_damaged_entry_is_named_and_mended(stand: Any) -> None:
    stand.store.commit(Turn(entries=some_entries(1, 9), applied=2))
    assert stand.store.damaged(1, 99) == []
    stand.damage(5)
    stand.damage(7)
    for store in stand.before_and_after_a_restart():
        assert store.damaged(1, 99) == [5, 7]
        assert store.damaged(6, 6) == []
        with pytest.raises(StoreCorrupt, match="entry 5"):
            store.entries(3, 9)
        assert len(store.entries(1, 4)) == 4
    stand.store.commit(Turn(repaired=[Entry(5, 1, b"good")]))
    stand.store.commit(Turn(repaired=[Entry(7, 1, b"good")], entries=some_entries(10, 10)))
    for store in stand.before_and_after_a_restart():
        assert store.damaged(1, 99) == []
        assert [e.data for e in store.entries(4, 10)] == [b"data", b"good", b"data", b"good", b"data", b"data", b"data"]


def test_a_damaged_entry_can_be_purged(stand: Any) -> None:
    stand.store.commit(Turn(entries=some_entries(1, 9), applied=7))
    stand.damage(3)
    stand.damage(5)
    stand.store.commit(Turn(purge_to=5))
    for store in stand.before_and_after_a_restart():
        bounds = store.bounds()
        assert (bounds.first, bounds.last, bounds.applied) == (6, 9, 7)
        assert bounds.purged_term in (0, 1)  # a store may know it all the same
        assert store.damaged(1, 99) == []
        assert len(store.entries(1, 99)) == 4


def test_a_damaged_entry_can_be_cut_off(stand: Any) -> None:
    stand.store.commit(Turn(entries=some_entries(1, 9), applied=2))
    stand.damage(5)
    stand.store.commit(Turn(truncate_from=4, entries=some_entries(4, 4, term=2)))
    assert stand.restart().damaged(1, 99) == []
