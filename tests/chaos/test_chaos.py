"""Three members of real processes under load, and what can happen to them. `nox -s chaos` is the long version."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio

from tests.chaos.faults import FAULTS
from tests.chaos.fleet import open_fleet
from tests.chaos.load import Load
from tests.chaos.verdict import judge

SHORT = ("kill_leader", "pause_member", "wipe_follower", "isolate_member", "restart_all")


@pytest.mark.slow
async def test_nothing_is_lost_or_done_twice_whatever_happens_to_a_member(tmp_path: Path) -> None:
    dice = random.Random(1)
    settings = {"lease": "2s", "grace": "0.5s", "resources.total": 8}
    async with open_fleet(tmp_path, relayed=True, **settings) as fleet, trio.open_nursery() as nursery:
        load = Load(fleet, tmp_path / "flows", rate=5, seed=1)
        finished = trio.Event()
        nursery.start_soon(load.run, finished)
        for name in SHORT:
            await FAULTS[name](fleet, dice)
        finished.set()
    counts = await judge(load)
    assert counts["existing"] > 0
