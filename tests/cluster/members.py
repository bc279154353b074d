"""Whole members in one process: real stores or memory, real workers, over the in-memory network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from graft import raft
from graft.cluster.host import Offer
from graft.cluster.leases import LeaseTimes
from graft.cluster.member import ClusterMember
from graft.cluster.views import RunView
from graft.engine.commands import CLUSTER_VERSION
from graft.engine.lifecycle import FINAL
from graft.errors import Rejected
from graft.interfaces import Snapshots, Store
from graft.storage import MemorySnapshots, MemoryStore, SnapshotDirectory, open_store
from graft.transport import MemoryNetwork
from graft.worker import WorkerSettings, open_worker
from graft_dsl import compile_text
from tests.raft_driver.members import Clock, Dice

# Short, so that a test waits little; long enough that a loaded machine keeps them.
TIMES = LeaseTimes(lease=1.5, grace=0.3)
CONFIG = raft.Config(id="", retain_entries=200, purge_step_entries=100, max_version=CLUSTER_VERSION)


class Node:
    """One member's place, and the process that runs in it now and then."""

    def __init__(self, cluster: Cluster, id: str, incarnation: int | None = None) -> None:
        self.cluster, self.id, self.incarnation = cluster, id, incarnation
        self.store: Store = MemoryStore()
        self.snapshots: Snapshots = MemorySnapshots()
        self.clock = Clock()
        self.offer = Offer(cluster.slots, f"{id}:1")
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.ended.set()
        self.member: ClusterMember

    async def start(self, founders: Iterable[raft.Member] | None = (), *, wait: bool = False) -> None:
        """With `wait`, return when it is registered."""
        directory = self.cluster.directory
        if directory is not None:
            self.store = open_store(directory / self.id / "store", quota_bytes=1 << 30, map_bytes=1 << 31)
            self.snapshots = SnapshotDirectory(directory / self.id / "snapshots")
        elif hasattr(self, "member"):
            assert isinstance(self.store, MemoryStore)
            assert isinstance(self.snapshots, MemorySnapshots)
            self.store, self.snapshots = self.store.crash(), self.snapshots.restart()
        self.member = ClusterMember(
            self.id,
            self.store,
            self.snapshots,
            self.clock,
            Dice(self.cluster.dice.u64()),
            self.cluster.network.transport(self.id),
            offer=self.offer,
            config=self.cluster.config,
            founders=None if founders is None else tuple(founders),
            times=self.cluster.times,
            strict=True,
        )
        self.cluster.network.join(self.id, self.member.receive)
        self.scope, self.ended = trio.CancelScope(), trio.Event()
        if wait:
            await self.cluster.nursery.start(self._run)
        else:
            self.cluster.nursery.start_soon(self._run)

    async def _run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            with self.scope:
                async with open_worker(WorkerSettings(capture_print=False)) as worker:
                    await self.member.run(worker, task_status=task_status)
        finally:
            self.cluster.network.leave(self.id)
            self.member.host.stop_serving()
            self.store.close()
            self.ended.set()

    async def kill(self) -> None:
        """Nothing that it does from now on reaches anybody, not even its end."""
        self.cluster.network.leave(self.id)
        self.cluster.network.isolate(self.id)
        self.scope.cancel()
        await self.ended.wait()

    async def restart(self) -> None:
        self.cluster.network.heal()
        await self.start()

    @property
    def is_running(self) -> bool:
        return not self.ended.is_set()


class Cluster:
    def __init__(self, nursery: trio.Nursery, ids: Iterable[str], base: Path, directory: Path | None) -> None:
        self.nursery, self.base, self.directory = nursery, base, directory
        self.network = MemoryNetwork()
        self.dice = Dice(7)
        self.slots: tuple[tuple[str, int], ...] = (("*", 64),)
        self.times, self.config = TIMES, CONFIG
        self.founders = tuple(raft.Member(id, n + 1, "voter") for n, id in enumerate(ids))
        self.nodes = {each.id: Node(self, each.id) for each in self.founders}

    def __getitem__(self, id: str) -> Node:
        return self.nodes[id]

    def add(self, id: str) -> Node:
        node = self.nodes[id] = Node(self, id)
        return node

    @property
    def running(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.is_running]

    async def leader(self, among: Iterable[str] | None = None) -> Node:
        """The one that leads, has begun its term, and whom all running members (`among` them) follow."""
        ids = set(self.nodes if among is None else among)

        def found() -> Node | None:
            nodes = [node for node in self.running if node.id in ids]
            for node in nodes:
                if node.member.host.leads and all(n.member.host.door.leader == node.id for n in nodes):
                    return node
            return None

        return await until(found)

    async def start(self, flow: str, node: Node, run_id: str | None = None, **params: Any) -> str:
        compiled = compile_text("graft = 1\nname = 'f'\n" + flow, filename="flow.toml", base=self.base)
        return await node.member.runs.start_run(compiled.plan, params, base=self.base, run_id=run_id)

    async def end(self, node: Node, run_id: str, seconds: float = 30) -> RunView:
        """The run as `node` sees it when it has ended."""
        with trio.fail_after(seconds):
            await node.member.runs.wait_end(run_id)
        return node.member.runs.run_view(run_id)

    async def settled(self) -> None:
        """All running members have applied the same, and have the same state."""

        def equal() -> bool:
            members = [node.member for node in self.running]
            commit = max(member.host.door.status().commit for member in members)
            return all(member.host.door.applied == commit for member in members)

        await until(equal)
        hashes = {node.id: node.member.host.engine.state_hash() for node in self.running}
        assert len(set(hashes.values())) == 1, hashes


async def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """What `condition` gives once it holds; it depends on several members, which have no event for it."""
    with trio.fail_after(seconds):
        while True:
            try:
                found = condition()
            except Rejected:
                found = None
            if found:
                return found
            await trio.sleep(0.01)


def is_final(node: Node, run_id: str) -> bool:
    return node.member.runs.status(run_id) in FINAL


@asynccontextmanager
async def open_cluster(
    base: Path, ids: Iterable[str] = "abc", *, on_disk: bool = False, start: bool = True, **settings: Any
) -> AsyncIterator[Cluster]:
    """A cluster of founders; its flows and their modules are in `base`. `settings` replaces attributes of it."""
    async with trio.open_nursery() as nursery:
        cluster = Cluster(nursery, ids, base, base / "members" if on_disk else None)
        for name, value in settings.items():
            setattr(cluster, name, value)
        for node in cluster.nodes.values():
            node.offer = Offer(cluster.slots, f"{node.id}:1")
        nursery.start_soon(cluster.network.run)
        if start:
            for node in cluster.nodes.values():
                await node.start(cluster.founders)
        yield cluster
        nursery.cancel_scope.cancel()
