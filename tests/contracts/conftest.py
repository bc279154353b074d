"""The stores that the contract suite runs over. A new implementation adds a line to STANDS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from graft.interfaces import Store
from graft.sim.store import SimulatedStore
from graft.storage import LmdbStore, MemoryStore, open_store
from graft.storage.records import HEAD, HEAD_KEY, LOG, Head, pack_index, seal


class Stand:
    """A store and the way to leave and find it again. `restart` closes in order, or loses what is in memory."""

    store: Store

    def restart(self) -> Store:
        raise NotImplementedError

    def damage(self, index: int) -> None:
        """Flip a bit in the stored entry at `index`."""
        raise NotImplementedError

    def before_and_after_a_restart(self) -> Iterator[Store]:
        yield self.store
        yield self.restart()


class LmdbStand(Stand):
    def __init__(self, directory: Path, quota_bytes: int) -> None:
        self._path, self._quota = directory / ".graft", quota_bytes
        self.store: Store = self._open()

    def _open(self) -> Store:
        return open_store(self._path, quota_bytes=self._quota, map_bytes=1 << 30)

    def restart(self) -> Store:
        self.store.close()
        self.store = self._open()
        return self.store

    def damage(self, index: int) -> None:
        assert isinstance(self.store, LmdbStore)
        reads = self.store._reads
        with self.store._environment.begin(write=True) as transaction:
            database = reads.database(LOG)
            stored = transaction.get(pack_index(index), None, database)
            transaction.put(pack_index(index), stored[:-1] + bytes([stored[-1] ^ 1]), db=database)
            head = Head(self.store.bounds(), transaction.id(), reads.head(transaction).generation).pack()
            transaction.put(HEAD_KEY, seal(HEAD, HEAD_KEY, head), db=reads.database(HEAD))


class MemoryStand(Stand):
    def __init__(self, directory: Path, quota_bytes: int) -> None:
        self._memory = self.store = MemoryStore(quota_bytes=quota_bytes)

    def restart(self) -> Store:
        self._memory = self.store = self._memory.crash()
        return self._memory

    def damage(self, index: int) -> None:
        self._memory.rot(index)


class SimulatedStand(Stand):
    def __init__(self, directory: Path, quota_bytes: int) -> None:
        self._disk = self.store = SimulatedStore(quota_bytes=quota_bytes)

    def restart(self) -> Store:
        self._disk.close()
        self._disk = self.store = self._disk.copy()
        return self._disk

    def damage(self, index: int) -> None:
        self._disk.rot(index)


STANDS: dict[str, Callable[[Path, int], Stand]] = {
    "lmdb": LmdbStand,
    "memory": MemoryStand,
    "simulated": SimulatedStand,
}


@pytest.fixture(params=STANDS)
def stand_with_quota(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[int], Stand]]:
    stands: list[Stand] = []

    def make(quota_bytes: int) -> Stand:
        stands.append(STANDS[request.param](tmp_path, quota_bytes))
        return stands[-1]

    yield make
    for stand in stands:
        stand.store.close()


@pytest.fixture
def stand(stand_with_quota: Callable[[int], Stand]) -> Stand:
    return stand_with_quota(1 << 28)


@pytest.fixture
def store(stand: Stand) -> Store:
    return stand.store
