"""Whole runs: the same everywhere, held by the core as it is, replayed, shrunk, and drawn by Hypothesis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graft.sim.__main__ import main, replay_line
from graft.sim.bugbank import BY_NAME, hunt, planted
from graft.sim.chaos import STRIKES
from graft.sim.faults import GAPS, KINDS, SECOND, Fault, Plan, draw, loads, span
from graft.sim.network import Rates
from graft.sim.shrink import shrink
from graft.sim.sweep import ENOUGH_FOR_RARE, ENOUGH_SEEDS, RARE, REQUIRED, Summary, sweep, work
from graft.sim.trace import first_divergence
from graft.sim.world import run

ROOT = Path(__file__).parent.parent.parent
REGRESSIONS = [
    line.split("  # ", 1)
    for line in (Path(__file__).parent / "regressions.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


# -- the same everywhere -------------------------------------------------------------------------------------------


def _hashes(seeds: list[int], hash_seed: str) -> list[str]:
    script = (
        "import sys; from graft.sim.faults import draw; from graft.sim.world import run\n"
        "print(*(run(draw(int(seed))).trace_hash for seed in sys.argv[1:]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", script, *map(str, seeds)]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()


def test_a_seed_gives_one_trace_in_two_processes_with_different_hash_seeds() -> None:
    seeds = list(range(900, 930))
    one, other = _hashes(seeds, "1"), _hashes(seeds, "4242")
    assert len(set(one)) == len(seeds)
    assert one == other, [seed for seed, a, b in zip(seeds, one, other, strict=True) if a != b]
    assert one[:3] == [run(draw(seed)).trace_hash for seed in seeds[:3]]


def test_a_run_does_not_depend_on_the_one_before() -> None:
    first = run(draw(5), keep_trace=None)
    run(draw(6))
    again = run(draw(5), keep_trace=None)
    assert first_divergence(list(first.records), list(again.records)) == ""
    assert first.trace_hash == again.trace_hash
    assert first.events == again.events


# -- the core holds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", range(0, 80, 20))
def test_some_seeds_hold(first: int) -> None:
    summary = work(range(first, first + 20))
    assert summary.failures == []
    assert summary.events > 10_000


@pytest.mark.slow
def test_every_fault_strikes_in_a_sweep() -> None:
    summary = work(range(ENOUGH_SEEDS))
    assert summary.failures == []
    assert summary.missing() == []


@pytest.mark.parametrize("kind", sorted(STRIKES))
def test_each_fault_alone_strikes_and_is_survived(kind: str) -> None:
    """Again and again, in a cluster that takes snapshots and changes programs."""
    group, _, name = kind.partition(".")
    high = span(group, name)[1]
    for seed in range(20):
        faults = tuple(Fault(kind, at * SECOND // 2, high * 500, seed + at) for at in range(1, 8))
        programs = "2" if kind == "version.downgrade" else "1"
        leases = kind.startswith("clock.lease")
        plan = Plan(
            seed,
            safety_us=4 * SECOND,
            retain=2,
            chunk_bytes=300,
            programs=programs,
            lease_reads=leases,
            faults=faults,
        )
        result = run(plan)
        assert result.ok, f"{result.rule}: {result.text}\n{replay_line(plan)}"
        if result.fired.get(kind):
            return
    pytest.fail(f"{kind} never struck")


def test_a_program_that_is_too_old_for_the_cluster_stops_and_its_successor_goes_on() -> None:
    """The operator takes one program back while the new version is being enabled."""
    for seed in range(200):
        faults = [Fault("version.enable", SECOND, 0, seed), Fault("version.downgrade", SECOND, 20_000, seed)]
        result = run(Plan(seed, safety_us=3 * SECOND, programs="2", faults=tuple(faults)))
        assert result.ok, f"{result.rule}: {result.text}\n{replay_line(result.plan)}"
        if result.fired.get("stopped.version"):
            return
    pytest.fail("no program was ever too old")


@pytest.mark.parametrize(("plan", "why"), REGRESSIONS, ids=[why for _, why in REGRESSIONS])
def test_what_failed_once_holds(plan: str, why: str) -> None:
    result = run(loads(plan))
    assert result.ok, f"{result.rule}: {result.text}\n{replay_line(result.plan)}"


def test_a_quiet_cluster_does_its_work() -> None:
    result = run(Plan(1, safety_us=4 * SECOND, clients=4, think_us=5_000))
    assert result.ok
    assert set(result.fired) <= {"client.timeout", "client.elsewhere", "disk.unsynced_lost", "reached.drill"}
    assert result.events > 500


# -- Hypothesis draws the plan -------------------------------------------------------------------------------------

_FAULTS = st.builds(
    Fault,
    st.sampled_from(sorted(STRIKES)),
    st.integers(200_000, 4 * SECOND),
    st.integers(10_000, 2 * SECOND),
    st.integers(0, 2**32),
)
_RATES = st.builds(
    Rates,
    drop=st.integers(0, 300),
    duplicate=st.integers(0, 500),
    delay_us=st.sampled_from([500, 5_000, 20_000]),
    queue=st.sampled_from([2, 20, 1_000_000]),
)
_PLANS = st.builds(
    Plan,
    seed=st.integers(0, 2**32),
    voters=st.integers(1, 7),
    learners=st.integers(0, 1),
    safety_us=st.just(4 * SECOND),
    max_events=st.just(1_200),
    faults=st.lists(_FAULTS, max_size=12).map(lambda f: tuple(sorted(f, key=lambda x: x.at_us))),
    rates=_RATES,
    disk_us=st.sampled_from([200, 5_000, 20_000]),
    torn=st.sampled_from([0, 400]),
    clients=st.integers(1, 5),
    think_us=st.sampled_from([10_000, 60_000]),
    retain=st.sampled_from([2, 20, 10_000]),
    append_entries=st.sampled_from([1, 3, 1024]),
    chunk_bytes=st.sampled_from([60, 256 * 1024]),
    held_bytes=st.sampled_from([0, 200, 512 * 1024 * 1024]),
    silence_seconds=st.sampled_from([0.0, 0.3, 30.0]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_PLANS)
def test_any_plan_holds(plan: Plan) -> None:
    result = run(plan)
    assert result.ok, f"{result.rule}: {result.text}\n{replay_line(plan)}"


@given(_PLANS)
def test_a_plan_is_one_line(plan: Plan) -> None:
    line = plan.dumps()
    assert "\n" not in line
    assert loads(line) == plan


def test_every_kind_of_fault_can_be_drawn_and_carried_out() -> None:
    known = [(group, kind) for table in (KINDS, GAPS) for group, kinds in table.items() for kind in kinds]
    assert {f"{group}.{kind}" for group, kind in known} == set(STRIKES)
    assert len(known) == len(STRIKES)
    drawn = {fault.kind for seed in range(400) for fault in draw(seed).faults}
    assert drawn == set(STRIKES)


def test_one_fault_less_leaves_the_others_as_they_are() -> None:
    plan = draw(3)
    assert len(plan.faults) > 1
    fault = plan.faults[-1]
    assert evolve(plan, faults=(fault,)).faults[0].entropy().u64() == fault.entropy().u64()


# -- replay, shrink, sweep -----------------------------------------------------------------------------------------


def test_a_failure_shrinks_to_what_it_needs_and_replays_by_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    bug = BY_NAME["4"]
    found = hunt(bug, 0, 100)
    assert found is not None
    with planted(bug):
        small = shrink(found)
    assert small.rule == found.rule
    assert len(small.plan.faults) <= 3 < len(found.plan.faults)
    assert json.loads(small.plan.dumps())["seed"] == found.plan.seed
    assert main(["--replay", small.plan.dumps(), "--bug", "4"]) == 1
    printed = capsys.readouterr().out
    assert f"{small.rule}: " in printed
    assert replay_line(small.plan, "4") in printed
    assert main(["--replay", small.plan.dumps()]) == 0


def test_there_is_nothing_to_shrink_in_a_run_that_held() -> None:
    with pytest.raises(ValueError, match="nothing to shrink"):
        shrink(run(Plan(1, safety_us=SECOND)))


def test_a_sweep_is_the_same_on_one_process_and_on_two() -> None:
    one, two = sweep(range(30), 1), sweep(range(30), 2)
    assert (one.seeds, one.events, one.fired) == (two.seeds, two.events, two.fired)
    assert one.failures == two.failures == []


def test_a_fault_that_never_struck_is_a_failure_of_the_sweep() -> None:
    summary = Summary(seeds=ENOUGH_SEEDS)
    assert set(summary.missing()) == REQUIRED - RARE
    summary.seeds = ENOUGH_FOR_RARE
    assert set(summary.missing()) == REQUIRED
    summary.fired.update(dict.fromkeys(REQUIRED - {"disk.torn"}, 1))
    assert summary.missing() == ["disk.torn"]
    summary.seeds = 3
    assert summary.missing() == []


def test_the_command_line_sweeps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "0:5", "--quiet"]) == 0
    assert "5 seeds" in capsys.readouterr().out
    assert main(["--fresh", "2", "--quiet"]) == 0
    assert "2 seeds" in capsys.readouterr().out
