"""Every kind of fault by its name in a plan, and the moment when one strikes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from graft.sim.chaos import clocks, disks, links, load, membership, processes, versions
from graft.sim.chaos.strike import Strike, Undo
from graft.sim.faults import Fault

if TYPE_CHECKING:
    from graft.sim.world import World

STRIKES: Final[dict[str, Strike]] = {
    **links.STRIKES,
    **disks.STRIKES,
    **clocks.STRIKES,
    **processes.STRIKES,
    **membership.STRIKES,
    **versions.STRIKES,
    **load.STRIKES,
}


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
