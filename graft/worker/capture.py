"""Keeping what a program prints, within bounds, while it prints it."""

from __future__ import annotations

TAIL_BYTES = 8 * 1024
TAIL_LINES = 20


class Capture:
    """Keeps up to `max_bytes`; of more it keeps nothing but the count, so memory stays bounded."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._chunks: list[bytes] = []
        self.size = 0

    def feed(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._max_bytes:
            self._chunks.clear()
        else:
            self._chunks.append(data)

    @property
    def overflowed(self) -> bool:
        return self.size > self._max_bytes

    def content(self) -> bytes:
        """All that came. Invariant: not to be asked for when it overflowed."""
        assert not self.overflowed
        return b"".join(self._chunks)


class Tail:
    """Keeps the last lines, for the detail of an error."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> None:
        self._data = (self._data + data)[-TAIL_BYTES:]

    def text(self) -> str:
        lines = self._data.decode("utf-8", "replace").rstrip().splitlines()
        return "\n".join(lines[-TAIL_LINES:])
