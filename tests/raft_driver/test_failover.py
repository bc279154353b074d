"""A killed leader is replaced and its cluster commits again within one second, at default settings.

Default settings: election timeout 0.3 to 0.6 s, heartbeats every 0.05 s. GRAFT_FAILOVERS sets the number of trials
(issue 3 asks for the 99th percentile of 200).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import trio

from tests.raft_driver.members import open_cluster

TRIALS = int(os.environ.get("GRAFT_FAILOVERS", "5"))
LIMIT_SECONDS = 1.0


async def test_a_killed_leader_is_replaced_within_a_second(directory: Path | None) -> None:
    taken: list[float] = []
    async with open_cluster("abc", directory, seed=11) as cluster:
        for trial in range(TRIALS):
            leader = await cluster.put(b"k", b"%d" % trial)
            await cluster.settled()
            await trio.sleep(0.02 * (trial % 5))  # somewhere between two heartbeats
            began = time.monotonic()
            await leader.kill()
            rest = [member.id for member in cluster.running]
            await cluster.put(b"k", b"again %d" % trial, among=rest)
            taken.append(time.monotonic() - began)
            cluster.network.heal()
            await leader.start()
    taken.sort()
    worst = taken[min(len(taken) - 1, len(taken) * 99 // 100)]
    print(f"{TRIALS} fail-overs: median {taken[len(taken) // 2]:.3f} s, 99th percentile {worst:.3f} s")
    assert worst < LIMIT_SECONDS
