"""A member whose own loop is late does not stand for election."""

from __future__ import annotations

import pytest
import trio
from attrs import evolve

from graft.raft_driver.lateness import KEPT_SECONDS, SHARE, Lateness
from tests.raft_driver.members import HASTY, QUIET, Clock, Member, open_cluster

TIMEOUT = 4.0
LONG = evolve(HASTY, election_timeout_seconds=TIMEOUT, heartbeat_seconds=0.05)
"""Nobody's loop is so late by itself that it would matter here."""


class StoppedClock(Clock):
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def lateness() -> Lateness:
    return Lateness(StoppedClock(), TIMEOUT)


def pass_by(lateness: Lateness, seconds: float) -> None:
    clock = lateness._clock
    assert isinstance(clock, StoppedClock)
    clock.now += seconds


def test_a_loop_that_beats_in_time_is_not_late(lateness: Lateness) -> None:
    for _ in range(100):
        lateness.beat()
        pass_by(lateness, lateness.interval)
        assert not lateness.is_starved
        assert lateness.take() == 0.0
    assert lateness.worst() == 0.0


@pytest.mark.parametrize("seconds", [SHARE * TIMEOUT, TIMEOUT, 100.0])
def test_a_delay_is_told_once(lateness: Lateness, seconds: float) -> None:
    lateness.beat()
    pass_by(lateness, lateness.interval + seconds)
    assert lateness.is_starved
    assert lateness.take() == pytest.approx(seconds)
    assert lateness.take() == 0.0


def test_less_than_the_limit_is_what_a_busy_machine_does(lateness: Lateness) -> None:
    lateness.beat()
    pass_by(lateness, lateness.interval + 0.99 * lateness.limit)
    assert lateness.take() == 0.0


def test_before_the_loop_runs_nothing_is_late(lateness: Lateness) -> None:
    pass_by(lateness, 1_000.0)
    assert lateness.take() == 0.0


def test_the_worst_delay_is_remembered_for_a_minute(lateness: Lateness) -> None:
    for seconds in (3.0, 2.0):
        lateness.beat()
        pass_by(lateness, lateness.interval + seconds)
        assert lateness.take() > 0
    assert lateness.worst() == pytest.approx(3.0)
    pass_by(lateness, KEPT_SECONDS - 1.0)
    assert lateness.worst() == pytest.approx(2.0)
    pass_by(lateness, 2.0)
    assert lateness.worst() == 0.0


async def test_a_follower_that_could_not_run_does_not_stand() -> None:
    """Its clock has passed the election timeout when it runs again, and it has read no heartbeat meanwhile."""
    async with open_cluster("abc", config=LONG) as cluster:
        leader = await cluster.leader()
        for follower in cluster.running:
            if follower is leader:
                continue
            cluster.network.cut(leader.id, follower.id)
            for _ in range(3):
                assert await starve(follower, 5 * TIMEOUT) == [pytest.approx(5 * TIMEOUT, abs=TIMEOUT)]
                status = follower.door.status()
                assert (status.role, status.term, status.leader) == ("follower", leader.door.term, leader.id)
            cluster.network.heal()
        assert leader.door.leads


async def test_a_leader_that_could_not_run_asks_the_others_before_it_steps_down() -> None:
    async with open_cluster("abc", config=LONG) as cluster:
        leader = await cluster.leader()
        term = leader.door.term
        await starve(leader, 5 * TIMEOUT)
        await cluster.put(b"key", b"value")
        assert (leader.door.leads, leader.door.term) == (True, term)


async def starve(member: Member, seconds: float) -> list[float]:
    """The member's process is not run for so long, then goes on; returns what it reported of that."""
    told: list[float] = []
    reported = trio.Event()

    def report(late: float) -> None:
        told.append(late)
        reported.set()

    member.door.on_starved = report
    member.clock.jump(seconds)
    with trio.fail_after(60):
        await reported.wait()
    await trio.lowlevel.checkpoint()
    return told


async def test_a_sole_voter_has_nobody_to_listen_to() -> None:
    async with open_cluster("a", config=QUIET) as cluster:
        member = await cluster.leader()
        await starve(member, 60.0)
        await cluster.put(b"key", b"value")
        assert member.door.leads
