"""How a record looks on disk: its checksum, the log entry, the head.

A stored value is `checksum (4 bytes, big-endian) + payload`. The checksum is CRC-32 over the table's name, the key and
the payload, so a value that ends up under another key or in another table is noticed as well. CRC-32 finds every
damage of up to 32 neighbouring bits; it is no protection against somebody who wants to deceive. xxh3 would be faster
for large values, but zlib's is in the standard library and a small record costs 0.1 µs.
"""

from __future__ import annotations

from struct import Struct, error
from zlib import crc32

from attrs import frozen

from graft.errors import StoreCorrupt
from graft.interfaces import TABLES, Entry, LogBounds

LOG = "log"  # index (u64) -> term (u64) + data
HEAD = "head"  # b"head" -> Head, b"hard" -> hard state
ALL_TABLES: tuple[str, ...] = (LOG, HEAD, *TABLES)

ODD = ".odd"
ODD_TABLES: tuple[str, ...] = tuple(table + ODD for table in TABLES)
"""The rows of odd generations. They are made when the first snapshot arrives."""

HEAD_KEY = b"head"
HARD_KEY = b"hard"
CHECKSUM_BYTES = 4

_seeds = {table: crc32(table.encode() + b"\0") for table in ALL_TABLES}
_U32 = Struct(">I")
_U64 = Struct(">Q")
_ENTRY = Struct(">IQ")  # checksum, term
_HEAD = Struct(">QQQQQ")  # generation 0
_HEAD_LATER = Struct(">QQQQQQ")
pack_checksum = _U32.pack
pack_index = _U64.pack


def database_name(table: str, generation: int) -> str:
    """Where the rows of a table lie. The generation grows with every snapshot that is installed."""
    return table + ODD if generation & 1 else table


def seed(table: str) -> int:
    """Where the checksum of a record of `table` starts. Raises KeyError for an unknown table."""
    return _seeds[table]


def seal(table: str, key: bytes, payload: bytes) -> bytes:
    """The stored value of `payload`."""
    return pack_checksum(crc32(key + payload, _seeds[table])) + payload


def unseal(table: str, key: bytes, stored: bytes) -> bytes:
    """The payload of a stored value. Raises StoreCorrupt naming table and key."""
    payload = stored[CHECKSUM_BYTES:]
    if pack_checksum(crc32(key + payload, _seeds[table])) != stored[:CHECKSUM_BYTES]:
        raise damaged(table, key)
    return payload


def damaged(table: str, key: bytes, what: str = "its checksum is wrong") -> StoreCorrupt:
    """The error for a record that cannot be trusted."""
    return StoreCorrupt(
        f"the store is damaged: {describe(table, key)}: {what}",
        hint="nothing was changed; restore the data directory from a copy, or start over in a new one",
    )


def describe(table: str, key: bytes) -> str:
    """A record's name for a person: `log entry 17`, `record 01ab… of table steps`."""
    if table == LOG and len(key) == _U64.size:
        return f"log entry {_U64.unpack(key)[0]}"
    return f"record {key.hex() or '(empty key)'} of table {table}"


def unseal_entry(index: int, key: bytes, stored: bytes, start: int) -> Entry:
    """The entry of a stored value; `start` is `seed(LOG)`. Raises StoreCorrupt naming its index."""
    if len(stored) < _ENTRY.size:
        raise damaged(LOG, key, "it is too short")
    checksum, term = _ENTRY.unpack_from(stored)
    if crc32(key + stored[CHECKSUM_BYTES:], start) != checksum:
        raise damaged(LOG, key)
    return Entry(index, term, stored[_ENTRY.size :])


@frozen
class Head:
    """What every turn rewrites. `transaction` is LMDB's own number of the transaction that wrote it; `generation` says
    which rows are the state.

    A meta page of LMDB has no checksum: a flipped bit there can make an older root look like the newest. Then the
    head that this root leads to names another transaction, and opening refuses.
    """

    bounds: LogBounds
    transaction: int
    generation: int = 0

    def pack(self) -> bytes:
        b = self.bounds
        if self.generation:
            return _HEAD_LATER.pack(b.first, b.last, b.applied, b.purged_term, self.transaction, self.generation)
        return _HEAD.pack(b.first, b.last, b.applied, b.purged_term, self.transaction)

    @staticmethod
    def unpack(payload: bytes) -> Head:
        try:
            if len(payload) == _HEAD.size:
                first, last, applied, purged_term, transaction = _HEAD.unpack(payload)
                generation = 0
            else:
                first, last, applied, purged_term, transaction, generation = _HEAD_LATER.unpack(payload)
        except error as problem:
            raise damaged(HEAD, HEAD_KEY, "it has a wrong length") from problem
        return Head(LogBounds(first, last, applied, purged_term), transaction, generation)


EMPTY = LogBounds(first=1, last=0, applied=0)
