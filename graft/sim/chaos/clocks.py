"""Clocks that jump and drift."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.sim.chaos.strike import Strike, Undo, cut_off
from graft.sim.entropy import Entropy
from graft.sim.faults import Fault

if TYPE_CHECKING:
    from graft.sim.world import World


def _jump(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """Far ahead (the machine slept), or a little back: it is a monotonic clock that Raft is given."""
    victim = world.members[dice.choice(sorted(world.members))]
    by = dice.choice((-300_000, -20_000, 20_000, 300_000, 3_000_000, 3_600_000_000))
    victim.clock.jump(world.now(), by)
    victim.clock_changed()
    world.fired["clock.jump"] += 1
    return None


def _jump_back(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """By more than any timeout. No monotonic clock does that; a member must be none the worse for it but late."""
    victim = world.members[dice.choice(sorted(world.members))]
    victim.clock.jump(world.now(), dice.choice((-1_000_000, -5_000_000)))
    victim.clock_changed()
    world.fired["clock.jump_back"] += 1
    return None


def _drift(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """A clock runs wrong. With lease reads on, within what was declared: half of it fast, half of it slow."""
    victim = world.members[dice.choice(sorted(world.members))]
    plan = world.plan
    most = int(plan.max_clock_drift * 1_000_000 / 2.2) if plan.lease_reads else 400_000
    victim.clock.set_drift(world.now(), dice.between(-most, most))
    victim.clock_changed()
    world.fired["clock.drift"] += 1

    def over() -> None:
        victim.clock.set_drift(world.now(), 0)
        victim.clock_changed()

    return over


def _lease_end(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """The leader's clock is as slow and all others as fast as was declared, and the leader hears nobody any more, while
    it is asked for reads again and again until its lease must have ended."""
    leader, plan = world.leader(), world.plan
    if leader is None:
        return None
    most = int(plan.max_clock_drift * 1_000_000 / 2.2)
    before = {member.id: member.clock.drift_ppm for member in world.members.values()}
    for member in world.members.values():
        member.clock.set_drift(world.now(), -most if member is leader else most)
        member.clock_changed()
    undo = cut_off(world, leader, dice)
    world.fired[fault.kind] += 1
    for at in range(0, 2 * int(plan.election_seconds * 1_000_000), 6_000):
        leader.later(at, leader.desk.read, "k0", 0, True, lambda answer: None)

    def over() -> None:
        undo()
        for id, drift in before.items():
            world.members[id].clock.set_drift(world.now(), drift)
            world.members[id].clock_changed()

    return over


STRIKES: dict[str, Strike] = {
    "clock.jump": _jump,
    "clock.jump_back": _jump_back,
    "clock.drift": _drift,
    "clock.lease_end": _lease_end,
}
