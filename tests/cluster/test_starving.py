"""What a member that got no processor time tells its operator."""

from __future__ import annotations

import logging

import pytest

from graft.cluster.starving import AGAIN_SECONDS, Starving
from tests.raft_driver.members import Clock, open_cluster


class StoppedClock(Clock):
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


async def test_the_log_says_so_and_does_not_repeat_itself(caplog: pytest.LogCaptureFixture) -> None:
    clock = StoppedClock()
    async with open_cluster("a") as cluster:
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
