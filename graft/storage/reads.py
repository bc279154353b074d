"""Reading an LMDB environment: every record's checksum is verified, and what is not there is looked at twice.

A read transaction lives for one call. It pins the pages of its snapshot, so a long one would make the file grow.

A key that is not found may be a key whose bytes were flipped, or a search that a flipped separator sent astray. In
both cases the records next to where the search ended betray it: a wrong checksum, or a wrong order.

Reads see one generation of the state (`generations.py`). `use` is called right after the commit of a switch and before
the next commit, so a transaction that begins while `_rooms` does not change sees that generation as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import lmdb

from graft.errors import GraftError, StorageError, StoreCorrupt
from graft.interfaces import TABLES, Dump, Entry, LogBounds
from graft.storage.failures import translate
from graft.storage.records import (
    CHECKSUM_BYTES,
    HARD_KEY,
    HEAD,
    HEAD_KEY,
    LOG,
    Head,
    damaged,
    database_name,
    pack_checksum,
    pack_index,
    seed,
    unseal,
    unseal_entry,
)

if TYPE_CHECKING:
    Transaction = lmdb.Transaction[bytes]


class Reads:
    """The reading half of a store. Safe from any thread. `directory` is for messages."""

    def __init__(self, environment: lmdb.Environment, tables: Mapping[str, lmdb._Database], directory: Path) -> None:
        self._begin = environment.begin
        self._databases = dict(tables)
        self.use(0)
        self._log, self._head = tables[LOG], tables[HEAD]
        self._directory = directory
        self.page_bytes: int = environment.stat()["psize"]
        self.is_closed = False

    def use(self, generation: int) -> None:
        """From now on read the rows of `generation`."""
        self._rooms = {table: (self._databases[database_name(table, generation)], seed(table)) for table in TABLES}

    def add(self, tables: Mapping[str, lmdb._Database]) -> None:
        """More databases were made."""
        self._databases = {**self._databases, **tables}

    def has(self, name: str) -> bool:
        return name in self._databases

    def get(self, table: str, key: bytes) -> bytes | None:
        rooms = self._rooms
        database, start = rooms[table]
        try:
            with self._begin() as transaction:
                if rooms is not self._rooms:
                    return self.get(table, key)  # a switch came between: the transaction may see half a sweep
                stored = transaction.get(key, None, database)
                if stored is None:
                    self._check_absent(transaction, table, key, database)
                    return None
        except lmdb.Error as error:
            raise self._error(error) from error
        payload = stored[CHECKSUM_BYTES:]
        if pack_checksum(crc32(key + payload, start)) != stored[:CHECKSUM_BYTES]:
            raise damaged(table, key)
        return payload

    def _check_absent(self, transaction: Transaction, table: str, key: bytes, database: lmdb._Database) -> None:
        """Raises StoreCorrupt when a neighbour of `key`, which was not found, is damaged or on the wrong side."""
        cursor = transaction.cursor(database)
        there = cursor.set_range(key)
        if there:
            after, stored = cursor.item()
            if after <= key:
                raise damaged(table, key, "the table is out of order around it")
            unseal(table, after, stored)
        if cursor.prev() if there else cursor.last():
            before, stored = cursor.item()
            if before >= key:
                raise damaged(table, key, "the table is out of order around it")
            unseal(table, before, stored)

    def scan(
        self, table: str, start: bytes, stop: bytes | None, reverse: bool, limit: int | None
    ) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        count = -1 if limit is None else limit
        if count == 0:
            return found
        try:
            rooms = self._rooms
            with self._begin() as transaction:
                if rooms is not self._rooms:
                    return self.scan(table, start, stop, reverse, limit)
                cursor = transaction.cursor(rooms[table][0])
                if not _seek(cursor, start, stop, reverse):
                    return found
                previous: bytes | None = None
                for key, stored in cursor.iterprev() if reverse else cursor.iternext():
                    if previous is not None and (key >= previous if reverse else key <= previous):
                        raise damaged(table, key, "the table is out of order around it")
                    previous = key
                    if (key < start) if reverse else (stop is not None and key >= stop):
                        break
                    found.append((key, unseal(table, key, stored)))
                    if len(found) == count:
                        break
        except lmdb.Error as error:
            raise self._error(error) from error
        return found

    def head(self, transaction: Transaction) -> Head:
        """Raises StoreCorrupt when it is missing or damaged."""
        stored = transaction.get(HEAD_KEY, None, self._head)
        if stored is None:
            raise damaged(HEAD, HEAD_KEY, "it is missing")
        return Head.unpack(unseal(HEAD, HEAD_KEY, stored))

    def generation(self) -> int:
        try:
            with self._begin() as transaction:
                return self.head(transaction).generation
        except lmdb.Error as error:
            raise self._error(error) from error

    def bounds(self) -> LogBounds:
        try:
            with self._begin() as transaction:
                return self.head(transaction).bounds
        except lmdb.Error as error:
            raise self._error(error) from error

    def hard_state(self) -> bytes | None:
        try:
            with self._begin() as transaction:
                stored = transaction.get(HARD_KEY, None, self._head)
                if stored is None:
                    self._check_absent(transaction, HEAD, HARD_KEY, self._head)
                    return None
                return unseal(HEAD, HARD_KEY, stored)
        except lmdb.Error as error:
            raise self._error(error) from error

    def entries(self, first: int, last: int, max_bytes: int) -> list[Entry]:
        try:
            with self._begin() as transaction:
                bounds = self.head(transaction).bounds
                return self._entries(transaction, max(first, bounds.first), min(last, bounds.last), max_bytes)
        except lmdb.Error as error:
            raise self._error(error) from error

    def _entries(self, transaction: Transaction, first: int, last: int, max_bytes: int) -> list[Entry]:
        found: list[Entry] = []
        if first > last:
            return found
        size, due, start = 0, first, seed(LOG)
        cursor = transaction.cursor(self._log)
        cursor.set_range(pack_index(first))
        for key, stored in cursor.iternext():
            if key != pack_index(due):
                break
            entry = unseal_entry(due, key, stored, start)
            size += len(entry.data)
            if found and size > max_bytes:
                return found
            found.append(entry)
            if due == last:
                return found
            due += 1
        raise damaged(LOG, pack_index(due), "it is missing")

    def damaged(self, first: int, last: int) -> list[int]:
        found: list[int] = []
        try:
            with self._begin() as transaction:
                bounds = self.head(transaction).bounds
                cursor = transaction.cursor(self._log)
                for index in range(max(first, bounds.first), min(last, bounds.last) + 1):
                    try:
                        stored = cursor.get(pack_index(index))
                        if stored is None:
                            raise damaged(LOG, pack_index(index), "it is missing")
                        unseal_entry(index, pack_index(index), stored, seed(LOG))
                    except StoreCorrupt:
                        found.append(index)
        except lmdb.Error as error:
            raise self._error(error) from error
        return found

    @contextmanager
    def dump(self) -> Iterator[Dump]:
        try:
            with self._begin() as transaction:
                head = self.head(transaction)
                yield Dump(head.bounds.applied, self._all_rows(transaction, head.generation))
        except lmdb.Error as error:
            raise self._error(error) from error

    def _all_rows(self, transaction: Transaction, generation: int) -> Iterator[tuple[str, bytes, bytes]]:
        for table in TABLES:
            for key, stored in transaction.cursor(self._databases[database_name(table, generation)]).iternext():
                yield table, key, unseal(table, key, stored)

    def term(self, transaction: Transaction, index: int) -> int:
        """The term of an entry that must be there; 0 if it is damaged."""
        try:
            return self._entries(transaction, index, index, 0)[0].term
        except StoreCorrupt:
            return 0

    def database(self, name: str) -> lmdb._Database:
        """LOG, HEAD, or what `database_name` says."""
        return self._databases[name]

    def pages(self, transaction: Transaction, tables: Iterable[str]) -> dict[str, int]:
        """Pages in use by each of `tables`. Freed pages do not count: they are used again before the file grows."""
        found: dict[str, int] = {}
        for table in tables:
            stat = transaction.stat(self._databases[table])
            found[table] = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        return found

    def all_pages(self) -> dict[str, int]:
        try:
            with self._begin() as transaction:
                return self.pages(transaction, self._databases)
        except lmdb.Error as error:
            raise self._error(error) from error

    def _error(self, error: lmdb.Error) -> GraftError | ValueError:
        if isinstance(error, lmdb.BadValsizeError):
            return ValueError(f"not a key: {error}")
        if self.is_closed:
            return StorageError(f"the store in {self._directory} is closed")
        return translate(error, self._directory)


def _seek(cursor: lmdb.Cursor[bytes], start: bytes, stop: bytes | None, reverse: bool) -> bool:
    """Put the cursor on the first pair to report. False when there is none on that side."""
    if not reverse:
        return cursor.set_range(start) if start else cursor.first()
    if stop is None:
        return cursor.last()
    if not stop:
        return False
    return cursor.prev() if cursor.set_range(stop) else cursor.last()
