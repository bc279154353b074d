"""What each kind of fault does when it strikes, and how it ends.

One function a kind, one file and one table a class; `Plan.faults` names the kinds. A function may return another one
that undoes it, to be called when the fault's time is over. In the second phase of a run nothing strikes any more and
nothing is undone: what is broken outside the core stays broken for ever.

The budget: faults that destroy what was synced (`disk.rot`, `disk.misdirected`, `disk.rolled_back`, `disk.fsync`,
`process.wipe`) strike only while every set of voters keeps a majority whose disks are whole. That is what the protocol
is asked to survive.

`World.fired` counts what really struck: a link that was cut, a member that was there to be crashed. A sweep in which a
kind never did fails (`graft.sim.sweep`).
"""

from graft.sim.chaos.processes import FUSES
from graft.sim.chaos.table import STRIKES, strike

__all__ = ["FUSES", "STRIKES", "strike"]
