"""Changes of who is in the cluster and who leads it, and a log that is cut meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.raft import events as ev
from graft.raft.events import Change
from graft.sim.chaos.strike import Strike, Undo, count_answer, cut_off, victim_of
from graft.sim.entropy import Entropy
from graft.sim.faults import Fault
from graft.sim.network import both_ways

if TYPE_CHECKING:
    from graft.sim.member import Member
    from graft.sim.world import World


def _spare(world: World) -> Member | None:
    """A machine that nobody's configuration knows any more: its disk may be made new."""
    known = {id for c in world.configurations() for id in (m.id for m in (*c.members, *c.outgoing))}
    for id in sorted(world.members):
        member = world.members[id]
        if id not in known and not member.returning:
            return member
    return None


def _bring(world: World, member: Member) -> None:
    """Make sure that it runs, under an identity that the cluster has not removed."""
    if member.image.used:
        member.crash()
        member.ledger.lost_disk(member.identity)
        member.renew()
    if not member.alive:
        member.start()


def _grow(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    spare = _spare(world)
    if spare is not None:
        _bring(world, spare)
        role = dice.choice(("voter", "voter", "executor"))
        world.fired["membership.grow"] += 1
        world.operator.wish(Change("add", spare.id, spare.incarnation, role))
    return None


def _a_member(world: World, dice: Entropy) -> str | None:
    leader = world.leader()
    return None if leader is None else dice.choice([m.id for m in leader.watch.configuration.members])


def _shrink(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    leaver = _a_member(world, dice)
    if leaver is not None:
        world.fired["membership.shrink"] += 1
        world.operator.wish(Change("remove", leaver))
    return None


def _replace(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """In one request: the joint configuration is more than one step wide."""
    spare, leaver = _spare(world), _a_member(world, dice)
    if spare is not None and leaver is not None:
        _bring(world, spare)
        world.fired["membership.replace"] += 1
        world.operator.wish(Change("add", spare.id, spare.incarnation), Change("remove", leaver))
    return None


def _demote(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    leaver = _a_member(world, dice)
    if leaver is not None:
        world.fired["membership.demote"] += 1
        world.operator.wish(Change("demote", leaver))
    return None


def _remove_leader(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    leader = world.leader()
    if leader is not None:
        world.fired["membership.remove_leader"] += 1
        world.operator.wish(Change("remove", leader.id))
    return None


def _remove_partitioned(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    leaver = _a_member(world, dice)
    if leaver is None:
        return None
    pairs = both_ways([leaver], [m for m in sorted(world.members) if m != leaver])
    world.network.cut(pairs)
    world.fired["membership.remove_partitioned"] += 1
    world.operator.wish(Change("remove", leaver))
    return lambda: world.network.heal(pairs)


def _two_requests(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """Two changes asked of everyone who thinks that it leads, at the same time."""
    spare, leaver = _spare(world), _a_member(world, dice)
    for leader in world.leaders() if world.is_whole() else ():
        world.fired["membership.two_requests"] += 1
        if spare is not None:
            _bring(world, spare)
            world.operator.request(leader, (Change("add", spare.id, spare.incarnation),))
        if leaver is not None:
            world.operator.request(leader, (Change("remove", leaver),))
    return None


def _transfer(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    target = None if dice.chance(300) else _a_member(world, dice)
    for leader in world.leaders():
        world.fired["membership.transfer"] += 1
        number = leader.desk.number()
        leader.desk.admin[number] = count_answer(world, "transfer")
        leader.later(0, leader.handle, ev.TransferRequested(number, target))
    return None


def _campaign(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = victim_of(world, dice)
    if victim is not None:
        world.fired["membership.campaign"] += 1
        victim.later(0, victim.handle, ev.CampaignRequested())
    return None


def _compact(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """Forget the log at a bad moment: whoever is behind needs a snapshot."""
    for member in world.running():
        if dice.chance(700):
            world.fired["membership.compact"] += 1
            index = member.watch.commit if dice.chance(300) else member.image.applied  # more than may go is asked too
            member.later(0, member.handle, ev.CompactionRequested(index))
    return None


def _compact_in_change(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """Everybody forgets the log while a joint configuration is in force, and whoever is new needs a snapshot of it."""
    world.compacts_in_change = True
    return _grow(world, fault, dice)


def _change_cut_off(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """A leader that nobody hears any more begins a change: it will be taken back."""
    leader = world.leader()
    if leader is None or not world.is_whole():
        return None
    configuration = leader.watch.configuration
    spare, leaver = _spare(world), dice.choice([m.id for m in configuration.members])
    undo = cut_off(world, leader, dice)
    world.fired[fault.kind] += 1
    if spare is not None and dice.chance(500):
        _bring(world, spare)
        world.operator.request(leader, (Change("add", spare.id, spare.incarnation),))
    else:
        world.operator.request(leader, (Change("remove", leaver),))
    return undo


def _transfer_cut_off(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """To a voter that hears nothing: the transfer has to be given up."""
    leader = world.leader()
    if leader is None:
        return None
    voters = [m.id for m in leader.watch.configuration.members if m.role == "voter" and m.id != leader.id]
    if not voters:
        return None
    target = world.members[dice.choice(voters)]
    undo = cut_off(world, target, dice)
    world.fired[fault.kind] += 1
    number = leader.desk.number()
    leader.desk.admin[number] = count_answer(world, "transfer")
    leader.later(dice.between(0, 20_000), leader.handle, ev.TransferRequested(number, target.id))
    return undo


STRIKES: dict[str, Strike] = {
    "membership.grow": _grow,
    "membership.shrink": _shrink,
    "membership.replace": _replace,
    "membership.demote": _demote,
    "membership.remove_leader": _remove_leader,
    "membership.remove_partitioned": _remove_partitioned,
    "membership.two_requests": _two_requests,
    "membership.transfer": _transfer,
    "membership.campaign": _campaign,
    "membership.change_cut_off": _change_cut_off,
    "membership.transfer_cut_off": _transfer_cut_off,
    "membership.compact": _compact,
    "membership.compact_in_change": _compact_in_change,
}
