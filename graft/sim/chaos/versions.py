"""Programs that are replaced by newer and older ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.raft import events as ev
from graft.sim.chaos.strike import Strike, Undo, count_answer, cut_off, victim_of
from graft.sim.entropy import Entropy
from graft.sim.faults import Fault

if TYPE_CHECKING:
    from graft.sim.member import Member
    from graft.sim.world import World


def _replace_program(world: World, member: Member, program: int, outage_us: int) -> None:
    member.crash()
    member.program = program
    member.restart_after(outage_us)


def _upgrade(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = victim_of(world, dice)
    if victim is not None and victim.program == 1:
        world.fired["version.upgrade"] += 1
        _replace_program(world, victim, 2, fault.for_us)
    return None


def _downgrade(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """Back to the old program, which is allowed until the new version is in somebody's log. An operator who asks for it
    at the same time makes the old program stop."""
    victim = victim_of(world, dice)
    if victim is not None and victim.program == 2 and world.newest_version() == 1:
        world.fired["version.downgrade"] += 1
        _replace_program(world, victim, 1, fault.for_us)
    return None


def _roll(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """One after the other, then the new version is asked for."""

    def next_one(rest: list[str]) -> None:
        if world.healing:
            return
        if not rest:
            world.fired["version.roll"] += 1
            _enable(world, fault, dice)
            return
        member = world.members[rest[0]]
        if member.program == 1:
            if member.alive:
                _replace_program(world, member, 2, fault.for_us)
            else:
                member.program = 2
        world.heap.after(2 * fault.for_us, next_one, rest[1:])

    next_one(sorted(world.members))
    return None


def _enable(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    for leader in world.leaders():
        world.fired["version.enable"] += 1
        number = leader.desk.number()
        leader.desk.admin[number] = count_answer(world, "version")
        leader.later(0, leader.handle, ev.VersionRequested(number, 2))
    return None


def _enable_cut_off(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """A leader that nobody hears any more begins the new version: it will be taken back."""
    leader = world.leader()
    if leader is None:
        return None
    undo = cut_off(world, leader, dice)
    world.fired["version.enable_cut_off"] += 1
    number = leader.desk.number()
    leader.desk.admin[number] = count_answer(world, "version")
    leader.later(0, leader.handle, ev.VersionRequested(number, 2))
    return undo


STRIKES: dict[str, Strike] = {
    "version.upgrade": _upgrade,
    "version.downgrade": _downgrade,
    "version.roll": _roll,
    "version.enable": _enable,
    "version.enable_cut_off": _enable_cut_off,
}
