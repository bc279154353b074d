"""LMDB stores, their checksums, lock and format, and the in-memory fake."""

from __future__ import annotations

from graft.storage.memory import MemoryStore
from graft.storage.store import LmdbStore, open_store

__all__ = ["LmdbStore", "MemoryStore", "open_store"]
