"""Leases where the leader itself is in trouble."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import trio
import trio.testing
from attrs import define, evolve

from graft import raft
from graft.cluster.leases import LeaseTimes, Renewals
from graft.cluster.post import Post
from graft.engine.commands import MemberDown
from graft.raft.messages import Message
from graft.transport.letters import Answer, Ask, Letter
from tests.cluster.members import CONFIG, open_cluster, until


async def test_a_leader_that_is_cut_off_outlives_what_it_wanted_to_declare_dead(tmp_path: Path) -> None:
    """Its leases end before it knows that it leads no more: after a pause all its clocks ring at once."""
    config = evolve(CONFIG, election_timeout_seconds=2.0, heartbeat_seconds=0.1)
    async with open_cluster(tmp_path, times=LeaseTimes(lease=0.5, grace=0), config=config) as cluster:
        leader = await cluster.leader()
        await until(lambda: len(leader.member.host.engine.state.members) == 3)
        cluster.network.isolate(leader.id)
        await until(lambda: not leader.member.host.leads)
        await trio.sleep(0.2)
        assert leader.is_running


@define
class Record:
    id: str
    incarnation: int
    live: bool = True


class Door:
    async def read_index(self) -> int:
        await trio.lowlevel.checkpoint()
        return 7

    @property
    def configuration(self) -> raft.Configuration:
        return raft.Configuration((raft.Member("a", 1), raft.Member("b", 1)))


class StoppedClock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


class Leader:
    """The host of the member `a`, which leads. A proposal is applied when `may_apply` is set."""

    member, leads = "a", True

    def __init__(self) -> None:
        self.door, self.clock = Door(), StoppedClock()
        self.records = {"a": Record("a", 1)}
        self.engine = SimpleNamespace(state=SimpleNamespace(members=self.records))
        self.proposed: list[MemberDown] = []
        self.may_apply = trio.Event()

    def stamp(self) -> dict[str, int]:
        return {"now": 0, "wall": 0}

    def proposed_after(self, seconds: float) -> list[MemberDown]:
        """Let time pass; what has been proposed by now."""
        self.clock.now += seconds
        return self.proposed

    async def propose(self, command: MemberDown) -> None:
        self.proposed.append(command)
        await self.may_apply.wait()
        self.records[command.member].live = False


class Answers:
    """What was sent."""

    def __init__(self) -> None:
        self.sent: list[Answer] = []

    def send(self, message: Message | Letter) -> None:
        assert isinstance(message, Answer)
        self.sent.append(message)


@asynccontextmanager
async def leading(times: LeaseTimes) -> AsyncIterator[tuple[Leader, Post, Answers]]:
    host, answers = Leader(), Answers()
    post = Post("a", 1, answers)
    renewals: Any = Renewals(host, post, host.clock, times)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(renewals.lead)
        yield host, post, answers
        nursery.cancel_scope.cancel()


async def test_a_member_that_has_just_registered_is_not_dead_because_it_has_not_renewed_yet() -> None:
    """However long the leader has been leading."""
    times = LeaseTimes(lease=0.4, grace=0.4)
    async with leading(times) as (host, _, _):
        await trio.sleep(times.period)
        host.clock.now += 100
        host.records["b"] = Record("b", 2)
        await trio.sleep(2 * times.period)
        assert host.proposed == []
        await until(lambda: host.proposed_after(times.silence))


async def test_no_lease_of_a_member_that_was_removed_is_renewed() -> None:
    """And it is not told to register anew: it may stop in peace what it runs, as long as its lease holds."""
    async with leading(LeaseTimes()) as (host, post, answers):
        host.records["c"] = Record("c", 3)
        await trio.testing.wait_all_tasks_blocked()
        post.receive(Ask("c", "a", 5, 1, "renew", msgspec.msgpack.encode(3)))
        await until(lambda: answers.sent)
        assert answers.sent.pop().refused == "not_a_member"


async def test_no_lease_is_renewed_while_its_member_is_being_declared_dead() -> None:
    """Else it would run attempts that are given to others at the same time."""
    times = LeaseTimes(lease=0.2, grace=0.1)
    async with leading(times) as (host, post, answers):
        host.records["b"] = Record("b", 2)
        await until(lambda: host.proposed_after(times.silence))
        ask = Ask("b", "a", 5, 1, "renew", msgspec.msgpack.encode(2))
        post.receive(ask)
        await until(lambda: answers.sent)
        assert answers.sent.pop().refused == "busy"
        host.may_apply.set()
        await until(lambda: not host.records["b"].live)
        post.receive(ask)
        await until(lambda: answers.sent)
        assert answers.sent.pop().refused == "unknown_incarnation"
