"""The last test of a healed cluster: it does as much in as short a time as one that has seen no fault.

A budget that has leaked shows in no state that people look at, only in what still goes through. So a burst of writes
and reads, no larger than the budgets of the plan allow at once, is put to the leader and to a follower. Nothing of it
may be refused for want of room, and it takes hardly longer than in a cluster of the same settings that was made just
now. What a follower outside the core suffers from does not count: it is not needed for a quorum.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from attrs import evolve

from graft.raft.log import OVERHEAD_BYTES
from graft.sim.invariants import Violation, voter_sets
from graft.sim.machine import Command
from graft.sim.network import CALM

if TYPE_CHECKING:
    from graft.sim.desk import Answer
    from graft.sim.faults import Plan
    from graft.sim.member import Member
    from graft.sim.world import World

WRITES, READS = 16, 8
TRIES = 4
SLOWER = 4  # times; a sync takes now longer, now shorter
PATIENCE_US = 5_000_000


class Drill:
    """One burst. `refused`: why something was, other than by a new leader; `took_us`: until the last answer."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.open = 0
        self.refused = ""
        self.deposed = False
        self.took_us = 0

    def run(self, leader: Member, follower: Member | None) -> None:
        world, began = self.world, self.world.now()
        for data in self._writes():
            leader.desk.write(data, self._asked())
        needed = world.ledger.acknowledged
        for member in (leader, follower):
            if member is not None:  # each read of a follower may take a place at the leader too
                for number in range(min(READS, world.plan.pending_reads // 2)):
                    member.desk.read(f"d{number}", needed, False, self._asked())
        while self.open and world.now() < began + PATIENCE_US:
            if not world.heap.step():
                break
        if self.open and not self.deposed:
            self.refused = self.refused or f"{self.open} of a burst of questions have no answer"
        self.took_us = world.now() - began

    def _writes(self) -> list[bytes]:
        """As many as the leader has room for."""
        data = [Command(f"drill{self.number}.{i}", "write", f"d{i % READS}", i).encode() for i in range(WRITES)]
        room = self.world.plan.uncommitted_bytes // (max(map(len, data)) + OVERHEAD_BYTES)
        return data[: max(1, room)]

    def _asked(self) -> Callable[[Answer], None]:
        self.open += 1

        def answered(answer: Answer) -> None:
            self.open -= 1
            if answer.reason in ("overloaded", "transferring", "too_large"):
                self.refused = answer.reason
            elif answer.outcome != "done":
                self.deposed = True

        return answered


def drill(world: World) -> None:
    """Raises Violation when the cluster refuses what it has room for, or is slow."""
    best_us, text = 0, ""
    for number in range(TRIES):
        leader = world.leader()
        if leader is None or not _is_undisturbed(world, leader):
            return
        one = Drill(world, number)
        one.run(leader, _follower(world, leader))
        if one.refused:
            raise Violation("throughput", f"{leader.identity} is idle, and a burst of questions: {one.refused}")
        if one.deposed:
            continue
        best_us = min(best_us or one.took_us, one.took_us)
        allowed_us = _allowed_us(world.plan, leader)
        if best_us <= allowed_us:
            world.fired["reached.drill"] += 1
            _use_the_lease(world, leader)
            return
        text = f"a burst takes {best_us} us at {leader.identity}, at most {allowed_us} were expected"
    if text:
        raise Violation("throughput", text)


def _use_the_lease(world: World, leader: Member) -> None:
    """A leader that a quorum answers all the time has a lease, unless it told somebody to stand."""
    if not world.plan.lease_reads or leader.oracles.leases.given_up or not leader.leading:
        return
    if leader.applied < leader.watch.commit:
        return  # it would wait, and be asked again
    before = leader.desk.leased
    leader.desk.read("d0", world.ledger.acknowledged, True, lambda answer: None)
    if leader.desk.leased == before:
        raise Violation("S23", f"{leader.identity} has led for long, and answers a read by no lease")


def _is_undisturbed(world: World, leader: Member) -> bool:
    """It has a healed quorum, and nobody who was removed stands against it again and again."""
    return leader.id in world.core and world.plan.check_quorum and world.plan.pre_vote


def _follower(world: World, leader: Member) -> Member | None:
    voters = [id for voters in voter_sets(leader.watch.configuration) for id, _ in voters if id != leader.id]
    return next((world.members[id] for id in voters if id in world.core and world.members[id].alive), None)


def _allowed_us(plan: Plan, leader: Member) -> int:
    (voters,) = voter_sets(leader.watch.configuration)
    others = len(leader.watch.configuration.members) - len(voters)
    fresh = evolve(
        plan,
        seed=0,
        voters=len(voters),
        learners=others,
        spares=0,
        clients=0,
        faults=(),
        rates=CALM,
        torn=0,
        skew_us=0,
        drift_ppm=0,
        snapshot_fails=0,
        lost_replies=0,
        duplicated=0,
        echoes=0,
        programs="2",
        buggify=0,
        points=(),
        keys=1,
        think_us=0,
        patience_us=0,
    )
    return SLOWER * _fresh_us(fresh) + 12 * plan.disk_us + 10_000


@lru_cache(maxsize=4096)
def _fresh_us(plan: Plan) -> int:
    """What the burst takes in a cluster that was just made by this plan."""
    from graft.sim.world import World

    world = World(plan)
    leader = world.found_and_elect()
    one = Drill(world, 0)
    one.run(leader, _follower(world, leader))
    assert not one.refused, one.refused
    return one.took_us
