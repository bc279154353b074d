"""Links that break, clog, lose, flap and repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.sim.chaos.strike import Strike, Undo
from graft.sim.entropy import Entropy
from graft.sim.faults import Fault
from graft.sim.network import SHAPES, Rates, both_ways

if TYPE_CHECKING:
    from graft.sim.world import World


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


STRIKES: dict[str, Strike] = {
    **{f"partition.{shape}": _partition for shape in SHAPES},
    "net.clog": _clog,
    "net.deaf": _deaf,
    "net.storm": _storm,
    "net.flap": _flap,
    "net.echo": _echo,
}
