"""LMDB stores, their checksums, lock and format, and the in-memory fake."""

from __future__ import annotations

from graft.storage.check import Report, verify
from graft.storage.lock import LOCK, Holder, keep_alive, last_alive, read_holder
from graft.storage.memory import MemoryStore
from graft.storage.reader import LmdbReader, open_reader
from graft.storage.snapshots import MemorySnapshots, SnapshotDirectory
from graft.storage.store import LmdbStore, open_store

__all__ = [
    "LOCK",
    "Holder",
    "LmdbReader",
    "LmdbStore",
    "MemorySnapshots",
    "MemoryStore",
    "Report",
    "SnapshotDirectory",
    "keep_alive",
    "last_alive",
    "open_reader",
    "open_store",
    "read_holder",
    "verify",
]
