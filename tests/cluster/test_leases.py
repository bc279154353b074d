"""Leases where the leader itself is in trouble."""

from __future__ import annotations

from pathlib import Path

import trio
from attrs import evolve

from graft.cluster.leases import LeaseTimes
from tests.cluster.members import CONFIG, open_cluster, until


async def test_a_leader_that_is_cut_off_outlives_what_it_wanted_to_declare_dead(tmp_path: Path) -> None:
    """Its leases end before it knows that it leads no more: after a pause all its clocks ring at once."""
    config = evolve(CONFIG, election_timeout_seconds=1.0, heartbeat_seconds=0.1)
    async with open_cluster(tmp_path, times=LeaseTimes(lease=0.3, grace=0), config=config) as cluster:
        leader = await cluster.leader()
        await until(lambda: len(leader.member.host.engine.state.members) == 3)
        cluster.network.isolate(leader.id)
        await until(lambda: not leader.member.host.leads)
        await trio.sleep(0.2)
        assert leader.is_running
        cluster.network.heal()
        await cluster.leader()
