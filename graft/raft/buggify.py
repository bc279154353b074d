"""Named points where a simulation may take the unlikely way: all of it legal, and rare in life.

After FoundationDB's `BUGGIFY`. A point is a question to a hook that only the simulator gives to `Raft`; in production
there is none and the answer is no (one comparison). What a point does must be allowed at any time by the protocol, so
that an invariant that breaks behind it is a bug.
"""

from __future__ import annotations

from collections.abc import Callable

Hook = Callable[[str], bool]

POINTS: tuple[str, ...] = (
    "append.partial_batch",  # the leader sends one entry where it could send many
    "apply.small_step",  # one committed entry is handed over, the others come behind it
    "read.short",  # the store is asked for one entry only
    "snapshot.early",  # a follower is sent a snapshot though the log has what it needs
    "window.closed",  # nothing more is sent to a follower that owes an answer
)
"""The points there are. Each must have fired in a sweep (`graft.sim.sweep`)."""
