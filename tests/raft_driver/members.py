"""Members of a cluster in one process: a small key-value machine, a door, a store, over the in-memory network."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from graft import raft
from graft.engine import Applied, Change
from graft.errors import GraftError, Rejected
from graft.interfaces import Snapshots, Store, Turn
from graft.raft_driver import RaftDoor
from graft.storage import MemorySnapshots, MemoryStore, SnapshotDirectory, open_store
from graft.transport import MemoryNetwork

TABLE = "values"
PATIENCE_SECONDS = 60.0
"""How long a test waits for what must happen: far more than it takes, because other work may share the machine."""

QUIET = raft.Config(id="", election_timeout_seconds=5.0)
"""For tests that are not about elections: members that stand still for a second change no leader."""

HASTY = raft.Config(id="")
"""The defaults (elections after 0.3 to 0.6 s). On a loaded machine the leader may change at any time."""


class Clock:
    """The system's, which a test may stop: a process that is paused does not see it move, and then sees it jump."""

    def __init__(self) -> None:
        self._stopped_at: float | None = None
        self._ahead = 0.0

    def stop(self) -> None:
        self._stopped_at = self.monotonic()

    def go_on(self) -> None:
        self._stopped_at = None

    def jump(self, seconds: float) -> None:
        """So long was this process not run."""
        self._ahead += seconds

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead if self._stopped_at is None else self._stopped_at

    def boottime(self) -> float:
        return self.monotonic()

    def wall(self) -> int:
        return time.time_ns() // 1_000_000


class Dice:
    """SplitMix64."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def u64(self) -> int:
        self._state = (self._state + 0x9E3779B97F4A7C15) & (2**64 - 1)
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        return z ^ (z >> 31)


class KeyValues:
    """The machine: a command sets one key; `applied` lists the indexes in the order in which they came."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changes: list[Change] = []
        self.applied: list[int] = []
        self.resets = 0
        self.values = dict(store.scan(TABLE))

    def encode(self, command: tuple[bytes, bytes]) -> bytes:
        return msgspec.msgpack.encode(command)

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        return msgspec.msgpack.decode(data, type=tuple[bytes, bytes])

    def apply(self, index: int, command: tuple[bytes, bytes]) -> Applied:
        key, value = command
        self.values[key] = value
        self._changes.append((TABLE, key, value))
        self.applied.append(index)
        return Applied(index, None, None, ())

    def drain(self) -> list[Change]:
        changes, self._changes = self._changes, []
        return changes

    def dispatch(self, turn: list[Applied]) -> None:
        pass

    def reset(self) -> None:
        self.resets += 1
        self._changes = []
        self.values = dict(self._store.scan(TABLE))


