"""LMDB's two meta pages, read as bytes: LMDB itself trusts them, and has no checksum over them.

Transaction N writes meta page N & 1 and nothing else does, so the two numbers are always neighbours. A flipped bit in
either number breaks that, or breaks the parity; a root that does not belong to its number is found by the head record
(`records.Head`). Layout: `MDB_page`, `MDB_meta`, `MDB_db` of liblmdb 0.9's mdb.c, data version 1, 64-bit, native order.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from attrs import frozen

Read = Callable[[int, int], bytes]
"""`(offset, size)` -> the bytes there, fewer at the end of the file: `os.pread`, never a map that could fault."""

MAGIC = 0xBEEFC0DE
DATA_VERSION = 1
NONE = (1 << 64) - 1  # the root of an empty tree
HEADER = Struct("=QHHHH")  # page number, pad, flags, lower, upper
META_FLAG = 0x08
INTEGER_KEY = 0x08  # flag of the tree of free pages
MAX_DEPTH = 32

_META = Struct("=IIQQ")  # magic, version, address, map size
_TREE = Struct("=IHHQQQQQ")
_END = Struct("=QQ")  # last page, transaction


@frozen
class Tree:
    """A B+ tree as its parent describes it (`MDB_db`). `root` is NONE when it is empty."""

    pad: int
    flags: int
    depth: int
    branch_pages: int
    leaf_pages: int
    overflow_pages: int
    entries: int
    root: int

    SIZE = _TREE.size

    @staticmethod
    def unpack(data: bytes, offset: int = 0) -> Tree:
        return Tree(*_TREE.unpack_from(data, offset))


@frozen
class Meta:
    """One meta page: the roots as transaction `transaction` left them. `last_page` is the highest page ever used."""

    page_size: int
    free: Tree
    main: Tree
    last_page: int
    transaction: int


class Insane(Exception):
    """The meta pages cannot be what LMDB wrote. The text says why."""


def read_newest(read: Read) -> Meta:
    """The meta page that LMDB would choose. Raises Insane."""
    first = _read_meta(read(0, 256), 0)
    second = _read_meta(read(first.page_size, 256), 1)
    if first.page_size != second.page_size:
        raise Insane("the meta pages disagree about the page size")
    older, newer = sorted((first, second), key=lambda meta: meta.transaction)
    if newer.transaction - older.transaction != 1 and newer.transaction != 0:
        raise Insane(f"the meta pages have transactions {first.transaction} and {second.transaction}, not neighbours")
    return newer


def _read_meta(page: bytes, slot: int) -> Meta:
    start = HEADER.size
    if len(page) < start + _META.size + 2 * _TREE.size + _END.size:
        raise Insane(f"meta page {slot} is cut short")
    number, _pad, flags, _lower, _upper = HEADER.unpack_from(page)
    magic, version, _address, _map_size = _META.unpack_from(page, start)
    if (number, flags, magic, version) != (slot, META_FLAG, MAGIC, DATA_VERSION):
        raise Insane(f"meta page {slot} does not look like one")
    free = Tree.unpack(page, start + _META.size)
    main = Tree.unpack(page, start + _META.size + _TREE.size)
    last_page, transaction = _END.unpack_from(page, start + _META.size + 2 * _TREE.size)
    meta = Meta(free.pad, free, main, last_page, transaction)
    if problem := _problem(meta, slot):
        raise Insane(f"meta page {slot} has {problem}")
    return meta


def _problem(meta: Meta, slot: int) -> str | None:
    size = meta.page_size
    if size < 512 or size > 0x8000 or size & (size - 1):
        return f"an impossible page size, {size}"
    if meta.transaction and meta.transaction & 1 != slot:
        return f"transaction {meta.transaction}, which belongs on the other one"
    if meta.free.flags != INTEGER_KEY or meta.main.flags != 0 or meta.main.pad != 0:
        return "impossible flags"
    for tree in (meta.free, meta.main):
        if tree.depth > MAX_DEPTH or (tree.root != NONE and not 1 < tree.root <= meta.last_page):
            return f"a root that cannot be, page {tree.root}"
    return None
