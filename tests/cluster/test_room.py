"""Stores that fill up: new runs are refused, what is under way ends or pauses, no member falls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from attrs import evolve

from graft.cluster.embedded import open_embedded
from graft.cluster.room import Room
from graft.cluster.system import SystemClock
from graft.engine.records import STORE_FULL
from graft.errors import NoRoom, StoreFull
from graft.interfaces import Turn
from graft.storage import MemoryStore
from graft.storage.turns import Quota
from graft_dsl import compile_text
from tests.cluster.members import CONFIG, Cluster, Node, is_final, open_cluster, until

MODULE = """
import pathlib, trio

async def gate(path):
    while not pathlib.Path(path).exists():
        await trio.sleep(0.01)
    return "open"

async def large(n):
    await trio.sleep(0.05)  # a step that takes no time at all fills this store between two looks
    return "x" * n
"""
FILL = """
[params]
x = { type = "string" }
[nodes.keep]
value = "${ params.x }"
"""
GATE = """
[params]
path = { type = "string" }
[nodes.wait]
python = "roomsteps:gate"
with = { path = "${ params.path }" }
"""
LARGE = """
[nodes.make]
for_each = "${ range(60) }"
max_parallel = 1
python = "roomsteps:large"
with = { n = 60_000 }
"""


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "roomsteps.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@asynccontextmanager
async def small_cluster(base: Path, quotas: Mapping[str, int]) -> AsyncIterator[Cluster]:
    config = evolve(CONFIG, retain_entries=10, purge_step_entries=5)  # what fills the store is state
    async with open_cluster(base, quotas, start=False, config=config) as cluster:
        for id, quota in quotas.items():
            cluster[id].store = MemoryStore(quota_bytes=quota)
            await cluster[id].start(cluster.founders)
        yield cluster


async def until_refused(start: Callable[[], Awaitable[str]]) -> NoRoom:
    """Start runs until no more are taken; why."""
    for _ in range(1000):
        try:
            await start()
        except NoRoom as error:
            return error
    raise AssertionError("it takes everything")


async def fill(cluster: Cluster, node: Node) -> NoRoom:
    return await until_refused(lambda: cluster.start(FILL, node, x="x" * 2_000))


def give(node: Node, quota_bytes: int) -> None:
    """The member is given a larger quota, as by its settings."""
    assert isinstance(node.store, MemoryStore)
    node.store._quota = Quota(quota_bytes)


async def test_near_the_quota_new_runs_are_refused_and_nothing_else(base: Path) -> None:
    async with small_cluster(base, dict.fromkeys("abc", 1 << 20)) as cluster:
        leader = await cluster.leader()
        other = next(node for node in cluster.running if node is not leader)
        gate = await cluster.start(GATE, other, path=str(base / "open"))
        kept = await cluster.start(FILL, other, run_id="kept", x="y")
        for node in (leader, other):  # at the leader's door, and by its answer
            error = await fill(cluster, node)
            assert "full: " in error.message
            assert error.message.endswith("no new runs are taken")
            assert error.hint is not None
            assert "graft prune" in error.hint
            assert (error.reason, error.exit_code) == ("store_full", 1)
        for node in cluster.running:  # what the log still gives away is not to matter from here on
            give(node, node.store.usage().used_bytes * 100 // 95)
        # The same start again begins nothing.
        assert await cluster.start(FILL, other, run_id="kept", x="y") == kept
        # What is under way goes on, on members that are all up and can be read.
        (base / "open").touch()
        assert (await cluster.end(leader, gate)).status == "succeeded"
        with pytest.raises(NoRoom):
            await other.member.runs.retry(gate, "wait")
        for node in cluster.running:
            assert node.member.runs.run_view(kept).outputs == {}
            await until(node.member.room.warnings)
        await cluster.settled()
        # A member starts in its full store.
        await other.kill()
        await other.restart()
        await cluster.settled()
        assert len(cluster.running) == 3
        # Removing is what makes room.
        await other.member.runs.remove(other.member.runs.run_ids())
        leader = await cluster.leader()
        await until(lambda: not leader.member.room.warnings())
        await cluster.start(FILL, leader, x="z")


async def test_the_fullest_member_counts(base: Path) -> None:
    """Quotas may differ: what a follower cannot keep is not begun, and it takes what was committed already."""
    async with small_cluster(base, {"a": 1 << 30, "b": 1 << 30, "c": 1 << 20}) as cluster:
        leader = await cluster.leader()
        if leader is cluster["c"]:
            await leader.member.changes.transfer("a")
            leader = await cluster.leader()
        error = await fill(cluster, leader)
        assert error.message.startswith(("the store of c is nearly full: ", "the store of c is full: "))
        await cluster.settled()
        assert len(cluster.running) == 3
        (warning,) = leader.member.room.warnings()
        assert warning.startswith("the store of c ")
        give(cluster["c"], 1 << 30)
        await until(lambda: not leader.member.room.warnings())
        await cluster.start(FILL, leader, x="z")


async def test_runs_pause_when_the_store_is_full_and_go_on_when_there_is_room(base: Path) -> None:
    async with small_cluster(base, dict.fromkeys("abc", 2 << 20)) as cluster:
        leader = await cluster.leader()
        run_id = await cluster.start(LARGE, leader)
        await until(lambda: leader.member.runs.run_view(run_id).paused == STORE_FULL)
        with trio.fail_after(30):
            view = await leader.member.runs.wait(run_id)
        assert view.waiting == "room in the store: see `graft status`"
        with pytest.raises(NoRoom, match="those under way start no new steps"):
            await leader.member.runs.resume(run_id)
        await cluster.settled()
        assert len(cluster.running) == 3
        for node in cluster.running:
            give(node, 1 << 30)
        assert (await cluster.end(leader, run_id)).status == "succeeded"
        assert len(leader.member.runs.output(run_id, "make")) == 60


async def test_a_member_whose_disk_is_full_waits_for_room(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays up, says why, and acknowledges nothing that it has not written."""
    async with small_cluster(base, dict.fromkeys("abc", 1 << 30)) as cluster:
        leader = await cluster.leader()
        run_id = await cluster.start(FILL, leader, x="before")
        await cluster.end(leader, run_id)
        is_full = True
        commit = MemoryStore.commit

        def refuse(store: MemoryStore, turn: Turn, staged: object = None) -> None:
            if is_full and store is leader.store and turn.entries:
                raise StoreFull("no space left for /data")
            commit(store, turn)

        monkeypatch.setattr(MemoryStore, "commit", refuse)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cluster.start, FILL, leader, "during")
            await until(lambda: leader.member.host.door.full)
            await until(lambda: leader.member.room.warnings())
            with pytest.raises(NoRoom, match="no space left for /data; no new runs"):
                await cluster.start(FILL, leader, x="more")
            assert leader.member.runs.run_view(run_id).status == "succeeded"
            nursery.cancel_scope.cancel()
        is_full = False
        await until(lambda: not leader.member.room.warnings())
        run_id = await cluster.start(FILL, leader, x="after")
        await until(lambda: is_final(leader, run_id))
        await cluster.settled()
        assert len(cluster.running) == 3


