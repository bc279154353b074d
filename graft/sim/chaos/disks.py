"""Disks that are slow or full, fail, rot, and are put back as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.sim.chaos.strike import Strike, Undo, victim_of
from graft.sim.entropy import Entropy
from graft.sim.faults import Fault

if TYPE_CHECKING:
    from graft.sim.member import Member
    from graft.sim.world import World


def _slow(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = victim_of(world, dice)
    if victim is None:
        return None
    trouble, extra = victim.trouble, dice.between(5_000, 1_000_000)
    trouble.slow_us += extra
    world.fired["disk.slow"] += 1

    def over() -> None:
        trouble.slow_us -= extra

    return over


def _full(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = victim_of(world, dice)
    if victim is None:
        return None
    trouble = victim.trouble
    trouble.full = True

    def over() -> None:
        trouble.full = False

    return over


def _eio(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = victim_of(world, dice)
    if victim is not None:
        victim.trouble.fail = "eio"
    return None


def _fsync(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    victim = victim_of(world, dice)
    if victim is not None and world.can_lose(victim):
        victim.trouble.fail = "fsync"
    return None


def _rot(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    """Some synced entries can no longer be read."""
    victim = victim_of(world, dice)
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
    victim = victim_of(world, dice)
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
    victim = victim_of(world, dice)
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


STRIKES: dict[str, Strike] = {
    "disk.slow": _slow,
    "disk.full": _full,
    "disk.eio": _eio,
    "disk.fsync": _fsync,
    "disk.rot": _rot,
    "disk.misdirected": _misdirected,
    "disk.rolled_back": _rolled_back,
}
