"""Three members of real processes under load, and what can happen to them. `nox -s chaos` is the long version."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio

from tests.chaos.faults import FAULTS
from tests.chaos.fleet import open_fleet, until
from tests.chaos.load import Load
from tests.chaos.verdict import judge

SHORT = ("kill_leader", "pause_member", "wipe_follower", "isolate_member", "restart_all")


@pytest.mark.slow
async def test_nothing_is_lost_or_done_twice_whatever_happens_to_a_member(tmp_path: Path) -> None:
    dice = random.Random(1)
    settings = {"lease": "2s", "grace": "0.5s", "resources.total": 8}
    async with open_fleet(tmp_path, relayed=True, **settings) as fleet:
        load = Load(fleet, tmp_path / "flows", rate=5, seed=1)
        finished = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(load.run, finished)
            for name in SHORT:
                await FAULTS[name](fleet, dice)
            finished.set()
        counts = await judge(load)
    assert counts["existing"] > 0


@pytest.mark.slow
async def test_a_member_that_comes_back_is_not_kept_waiting_by_who_gave_it_up(tmp_path: Path) -> None:
    """The smaller id dials, and waits the longer the longer the other was away: so the other says that it is back."""
    patience = {"transport.reconnect_min": "60s", "transport.reconnect_max": "300s"}
    async with open_fleet(tmp_path, **patience) as fleet:
        fleet.kill("c")
        await trio.sleep(0.5)
        fleet.start("c")
        with trio.fail_after(25):
            await until(lambda: fleet.log("c").count("takes part in the cluster") == 2)
