"""Writing the log's table inside a transaction: append, repair, delete."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import TYPE_CHECKING
from zlib import crc32

import lmdb

from graft.interfaces import Entry
from graft.storage.records import LOG, damaged, pack_checksum, pack_index, seed

if TYPE_CHECKING:
    from graft.storage.reads import Transaction

_INDEX_TERM = Struct(">QQ").pack


def append(transaction: Transaction, database: lmdb._Database, entries: Sequence[Entry]) -> None:
    rows = _rows(entries)
    _consumed, added = transaction.cursor(database).putmulti(rows, append=True)
    if added != len(rows):
        raise damaged(LOG, rows[added][0], "an entry beyond the end of the log is in its way")


def repair(transaction: Transaction, database: lmdb._Database, entries: Sequence[Entry]) -> None:
    """Put good copies where damaged entries are, or should be."""
    transaction.cursor(database).putmulti(_rows(entries))


def _rows(entries: Iterable[Entry]) -> list[tuple[bytes, bytes]]:
    start = seed(LOG)
    rows: list[tuple[bytes, bytes]] = []
    add = rows.append
    for entry in entries:
        record = _INDEX_TERM(entry.index, entry.term) + entry.data
        add((record[:8], pack_checksum(crc32(record, start)) + record[8:]))
    return rows


def delete(transaction: Transaction, database: lmdb._Database, first: int, last: int, *, strict: bool = True) -> None:
    """Remove entries first..last. `strict`: one that is missing is damage; else it only is missing."""
    if first > last:
        return
    cursor = transaction.cursor(database)
    cursor.set_range(pack_index(first))
    for index in range(first, last + 1):
        if cursor.key() == pack_index(index):
            cursor.delete()
        elif strict:
            raise damaged(LOG, pack_index(index), "it is missing")
