"""Real processes, killed and stopped: the install of a snapshot, and reads of a leader that stood still.

GRAFT_INSTALL_KILLS: how many kills at random moments beside those at chosen ones; GRAFT_PAUSES: how often a leader is
stopped.
"""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from attrs import evolve

from graft.errors import Rejected
from graft.raft_driver.hard_state import decode_hard_state
from graft.storage import open_store, verify
from tests.raft_driver.members import PATIENCE_SECONDS
from tests.raft_driver.processes import CONFIG, Gone, Process, Processes, open_processes

INSTALL_KILLS = int(os.environ.get("GRAFT_INSTALL_KILLS", "3"))
PAUSES = int(os.environ.get("GRAFT_PAUSES", "3"))

# A snapshot is installed


ROWS, PAD, MISSED = 3000, 200, 150
MOMENTS = [
    *("staging 1 before", "staging 1 within", "staging 6 within", "staging 10 behind"),
    *("sweep 1 within", "sweep 1 behind"),
    *("switch 1 before", "switch 1 within", "switch 1 behind"),
    *("clearing 1 before", "clearing 1 within", "clearing 1 behind", "clearing 2 within", "clearing 2 behind"),
]


class Victim:
    """What its store has shown so far must stay true."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.newest = self.applied = self.term = self.generations = 0

    def check(self, put: int) -> None:
        """The log is whole, and the state is that of one moment: after the n-th put, all of 1 to n and nothing else."""
        assert verify(self._directory).damages == ()
        store = open_store(self._directory, quota_bytes=1 << 29, map_bytes=1 << 30)
        bounds = store.bounds()
        entries = store.entries(bounds.first, bounds.last, 1 << 40)
        assert [entry.index for entry in entries] == list(range(bounds.first, bounds.last + 1))
        assert bounds.first - 1 <= bounds.applied <= bounds.last
        found = {key: int(value.partition(b":")[0]) for key, value in store.scan("values")}
        newest = max(found.values(), default=0)
        expected = {b"%06d" % (n % ROWS): n for n in range(1, newest + 1)}
        assert found == expected, "a torn state"
        hard_state = store.hard_state()
        assert hard_state is not None
        term = decode_hard_state(hard_state)[0].term
        assert self.newest <= newest <= put
        assert self.applied <= bounds.applied
        assert self.term <= term
        self.generations += newest > self.newest
        self.newest, self.applied, self.term = newest, bounds.applied, term
        store.close()


async def caught_up(member: Process, leader: Process) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        while (await member.ask("status"))["applied"] < (await leader.ask("status"))["applied"]:  # noqa: ASYNC110
            await trio.sleep(0.02)


@pytest.mark.slow
async def test_kill_while_a_snapshot_is_installed(tmp_path: Path) -> None:
    """At every kind of write: before it, when it is written and not synced, and behind it; and at random moments."""
    config = evolve(CONFIG, election_timeout_seconds=5.0, hold_silence_seconds=0.0)  # each start needs a snapshot
    dice = random.Random(20261123)
    async with open_processes(tmp_path, config=config) as cluster:
        await cluster.members["a"].ask("campaign")
        leader = await cluster.leader()
        put = ROWS
        await leader.ask("put", 1, put, ROWS, PAD)
        await caught_up(cluster.members["c"], leader)
        victim = Victim(tmp_path / "c")
        for prepare in [f"die_at {moment}" for moment in MOMENTS] + [""] * INSTALL_KILLS:
            await cluster.members["c"].kill()
            await leader.ask("put", put + 1, put + MISSED, ROWS, PAD)
            put += MISSED
            member = await cluster.start("c", prepare)
            if prepare:
                with trio.fail_after(PATIENCE_SECONDS):
                    await member.ended.wait()
            else:
                await trio.sleep(dice.uniform(0.2, 0.9))
                await member.kill()
            victim.check(put)
        assert victim.generations >= 6  # behind the switch, and at each clearing
        await caught_up(await cluster.start("c"), leader)
        await cluster.members["c"].kill()
        victim.check(put)
        assert victim.newest == put


# A leader stands still


@pytest.mark.parametrize("lease", [False, True])
async def test_a_stopped_leader_never_answers_with_the_past(tmp_path: Path, lease: bool) -> None:
    """SIGSTOP at any moment between two instructions, in the middle of reads, for longer than its lease. Meanwhile
    another member leads and takes a newer value. What is asked afterwards must not be answered with the old one,
    although the stopped leader finds the question before it hears of anything else: from shortly before the stop on
    nothing reaches it."""
    config = evolve(CONFIG, lease_reads=True)
    dice = random.Random(lease)
    answered = 0
    async with open_processes(tmp_path, config=config) as cluster:
        for n in range(1, PAUSES + 1):
            paused = await cluster.put(2 * n - 1, 2 * n - 1, 1)
            rest = "".join(id for id, member in cluster.members.items() if member is not paused)
            seen: list[str] = []
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(read_for_ever, paused, lease)
                await trio.sleep(dice.uniform(0.05, 0.1))
                await paused.ask("deaf", True)
                paused.stop()
                await cluster.put(2 * n, 2 * n, 1, among=rest)
                async with trio.open_nursery() as late:
                    for _ in range(20):
                        late.start_soon(read_once, paused, lease, seen)
                    await trio.sleep(0.05)  # they are in its pipe
                    paused.go_on()
                nursery.cancel_scope.cancel()
            assert set(seen) <= {f"{2 * n}:", "refused"}
            await paused.ask("deaf", False)
            answered += len(seen)
            await steady(cluster)
    assert answered == 20 * PAUSES


async def read_for_ever(member: Process, lease: bool) -> None:
    while True:
        await read_once(member, lease, [])


async def read_once(member: Process, lease: bool, seen: list[str]) -> None:
    try:
        seen.append(await member.ask("get", 0, lease))
    except Rejected:
        seen.append("refused")
        await trio.sleep(0.005)


async def steady(cluster: Processes) -> None:
    """All members follow one leader, so that the next one to be stopped leads them all."""
    with trio.fail_after(PATIENCE_SECONDS):
        members = cluster.members.values()
        while len({(await member.ask("status"))["leader"] for member in members}) > 1:  # noqa: ASYNC110
            await trio.sleep(0.02)


async def test_the_harness_tells_when_a_process_has_gone(tmp_path: Path) -> None:
    async with open_processes(tmp_path, "a") as cluster:
        leader = await cluster.put(1, 10, 10)
        assert await leader.ask("get", 5, False) == "5:"
        await leader.kill()
        with suppress(trio.BrokenResourceError), pytest.raises(Gone):
            await leader.ask("status")
