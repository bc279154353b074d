"""What happened, append-only, with a rolling hash: two runs are the same when their hashes are.

Events are flat tuples of integers, strings and None, so that their text is the same in every process. They are hashed
in blocks; a trace that keeps nothing holds one block at a time.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b

Record = tuple[int | str | None, ...]

_BLOCK = 256


class Trace:
    """`keep`: how many of the last records stay readable, None for all."""

    __slots__ = ("_block", "_hash", "_kept", "count")

    def __init__(self, keep: int | None = 0) -> None:
        self._hash = blake2b(digest_size=16)
        self._block: list[Record] = []
        self._kept: deque[Record] = deque(maxlen=keep)
        self.count = 0

    def add(self, record: Record) -> None:
        self._block.append(record)
        if len(self._block) == _BLOCK:
            self._flush()

    def _flush(self) -> None:
        self._hash.update(repr(self._block).encode())
        self.count += len(self._block)
        self._kept.extend(self._block)
        self._block.clear()

    def hexdigest(self) -> str:
        """The hash of all records so far, and of how they fell into blocks: ask once, at the end."""
        self._flush()
        return self._hash.hexdigest()

    def records(self) -> list[Record]:
        self._flush()
        return list(self._kept)


def first_divergence(one: list[Record], other: list[Record]) -> str:
    """Where two full traces part, with the record before; empty when they do not."""
    for position, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            before = one[position - 1] if position else None
            return f"record {position}: {a} against {b}, after {before}"
    if len(one) != len(other):
        return f"one ends after {min(len(one), len(other))} records, the other has {max(len(one), len(other))}"
    return ""
