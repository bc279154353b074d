"""The simulated disk as a store: what is synced, and everything that a disk may do to it.

Satisfies `graft.interfaces.Store` and passes the contract suite that LMDB and the memory store pass (tests/contracts).
A turn is one transaction: it is there as a whole or not at all. On top of that a test, or a plan of faults, may have

* the next turn fail, with nothing written (`eio`) or with who knows what written (`fsync`): `trouble`;
* entries fail their checksum: `rot`;
* an entry's write go to the place of another: `misdirect`. A checksum covers the index that it was made for, so the
  place that was hit is damaged; at the place that was missed lies what lay there before, which may be an entry that a
  later term has overwritten, whole and out of date. Only its term gives that away (`graft.raft.repair`);
* the whole file as it was some time ago: `copy`.

The rows are plain dictionaries and the log is a dictionary by index, so that a turn costs what it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from graft.errors import StorageError, SyncFailed
from graft.interfaces import TABLES, Change, Dump, Entry, LogBounds, Switch, Turn, Usage
from graft.storage.records import EMPTY, LOG, damaged, pack_index
from graft.storage.turns import SWEEP_STEP, Quota, bounds_after, check_key, check_turn, is_empty, purge_end

Rows = dict[str, dict[bytes, bytes]]
DEFAULT_QUOTA = 1 << 40
ENTRY_BYTES = 16


def _no_rows() -> Rows:
    return {table: {} for table in TABLES}


class SimulatedStore:
    """`trouble`: what the next turn meets, `eio` or `fsync`. `lands`: a turn that meets `fsync` is there all the same.

    Invariant: `_log` has an entry for each index within the bounds, or the index is in `_bad`.
    """

    def __init__(self, *, quota_bytes: int = DEFAULT_QUOTA) -> None:
        self.trouble = ""
        self.lands = False
        self._quota = Quota(quota_bytes)
        self._lock = Lock()  # a reader sees whole turns
        self._log: dict[int, Entry] = {}
        self._bad: set[int] = set()  # fails its checksum, or is not there
        self._stale: dict[int, Entry] = {}  # what lies under the newest entry of its index
        self._rows, self._spare = _no_rows(), _no_rows()
        self._hard: bytes | None = None
        self._bounds = EMPTY
        self._used = 0
        self._closed = False

    # -- writing -----------------------------------------------------------------------------------------------------

    def commit(self, turn: Turn, staged: Callable[[], None] | None = None) -> None:
        self._check_open()
        bounds = self._bounds
        check_turn(bounds, turn)
        for table, key, _value in (*turn.changes, *turn.staging):
            self._rows[table]  # an unknown table is a KeyError before anything is written
            check_key(key)
        if is_empty(bounds, turn):
            return
        limit = self._quota.limit(turn)
        if limit is not None and (used := self._used + self._growth(turn)) > limit:
            raise self._quota.full(used)
        if staged is not None:
            staged()
        with self.sync() as lands, self._lock:
            if lands:
                self._write(turn)

    @contextmanager
    def sync(self) -> Iterator[bool]:
        """Around every write: it meets the trouble that waits for it. Yields whether anything gets to the disk."""
        trouble, self.trouble = self.trouble, ""
        if trouble == "eio":
            raise StorageError(trouble)
        yield not trouble or self.lands
        if trouble:
            raise SyncFailed(trouble)

    def _growth(self, turn: Turn) -> int:
        total = sum([len(entry.data) for entry in turn.entries]) + ENTRY_BYTES * len(turn.entries)
        for (table, key), value in {(table, key): value for table, key, value in turn.changes}.items():
            total += _size(key, value) - _size(key, self._rows[table].get(key))
        return total + sum([_size(key, value) for _table, key, value in turn.staging])

    def _write(self, turn: Turn) -> None:
        bounds, log = self._bounds, self._log
        if turn.truncate_from is not None:
            for index in range(turn.truncate_from, bounds.last + 1):
                self._forget(index, keep=True)
        for entry in turn.entries:
            log[entry.index] = entry
            self._used += ENTRY_BYTES + len(entry.data)
        for entry in turn.repaired:
            self._forget(entry.index)
            log[entry.index] = entry
            self._used += ENTRY_BYTES + len(entry.data)
        if turn.hard_state is not None:
            self._hard = turn.hard_state
        for change in turn.changes:
            self._put(self._rows, change)
        for change in turn.staging:
            self._put(self._spare, change)
        if turn.sweep:
            self._sweep()
        if turn.switch is not None:
            self._switch(turn.switch)
        purged_to = purge_end(bounds, turn)
        purged_term = bounds.purged_term
        if purged_to >= bounds.first:
            purged_term = log[purged_to].term if purged_to in log else 0
            for index in range(bounds.first, purged_to + 1):
                self._forget(index)
        self._bounds = bounds_after(bounds, turn, purged_to, purged_term)

    def _forget(self, index: int, *, keep: bool = False) -> None:
        """The entry goes. `keep`: its bytes lie where they lay until something is written over them."""
        entry = self._log.pop(index, None)
        if entry is not None:
            self._used -= ENTRY_BYTES + len(entry.data)
        self._bad.discard(index)
        if keep and entry is not None:
            self._stale[index] = entry
        else:
            self._stale.pop(index, None)

    def _put(self, rows: Rows, change: Change) -> None:
        table, key, value = change
        self._used += _size(key, value) - _size(key, rows[table].get(key))
        if value is None:
            rows[table].pop(key, None)
        else:
            rows[table][key] = bytes(value)

    def _sweep(self) -> None:
        left = SWEEP_STEP
        for rows in self._spare.values():
            while rows and left:
                self._used -= _size(*rows.popitem())
                left -= 1

    def _switch(self, switch: Switch) -> None:
        self._rows, self._spare = self._spare, self._rows
        for index in range(self._bounds.first, self._bounds.last + 1):
            if index <= switch.index or not switch.keep_log:
                self._forget(index)

    # -- reading -----------------------------------------------------------------------------------------------------

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
                if index in self._bad:
                    raise damaged(LOG, pack_index(index))
                entry = self._log[index]
                size += len(entry.data)
                if found and size > max_bytes:
                    break
                found.append(entry)
            return found

    def damaged(self, first: int, last: int) -> list[int]:
        self._check_open()
        return sorted(index for index in self._bad if first <= index <= last)

    def get(self, table: str, key: bytes) -> bytes | None:
        self._check_open()
        check_key(key)
        return self._rows[table].get(key)

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
            rows = self._rows[table]
            keys = sorted([key for key in rows if start <= key and (stop is None or key < stop)], reverse=reverse)
            return [(key, rows[key]) for key in (keys if limit is None else keys[:limit])]

    def spare_rows(self) -> int:
        return sum(map(len, self._spare.values()))

    @contextmanager
    def dump(self) -> Iterator[Dump]:
        with self._lock:
            self._check_open()
            tables = {table: dict(rows) for table, rows in self._rows.items()}
            applied = self._bounds.applied
        yield Dump(applied, ((table, key, rows[key]) for table, rows in tables.items() for key in sorted(rows)))

    def usage(self) -> Usage:
        return Usage(self._used, self._quota.quota_bytes)

    def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("the store is closed")

    # -- what a disk does --------------------------------------------------------------------------------------------

    def copy(self) -> SimulatedStore:
        """The file as it is now: what a new process finds, or what comes back when the file is rolled back."""
        with self._lock:
            other = SimulatedStore(quota_bytes=self._quota.quota_bytes)
            other._log, other._bad, other._stale = dict(self._log), set(self._bad), dict(self._stale)
            other._rows = {table: dict(rows) for table, rows in self._rows.items()}
            other._spare = {table: dict(rows) for table, rows in self._spare.items()}
            other._hard, other._bounds, other._used = self._hard, self._bounds, self._used
            return other

    def rot(self, index: int) -> None:
        """From now on the entry at `index` fails its checksum."""
        assert self._bounds.first <= index <= self._bounds.last, (index, self._bounds)
        self._bad.add(index)

    def overwritten(self) -> list[int]:
        """Indexes that an entry of another term was written at before."""
        return sorted(index for index, old in self._stale.items() if old != self._log.get(index, old))

    def misdirect(self, index: int, onto: int) -> bool:
        """The write of the entry at `index` hit the place of the entry at `onto`. Returns whether the place that was
        missed shows an older entry, with a good checksum, rather than none."""
        self.rot(onto)
        older = self._stale.get(index)
        if older is None:
            self.rot(index)
            return False
        self._log[index] = older
        return True


def _size(key: bytes, value: bytes | None) -> int:
    return 0 if value is None else len(key) + len(value)
