"""Fail-over and idling of three members in processes of their own, on loopback with mutual TLS and fsync.

`GRAFT_TRIALS` sets how often the leader is killed (10; the published figure is of 100).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import trio

from graft.client.client import Client
from graft.plan import Plan
from graft_dsl import compile_text
from tests.bench.floor import row
from tests.chaos.fleet import Fleet, cpu_seconds, open_fleet, resident_mib, until, wall_ms
from tests.chaos.load import Execution, Load

TRIALS = int(os.environ.get("GRAFT_TRIALS", "10"))
REHIRE_TRIALS = int(os.environ.get("GRAFT_REHIRE_TRIALS", "3"))
IDLE_SECONDS = float(os.environ.get("GRAFT_IDLE_SECONDS", "20"))
HELD = 9  # steps that run when a member dies
LEASE_SECONDS = 5 + 1  # and the grace, by default

NOTHING = 'graft = 1\nname = "nothing"\n[nodes.one]\nvalue = 1\n'
HOLD = """
graft = 1
name = "hold"
[params]
path = { type = "string" }
[nodes.hold]
python = "chaossteps:work"
with = { path = "${ params.path }", seconds = 300.0, value = 0 }
"""


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))]


async def failover(fleet: Fleet, plan: Plan, base: Path) -> float:
    """Seconds from the SIGKILL of the leader until the start of a run is acknowledged."""
    leader = await fleet.leader()
    others = [id for id in fleet.running if id != leader]
    async with fleet.client(*others) as client:
        await client.start(plan, base=base)  # connected, and the plan is known
        began = time.perf_counter()
        fleet.kill(leader)
        await client.start(plan, base=base)
        seconds = time.perf_counter() - began
    fleet.start(leader)
    await fleet.all_live()
    return seconds


async def measure_failover(fleet: Fleet, base: Path) -> None:
    plan = compile_text(NOTHING, filename="nothing.toml", base=base).plan
    taken = []
    for _ in range(TRIALS):
        taken.append(await failover(fleet, plan, base))
        await trio.sleep(0.5)
    spread = " ".join(f"{percentile(taken, percent):.2f}" for percent in (0, 50, 90, 99, 100))
    row(f"writes resume after kill -9 of the leader, {TRIALS} trials", f"{spread} s", aim="p99 2.5 s")
    print("  (least, median, p90, p99, most)")


async def rehire(load: Load, plan: Plan, client: Client, *, restart: bool) -> tuple[float, int]:
    """Seconds until all steps of a dead member have begun elsewhere, or after its return; and how many of healthy
    members began a second time, which must be none."""
    fleet = load.fleet
    load.evidence_file.unlink(missing_ok=True)
    params = {"path": str(load.evidence_file)}
    runs = [await client.start(plan, params, base=load.base) for _ in range(HELD)]
    await until(lambda: len(load.evidence()) == HELD)
    dead = await fleet.leader()
    mine = {each.run_id for each in load.evidence() if each.member == dead}
    assert mine, "it had none of the steps"
    fleet.kill(dead)
    killed = wall_ms()
    if restart:
        fleet.start(dead)
    moved: list[Execution] = await until(lambda: again(load, mine, killed))
    seconds = (max(each.began for each in moved) - killed) / 1000
    if not restart:
        fleet.start(dead)
    await fleet.all_live()
    spoilt = len(load.evidence()) - HELD - len(mine)
    for run_id in runs:
        await client.cancel(run_id)
    for run_id in runs:
        await client.wait(run_id)
    return seconds, spoilt


def again(load: Load, runs: set[str], since: float) -> list[Execution] | None:
    """The later executions of `runs`, once each has one."""
    found = [each for each in load.evidence() if each.began > since and each.run_id in runs]
    return found if {each.run_id for each in found} == runs else None


async def measure_rehiring(load: Load) -> None:
    plan = compile_text(HOLD, filename="hold.toml", base=load.base).plan
    async with load.fleet.client() as client:
        for restart in (False, True):
            trials = [await rehire(load, plan, client, restart=restart) for _ in range(REHIRE_TRIALS)]
            assert not any(spoilt for _, spoilt in trials), "a healthy member's step began again"
            seconds = [taken for taken, _ in trials]
            what = (
                "its steps begin again: the dead member is back"
                if restart
                else "steps of a dead member begin elsewhere"
            )
            aim = "at once (its start included)" if restart else f"{LEASE_SECONDS + 1} s"
            row(f"{what}, {REHIRE_TRIALS} trials, the longest", f"{max(seconds):.2f} s", aim=aim)


async def measure_idle(fleet: Fleet) -> None:
    await fleet.settled()
    leader = await fleet.leader()
    await trio.sleep(1)
    before = {id: cpu_seconds(fleet.pid(id)) for id in fleet.running}
    await trio.sleep(IDLE_SECONDS)
    for id in fleet.running:
        share = 100 * (cpu_seconds(fleet.pid(id)) - before[id]) / IDLE_SECONDS
        role = "leader" if id == leader else "follower"
        used = f"{share:.2f} % of a core, {resident_mib(fleet.pid(id)):.0f} MiB"
        row(f"an idle cluster of three, its {role}, {IDLE_SECONDS:g} s", used, aim="2 %, 120 MiB")


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with open_fleet(Path(directory)) as fleet:
            await measure_idle(fleet)
            load = Load(fleet, Path(directory) / "flows", rate=0, seed=0)
            await measure_failover(fleet, load.base)
            await measure_rehiring(load)


if __name__ == "__main__":
    trio.run(main)
