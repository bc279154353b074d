"""A leader decides a little at a time: while it does, it has to remain one."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from attrs import evolve

from graft.cluster import host
from graft.cluster.host import Host
from graft.cluster.leases import LeaseTimes
from graft.engine import Decide
from graft.engine.commands import Decision
from tests.cluster.dump import describe
from tests.cluster.members import CONFIG, Cluster, Node, is_final, open_cluster, until

FLOW = """
[nodes.one]
value = "${ 1 + 1 }"
"""
RUNS = 200
DECISION_SECONDS = 0.1  # by the clock of the member that decides; together four election timeouts
QUIET = evolve(CONFIG, election_timeout_seconds=5.0)  # what else the machine does deposes nobody
LEASES = LeaseTimes(lease=60.0)


@pytest.fixture
def lazy(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Members that decide nothing while they are in it."""
    lazy: set[str] = set()
    decide_some = Host._decide_some

    def some(of: Host) -> None:
        if of.member in lazy:
            of._undecided.clear()
            of._backlog = iter(())
        else:
            decide_some(of)

    monkeypatch.setattr(Host, "_decide_some", some)
    return lazy


async def start_runs(cluster: Cluster, node: Node) -> list[str]:
    ids = [await cluster.start(FLOW, node, "r0")]
    async with trio.open_nursery() as nursery:
        for number in range(1, RUNS):
            ids.append(f"r{number}")
            nursery.start_soon(cluster.start, FLOW, node, ids[-1])
    return ids


async def test_a_new_leader_with_much_to_decide_is_not_deposed_by_it(
    tmp_path: Path, lazy: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was: it sent no heartbeat before all was decided, was deposed, and so was the next one, for ever."""
    decide = Host._decide

    def slow(of: Host, effect: Decide) -> Decision | None:
        of._clock.jump(DECISION_SECONDS)  # type: ignore[attr-defined]
        return decide(of, effect)

    monkeypatch.setattr(Host, "_decide", slow)
    with trio.fail_after(240):
        async with open_cluster(tmp_path, config=QUIET, times=LEASES) as cluster:
            node = await cluster.leader()
            lazy.add(node.id)
            ids = await start_runs(cluster, node)
            await node.member.changes.transfer(None)
            successor = await cluster.leader()
            assert successor is not node
            term = successor.member.host.door.term
            await until(lambda: all(is_final(successor, id) for id in ids), 120)
            assert successor.member.host.door.term == term, describe(cluster)
            assert successor.member.host.leads


async def test_what_the_log_does_not_take_is_decided_again_and_nothing_else(
    tmp_path: Path, lazy: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is outstanding was decided again, what was on its way included: the fuller the log, the more of it."""
    decided, lost = [0], [0]
    decide, decision_lost = Host._decide, Host._decision_lost

    def counted(of: Host, effect: Decide) -> Decision | None:
        decided[0] += 1
        return decide(of, effect)

    def noted(of: Host, effects: list[Decide], error: Exception) -> None:
        lost[0] += len(effects)
        decision_lost(of, effects, error)

    monkeypatch.setattr(host, "MAX_DECIDING_SECONDS", 60.0)  # all at once, which is more than this log takes
    config = evolve(QUIET, max_uncommitted_bytes=1_000)
    with trio.fail_after(240):
        async with open_cluster(tmp_path, config=config, times=LEASES) as cluster:
            node = await cluster.leader()
            lazy.add(node.id)
            ids = await start_runs(cluster, node)
            monkeypatch.setattr(Host, "_decide", counted)
            monkeypatch.setattr(Host, "_decision_lost", noted)
            await node.member.changes.transfer(None)
            successor = await cluster.leader()
            await until(lambda: all(is_final(successor, id) for id in ids), 120)
            assert lost[0], "the log was never full"
            assert decided[0] - lost[0] == 2 * RUNS, "a value and an output each"
