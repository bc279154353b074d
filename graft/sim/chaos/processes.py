"""Processes that die at bad moments, stand still, and lose their disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.raft import events as ev
from graft.sim.chaos.strike import Strike, Undo, victim_of
from graft.sim.entropy import Entropy
from graft.sim.faults import Fault
from graft.sim.network import both_ways

if TYPE_CHECKING:
    from graft.sim.member import Member
    from graft.sim.world import World

FUSES = ("Persist", "Send", "ApplyEntries", "WriteChunk", "SwitchToSnapshot", "TakeSnapshot", "PurgeLog")
"""Effects that a process dies before on purpose; with a fuse of so many effects it may be any."""


def _crash(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = victim_of(world, dice)
    if victim is not None:
        world.fired[fault.kind] += 1
        victim.crash()
        victim.restart_after(fault.for_us)
    return None


def _crash_loop(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = victim_of(world, dice)
    end = world.now() + fault.for_us

    def again(member: Member) -> None:
        if world.healing or world.now() > end:
            return
        world.fired["process.crash_loop"] += 1
        member.crash()
        member.restart_after(dice.between(5_000, 60_000))
        world.heap.after(dice.between(65_000, 250_000), again, member)

    if victim is not None:
        again(victim)
    return None


def _crash_at_effect(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """The process dies between two effects: before a write, after it, before a message, before applying."""
    victim = victim_of(world, dice)
    if victim is not None:
        if dice.chance(300):
            victim.light_fuse(dice.between(1, 12), fault.for_us)
        elif dice.chance(300):
            victim.light_fuse_for(dice.choice(FUSES[:3]), fault.for_us)
        else:  # everybody's: it burns at whoever does that first, which is helped along
            effect = dice.choice(FUSES[3:])
            for member in world.running():
                member.light_fuse_for(effect, fault.for_us)
                member.later(0, member.handle, ev.CompactionRequested(member.image.applied))
    return None


def _crash_at(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """The process dies in one of the gaps between an order, its sync and its word (`Member.die_at`)."""
    victim = victim_of(world, dice)
    if victim is not None:
        victim.die_at(fault.kind.removeprefix("process.crash_at_"), fault.for_us)
    return None


def _crash_in_recovery(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = victim_of(world, dice)
    if victim is None:
        return None
    victim.crash()
    identity = victim.identity

    def restart() -> None:
        if not world.healing and not victim.alive and victim.identity == identity:
            world.fired["process.crash_in_recovery"] += 1
            victim.start()
            victim.light_fuse(dice.between(1, 4), fault.for_us)

    world.heap.after(fault.for_us, restart)
    return None


def _all_at_once(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    world.fired["process.all_at_once"] += 1
    for member in world.running():
        member.crash()
        member.restart_after(fault.for_us + dice.below(50_000))
    return None


def _bridge_crash(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """The leader is left with a bare majority, the others stand for election all the time; then one of the majority
    crashes and is back at once, on the other side, with no memory of what it promised to the leader."""
    leader = world.leader()
    if leader is None:
        return None
    voters = [m.id for m in leader.watch.configuration.members if m.role == "voter" and m.id != leader.id]
    with_leader = dice.sample(voters, (len(voters) + 1) // 2)  # for an odd number: either side is one short of two
    others = [id for id in sorted(world.members) if id != leader.id and id not in with_leader]
    pairs = both_ways([leader.id], others)
    world.network.cut(pairs)
    timeout = int(world.plan.election_seconds * 1_000_000)

    def crash() -> None:
        if world.healing or not with_leader:
            return
        bridge = world.members[dice.choice(with_leader)]
        if bridge.alive:
            world.fired["process.bridge_crash"] += 1
            bridge.crash()
            bridge.restart_after(fault.for_us)
            change_sides = both_ways([leader.id], [bridge.id])
            world.network.cut(change_sides)
            pairs.extend(change_sides)
            if dice.chance(600):  # its log is the best over there, so it need not wait for the others to find out
                world.heap.after(fault.for_us + 1_000, force, bridge)
        world.heap.after(dice.between(timeout // 2, 3 * timeout), over)

    def force(bridge: Member) -> None:
        if bridge.alive and not world.healing:
            bridge.later(0, bridge.handle, ev.CampaignRequested())

    def over() -> None:
        if not world.healing:
            world.network.heal(pairs)

    world.heap.after(dice.between(timeout, 3 * timeout), crash)
    return None


def _pause(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = world.leader() if dice.chance(500) else None
    victim = victim or victim_of(world, dice)
    if victim is None:
        return None
    world.fired["process.pause"] += 1
    return victim.pause()


def _wipe(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = victim_of(world, dice)
    if victim is not None and world.can_lose(victim):
        world.fired["process.wipe"] += 1
        victim.wipe()
    return None


STRIKES: dict[str, Strike] = {
    "process.crash": _crash,
    "process.outage": _crash,
    "process.crash_loop": _crash_loop,
    "process.crash_at_effect": _crash_at_effect,
    "process.crash_at_sync": _crash_at,
    "process.crash_at_apply": _crash_at,
    "process.crash_at_order": _crash_at,
    "process.crash_at_write": _crash_at,
    "process.crash_at_word": _crash_at,
    "process.crash_in_recovery": _crash_in_recovery,
    "process.all_at_once": _all_at_once,
    "process.pause": _pause,
    "process.bridge_crash": _bridge_crash,
    "process.wipe": _wipe,
}
