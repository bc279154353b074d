"""The store over LMDB: log and state in one environment, one transaction and one fsync a turn.

LMDB is a copy-on-write B+ tree: a transaction writes new pages, syncs them, then writes one of two meta pages. A
process that dies in between leaves the older root in place. See `docs/internals/storage-format.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from zlib import crc32

import lmdb

from graft.interfaces import Change, Entry, LogBounds, Turn, Usage
from graft.storage.records import (
    ALL_TABLES,
    EMPTY,
    HARD_KEY,
    HEAD,
    HEAD_KEY,
    LOG,
    Head,
    damaged,
    pack_checksum,
    pack_entry,
    pack_index,
    seal,
    seed,
    unpack_entry,
    unseal,
)
from graft.storage.turns import bounds_after, check_turn, purge_end

DEFAULT_QUOTA = 16 << 30
DEFAULT_MAP = 64 << 30
MAX_READERS = 126


def open_store(path: Path | str, *, quota_bytes: int = DEFAULT_QUOTA, map_bytes: int = DEFAULT_MAP) -> LmdbStore:
    """Open the data directory `path` for writing; make it when it is not there."""
    directory = Path(path)
    (directory / "store").mkdir(parents=True, exist_ok=True)
    environment = lmdb.Environment(
        str(directory / "store"), map_size=map_bytes, max_dbs=len(ALL_TABLES), max_readers=MAX_READERS, max_spare_txns=4
    )
    return LmdbStore(environment, quota_bytes)


class LmdbStore:
    """Satisfies `graft.interfaces.Store`. Made by `open_store`."""

    def __init__(self, environment: lmdb.Environment, quota_bytes: int) -> None:
        self._environment = environment
        self._quota = quota_bytes
        self._tables = {table: environment.open_db(table.encode()) for table in ALL_TABLES}
        self._commit_lock = Lock()
        head = self.get(HEAD, HEAD_KEY)
        self._bounds = EMPTY if head is None else Head.unpack(head).bounds

    def commit(self, turn: Turn) -> None:
        with self._commit_lock:
            bounds = self._bounds
            check_turn(bounds, turn)
            transaction = self._environment.begin(write=True)
            try:
                after = self._write(transaction, bounds, turn)
            except BaseException:
                transaction.abort()
                raise
            transaction.commit()
            self._bounds = after

    def _write(self, transaction: lmdb.Transaction[bytes], bounds: LogBounds, turn: Turn) -> LogBounds:
        if turn.truncate_from is not None:
            self._delete_entries(transaction, turn.truncate_from, bounds.last)
        if turn.entries:
            self._append(transaction, turn.entries)
        if turn.hard_state is not None:
            transaction.put(HARD_KEY, seal(HEAD, HARD_KEY, turn.hard_state), db=self._tables[HEAD])
        if turn.changes:
            self._change(transaction, turn.changes)
        purged_to = purge_end(bounds, turn)
        purged_term = bounds.purged_term
        if purged_to >= bounds.first:
            purged_term = self._entry(transaction, purged_to).term
            self._delete_entries(transaction, bounds.first, purged_to)
        after = bounds_after(bounds, turn, purged_to, purged_term)
        head = Head(after, transaction.id()).pack()
        transaction.put(HEAD_KEY, seal(HEAD, HEAD_KEY, head), db=self._tables[HEAD])
        return after

    def _append(self, transaction: lmdb.Transaction[bytes], entries: Sequence[Entry]) -> None:
        start = seed(LOG)
        rows = []
        for entry in entries:
            key, payload = pack_index(entry.index), pack_entry(entry)
            rows.append((key, pack_checksum(crc32(key + payload, start)) + payload))
        transaction.cursor(self._tables[LOG]).putmulti(rows, append=True)

    def _delete_entries(self, transaction: lmdb.Transaction[bytes], first: int, last: int) -> None:
        for index in range(first, last + 1):
            if not transaction.delete(pack_index(index), db=self._tables[LOG]):
                raise damaged(LOG, pack_index(index), "it is missing")

    def _change(self, transaction: lmdb.Transaction[bytes], changes: Sequence[Change]) -> None:
        groups: dict[str, dict[bytes, bytes | None]] = {}
        for table, key, value in changes:
            if (group := groups.get(table)) is None:
                group = groups[table] = {}
            group[key] = value
        for table, group in groups.items():
            start = seed(table)
            rows = [
                (key, pack_checksum(crc32(key + value, start)) + value)
                for key, value in sorted(group.items())
                if value is not None
            ]
            transaction.cursor(self._tables[table]).putmulti(rows)
            for key, value in group.items():
                if value is None:
                    transaction.delete(key, db=self._tables[table])

    def bounds(self) -> LogBounds:
        return self._bounds

    def hard_state(self) -> bytes | None:
        return self.get(HEAD, HARD_KEY)

    def entries(self, first: int, last: int, max_bytes: int = 1 << 20) -> list[Entry]:
        found: list[Entry] = []
        size = 0
        bounds = self._bounds
        with self._environment.begin() as transaction:
            for index in range(max(first, bounds.first), min(last, bounds.last) + 1):
                entry = self._entry(transaction, index)
                size += len(entry.data)
                if found and size > max_bytes:
                    break
                found.append(entry)
        return found

    def _entry(self, transaction: lmdb.Transaction[bytes], index: int) -> Entry:
        key = pack_index(index)
        stored = transaction.get(key, db=self._tables[LOG])
        if stored is None:
            raise damaged(LOG, key, "it is missing")
        return unpack_entry(index, unseal(LOG, key, stored))

    def get(self, table: str, key: bytes) -> bytes | None:
        database = self._tables[table]
        with self._environment.begin() as transaction:
            stored = transaction.get(key, db=database)
        return None if stored is None else unseal(table, key, stored)

    def scan(
        self,
        table: str,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        reverse: bool = False,
        limit: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        with self._environment.begin() as transaction:
            cursor = transaction.cursor(self._tables[table])
            if reverse:
                there = (cursor.set_range(stop) and cursor.prev()) if stop is not None else False
                if not there:
                    there = cursor.last()
                    while there and stop is not None and cursor.key() >= stop:
                        there = cursor.prev()
                step = cursor.iterprev
            else:
                there = cursor.set_range(start) if start else cursor.first()
                step = cursor.iternext
            if not there:
                return found
            for key, stored in step():
                if (key < start) if reverse else (stop is not None and key >= stop):
                    break
                if limit is not None and len(found) >= limit:
                    break
                found.append((key, unseal(table, key, stored)))
        return found

    def usage(self) -> Usage:
        with self._environment.begin() as transaction:
            stats = [transaction.stat(database) for database in self._tables.values()]
        pages = sum(s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"] for s in stats)
        return Usage(pages * stats[0]["psize"], self._quota)

    def close(self) -> None:
        with self._commit_lock:
            self._environment.close()
