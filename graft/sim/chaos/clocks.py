"""Clocks that jump and drift."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.sim.chaos.strike import Strike, Undo
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


STRIKES: dict[str, Strike] = {
    "clock.jump": _jump,
    "clock.jump_back": _jump_back,
    "clock.drift": _drift,
}
