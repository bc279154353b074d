"""A walk over every page of an LMDB file: structure and checksums, without asking LMDB.

LMDB follows page numbers without looking, so damage makes it crash, or answer from a page that belongs to another tree
or to an older transaction. This walk reads the file with `pread`, follows every reference, and checks

* each page: its own number, its flags, its bounds, its depth; reached exactly once;
* each tree: keys in order and between the separators above them, counters equal to what was found;
* each record: the checksum over table, key and value; the log without a gap between the bounds that the head states;
* all together: every page of the file is in use or free, never both, never neither. A reference that was bent to an
  old copy of a page shows here, because old copies are free.

py-lmdb 3 has a similar walk (`lmdb.verify`), which the tests compare this one to. Why it does not take the place of
ours: docs/decisions/0014-a-walk-of-our-own.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from struct import Struct, unpack_from
from zlib import crc32

from attrs import frozen

from graft.errors import StoreCorrupt
from graft.storage.metas import HEADER, MAX_DEPTH, NONE, Insane, Meta, Read, Tree, read_newest
from graft.storage.records import (
    ALL_TABLES,
    CHECKSUM_BYTES,
    HEAD,
    HEAD_KEY,
    LOG,
    ODD,
    ODD_TABLES,
    Head,
    describe,
    pack_checksum,
    pack_index,
    seed,
)

BRANCH, LEAF, OVERFLOW = 0x01, 0x02, 0x04  # page flags
BIG, SUBTREE = 0x01, 0x02  # node flags

_NODE = Struct("=HHHH")  # low, high, flags, key size
_U64 = Struct("=Q")
_PAGES = Struct("=I")

MAX_DAMAGES = 50
MANY_PAGES = 1 << 20
"""A damaged page count up to this may cost some memory; beyond it, the file must be there at least by half."""


@frozen
class Damage:
    """`where` is `structure`, `table NAME` or the name of a record."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class _Stop(Exception):
    """Enough damage was found."""


