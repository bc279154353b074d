"""What each kind of fault does when it strikes, and how it ends.

One function a kind, in a table; `Plan.faults` names them. A function may return another one that undoes it, to be
called when the fault's time is over. In the second phase of a run nothing strikes any more and nothing is undone: what
is broken outside the core stays broken for ever.

The budget: faults that destroy what was synced (`disk.rot`, `disk.misdirected`, `disk.rolled_back`, `disk.fsync`,
`process.wipe`) strike only while every set of voters keeps a majority whose disks are whole. That is what the protocol
is asked to survive.

`World.fired` counts what really struck: a link that was cut, a member that was there to be crashed. A sweep in which a
kind never did fails (`graft.sim.sweep`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from graft.raft import events as ev
from graft.raft.events import Change
from graft.sim.entropy import Entropy
from graft.sim.faults import Fault
from graft.sim.network import SHAPES, Rates, both_ways

if TYPE_CHECKING:
    from graft.sim.member import Member
    from graft.sim.world import World

FUSES = ("Persist", "Send", "ApplyEntries", "WriteChunk", "SwitchToSnapshot", "TakeSnapshot", "PurgeLog")
"""Effects that a process dies before on purpose; with a fuse of so many effects it may be any."""

Undo = Callable[[], None]
Strike = Callable[["World", Fault, Entropy], Undo | None]


def strike(world: World, fault: Fault) -> None:
    """Carry out a fault of the plan, and schedule its end."""
    if world.healing:
        return
    world.note("fault", fault.kind)
    undo = STRIKES[fault.kind](world, fault, fault.entropy())
    if undo is not None:
        world.heap.after(fault.for_us, _end, world, fault, undo)


def _end(world: World, fault: Fault, undo: Undo) -> None:
    if not world.healing:
        world.note("fault over", fault.kind)
        undo()


def _victim(world: World, dice: Entropy) -> Member | None:
    """Somebody who runs, the leader more often than chance would have it."""
    running = world.running()
    leader = world.leader()
    if leader is not None and dice.chance(350):
        return leader
    return dice.choice(running) if running else None


# -- network -----------------------------------------------------------------------------------------------------


def _partition(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    members = sorted(world.members)
    pairs = SHAPES[fault.kind.removeprefix("partition.")](members, dice)
    leader = world.leader()
    if fault.kind == "partition.isolate" and leader is not None and dice.chance(400):
        pairs = both_ways([leader.id], [m for m in members if m != leader.id])
    if pairs:
        world.fired[fault.kind] += 1
    world.network.cut(pairs)
    return lambda: world.network.heal(pairs)


def _some_pairs(world: World, dice: Entropy) -> list[tuple[str, str]]:
    members = sorted(world.members)
    pairs = [(a, b) for a in members for b in members if a != b]
    return dice.sample(pairs, dice.between(1, len(pairs)))


def _clog(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """Links clog; they come free one by one, in random order, each with a burst."""
    pairs = _some_pairs(world, dice)
    world.network.clog(pairs)

    def free(pair: tuple[str, str]) -> None:
        if not world.healing:
            world.network.unclog([pair])

    for pair in pairs:
        world.heap.after(fault.for_us * dice.between(200, 1000) // 1000, free, pair)
    return None


def _deaf(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    pairs = _some_pairs(world, dice)
    world.network.deafen(pairs)
    return lambda: world.network.undeafen(pairs)


def _storm(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    before = world.network.rates
    world.fired[fault.kind] += 1
    world.network.rates = Rates(
        drop=dice.between(0, 300),
        duplicate=dice.between(0, 500),
        delay_us=dice.between(1_000, 100_000),
        queue=dice.choice((2, 20, 1_000_000)),
    )

    def over() -> None:
        world.network.rates = before

    return over


def _flap(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """One member's links go down and up again and again."""
    members = sorted(world.members)
    victim = dice.choice(members)
    pairs = both_ways([victim], [m for m in members if m != victim])
    end = world.now() + fault.for_us
    world.fired[fault.kind] += 1
    down = False

    def flip() -> None:
        nonlocal down
        if world.healing:
            return
        (world.network.heal if down else world.network.cut)(pairs)
        down = not down
        if down or world.now() < end:
            world.heap.after(dice.between(20_000, 300_000), flip)

    flip()
    return None


