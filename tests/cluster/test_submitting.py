"""The way of a command to the leader, where there is none for a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from graft.cluster.embedded import open_embedded
from graft.cluster.post import Post
from graft.cluster.submitting import ClusterSubmitter
from graft.engine.commands import Command, DrainMember, PauseRun
from graft.errors import Rejected, RunConflict
from graft.transport.letters import Ask, Letter
from graft_dsl import compile_text

ROUNDS = 30


class Door:
    """It refuses everything, at once. `leads`, `leader`: what it says of itself."""

    def __init__(self, *, leads: bool, leader: str | None, reason: str) -> None:
        self.leads, self.leader, self.reason = leads, leader, reason
        self.proposed = 0

    def propose(self, command: Command, done: Any, refused: Any) -> None:
        self.proposed += 1
        assert self.proposed < 1000, "it spins"
        refused(Rejected("no", reason=self.reason))

    async def wait_role(self) -> None:
        await trio.sleep_forever()


class Host:
    """Of a member that has led; it takes a moment until it has noticed that it leads no more."""

    member, leads = "a", True

    def __init__(self, door: Door) -> None:
        self.door = door

    def stamp(self) -> dict[str, int]:
        return {"now": 0, "wall": 0}


class Nowhere:
    def send(self, message: Letter) -> None:
        pass


async def keeps_calm(door: Door) -> None:
    """A command that is refused at once waits, and everybody else has their turn meanwhile."""
    submitter = ClusterSubmitter(Host(door), Post("a", 1, Nowhere()))
    turns = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(submitter.run)
        submitter.submit(DrainMember("a", True))
        for _ in range(10):
            await trio.sleep(0.01)
            turns += 1
        nursery.cancel_scope.cancel()
    assert turns == 10
    assert 0 < door.proposed < 100


async def test_a_leader_that_was_just_deposed_does_not_spin() -> None:
    await keeps_calm(Door(leads=False, leader=None, reason="not_leader"))


async def test_a_leader_whose_log_is_full_does_not_spin() -> None:
    await keeps_calm(Door(leads=True, leader="a", reason="overloaded"))


async def test_a_command_that_comes_while_the_member_ends_is_no_crash() -> None:
    """Its tasks end one by one, and others ask meanwhile; Trio runs what is due together in any order."""
    door = Door(leads=False, leader="b", reason="not_leader")

    async def ask(submitter: ClusterSubmitter) -> None:
        for _ in range(20):
            submitter._asked = 0  # every command is sent at once
            submitter.submit(DrainMember("a", True))
            await trio.lowlevel.cancel_shielded_checkpoint()

    for _ in range(ROUNDS):
        host = Host(door)
        host.leads = False
        submitter = ClusterSubmitter(host, Post("a", 1, Nowhere()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(submitter.run)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ask, submitter)
            nursery.cancel_scope.cancel()


class Slow:
    """A leader that gets letters and does not answer; when they came."""

    def __init__(self) -> None:
        self.came: list[tuple[float, int]] = []  # seconds, bytes

    def send(self, message: Letter) -> None:
        assert isinstance(message, Ask)
        self.came.append((trio.current_time(), len(message.body)))


async def test_a_leader_that_is_slow_is_not_buried(autojump_clock: object) -> None:
    """Asked again for all there is every two seconds, it had twice the work each time, and lost its followers."""
    door = Door(leads=False, leader="b", reason="")
    host = Host(door)
    host.leads = False
    slow = Slow()
    submitter = ClusterSubmitter(host, Post("a", 1, slow))
    large = PauseRun(1, "x" * 900_000, now=0, wall=0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(submitter.run)
        for _ in range(33):
            submitter.submit(large)
        await trio.sleep(1)
        assert 1_000_000 < sum(size for _, size in slow.came) < 4_000_000
        for _ in range(19):
            await trio.sleep(1)
        assert sum(size for _, size in slow.came) < 30_000_000
        nursery.cancel_scope.cancel()


class Twice:
    """Its answer is lost, and the command is asked for again: what comes back is what the second one came to."""

    def __init__(self, real: Any) -> None:
        self.real, self.submit = real, real.submit

    async def request(self, command: Command) -> Any:
        await self.real.request(command)
        return await self.real.request(command)


SLEEPS = """
graft = 1
name = "f"
[nodes.a]
sleep = "1h"
"""
FAILS = """
graft = 1
name = "f"
[nodes.a]
fail = "no"
"""


async def test_what_is_applied_twice_is_no_failure(tmp_path: Path) -> None:
    plan = compile_text(SLEEPS, filename="flow.toml", base=tmp_path).plan
    failing = compile_text(FAILS, filename="flow.toml", base=tmp_path).plan
    async with open_embedded(tmp_path / "data", ephemeral=True) as engine:
        engine.host.submitter = twice = Twice(engine.host.submitter)
        run_id = await engine.start_run(plan, {}, base=tmp_path, run_id="r")
        run = next(iter(engine.host.engine.state.live_runs()))
        await twice.real.request(PauseRun(run.no, "interrupted", **engine.host.stamp()))
        await engine.resume(run_id)
        with pytest.raises(RunConflict):
            await engine.resume(run_id)
        await engine.cancel(run_id)
        await engine.wait_end(run_id)
        with pytest.raises(RunConflict):
            await engine.cancel(run_id)
        run_id = await engine.start_run(failing, {}, base=tmp_path)
        await engine.wait_end(run_id)
        await engine.retry(run_id)
        assert engine.summary(run_id).generation == 2
        await engine.wait_end(run_id)
        assert engine.status(run_id) == "failed"


async def test_a_resume_that_comes_late_does_not_undo_a_later_pause(tmp_path: Path) -> None:
    """The leader takes the repeat only after the run was let go, and paused again."""
    plan = compile_text(SLEEPS, filename="flow.toml", base=tmp_path).plan
    async with open_embedded(tmp_path / "data", ephemeral=True) as engine:
        run_id = await engine.start_run(plan, {}, base=tmp_path, run_id="r")
        real = engine.host.submitter
        asked: list[Command] = []

        class Noting:
            async def request(self, command: Command) -> Any:
                asked.append(command)
                return await real.request(command)

        run = next(iter(engine.host.engine.state.live_runs()))
        await real.request(PauseRun(run.no, "person", **engine.host.stamp()))
        engine.host.submitter = Noting()  # type: ignore[assignment]
        await engine.resume(run_id)
        engine.host.submitter = real
        await trio.sleep(0.01)
        await real.request(PauseRun(run.no, "person", **engine.host.stamp()))
        (late,) = asked
        assert (await real.request(late)).refused == "the run was paused again since"
        assert engine.summary(run_id).paused == "person"
        await engine.resume(run_id)
        assert engine.summary(run_id).paused == ""