def test_a_warning_is_told_at_once_and_the_end_of_it_when_it_lasts() -> None:
    """A log that is shortened makes room for a moment: no line for each time."""
    told: list[str] = []
    clock, store = FakeClock(), MemoryStore(quota_bytes=100)
    host: Any = SimpleNamespace(door=SimpleNamespace(full=None), member="a")
    room = Room(host, store, clock, None, told.append)
    for seconds, used in ((0, 50), (1, 81), (2, 79), (3, 82), (4, 95), (5, 85), (6, 91), (20, 70), (40, 70), (51, 70)):
        clock.now = seconds
        store._used = used
        room._own = room._report(store.usage())
        room._tell_change()
    assert [line.partition(": ")[0] for line in told] == ["warning", "warning", "the store has room again"]


class FakeClock(SystemClock):
    now = 0.0

    def monotonic(self) -> float:
        return self.now


async def test_on_one_machine(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("graft.cluster.embedded.QUOTA", 1 << 20)
    plan = compile_text("graft = 1\nname = 'f'\n" + FILL, filename="flow.toml", base=base).plan
    with trio.fail_after(60):
        async with open_embedded(base / ".graft", tell=told.append) as engine:
            run_id = await engine.start_run(plan, {"x": "x"}, base=base)
            error = await until_refused(lambda: engine.start_run(plan, {"x": "x" * 20_000}, base=base))
            assert error.message.startswith(("the store is nearly full: ", "the store is full: "))
            await engine.wait_end(run_id)
            await until(lambda: told)
        assert told[0].startswith(("warning: the store is nearly full: ", "warning: the store is full: "))
        async with open_embedded(base / ".graft") as engine:  # it starts in a full store, and shows what it has
            assert engine.status(run_id) == "succeeded"
            with pytest.raises(NoRoom):
                await engine.start_run(plan, {"x": "y"}, base=base)
