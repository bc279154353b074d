"""Sleeps and times under a system clock that is set back and ahead, while a run goes on and between two processes."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from graft.cluster.embedded import Embedded, open_embedded
from graft.cluster.system import SystemClock
from graft.cluster.views import RunView
from graft.cluster.wall_time import STEP_MS, WallTime
from graft.engine import Engine
from graft.engine.commands import SetClockOffset
from graft_dsl import compile_text

DAY_MS = 86_400_000
EPOCH_MS = 1_700_000_000_000


class Clocks:
    """What a machine has: time that passes, and a clock that somebody sets."""

    def __init__(self) -> None:
        self.passed, self.set = 0, 0

    def monotonic(self) -> float:
        return self.passed / 1000

    boottime = monotonic

    def wall(self) -> int:
        return EPOCH_MS + self.passed + self.set


steps = st.lists(st.tuples(st.integers(0, DAY_MS), st.integers(-3 * DAY_MS, 3 * DAY_MS)), max_size=10)


@given(steps)
def test_time_passes_evenly_and_the_offset_follows_the_clock(steps: list[tuple[int, int]]) -> None:
    clocks = Clocks()
    time = WallTime(clocks)
    time.begin(EPOCH_MS, 0)
    offset = 0
    for passes, step in steps:
        clocks.passed += passes
        clocks.set += step
        told = time.new_offset()
        offset = offset if told is None else told
        assert abs(time.now() - EPOCH_MS - clocks.passed) <= 1
        assert abs(time.now() + offset - clocks.wall()) <= STEP_MS
        assert time.new_offset() is None


@given(st.integers(-3 * DAY_MS, 3 * DAY_MS), st.integers(-3 * DAY_MS, 3 * DAY_MS))
def test_a_new_process_goes_on_from_the_state(offset: int, ahead: int) -> None:
    """A clock that is behind what the state was told makes no time pass; one that is ahead says how long it was off."""
    clocks = Clocks()
    time = WallTime(clocks)
    told = clocks.wall() - offset + ahead
    time.begin(told, offset)
    assert time.now() == max(told, clocks.wall() - offset)
    assert (time.new_offset() is None) == (ahead < STEP_MS)


def test_the_time_that_people_see_follows_the_offset_and_the_engine_s_does_not() -> None:
    engine = Engine(strict=True)
    engine.apply(1, SetClockOffset(-DAY_MS, wall=5 * DAY_MS))
    engine.apply(2, SetClockOffset(-DAY_MS, wall=4 * DAY_MS))
    assert (engine.state.meta.wall, engine.state.meta.clock) == (5 * DAY_MS, 4 * DAY_MS)


class Machine:
    """A data directory, and the offset of the system clock of whoever opens it."""

    def __init__(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.data, self.set = data, 0
        true_wall = SystemClock.wall
        monkeypatch.setattr(SystemClock, "wall", lambda clock: true_wall(clock) + self.set)

    async def start(self, graft: Embedded, sleep: str) -> str:
        text = f"graft = 1\nname = 'f'\n[nodes.nap]\nsleep = '{sleep}'\n[nodes.after]\nneeds = ['nap']\nvalue = 1\n"
        plan = compile_text(text, filename="flow.toml", base=self.data).plan
        return await graft.start_run(plan, {}, base=self.data)

    async def run(self, sleep: str) -> RunView:
        with trio.fail_after(60):
            async with open_embedded(self.data) as graft:
                return await graft.wait(await self.start(graft, sleep))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path / ".graft", monkeypatch)


@pytest.mark.parametrize("first", [DAY_MS, 400 * DAY_MS])
async def test_a_run_under_a_clock_that_was_ahead_does_not_hold_up_later_ones(
    machine: Machine, caplog: pytest.LogCaptureFixture, first: int
) -> None:
    machine.set = first
    early = await machine.run("10ms")
    assert early.started_at >= SystemClock().wall() - 60_000
    machine.set = 0
    with caplog.at_level(logging.WARNING, "graft"):
        late = await machine.run("10ms")
    assert late.status == "succeeded"
    assert late.started_at <= SystemClock().wall() < early.started_at
    assert "behind the time that runs have gone by" in caplog.text


@pytest.mark.parametrize("step", [-15_000, -DAY_MS, DAY_MS])
async def test_a_clock_that_is_set_makes_no_sleep_longer_or_shorter(machine: Machine, step: int) -> None:
    with trio.fail_after(60):
        async with open_embedded(machine.data) as graft:
            long = await machine.start(graft, "1h")
            short = await machine.start(graft, "300ms")
            machine.set = step
            began = trio.current_time()
            assert (await graft.wait(short)).status == "succeeded"
            assert trio.current_time() - began < 30
            assert graft.status(long) == "running"