def _echo(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """The leader is cut off, except that one follower's messages of before reach it once more, late."""
    leader = world.leader()
    others = [m for m in world.running() if m is not leader]
    if leader is None or not others:
        return None
    echo = (dice.choice(others).id, leader.id)
    members = [id for id in sorted(world.members) if id != leader.id]
    pairs = [pair for pair in both_ways([leader.id], members) if pair != echo]
    world.network.record(echo)

    def cut_off() -> None:
        if not world.healing:
            world.fired[fault.kind] += 1
            world.network.cut(pairs)
            world.network.replay(echo, fault.for_us)
            world.heap.after(fault.for_us, over)

    def over() -> None:
        if not world.healing:
            world.network.heal(pairs)

    world.heap.after(dice.between(50_000, 400_000), cut_off)
    return None


# -- disk --------------------------------------------------------------------------------------------------------


def _slow(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = _victim(world, dice)
    if victim is None:
        return None
    trouble, extra = victim.trouble, dice.between(5_000, 1_000_000)
    trouble.slow_us += extra
    world.fired["disk.slow"] += 1

    def over() -> None:
        trouble.slow_us -= extra

    return over


def _full(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = _victim(world, dice)
    if victim is None:
        return None
    trouble = victim.trouble
    trouble.full = True

    def over() -> None:
        trouble.full = False

    return over


def _eio(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = _victim(world, dice)
    if victim is not None:
        victim.trouble.fail = "eio"
    return None


def _fsync(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = _victim(world, dice)
    if victim is not None and world.can_lose(victim):
        victim.trouble.fail = "fsync"
    return None


def _rot(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """Some synced entries can no longer be read."""
    victim = _victim(world, dice)
    if victim is None or not victim.image.terms or not world.can_lose(victim):
        return None
    image = victim.image
    last = min(image.last, victim.watch.last)
    low = image.first if dice.chance(300) else max(image.first, last - 5)
    if low <= last:
        image.rot({dice.between(low, last) for _ in range(dice.between(1, 3))})
        world.fired["disk.rot"] += 1
        _come_across(victim, dice)
    return None


def _come_across(victim: Member, dice: Entropy) -> None:
    """Damage shows at the next start, or to who reads everything, or when the entry is needed."""
    if dice.chance(500):
        victim.crash()
        victim.restart_after(dice.between(20_000, 400_000))
    elif dice.chance(300):
        victim.later(0, victim.scrub)


def _misdirected(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """The write of one entry hit the place of another. Where it was missed an overwritten entry may lie, as good as on
    the day it was written."""
    victim = _victim(world, dice)
    if victim is None or len(victim.image.terms) < 2 or not world.can_lose(victim):
        return None
    image = victim.image
    log = range(image.first, min(image.last, victim.watch.last) + 1)
    places = dice.sample(image.overwritten() or list(log), 1) + dice.sample(log, 2)
    if len(log) < 2:
        return None
    index, onto = places[0], next(place for place in places[1:] if place != places[0])
    world.fired["disk.misdirected"] += 1
    if image.misdirect(index, onto):
        world.fired["disk.misdirected_stale"] += 1
    _come_across(victim, dice)
    return None


def _rolled_back(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """The store's file is one day what it was before the last start: an old copy that somebody put back."""
    victim = _victim(world, dice)
    if victim is None:
        return None
    identity, copy = victim.identity, victim.image.store.copy()
    victim.crash()
    victim.restart_after(20_000)

    def roll_back() -> None:
        if not world.healing and victim.identity == identity and victim.alive and world.can_lose(victim):
            world.fired["disk.rolled_back"] += 1
            victim.crash()
            victim.image.roll_back(copy)
            victim.start()

    world.heap.after(20_000 + fault.for_us, roll_back)
    return None


# -- clocks ------------------------------------------------------------------------------------------------------


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


# -- processes ---------------------------------------------------------------------------------------------------


def _crash(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = _victim(world, dice)
    if victim is not None:
        world.fired[fault.kind] += 1
        victim.crash()
        victim.restart_after(fault.for_us)
    return None


def _crash_loop(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = _victim(world, dice)
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
    victim = _victim(world, dice)
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
    """The process dies when something is done and nobody was told: the next turn synced, the next entries applied."""
    victim = _victim(world, dice)
    if victim is not None:
        victim.die_at(fault.kind.removeprefix("process.crash_at_"), fault.for_us)
    return None


def _crash_in_recovery(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = _victim(world, dice)
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
    victim = victim or _victim(world, dice)
    if victim is None:
        return None
    world.fired["process.pause"] += 1
    return victim.pause()


def _wipe(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = _victim(world, dice)
    if victim is not None and world.can_lose(victim):
        world.fired["process.wipe"] += 1
        victim.wipe()
    return None


# -- membership --------------------------------------------------------------------------------------------------


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
        leader.desk.admin[number] = _count(world, "transfer")
        leader.later(0, leader.handle, ev.TransferRequested(number, target))
    return None


def _count(world: World, name: str) -> Callable[[str], None]:
    def answered(reason: str) -> None:
        world.fired[f"{name}.{reason or 'done'}"] += 1

    return answered


def _campaign(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = _victim(world, dice)
    if victim is not None:
        world.fired["membership.campaign"] += 1
        victim.later(0, victim.handle, ev.CampaignRequested())
    return None


def _compact(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """Forget the log at a bad moment: whoever is behind needs a snapshot."""
    for member in world.running():
        if dice.chance(700):
            world.fired["membership.compact"] += 1
            member.later(0, member.handle, ev.CompactionRequested(member.image.applied))
    return None


def _compact_in_change(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """Everybody forgets the log while a joint configuration is in force, and whoever is new needs a snapshot of it."""
    world.compacts_in_change = True
    return _grow(world, fault, dice)


# -- versions ----------------------------------------------------------------------------------------------------


def _replace_program(world: World, member: Member, program: int, outage_us: int) -> None:
    member.crash()
    member.program = program
    member.restart_after(outage_us)


def _upgrade(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = _victim(world, dice)
    if victim is not None and victim.program == 1:
        world.fired["version.upgrade"] += 1
        _replace_program(world, victim, 2, fault.for_us)
    return None


def _downgrade(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """Back to the old program, which is allowed until the new version is in somebody's log. An operator who asks for it
    at the same time makes the old program stop."""
    victim = _victim(world, dice)
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
        leader.desk.admin[number] = _count(world, "version")
        leader.later(0, leader.handle, ev.VersionRequested(number, 2))
    return None


# -- load --------------------------------------------------------------------------------------------------------


def _pace(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    world.fired[fault.kind] += 1
    for client in world.clients:
        client.pace = 100 if fault.kind == "load.burst" else 5_000

    def over() -> None:
        for client in world.clients:
            client.pace = 1000

    return over


STRIKES: dict[str, Strike] = {
    **{f"partition.{shape}": _partition for shape in SHAPES},
    "net.clog": _clog,
    "net.deaf": _deaf,
    "net.storm": _storm,
    "net.flap": _flap,
    "net.echo": _echo,
    "disk.slow": _slow,
    "disk.full": _full,
    "disk.eio": _eio,
    "disk.fsync": _fsync,
    "disk.rot": _rot,
    "disk.misdirected": _misdirected,
    "disk.rolled_back": _rolled_back,
    "clock.jump": _jump,
    "clock.jump_back": _jump_back,
    "clock.drift": _drift,
    "process.crash": _crash,
    "process.outage": _crash,
    "process.crash_loop": _crash_loop,
    "process.crash_at_effect": _crash_at_effect,
    "process.crash_at_sync": _crash_at,
    "process.crash_at_apply": _crash_at,
    "process.crash_in_recovery": _crash_in_recovery,
    "process.all_at_once": _all_at_once,
    "process.pause": _pause,
    "process.bridge_crash": _bridge_crash,
    "process.wipe": _wipe,
    "membership.grow": _grow,
    "membership.shrink": _shrink,
    "membership.replace": _replace,
    "membership.demote": _demote,
    "membership.remove_leader": _remove_leader,
    "membership.remove_partitioned": _remove_partitioned,
    "membership.two_requests": _two_requests,
    "membership.transfer": _transfer,
    "membership.campaign": _campaign,
    "membership.compact": _compact,
    "membership.compact_in_change": _compact_in_change,
    "version.upgrade": _upgrade,
    "version.downgrade": _downgrade,
    "version.roll": _roll,
    "version.enable": _enable,
    "load.burst": _pace,
    "load.quiet": _pace,
}
