"""Removing runs on members: what is seen of them, what is left in stores and of logs."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from attrs import evolve

from graft.cluster.embedded import Embedded, open_embedded
from graft.cluster.history import open_history
from graft.cluster.removing import Removing
from graft.engine.commands import CLUSTER_VERSION
from graft.engine.records import OF_RUN, run_key
from graft.errors import Rejected, RunConflict, UnknownRun
from graft.worker.logs import LogStore
from graft_dsl import compile_text
from tests.cluster.members import CONFIG, open_cluster, until

SHORT = """
[nodes.say]
for_each = "${ range(3) }"
value = "${ item }"
"""
LONG = """
[nodes.wait]
sleep = "1h"
"""
SAY = "graft = 1\nname = 'f'\n[nodes.say]\nrun = 'echo said'\n"


async def test_a_cluster_forgets_a_run_everywhere(base: Path) -> None:
    async with open_cluster(base, "abc") as cluster:
        leader = await cluster.leader()
        other = next(node for node in cluster.running if node is not leader)
        await until(lambda: leader.member.host.door.version == CLUSTER_VERSION)  # a new cluster begins with it
        gone = [await cluster.start(SHORT, other, run_id=f"gone{number}") for number in range(3)]
        for run_id in gone:
            await cluster.end(other, run_id)
        live = await cluster.start(LONG, other, run_id="live")
        with pytest.raises(RunConflict, match="run live is in flight: running"):
            await other.member.runs.remove([gone[0], live])
        assert other.member.runs.status(gone[0]) == "succeeded"  # all or none
        assert await other.member.runs.remove([*gone, "never"]) == gone
        assert await other.member.runs.remove(gone) == []  # asked twice
        for node in cluster.running:
            await node.member.runs.fresh()
            with pytest.raises(UnknownRun, match="there is no run gone1"):
                node.member.runs.run_view("gone1")
            assert node.member.runs.run_ids() == ["live"]
        # What they left is swept on every member, and their plan goes, which no run uses.
        await until(lambda: all(len(node.store.scan("plans")) == 1 for node in cluster.running))
        await cluster.settled()
        (number,) = {int.from_bytes(key, "big") for key, _ in leader.store.scan("live")}
        for node in cluster.running:
            assert {key[:8] for table in ("runs", *OF_RUN) for key, _ in node.store.scan(table)} == {run_key(number)}
            assert len(node.store.scan("keys")) == 1
        # The same flow is known no more, and the id is free.
        again = await cluster.start(SHORT, other, run_id="gone1")
        assert (await cluster.end(other, again)).status == "succeeded"
        await other.member.runs.cancel(live)
        await cluster.end(other, live)
        assert await leader.member.runs.remove([live, again]) == [live, again]
        await until(lambda: all(not node.store.scan("live") for node in cluster.running))


async def test_a_cluster_of_an_older_version_removes_nothing(base: Path) -> None:
    async with open_cluster(base, "abc", config=evolve(CONFIG, max_version=1)) as cluster:
        leader = await cluster.leader()
        other = next(node for node in cluster.running if node is not leader)
        run_id = await cluster.start(SHORT, leader)
        await cluster.end(other, run_id)
        for node in (leader, other):
            with pytest.raises(Rejected, match="the cluster's version is 1, and this needs 2") as caught:
                await node.member.runs.remove([run_id])
            assert caught.value.hint is not None
            assert "finalize-upgrade" in caught.value.hint
        assert leader.member.runs.status(run_id) == "succeeded"


async def ended(engine: Embedded, base: Path, run_id: str) -> str:
    plan = compile_text(SAY, filename="flow.toml", base=base).plan
    await engine.start_run(plan, {}, base=base, run_id=run_id)
    await engine.wait_end(run_id)
    return run_id


async def test_the_logs_go_with_the_run(tmp_path: Path) -> None:
    data = tmp_path / ".graft"
    logs = LogStore(data / "logs")
    with trio.fail_after(60):
        async with open_embedded(data) as engine:
            for run_id in ("kept", "gone"):
                await ended(engine, tmp_path, run_id)
            assert logs.run_ids() == ["gone", "kept"]
            assert await engine.remove(["gone"]) == ["gone"]
            assert engine.host.engine.state.removed == set()  # swept: this process may end now
            assert logs.run_ids() == ["kept"]
            await ended(engine, tmp_path, "gone")  # a new one, with a log of its own
            assert [line.text for line in logs.read("gone")] == ["said"]
            await until(lambda: not [*(data / "logs").glob(".removed-*")])
        with open_history(data) as history:
            assert sorted(history.run_ids()) == ["gone", "kept"]


async def test_logs_of_runs_that_a_member_did_not_see_go_when_it_starts(tmp_path: Path) -> None:
    data = tmp_path / ".graft"
    logs = LogStore(data / "logs")
    with trio.fail_after(60):
        async with open_embedded(data) as engine:
            await ended(engine, tmp_path, "kept")
        (data / "logs" / "stray").mkdir()
        (data / "logs" / ".removed-half").mkdir()
        async with open_embedded(data):
            await until(lambda: sorted(each.name for each in (data / "logs").iterdir()) == ["kept"])
    assert logs.run_ids() == ["kept"]


async def test_a_process_that_died_in_the_middle_leaves_the_rest_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / ".graft"

    async def never(removing: Removing) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(Removing, "lead", never)
    with trio.fail_after(60):
        async with open_embedded(data) as engine:
            await ended(engine, tmp_path, "gone")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(engine.remove, ["gone"])
                await until(lambda: not engine.run_ids())
                nursery.cancel_scope.cancel()
            assert engine.store.scan("steps") or engine.host.engine.state.removed
        monkeypatch.undo()
        async with open_embedded(data) as engine:
            assert engine.run_ids() == []
            await until(lambda: not engine.host.engine.state.removed)
            await until(lambda: not [table for table in OF_RUN if engine.store.scan(table)])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path
