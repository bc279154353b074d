"""The store as plain dictionaries: the fake that passes the same contract suite as LMDB.

It keeps what it was told to keep and nothing else. `crash` throws away the Python object's view and starts again from
what was committed; the simulated disk (`graft.sim.store`) adds faults on top of this.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Self

from graft.errors import StorageError
from graft.interfaces import TABLES, Change, Dump, Entry, LogBounds, Switch, Turn, Usage
from graft.storage.records import EMPTY, LOG, damaged, pack_index
from graft.storage.turns import SWEEP_STEP, Quota, bounds_after, check_key, check_turn, is_empty, purge_end

DEFAULT_QUOTA = 1 << 40


class MemoryStore:
    """Satisfies `graft.interfaces.Store`. Safe to read from any thread while one thread commits."""

    def __init__(self, *, quota_bytes: int = DEFAULT_QUOTA) -> None:
        self._quota = Quota(quota_bytes)
        self._committing = Lock()
        self._lock = Lock()  # over the dictionaries; never held while `staged` runs
        self._log: dict[int, Entry] = {}
        self._tables: dict[str, dict[bytes, bytes]] = {table: {} for table in TABLES}
        self._spare: dict[str, dict[bytes, bytes]] = {table: {} for table in TABLES}
        self._sorted: dict[str, list[bytes]] = {}  # keys in order, absent after a change of the key set
        self._hard: bytes | None = None
        self._bounds = EMPTY
        self._rotten: set[int] = set()
        self._used = 0
        self._closed = False

    def commit(self, turn: Turn, staged: Callable[[], None] | None = None) -> None:
        with self._committing:
            self._check_open()
            check_turn(self._bounds, turn)
            for table, key, _value in (*turn.changes, *turn.staging):
                self._tables[table]  # an unknown table is a KeyError before anything is written
                check_key(key)
            if is_empty(self._bounds, turn):
                return
            limit = self._quota.limit(turn)
            if limit is not None and (used := self._used + self._growth(turn)) > limit:
                raise self._quota.full(used)
            if staged is not None:
                staged()
            self._sync(turn)

    def _sync(self, turn: Turn) -> None:
        with self._lock:
            self._write(turn)

    def _growth(self, turn: Turn) -> int:
        total = sum(len(entry.data) for entry in turn.entries)
        for (table, key), value in {(table, key): value for table, key, value in turn.changes}.items():
            old = self._tables[table].get(key)
            total += 0 if value is None else len(key) + len(value)
            total -= 0 if old is None else len(key) + len(old)
        return total + sum(len(key) + len(value or b"") for _table, key, value in turn.staging)

    def _write(self, turn: Turn) -> None:
        if turn.truncate_from is not None:
            for index in range(turn.truncate_from, self._bounds.last + 1):
                self._cut_entry(index)
        for entry in turn.entries:
            self._log[entry.index] = entry
            self._used += len(entry.data)
        for entry in turn.repaired:
            self._drop_entry(entry.index)
            self._log[entry.index] = entry
            self._used += len(entry.data)
        if turn.hard_state is not None:
            self._hard = turn.hard_state
        for change in turn.changes:
            self._change(change)
        for change in turn.staging:
            self._stage(change)
        if turn.sweep:
            self._sweep()
        if turn.switch is not None:
            self._switch(turn.switch)
        purged_to = purge_end(self._bounds, turn)
        purged_term = self._bounds.purged_term
        if purged_to >= self._bounds.first:
            purged_term = 0 if purged_to in self._rotten else self._log[purged_to].term
        for index in range(self._bounds.first, purged_to + 1):
            self._drop_entry(index)
        self._bounds = bounds_after(self._bounds, turn, purged_to, purged_term)

    def _cut_entry(self, index: int) -> None:
        """A leader had it truncated."""
        self._drop_entry(index)

    def _drop_entry(self, index: int) -> None:
        self._used -= len(self._log.pop(index).data)
        self._rotten.discard(index)

    def _change(self, change: Change) -> None:
        table, key, value = change
        rows = self._tables[table]
        old = rows.get(key)
        if old is not None:
            self._used -= len(key) + len(old)
        if value is not None:
            rows[key] = bytes(value)
            self._used += len(key) + len(value)
        elif old is not None:
            del rows[key]
        if (old is None) != (value is None):
            self._sorted.pop(table, None)

    def _stage(self, change: Change) -> None:
        table, key, value = change
        self._used -= len(key) + len(self._spare[table].get(key, b"")) if key in self._spare[table] else 0
        if value is None:
            self._spare[table].pop(key, None)
        else:
            self._spare[table][key] = value
            self._used += len(key) + len(value)

    def _sweep(self) -> None:
        left = SWEEP_STEP
        for rows in self._spare.values():
            while rows and left:
                key, value = rows.popitem()
                self._used -= len(key) + len(value)
                left -= 1

    def _switch(self, switch: Switch) -> None:
        self._tables, self._spare = self._spare, self._tables
        self._sorted.clear()
        for index in range(self._bounds.first, self._bounds.last + 1):
            if index <= switch.index or not switch.keep_log:
                self._drop_entry(index)

    def bounds(self) -> LogBounds:
        self._check_open()
        return self._bounds

    def hard_state(self) -> bytes | None:
        self._check_open()
        return self._hard

    def entries(self, first: int, last: int, max_bytes: int = 1 << 20) -> list[Entry]:
        with self._lock:
            self._check_open()
            found: list[Entry] = []
            size = 0
            for index in range(max(first, self._bounds.first), min(last, self._bounds.last) + 1):
                if index in self._rotten:
                    raise damaged(LOG, pack_index(index))
                entry = self._log[index]
                size += len(entry.data)
                if found and size > max_bytes:
                    break
                found.append(entry)
            return found

    def get(self, table: str, key: bytes) -> bytes | None:
        self._check_open()
        check_key(key)
        return self._tables[table].get(key)

    def scan(
        self,
        table: str,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        reverse: bool = False,
        limit: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        with self._lock:
            self._check_open()
            rows = self._tables[table]
            keys = self._sorted.get(table)
            if keys is None:
                keys = self._sorted[table] = sorted(rows)
            chosen = keys[bisect_left(keys, start) : len(keys) if stop is None else bisect_left(keys, stop)]
            if reverse:
                chosen.reverse()
            return [(key, rows[key]) for key in (chosen if limit is None else chosen[:limit])]

    def damaged(self, first: int, last: int) -> list[int]:
        self._check_open()
        return sorted(index for index in self._rotten if first <= index <= last)

    def rot(self, index: int) -> None:
        """From now on the entry at `index` fails its checksum."""
        assert index in self._log
        self._rotten.add(index)

    def spare_rows(self) -> int:
        return sum(map(len, self._spare.values()))

    @contextmanager
    def dump(self) -> Iterator[Dump]:
        with self._lock:
            self._check_open()
            tables = {table: dict(rows) for table, rows in self._tables.items()}
            applied = self._bounds.applied
        yield Dump(applied, ((table, key, rows[key]) for table, rows in tables.items() for key in sorted(rows)))

    def usage(self) -> Usage:
        return Usage(self._used, self._quota.quota_bytes)

    def close(self) -> None:
        self._closed = True

    def crash(self) -> Self:
        """The store as a new process finds it: everything committed, nothing else. This one is closed."""
        survivor = self.copy()
        self._closed = True
        return survivor

    def copy(self) -> Self:
        """Another store with what is committed in this one."""
        with self._lock:
            other = type(self)(quota_bytes=self._quota.quota_bytes)
            other._log = dict(self._log)
            other._tables = {table: dict(rows) for table, rows in self._tables.items()}
            other._spare = {table: dict(rows) for table, rows in self._spare.items()}
            other._rotten = set(self._rotten)
            other._hard, other._bounds, other._used = self._hard, self._bounds, self._used
            return other

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("the store is closed")
