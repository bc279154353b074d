"""What every store must do: one body of tests over all of `conftest.STANDS`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from graft.errors import StorageError, StoreFull
from graft.interfaces import TABLES, Entry, LogBounds, Store, Turn
from graft.storage.turns import PURGE_STEP


def some_entries(first: int, last: int, term: int = 1, data: bytes = b"data") -> list[Entry]:
    return [Entry(index, term, data) for index in range(first, last + 1)]


def key(number: int) -> bytes:
    return number.to_bytes(8, "big")


# The log


def test_a_new_store_is_empty(store: Store) -> None:
    assert store.bounds() == LogBounds(first=1, last=0, applied=0, purged_term=0)
    assert store.hard_state() is None
    assert store.entries(1, 100) == []
    assert all(store.scan(table) == [] for table in TABLES)
    assert store.get("runs", b"k") is None


def test_entries_come_back_as_they_went_in(stand: Any) -> None:
    entries = [Entry(1, 1, b""), Entry(2, 1, b"x" * 100_000), Entry(3, 7, bytes(range(256)))]
    stand.store.commit(Turn(entries=entries))
    for store in stand.before_and_after_a_restart():
        assert store.entries(1, 3) == entries
        assert store.entries(2, 2) == entries[1:2]
        assert store.bounds() == LogBounds(first=1, last=3, applied=0)


def test_entries_stop_at_max_bytes_but_never_before_one(store: Store) -> None:
    store.commit(Turn(entries=some_entries(1, 10, data=b"x" * 100)))
    assert len(store.entries(1, 10, max_bytes=350)) == 3
    assert len(store.entries(1, 10, max_bytes=300)) == 3
    assert len(store.entries(1, 10, max_bytes=1)) == 1


def test_entries_outside_of_the_bounds_are_left_out(store: Store) -> None:
    store.commit(Turn(entries=some_entries(1, 10), applied=10))
    store.commit(Turn(purge_to=4))
    assert [entry.index for entry in store.entries(0, 99)] == [5, 6, 7, 8, 9, 10]
    assert store.entries(11, 99) == []
    assert store.entries(1, 4) == []


def test_truncation_and_append_are_one_step(stand: Any) -> None:
    stand.store.commit(Turn(entries=some_entries(1, 5)))
    stand.store.commit(Turn(truncate_from=3, entries=some_entries(3, 4, term=2, data=b"new")))
    for store in stand.before_and_after_a_restart():
        assert [(e.index, e.term) for e in store.entries(1, 9)] == [(1, 1), (2, 1), (3, 2), (4, 2)]
        assert store.bounds().last == 4


def test_the_whole_unapplied_log_can_be_truncated(store: Store) -> None:
    store.commit(Turn(entries=some_entries(1, 5)))
    store.commit(Turn(truncate_from=1))
    assert store.bounds() == LogBounds(first=1, last=0, applied=0)
    store.commit(Turn(entries=some_entries(1, 1, term=9)))
    assert store.entries(1, 9) == some_entries(1, 1, term=9)


def test_purge_takes_bounded_steps_and_keeps_the_last_term(stand: Any) -> None:
    count = 2 * PURGE_STEP + 10
    stand.store.commit(Turn(entries=some_entries(1, count, term=3, data=b""), applied=count))
    steps = 0
    while stand.store.bounds().first <= count:
        before = stand.store.bounds().first
        stand.store.commit(Turn(purge_to=count))
        steps += 1
        assert 0 < stand.store.bounds().first - before <= PURGE_STEP
    assert steps == 3
    for store in stand.before_and_after_a_restart():
        assert store.bounds() == LogBounds(first=count + 1, last=count, applied=count, purged_term=3)
    stand.store.commit(Turn(entries=some_entries(count + 1, count + 1, term=4)))
    assert stand.store.entries(0, 1 << 40) == some_entries(count + 1, count + 1, term=4)


def test_purge_stops_at_what_is_applied(store: Store) -> None:
    store.commit(Turn(entries=some_entries(1, 10), applied=6))
    store.commit(Turn(purge_to=10))
    assert store.bounds() == LogBounds(first=7, last=10, applied=6, purged_term=1)
    store.commit(Turn(purge_to=10))
    assert store.bounds().first == 7


def test_one_turn_does_everything_in_order(stand: Any) -> None:
    stand.store.commit(Turn(entries=some_entries(1, 4)))
    stand.store.commit(
        Turn(
            truncate_from=4,
            entries=some_entries(4, 6, term=2),
            hard_state=b"term 2",
            changes=[("runs", b"k", b"v")],
            applied=5,
            purge_to=4,
        )
    )
    for store in stand.before_and_after_a_restart():
        assert store.bounds() == LogBounds(first=5, last=6, applied=5, purged_term=2)
        assert store.entries(1, 9) == some_entries(5, 6, term=2)
        assert store.hard_state() == b"term 2"
        assert store.get("runs", b"k") == b"v"


@pytest.mark.parametrize(
    "turn",
    [
        Turn(entries=[Entry(12, 1, b"")]),
        Turn(entries=[Entry(10, 1, b"")]),
        Turn(entries=[Entry(11, 1, b""), Entry(13, 1, b"")]),
        Turn(truncate_from=5),
        Turn(truncate_from=12),
        Turn(truncate_from=8, entries=[Entry(11, 1, b"")]),
        Turn(applied=11),
        Turn(applied=4),
        Turn(changes=[("runs", b"", b"v")], applied=7),
        Turn(changes=[("runs", b"k" * 512, b"v")], applied=7),
        Turn(changes=[("runs", b"k" * 512, None)], applied=7),
    ],
)
def test_a_turn_that_contradicts_the_log_writes_nothing(store: Store, turn: Turn) -> None:
    store.commit(Turn(entries=some_entries(1, 10), applied=5))
    before = store.bounds()
    with pytest.raises(ValueError, match=r"."):
        store.commit(turn)
    assert store.bounds() == before
    assert store.entries(1, 99) == some_entries(1, 10)
    store.commit(Turn(entries=some_entries(11, 11), applied=6))


def test_an_unknown_table_is_a_key_error_and_writes_nothing(store: Store) -> None:
    with pytest.raises(KeyError):
        store.commit(Turn(entries=some_entries(1, 1), changes=[("runs", b"k", b"v"), ("log", b"k", b"v")]))
    with pytest.raises(KeyError):
        store.get("nonsense", b"k")
    assert store.get("runs", b"k") is None
    assert store.bounds().last == 0


# The state


def test_hard_state_is_replaced(stand: Any) -> None:
    stand.store.commit(Turn(hard_state=b"one"))
    stand.store.commit(Turn(hard_state=b""))
    assert stand.store.hard_state() == b""
    stand.store.commit(Turn(hard_state=b"two", applied=0))
    assert stand.restart().hard_state() == b"two"


def test_the_last_change_of_a_key_wins(stand: Any) -> None:
    stand.store.commit(Turn(changes=[("runs", b"gone", b"1"), ("runs", b"back", b"1")]))
    stand.store.commit(
        Turn(
            changes=[
                ("runs", b"k", b"1"),
                ("runs", b"k", b"2"),
                ("runs", b"gone", b"2"),
                ("runs", b"gone", None),
                ("runs", b"back", None),
                ("runs", b"back", b"3"),
                ("runs", b"never", None),
                ("steps", b"k", b"of another table"),
            ]
        )
    )
    for store in stand.before_and_after_a_restart():
        assert store.scan("runs") == [(b"back", b"3"), (b"k", b"2")]
        assert store.get("steps", b"k") == b"of another table"


@pytest.mark.parametrize("size", [0, 1, 100, 2000, 2100, 4076, 4077, 5000, 1_000_000])
def test_values_of_every_size(stand: Any, size: int) -> None:
    value = (bytes(range(256)) * (size // 256 + 1))[:size]
    stand.store.commit(Turn(changes=[("values", b"k", value)]))
    assert stand.restart().get("values", b"k") == value


def test_keys_of_every_size_and_byte(store: Store) -> None:
    keys = [b"\0", b"\0\0", b"\xff", b"\xff" * 511, bytes(range(256))]
    store.commit(Turn(changes=[("members", k, k) for k in keys]))
    assert store.scan("members") == [(k, k) for k in sorted(keys)]
    assert [store.get("members", k) for k in keys] == keys


def test_scan_in_both_directions_with_bounds_and_limit(store: Store) -> None:
    rows = [(key(n), b"%d" % n) for n in range(0, 100, 10)]
    store.commit(Turn(changes=[("events", k, v) for k, v in reversed(rows)] + [("steps", key(5), b"other")]))
    for start in (b"", key(0), key(1), key(30), key(90), key(91), b"\xff" * 9):
        for stop in (None, b"", key(0), key(30), key(31), key(90), key(95), b"\xff" * 9):
            expected = [(k, v) for k, v in rows if start <= k and (stop is None or k < stop)]
            assert store.scan("events", start, stop) == expected
            assert store.scan("events", start, stop, reverse=True) == expected[::-1]
            for limit in (0, 1, 3, 100):
                assert store.scan("events", start, stop, limit=limit) == expected[:limit]
                assert store.scan("events", start, stop, reverse=True, limit=limit) == expected[::-1][:limit]


def test_nothing_is_written_by_an_empty_turn(store: Store) -> None:
    store.commit(Turn(entries=some_entries(1, 3), applied=1))
    before = store.bounds()
    calls: list[int] = []
    store.commit(Turn(purge_to=0, applied=1, truncate_from=4), lambda: calls.append(1))
    assert store.bounds() == before


def test_staged_is_called_once_before_the_turn_is_there(store: Store) -> None:
    seen: list[int] = []
    rows: list[object] = []

    def staged() -> None:
        seen.append(store.bounds().last)
        rows.extend(store.scan("runs"))

    store.commit(Turn(entries=some_entries(1, 3), changes=[("runs", b"k", b"v")]), staged)
    assert seen == [0]
    assert rows == []
    with pytest.raises(ValueError, match="is due"):
        store.commit(Turn(entries=some_entries(1, 3)), lambda: seen.append(-1))
    assert seen == [0]


def test_reads_from_other_threads_see_the_last_commit(store: Store) -> None:
    """A reader must never see half a turn: the two keys of a turn are always equal."""
    stop = threading.Event()
    problems: list[object] = []
    reads = 0

    def read() -> None:
        nonlocal reads
        while not stop.is_set():
            rows = store.scan("runs")
            reads += 1
            if len({value for _key, value in rows}) > 1:
                problems.append(rows)
            last = store.bounds().last
            if [entry.index for entry in store.entries(1, last)] != list(range(1, last + 1)):
                problems.append(last)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    while not reads:
        time.sleep(0.001)
    for n in range(1, 101):
        value = b"%d" % n
        store.commit(Turn(entries=some_entries(n, n), changes=[("runs", b"a", value), ("runs", b"z", value)]))
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert reads > 0


# Limits


def test_a_full_store_refuses_entries_then_changes_and_can_still_shrink(
    stand_with_quota: Callable[[int], Any],
) -> None:
    stand = stand_with_quota(1 << 20)
    store = stand.store
    index = 0

    def fill() -> None:
        """One entry and one big value a turn."""
        nonlocal index
        while True:
            store.commit(
                Turn(
                    entries=some_entries(index + 1, index + 1, data=b"e" * 1000),
                    changes=[("values", key(index + 1), b"v" * 3000)],
                    applied=index + 1,
                )
            )
            index += 1

    def use_the_reserve() -> None:
        for n in range(1000):
            store.commit(Turn(changes=[("steps", key(n), b"s" * 3000)]))

    with pytest.raises(StoreFull, match="full"):
        fill()
    assert index > 50
    # Nothing of the refused turn is there, everything before is.
    assert store.bounds().last == store.bounds().applied == index
    assert store.get("values", key(index + 1)) is None
    # State changes of what is in the log already have the reserve.
    store.commit(Turn(changes=[("steps", key(1), b"s" * 3000)]))
    # A vote is always possible, and so is making room.
    with pytest.raises(StoreFull):
        use_the_reserve()
    store.commit(Turn(hard_state=b"a vote"))
    store.commit(Turn(purge_to=index))
    store.commit(Turn(changes=[("values", key(n), None) for n in range(1, index + 1)]))
    assert store.usage().used_bytes < store.usage().quota_bytes
    store = stand.restart()
    first = index
    with pytest.raises(StoreFull):
        fill()
    assert index > first + 30


def test_usage_grows_and_shrinks(store: Store) -> None:
    empty = store.usage()
    store.commit(Turn(changes=[("values", key(n), b"v" * 1000) for n in range(1000)]))
    full = store.usage()
    assert full.used_bytes > empty.used_bytes + 900_000
    assert full.quota_bytes == empty.quota_bytes == 1 << 28
    store.commit(Turn(changes=[("values", key(n), None) for n in range(1000)]))
    assert store.usage().used_bytes < 100_000


def test_a_closed_store_says_so(store: Store) -> None:
    store.commit(Turn(hard_state=b"x"))
    store.close()
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.commit(Turn(hard_state=b"y"))
    with pytest.raises(StorageError, match="closed"):
        store.get("runs", b"k")
    with pytest.raises(StorageError, match="closed"):
        store.scan("runs")
    with pytest.raises(StorageError, match="closed"):
        store.entries(1, 1)
    with pytest.raises(StorageError, match="closed"):
        store.hard_state()
