"""How a snapshot looks as a file: blocks of rows, each with a checksum, and an end that says how many there were.

::

    GRAFTSN1
    block   length (u32) of the payload, its CRC-32 (u32), payload: msgpack of (table, [key, value, key, value, ...])
    end     length 0 (u32), CRC-32 of the next field (u32), number of rows (u64)

Numbers are big-endian. Tables stand by name, so that a later Graft may have more of them. The blocks are what a reader
holds in memory at once; the checksum over the whole file (SHA-256, hexadecimal) is kept beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from struct import Struct
from zlib import crc32

import msgspec

from graft.errors import StoreCorrupt
from graft.interfaces import TABLES, Change

MAGIC = b"GRAFTSN1"
BLOCK_BYTES = 64 << 10
"""A block ends with the row that makes it this long."""

_BLOCK = Struct(">II")
_COUNT = Struct(">Q")

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, list[bytes]]).decode


def encode(rows: Iterable[tuple[str, bytes, bytes]]) -> Iterator[bytes]:
    """The file, block by block. `rows` come table by table."""
    yield MAGIC
    total, size = 0, 0
    block: list[bytes] = []
    current = ""
    for table, key, value in rows:
        if block and (table != current or size >= BLOCK_BYTES):
            yield _sealed(_encode((current, block)))
            block, size = [], 0
        current = table
        block += (key, value)
        size += len(key) + len(value)
        total += 1
    if block:
        yield _sealed(_encode((current, block)))
    count = _COUNT.pack(total)
    yield _BLOCK.pack(0, crc32(count)) + count


def _sealed(payload: bytes) -> bytes:
    return _BLOCK.pack(len(payload), crc32(payload)) + payload


def decode(read: Callable[[int], bytes]) -> Iterator[list[Change]]:
    """The rows of a file, block by block. `read(n)` gives the next n bytes, fewer at the end. Raises StoreCorrupt."""
    if read(len(MAGIC)) != MAGIC:
        raise bad("it does not begin like one")
    total = 0
    while True:
        head = read(_BLOCK.size)
        if len(head) < _BLOCK.size:
            raise bad("it is cut short")
        length, checksum = _BLOCK.unpack(head)
        payload = read(length or _COUNT.size)
        if crc32(payload) != checksum:
            raise bad("the checksum of a block is wrong")
        if not length:
            if _COUNT.unpack(payload)[0] != total:
                raise bad("rows are missing")
            return
        try:
            table, flat = _decode(payload)
        except ValueError as error:
            raise bad(str(error)) from error
        if table not in TABLES:
            raise bad(f"it has rows of a table {table!r}, which this version of Graft does not know")
        total += len(flat) // 2
        yield [(table, flat[at], flat[at + 1]) for at in range(0, len(flat), 2)]


def bad(what: str) -> StoreCorrupt:
    return StoreCorrupt(f"a snapshot cannot be used: {what}", hint="it is asked for again; nothing was changed")