class Place:
    """Where a member keeps what it has: in memory or in a directory. `open` is what a new process finds."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self.store: Store = MemoryStore()
        self.snapshots: Snapshots = MemorySnapshots()
        self._opened = False

    def open(self) -> Store:
        if self._directory is not None:
            self.store = open_store(self._directory / "store", quota_bytes=1 << 30, map_bytes=1 << 31)
            self.snapshots = SnapshotDirectory(self._directory / "snapshots")
        elif self._opened:
            assert isinstance(self.store, MemoryStore)
            assert isinstance(self.snapshots, MemorySnapshots)
            self.store, self.snapshots = self.store.crash(), self.snapshots.restart()
        self._opened = True
        return self.store


class Member:
    """One member. `start` runs it in the cluster's nursery; `kill` cuts it off and cancels it."""

    def __init__(self, cluster: Cluster, id: str, place: Place) -> None:
        self.cluster, self.id, self.place = cluster, id, place
        self.clock = Clock()
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.error: BaseException | None = None

    async def start(self, founders: Sequence[raft.Member] | None = ()) -> None:
        store = self.place.open()
        self.cluster.before_start(self, store)
        self.machine = KeyValues(store)
        self.door = RaftDoor(
            store,
            self.machine,
            self.id,
            self.clock,
            Dice(self.cluster.seed()),
            config=self.cluster.config,
            founders=founders,
            transport=self.cluster.network.transport(self.id),
            snapshots=self.place.snapshots,
        )
        self.door.replay()
        self.cluster.network.join(self.id, self.door.receive)
        self.scope, self.ended, self.error = trio.CancelScope(), trio.Event(), None
        await self.cluster.nursery.start(self.run, store)

    async def run(self, store: Store, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            with self.scope:
                await self.door.run(task_status=task_status)
        except BaseExceptionGroup as group:
            self.error = leaf(group)
        finally:
            self.cluster.network.leave(self.id)
            store.close()
            self.ended.set()

    async def kill(self) -> None:
        """What it sends from now on is lost, and it hears nothing any more."""
        self.cluster.network.leave(self.id)
        self.cluster.network.isolate(self.id)
        self.scope.cancel()
        await self.ended.wait()

    @property
    def is_running(self) -> bool:
        return hasattr(self, "door") and not self.ended.is_set()

    async def put(self, key: bytes, value: bytes) -> int:
        """The index at which it was applied. Raises Rejected."""
        answer: list[Any] = []
        answered = trio.Event()

        def take(result: Any) -> None:
            answer.append(result)
            answered.set()

        self.door.propose((key, value), take, take)
        await answered.wait()
        if isinstance(answer[0], Exception):
            raise answer[0]
        assert isinstance(answer[0], Applied)
        return answer[0].index

    async def get(self, key: bytes) -> bytes | None:
        """A linearizable read, asked again until it is answered."""
        with trio.fail_after(PATIENCE_SECONDS):
            while True:
                try:
                    return await self.door.read(lambda: self.machine.values.get(key))
                except Rejected:
                    await trio.sleep(0.01)


async def until(condition: Callable[[], object]) -> None:
    """Return when `condition` holds; what is waited for happens in several doors, which have no event for it."""
    with trio.fail_after(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.005)


def leaf(error: BaseException) -> BaseException:
    """The graft error in a group, or else the only exception in it."""
    if isinstance(error, BaseExceptionGroup):
        mine, _ = error.split(GraftError)
        return leaf((mine or error).exceptions[0])
    return error


class Cluster:
    def __init__(
        self, nursery: trio.Nursery, ids: Iterable[str], directory: Path | None, config: raft.Config, seed: int
    ) -> None:
        self.nursery, self.config = nursery, config
        self.network = MemoryNetwork()
        self._dice = Dice(seed)
        self._directory = directory
        self.founders = tuple(raft.Member(id, n + 1, "voter") for n, id in enumerate(ids))
        self.members = {each.id: self.add(each.id) for each in self.founders}
        self.before_start: Callable[[Member, Store], None] = lambda member, store: None

    def seed(self) -> int:
        return self._dice.u64()

    def add(self, id: str) -> Member:
        place = None if self._directory is None else self._directory / id
        if place is not None:
            place.mkdir()
        return Member(self, id, Place(place))

    def __getitem__(self, id: str) -> Member:
        return self.members[id]

    @property
    def running(self) -> list[Member]:
        return [member for member in self.members.values() if member.is_running]

    async def leader(self, among: Iterable[str] | None = None) -> Member:
        """The one that leads and that a majority of `among` follows."""
        ids = set(self.members if among is None else among)
        with trio.fail_after(PATIENCE_SECONDS):
            while True:
                statuses = [m.door.status() for m in self.running if m.id in ids]
                term = max((status.term for status in statuses), default=0)
                for status in statuses:
                    followers = sum(other.leader == status.id and other.term == term for other in statuses)
                    if status.role == "leader" and status.term == term and 2 * followers > len(ids):
                        return self.members[status.id]
                await trio.sleep(0.005)

    async def put(self, key: bytes, value: bytes, among: Iterable[str] | None = None) -> Member:
        """Through whoever leads, until it is done; the member that did it."""
        ids = list(self.members if among is None else among)
        with trio.fail_after(PATIENCE_SECONDS):
            while True:
                for member in (m for m in self.running if m.id in ids and m.door.leads):
                    try:
                        await member.put(key, value)
                        return member
                    except Rejected:
                        pass
                await trio.sleep(0.002)

    async def settled(self, *ids: str) -> None:
        """Return when these members have the same values and have applied the same."""
        members = [self.members[id] for id in ids or self.members]

        def equal() -> bool:
            commit = max(member.door.status().commit for member in members)
            return all(member.door.applied == commit for member in members)

        await until(equal)
        assert all(member.machine.values == members[0].machine.values for member in members)


@asynccontextmanager
async def open_cluster(
    ids: Iterable[str] = "abc",
    directory: Path | None = None,
    *,
    config: raft.Config | None = None,
    seed: int = 1,
    start: bool = True,
) -> AsyncIterator[Cluster]:
    """A cluster of founders, `config` is QUIET unless told otherwise; the first stands for election at once.

    A member that fails keeps its error in `error`; the others go on.
    """
    async with trio.open_nursery() as nursery:
        cluster = Cluster(nursery, ids, directory, config or QUIET, seed)
        nursery.start_soon(cluster.network.run)
        if start:
            for member in cluster.members.values():
                await member.start(cluster.founders)
            cluster.running[0].door.campaign()
        yield cluster
        nursery.cancel_scope.cancel()


def stored(store: Store) -> dict[bytes, bytes]:
    return dict(store.scan(TABLE))


__all__ = [
    "HASTY",
    "PATIENCE_SECONDS",
    "QUIET",
    "TABLE",
    "Cluster",
    "Member",
    "Turn",
    "open_cluster",
    "stored",
    "until",
]
