"""Steps that behave badly: they block their event loop, spin, or hold the interpreter's lock, for ten seconds.

They run in processes of their own, so members go on talking to each other: nobody stands for election, no lease ends.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from graft.cluster.membership import MemberView
from graft_dsl import compile_text
from tests.chaos.fleet import Fleet, open_fleet

SECONDS = 10.0

MODULE = """
import ctypes
import time


def sleeps(seconds):
    time.sleep(seconds)
    return "slept"


def spins(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "spun"


def holds_the_lock(seconds):
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))  # PyDLL does not let go of it
    return "held"


async def blocks_its_loop(seconds):
    time.sleep(seconds)
    return "blocked"


async def spins_in_its_loop(seconds):
    return spins(seconds)
"""
STEPS = ("sleeps", "spins", "holds_the_lock", "blocks_its_loop", "spins_in_its_loop")
QUICK = "graft = 1\nname = 'quick'\n[nodes.one]\npython = 'hogs:sleeps'\nwith = { seconds = 0.0 }\n"


def flow(step: str) -> str:
    return f'graft = 1\nname = "{step}"\n[nodes.hog]\npython = "hogs:{step}"\nwith = {{ seconds = {SECONDS} }}\n'


@pytest.mark.slow
async def test_what_a_step_does_disturbs_neither_elections_nor_leases(tmp_path: Path) -> None:
    # Members share the processors of this machine with the hogs, and with whatever else it does; ten seconds are more.
    async with open_fleet(tmp_path, election_timeout="3s", lease="8s", **{"resources.worker_processes": 2}) as fleet:
        (tmp_path / "hogs.py").write_text(MODULE)
        plans = [compile_text(flow(step), filename=f"{step}.toml", base=tmp_path).plan for step in STEPS]
        quick = compile_text(QUICK, filename="quick.toml", base=tmp_path).plan
        before = await how_it_stands(fleet)
        async with fleet.client() as client:
            runs = [await client.start(plan, base=tmp_path) for plan in plans]
            with trio.move_on_after(SECONDS):  # others start and end meanwhile
                while True:
                    await client.wait(await client.start(quick, base=tmp_path))
                    await trio.sleep(0.5)
            for run_id in runs:
                assert (await client.wait(run_id)).status == "succeeded"
                events = await client.events(run_id)
                assert [event.what for event in events if event.path == "hog"] == ["running", "succeeded"]
        assert await how_it_stands(fleet) == before


async def how_it_stands(fleet: Fleet) -> tuple[set[tuple[int, str]], list[tuple[str, int, bool]]]:
    """The terms and leaders that members know, and which incarnations of them are up."""
    async with fleet.client() as client:
        members: list[MemberView] = sorted(await client.members(), key=lambda member: member.id)
    statuses = await fleet.settled()
    return {(each.term, each.leader) for each in statuses.values()}, [
        (member.id, member.incarnation, member.live) for member in members
    ]
