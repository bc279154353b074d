"""What a kind of fault is: a function of the run, the fault of the plan and its dice; and what several kinds need."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from graft.sim.entropy import Entropy
from graft.sim.faults import Fault
from graft.sim.network import both_ways

if TYPE_CHECKING:
    from graft.sim.member import Member
    from graft.sim.world import World

Undo = Callable[[], None]
Strike = Callable[["World", Fault, Entropy], Undo | None]


def victim_of(world: World, dice: Entropy) -> Member | None:
    """Somebody who runs, the leader more often than chance would have it."""
    running = world.running()
    leader = world.leader()
    if leader is not None and dice.chance(350):
        return leader
    return dice.choice(running) if running else None


def cut_off(world: World, member: Member, dice: Entropy) -> Undo:
    """`member` hears nobody and nobody hears it; or it hears them still."""
    others = [id for id in sorted(world.members) if id != member.id]
    pairs = both_ways([member.id], others) if dice.chance(700) else [(member.id, id) for id in others]
    world.network.cut(pairs)
    return lambda: world.network.heal(pairs)


def count_answer(world: World, name: str) -> Callable[[str], None]:
    """Count what became of a request to the cluster, by the reason that it is answered with."""

    def answered(reason: str) -> None:
        world.fired[f"{name}.{reason or 'done'}"] += 1

    return answered
