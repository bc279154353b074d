"""Two sets of state tables: the state, and the spare rows of the state to be or of the one that was.

A snapshot is installed into the spare set in as many transactions as it takes; then one small transaction makes the
next generation the state (ARCHITECTURE section 6). A crash at any moment leaves the old state or the new one, because
the head record says which generation is the state and is written with everything else. What was the state is swept in
steps. Whoever starts a process finds spare rows that mean nothing: staging begins after a sweep.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from zlib import crc32

from graft.interfaces import TABLES, Change
from graft.storage.records import database_name, pack_checksum, seed
from graft.storage.turns import SWEEP_STEP, check_key

if TYPE_CHECKING:
    from graft.storage.reads import Reads, Transaction


def write_rows(transaction: Transaction, reads: Reads, generation: int, changes: Sequence[Change]) -> Iterable[str]:
    """Write `changes`; the names of the databases that changed.

    Only the last change of a key is written, in key order: LMDB stays on a page.
    """
    tables: defaultdict[str, dict[bytes, bytes | None]] = defaultdict(dict)
    for table, key, value in changes:
        tables[table][key] = value
    names: list[str] = []
    for table, group in tables.items():
        if table not in TABLES:
            raise KeyError(table)
        name = database_name(table, generation)
        database, start = reads.database(name), seed(table)
        rows: list[tuple[bytes, bytes]] = []
        for key in sorted(group):
            value = group[key]
            if value is None:
                check_key(key)  # LMDB only looks at keys that it stores
                transaction.delete(key, db=database)
            else:
                rows.append((key, pack_checksum(crc32(key + value, start)) + value))
        transaction.cursor(database).putmulti(rows)
        names.append(name)
    return names


def count_rows(transaction: Transaction, reads: Reads, generation: int) -> int:
    """How many rows the tables of a generation hold."""
    return sum(transaction.stat(reads.database(name))["entries"] for name in names_of(reads, generation))


def sweep(transaction: Transaction, reads: Reads, generation: int) -> Iterable[str]:
    """Remove up to SWEEP_STEP rows of a generation; the names of the databases that changed."""
    left, names = SWEEP_STEP, []
    for name in names_of(reads, generation):
        cursor = transaction.cursor(reads.database(name))
        there = cursor.first()
        if there:
            names.append(name)
        while there and left:
            there = cursor.delete()
            left -= 1
    return names


def names_of(reads: Reads, generation: int) -> list[str]:
    """The databases of a generation that were made."""
    return [name for name in (database_name(table, generation) for table in TABLES) if reads.has(name)]
