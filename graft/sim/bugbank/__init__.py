"""Bugs that are planted on purpose: the simulator's own acceptance test.

`shipped` are those that others shipped; the other files are of a kind each, ours, planted because a whole kind went
unseen. `planting` says how a bug is planted and found.
"""

from __future__ import annotations

from typing import Final

from graft.sim.bugbank import (
    budgets,
    gaps,
    learners,
    leases,
    overwritten,
    pre_votes,
    removed,
    retention,
    shipped,
    transfers,
    versions,
)
from graft.sim.bugbank.planting import Bug, BugLost, Edit, hunt, planted

KINDS: Final[dict[str, tuple[Bug, ...]]] = {
    "shipped by others": shipped.BUGS,
    "budgets that leak": budgets.BUGS,
    "told before it is stored": gaps.BUGS,
    "acknowledgements of what was overwritten": overwritten.BUGS,
    "members that were removed": removed.BUGS,
    "version gates": versions.BUGS,
    "learners": learners.BUGS,
    "votes and pre-votes": pre_votes.BUGS,
    "transfers": transfers.BUGS,
    "leases": leases.BUGS,
    "retention": retention.BUGS,
}
BUGS: Final[tuple[Bug, ...]] = tuple(bug for bugs in KINDS.values() for bug in bugs)
BY_NAME: Final[dict[str, Bug]] = {bug.name: bug for bug in BUGS}

__all__ = ["BUGS", "BY_NAME", "KINDS", "Bug", "BugLost", "Edit", "hunt", "planted"]