class Walk:
    """One walk over one file. `read` as in `metas`; `run` returns what was found."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._damages: list[Damage] = []
        self._log_keys: list[bytes] | None = None
        self.pages = 0
        self.records = 0

    def run(self) -> tuple[Damage, ...]:
        """Everything that is wrong, at most MAX_DAMAGES; empty when the file is sound."""
        return self._collect(self._walk_all)

    def run_top(self) -> tuple[Damage, ...]:
        """Only what LMDB touches when it opens the file: the meta pages, the table of tables, the head.

        A file that is shorter than its pages is walked as a whole: the kernel would kill LMDB (SIGBUS) for reading
        beyond the end, while pages that were freed as soon as they were allocated may be missing there.
        """
        return self._collect(self._walk_top)

    def _collect(self, walk: Callable[[Meta], None]) -> tuple[Damage, ...]:
        try:
            meta = read_newest(self._read)
            self._size = meta.page_size
            self._count = meta.last_page + 1
            if self._count > MANY_PAGES and not self._read(self._count // 2 * self._size, 1):
                raise Insane(f"the file is much shorter than its {self._count} pages")
            self._live = bytearray(self._count)
            self._free = bytearray(self._count)
            walk(meta)
        except Insane as problem:
            self._damages.append(Damage("structure", str(problem)))
        except _Stop:
            pass
        return tuple(self._damages)

    def is_live(self, page: int) -> bool:
        """Whether page `page` is in use, once the walk is done."""
        return page < self._count and bool(self._live[page])

    def _walk_top(self, meta: Meta) -> None:
        if not self._read(self._count * self._size - 1, 1):
            return self._walk_all(meta)
        tables = self._walk_main(meta)
        if HEAD in tables:
            self._walk_table(HEAD, tables[HEAD], meta.transaction)

    def _walk_all(self, meta: Meta) -> None:
        self._walk_free(meta)
        tables = self._walk_main(meta)
        for table in (*ALL_TABLES, *ODD_TABLES):
            if table in tables:
                self._walk_table(table, tables[table], meta.transaction)
        self._check_cover()

    def _note(self, where: str, what: str) -> None:
        self._damages.append(Damage(where, what))
        if len(self._damages) >= MAX_DAMAGES:
            raise _Stop

    # The trees

    def _walk_free(self, meta: Meta) -> None:
        lists: list[bytes] = []
        transactions: list[int] = []
        for key, flags, value in self._nodes("structure", meta.free, _native):
            if len(key) != _U64.size or flags & SUBTREE:
                self._note("structure", "a list of free pages has a wrong key")
                continue
            transactions.append(_U64.unpack(key)[0])
            lists.append(value)
        if any(not 0 < number <= meta.transaction for number in transactions):
            self._note("structure", "a list of free pages is from the future")
        for value in lists:
            self._mark_free(value)

    def _mark_free(self, value: bytes) -> None:
        count = len(value) // _U64.size - 1
        numbers = unpack_from(f"={count + 1}Q", value) if count >= 0 else (0,)
        if len(value) % _U64.size or numbers[0] != count:
            return self._note("structure", "a list of free pages has a wrong length")
        before = self._count
        for number in numbers[1:]:
            if not 1 < number < before:
                return self._note("structure", f"a list of free pages is out of order at page {number}")
            if self._free[number]:
                self._note("structure", f"page {number} is free twice")
            self._free[number] = 1
            before = number

    def _walk_main(self, meta: Meta) -> dict[str, Tree]:
        tables: dict[str, Tree] = {}
        for key, flags, value in self._nodes("structure", meta.main, _as_is):
            name = key.decode("ascii", "replace")
            if name not in (*ALL_TABLES, *ODD_TABLES) or flags != SUBTREE or len(value) != Tree.SIZE:
                self._note("structure", f"there is no table {name!r}")
                continue
            tree = Tree.unpack(value)
            if tree.flags or tree.pad:
                self._note(f"table {name}", "it has impossible flags")
            else:
                tables[name] = tree
        due = ALL_TABLES if tables.keys().isdisjoint(ODD_TABLES) else (*ALL_TABLES, *ODD_TABLES)
        for name in due:
            if name not in tables:
                self._note(f"table {name}", "it is missing")
        return tables

    def _walk_table(self, table: str, tree: Tree, transaction: int) -> None:
        start = seed(table.removesuffix(ODD))
        keys: list[bytes] | None = [] if table == LOG else None
        head: bytes | None = None
        for key, flags, value in self._nodes(f"table {table}", tree, _as_is):
            self.records += 1
            if flags or pack_checksum(crc32(key + value[CHECKSUM_BYTES:], start)) != value[:CHECKSUM_BYTES]:
                self._note(describe(table, key), "its checksum is wrong")
            elif table == HEAD and key == HEAD_KEY:
                head = value[CHECKSUM_BYTES:]
            if keys is not None:
                keys.append(key)
        if keys is not None:
            self._log_keys = keys
        if table == HEAD:
            self._check_head(head, transaction)

    def _check_head(self, payload: bytes | None, transaction: int) -> None:
        """ALL_TABLES puts the log before the head, so its keys are known here."""
        if payload is None:
            return self._note("structure", "the head record is missing")
        try:
            head = Head.unpack(payload)
        except StoreCorrupt as problem:
            return self._note(describe(HEAD, HEAD_KEY), problem.message)
        if head.transaction != transaction:
            self._note("structure", f"the head is of transaction {head.transaction}, the root of {transaction}")
        if self._log_keys is None:
            return None
        found = set(self._log_keys)
        for index in range(head.bounds.first, head.bounds.last + 1):
            if pack_index(index) not in found:
                self._note(describe(LOG, pack_index(index)), "it is missing")
        if len(found) != max(0, head.bounds.last - head.bounds.first + 1):
            self._note("table log", "it holds entries outside of its bounds")

    # Pages

    def _nodes(self, where: str, tree: Tree, order: Callable[[bytes], bytes]) -> Iterator[tuple[bytes, int, bytes]]:
        """(key, flags, value) of every leaf node in key order; notes what is wrong with the tree on the way."""
        if tree.root == NONE:
            if tree.depth or tree.entries or tree.branch_pages or tree.leaf_pages or tree.overflow_pages:
                self._note(where, "it is empty and has counters")
            return
        found = _Counters()
        last: bytes | None = None
        stack: list[tuple[int, int, bytes | None, bytes | None]] = [(tree.root, 1, None, None)]
        while stack:
            number, depth, low, high = stack.pop()
            page = self._page(where, number)
            if page is None:
                continue
            flags = HEADER.unpack_from(page)[2]
            if flags == BRANCH and depth < min(tree.depth, MAX_DEPTH):
                found.branch += 1
                stack.extend(self._children(where, number, page, depth, low, high, order))
            elif flags == LEAF and depth == tree.depth:
                found.leaf += 1
                for key, node_flags, value in self._leaf_nodes(where, number, page, found):
                    found.entries += 1
                    rank = order(key)
                    if (last is not None and rank <= last) or (low is not None and rank < low):
                        self._note(where, f"page {number} is out of order at key {key.hex()}")
                    if high is not None and rank >= high:
                        self._note(where, f"page {number} holds key {key.hex()} of a later page")
                    last = rank
                    yield key, node_flags, value
            else:
                self._note(where, f"page {number} is of a wrong kind, {flags:#x} at depth {depth}")
        stated = (tree.branch_pages, tree.leaf_pages, tree.overflow_pages, tree.entries)
        if stated != (found.branch, found.leaf, found.overflow, found.entries):
            self._note(where, f"its counters are {stated}, found {found}")

    def _page(self, where: str, number: int) -> bytes | None:
        if not self._claim(where, number):
            return None
        page = self._read(number * self._size, self._size)
        if len(page) < self._size or _U64.unpack_from(page)[0] != number:
            self._note(where, f"page {number} is not there")
            return None
        return page

    def _claim(self, where: str, number: int) -> bool:
        if not 1 < number < self._count:
            self._note(where, f"it refers to page {number} of {self._count}")
            return False
        if self._live[number]:
            self._note(where, f"page {number} is used twice")
            return False
        self._live[number] = 1
        self.pages += 1
        return True

    def _pointers(self, where: str, number: int, page: bytes) -> tuple[int, ...]:
        """Offsets of the nodes of a page, each leaving room for a node's head; () when the page makes no sense."""
        _number, _pad, _flags, lower, upper = HEADER.unpack_from(page)
        count = (lower - HEADER.size) // 2
        if count < 1 or lower % 2 or not HEADER.size < lower <= upper <= self._size:
            self._note(where, f"page {number} has impossible bounds")
            return ()
        pointers = unpack_from(f"={count}H", page, HEADER.size)
        if min(pointers) < upper or max(pointers) > self._size - _NODE.size:
            self._note(where, f"page {number} has a node outside of it")
            return ()
        return pointers

    def _children(
        self,
        where: str,
        number: int,
        page: bytes,
        depth: int,
        low: bytes | None,
        high: bytes | None,
        order: Callable[[bytes], bytes],
    ) -> list[tuple[int, int, bytes | None, bytes | None]]:
        """The children of a branch page, the last one first, with the separators around each."""
        children: list[int] = []
        borders: list[bytes | None] = []
        for position, pointer in enumerate(self._pointers(where, number, page)):
            bottom, middle, top, key_size = _NODE.unpack_from(page, pointer)
            children.append(bottom | middle << 16 | top << 32)
            start = pointer + _NODE.size
            if position == 0:
                borders.append(low)  # its separator is not used
            elif start + key_size > self._size or not key_size:
                self._note(where, f"page {number} has a separator outside of it")
                return []
            else:
                borders.append(order(page[start : start + key_size]))
        known = [border for border in (*borders, high) if border is not None]
        if any(left >= right for left, right in pairwise(known)):
            self._note(where, f"page {number} has separators out of order")
        borders.append(high)
        return [(child, depth + 1, borders[i], borders[i + 1]) for i, child in enumerate(children)][::-1]

    def _leaf_nodes(self, where: str, number: int, page: bytes, found: _Counters) -> Iterator[tuple[bytes, int, bytes]]:
        size = self._size
        for pointer in self._pointers(where, number, page):
            bottom, top, flags, key_size = _NODE.unpack_from(page, pointer)
            start = pointer + _NODE.size
            data, length = start + key_size, bottom | top << 16
            if flags == BIG:
                value = self._overflow(where, page[data : data + _U64.size], length, found)
                if value is None:
                    continue
            elif flags in (0, SUBTREE) and data + length <= size:
                value = page[data : data + length]
            else:
                self._note(where, f"page {number} has a node that cannot be")
                continue
            yield page[start:data], flags & SUBTREE, value

    def _overflow(self, where: str, reference: bytes, length: int, found: _Counters) -> bytes | None:
        """The value on `length` bytes of overflow pages."""
        if len(reference) < _U64.size:
            self._note(where, "a reference to an overflow page is cut short")
            return None
        first: int = _U64.unpack(reference)[0]
        count = (HEADER.size - 1 + length) // self._size + 1
        found.overflow += count
        if first + count > self._count:
            self._note(where, f"it refers to page {first} of {self._count}")
            return None
        if not all(self._claim(where, number) for number in range(first, first + count)):
            return None
        data = self._read(first * self._size, HEADER.size + length)
        if len(data) < HEADER.size + length:
            self._note(where, f"page {first} is not there")
            return None
        number, _pad, flags, _lower, _upper = HEADER.unpack_from(data)
        if number != first or flags != OVERFLOW or _PAGES.unpack_from(data, 12)[0] != count:
            self._note(where, f"page {first} is not the overflow page that it should be")
            return None
        return data[HEADER.size :]

    def _check_cover(self) -> None:
        both = neither = 0
        for number in range(2, self._count):
            live, free = self._live[number], self._free[number]
            both += live & free
            neither += not (live or free)
        if both:
            self._note("structure", f"{both} pages are in use and free at once")
        if neither:
            self._note("structure", f"{neither} pages are neither in use nor free")


class _Counters:
    """What a walk found in one tree."""

    def __init__(self) -> None:
        self.branch = self.leaf = self.overflow = self.entries = 0

    def __repr__(self) -> str:
        return str((self.branch, self.leaf, self.overflow, self.entries))


def _as_is(key: bytes) -> bytes:
    return key


def _native(key: bytes) -> bytes:
    """Keys of the tree of free pages are numbers in native order."""
    return int.from_bytes(key, "little" if _LITTLE else "big").to_bytes(8, "big") if len(key) <= 8 else key


_LITTLE = Struct("=H").pack(1) == b"\1\0"
