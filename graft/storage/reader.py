"""Reading a data directory from another process, while its holder goes on writing.

LMDB's readers take no lock that a writer waits for: each sees the last commit. A reader that dies leaves a slot in
LMDB's table of readers; the writer clears it within READER_CHECK_TURNS turns.
"""

from __future__ import annotations

from pathlib import Path

import lmdb

from graft.interfaces import Entry, LogBounds, Usage
from graft.storage.directory import existing
from graft.storage.environment import open_environment
from graft.storage.lock import Holder, read_holder
from graft.storage.reads import Reads

MAP_BYTES = 1 << 30
"""LMDB takes the larger one of this and what the writer reserved."""


def open_reader(path: Path | str) -> LmdbReader:
    """Open the data directory `path` for reading only. Call `close` on the result.

    One process may not open the same directory twice: the holder reads through its own store. Raises StorageError when
    there is no Graft data or this process has it open already, StoreFormatUnknown, StoreCorrupt.
    """
    layout = existing(Path(path))
    environment, reads, _head = open_environment(layout, MAP_BYTES, readonly=True)
    return LmdbReader(environment, reads, read_holder(layout.lock))


class LmdbReader:
    """The reading half of `graft.interfaces.Store`. `holder` is who had the directory last, it may be gone."""

    def __init__(self, environment: lmdb.Environment, reads: Reads, holder: Holder | None) -> None:
        self._environment = environment
        self._reads = reads
        self.holder = holder

    def bounds(self) -> LogBounds:
        return self._reads.bounds()

    def hard_state(self) -> bytes | None:
        return self._reads.hard_state()

    def entries(self, first: int, last: int, max_bytes: int = 1 << 20) -> list[Entry]:
        return self._reads.entries(first, last, max_bytes)

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._reads.get(table, key)

    def scan(
        self,
        table: str,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        reverse: bool = False,
        limit: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        return self._reads.scan(table, start, stop, reverse, limit)

    def usage(self) -> Usage:
        """The quota belongs to the writer: 0 here."""
        return Usage(sum(self._reads.all_pages().values()) * self._reads.page_bytes, 0)

    def close(self) -> None:
        self._reads.is_closed = True
        self._environment.close()
