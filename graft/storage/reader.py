"""Reading a data directory from another process, while its holder goes on writing.

LMDB's readers take no lock that a writer waits for: each sees the last commit. A reader that dies leaves a slot in
LMDB's table of readers; the writer clears it within READER_CHECK_TURNS turns.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import lmdb

from graft.interfaces import Dump, Entry, LogBounds, Usage
from graft.storage.directory import existing
from graft.storage.environment import open_environment, open_odd
from graft.storage.lock import Holder, read_holder
from graft.storage.reads import Reads
from graft.storage.records import ODD_TABLES

T = TypeVar("T")

MAP_BYTES = 1 << 30
"""LMDB takes the larger one of this and what the writer reserved."""


def open_reader(path: Path | str) -> LmdbReader:
    """Open the data directory `path` for reading only. Call `close` on the result.

    One process may not open the same directory twice: the holder reads through its own store. Raises StorageError when
    there is no Graft data or this process has it open already, StoreFormatUnknown, StoreCorrupt.
    """
    layout = existing(Path(path))
    environment, reads, head = open_environment(layout, MAP_BYTES, readonly=True)
    return LmdbReader(environment, reads, head.generation, read_holder(layout.lock))


class LmdbReader:
    """The reading half of `graft.interfaces.Store`. `holder` is who had the directory last, it may be gone."""

    def __init__(self, environment: lmdb.Environment, reads: Reads, generation: int, holder: Holder | None) -> None:
        self._environment = environment
        self._reads = reads
        self._generation = generation
        self.holder = holder

    def _steadily(self, read: Callable[[], T]) -> T:
        """The holder may install a snapshot: read again until the generation was the same before and after."""
        while True:
            self._follow()
            before = self._generation
            found = read()
            self._follow()
            if self._generation == before:
                return found

    def _follow(self) -> None:
        generation = self._reads.generation()
        if generation != self._generation:
            if not self._reads.has(ODD_TABLES[0]):
                self._reads.add(open_odd(self._environment))
            self._reads.use(generation)
            self._generation = generation

    def bounds(self) -> LogBounds:
        return self._reads.bounds()

    def hard_state(self) -> bytes | None:
        return self._reads.hard_state()

    def entries(self, first: int, last: int, max_bytes: int = 1 << 20) -> list[Entry]:
        return self._reads.entries(first, last, max_bytes)

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._steadily(lambda: self._reads.get(table, key))

    def scan(
        self,
        table: str,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        reverse: bool = False,
        limit: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        return self._steadily(lambda: self._reads.scan(table, start, stop, reverse, limit))

    def dump(self) -> AbstractContextManager[Dump]:
        """All state, of one moment. The holder may not install a snapshot meanwhile."""
        self._follow()
        return self._reads.dump()

    def usage(self) -> Usage:
        """The quota belongs to the writer: 0 here."""
        return Usage(sum(self._reads.all_pages().values()) * self._reads.page_bytes, 0)

    def close(self) -> None:
        self._reads.is_closed = True
        self._environment.close()
