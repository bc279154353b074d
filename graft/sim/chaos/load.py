"""Clients that ask more or less often than usual."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.sim.chaos.strike import Strike, Undo
from graft.sim.entropy import Entropy
from graft.sim.faults import Fault

if TYPE_CHECKING:
    from graft.sim.world import World


def _pace(world: World, fault: Fault, dice: Entropy) -> Undo | None:
    world.fired[fault.kind] += 1
    for client in world.clients:
        client.pace = 100 if fault.kind == "load.burst" else 5_000

    def over() -> None:
        for client in world.clients:
            client.pace = 1000

    return over


STRIKES: dict[str, Strike] = {
    "load.burst": _pace,
    "load.quiet": _pace,
}
