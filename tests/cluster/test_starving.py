"""What a member that got no processor time tells its operator."""

from __future__ import annotations

import logging
import re

import pytest
import trio
from attrs import evolve

from graft.cluster.starving import AGAIN_SECONDS, Starving, warnings
from tests.raft_driver.members import HASTY, Clock, open_cluster


class StoppedClock(Clock):
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


async def test_the_log_says_so_and_does_not_repeat_itself(caplog: pytest.LogCaptureFixture) -> None:
    clock = StoppedClock()
    async with open_cluster("abc") as cluster:
        door = (await cluster.leader()).door
        Starving(door, clock)
        with caplog.at_level(logging.WARNING, "graft.cluster"):
            for _ in range(5):
                door.on_starved(1.5)
            clock.now += AGAIN_SECONDS
            door.on_starved(0.5)
    first, second = (record.message for record in caplog.records if "processor time" in record.message)
    assert "for 1.50 s: it draws no conclusion" in first
    assert "does not stand for election" in first
    assert "for 0.50 s (5 times since the last such line): " in second


async def test_the_status_tells_of_it() -> None:
    config = evolve(HASTY, election_timeout_seconds=4.0)
    async with open_cluster("abc", config=config) as cluster:
        await cluster.leader()
        member = cluster["b"]
        assert warnings(member.door) == ()
        reported = trio.Event()
        member.door.on_starved = lambda seconds: reported.set()
        member.clock.jump(7.0)
        with trio.fail_after(60):
            await reported.wait()
        (line,) = warnings(member.door)
        assert re.fullmatch(
            r"b got no processor time for up to [678]\.\d\d s in the last minute: it may look dead to the others", line
        )


async def test_who_is_alone_holds_no_elections_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with open_cluster("a") as cluster:
        member = await cluster.leader()
        Starving(member.door, member.clock)
        with caplog.at_level(logging.WARNING, "graft.cluster"):
            member.door.on_starved(5.0)
        assert caplog.records == []
        assert warnings(member.door) == ()
