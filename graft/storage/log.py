"""Writing the log's table inside a transaction: append, repair, purge, truncate."""

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


def purge(transaction: Transaction, database: lmdb._Database, first: int, last: int) -> None:
    """Remove entries first..last, the oldest ones, whatever became of them: nobody needs them any more.

    By place, not by key, because a key may be damaged; and never the entry behind `last`.
    """
    cursor = transaction.cursor(database)
    cursor.first()
    for _ in range(first, last + 1):
        if cursor.key() in (b"", pack_index(last + 1)):
            return
        cursor.delete()


def truncate(transaction: Transaction, database: lmdb._Database, first: int, last: int) -> None:
    """Remove entries first..last, the newest ones, in the same way."""
    cursor = transaction.cursor(database)
    for _ in range(first, last + 1):
        if not cursor.last() or cursor.key() == pack_index(first - 1):
            return
        cursor.delete()
