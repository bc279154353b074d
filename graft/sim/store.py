"""The simulated disk as a store: what is synced, and everything that a disk may do to it.

Satisfies `graft.interfaces.Store` and passes the contract suite that LMDB and the memory store pass (tests/contracts).
A turn is one transaction: it is there as a whole or not at all. On top of that a test, or a plan of faults, may have

* the next turn fail, with nothing written (`eio`) or with who knows what written (`fsync`): `trouble`;
* entries fail their checksum: `rot`;
* an entry's write go to the place of another: `misdirect`. A checksum covers the index that it was made for, so the
  place that was hit is damaged; at the place that was missed lies what lay there before, which may be an entry that a
  later term has overwritten, whole and out of date. Only its term gives that away (`graft.raft.repair`);
* the whole file as it was some time ago: `copy`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from graft.errors import StorageError, SyncFailed
from graft.interfaces import Entry, Turn
from graft.storage.memory import DEFAULT_QUOTA, MemoryStore


class SimulatedStore(MemoryStore):
    """`trouble`: what the next turn meets, `eio` or `fsync`. `lands`: one that meets `fsync` is there all the same."""

    def __init__(self, *, quota_bytes: int = DEFAULT_QUOTA) -> None:
        super().__init__(quota_bytes=quota_bytes)
        self.trouble = ""
        self.lands = False
        self._stale: dict[int, Entry] = {}  # what lies under the newest entry of its index

    @contextmanager
    def sync(self) -> Iterator[bool]:
        """Around every write: it meets the trouble that waits for it. Yields whether anything gets to the disk."""
        trouble, self.trouble = self.trouble, ""
        if trouble == "eio":
            raise StorageError(trouble)
        yield not trouble or self.lands
        if trouble:
            raise SyncFailed(trouble)

    def _sync(self, turn: Turn) -> None:
        with self.sync() as lands:
            if lands:
                super()._sync(turn)

    def _cut_entry(self, index: int) -> None:
        """Its bytes lie where they lay until something is written over them."""
        entry = self._log[index]
        self._drop_entry(index)
        self._stale[index] = entry

    def _drop_entry(self, index: int) -> None:
        super()._drop_entry(index)
        self._stale.pop(index, None)

    def copy(self) -> Self:
        """The file as it is now: what a new process finds, or what comes back when the file is rolled back."""
        other = super().copy()
        other._stale = dict(self._stale)
        return other

    def overwritten(self) -> list[int]:
        """Indexes that an entry of another term was written at before."""
        return sorted(index for index, old in self._stale.items() if old != self._log.get(index, old))

    def misdirect(self, index: int, onto: int) -> bool:
        """The write of the entry at `index` hit the place of the entry at `onto`. Returns whether the place that was
        missed shows an older entry, with a good checksum, rather than none."""
        self.rot(onto)
        older = self._stale.get(index)
        if older is None:
            self.rot(index)
            return False
        self._log[index] = older
        return True
