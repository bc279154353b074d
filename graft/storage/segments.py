"""Checksums over a file that this process wrote, so that each piece of it can be checked when it is read again.

A file that is sent to other members lies on the disk for a while. Without this, damage to it would show at the
receiver, after all of it was sent, and the same file would be sent again and again.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Final
from zlib import crc32

SEGMENT_BYTES: Final = 64 << 10
"""What is read to check a piece is aligned to this; four bytes are kept for each."""


class Segments:
    """CRC-32 of each SEGMENT_BYTES of a file; the last segment may be shorter."""

    def __init__(self) -> None:
        self._sums = array("L")
        self._open = 0  # CRC of the segment that is being written
        self._size = 0

    def add(self, data: bytes) -> None:
        """`data` is written behind what was."""
        view = memoryview(data)
        while view:
            room = SEGMENT_BYTES - self._size % SEGMENT_BYTES
            self._open = crc32(view[:room], self._open)
            self._size += min(room, len(view))
            if self._size % SEGMENT_BYTES == 0:
                self._sums.append(self._open)
                self._open = 0
            view = view[room:]

    def read(self, read: Callable[[int, int], bytes], offset: int, max_bytes: int) -> bytes | None:
        """The piece at `offset`; None when what it lies in is not as it was written. `read(size, offset)` as pread."""
        first = offset // SEGMENT_BYTES
        start, stop = first * SEGMENT_BYTES, min(offset + max_bytes, self._size)
        stop = min(-(-stop // SEGMENT_BYTES) * SEGMENT_BYTES, self._size)
        data = read(max(0, stop - start), start)
        if len(data) != max(0, stop - start):
            return None
        for number in range(first, -(-stop // SEGMENT_BYTES)):
            at = (number - first) * SEGMENT_BYTES
            stated = self._sums[number] if number < len(self._sums) else self._open
            if crc32(data[at : at + SEGMENT_BYTES]) != stated:
                return None
        return data[offset - start : offset - start + max_bytes]
