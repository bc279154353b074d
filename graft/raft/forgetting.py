"""A follower that has lost entries which it acknowledged to this leader: its disk was put back to an older copy.

Raft rests on what is synced staying there. A member whose data directory was restored from an image has forgotten
entries and votes, and nothing in the directory says so. Its vote could lose what is committed. The leader of the term
can know: an acknowledgement says how far the log agreed, and a later answer of the same incarnation tells of a shorter
log. "Later" is certain where the answer carries a round that began after the acknowledgement had arrived; an answer
that was overtaken on its way has an older round.

From then on the follower counts for nothing in this term, and is sent nothing but heartbeats of commit index 0, by
which it goes on owing the leader not to vote. The shell is told, again and again, and tells the member, which ends.

etcd sees the same at the follower, which panics when a heartbeat's commit index lies behind its log ("was the raft log
corrupted, truncated, or lost?"). A heartbeat does not say for which incarnation it is meant, so a member that lost its
disk and joined anew could take one for its own; an answer does say it.

Not seen: a log that was put back between two terms, or before the first heartbeat of this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .effects import ReportForgotten

if TYPE_CHECKING:
    from .progress import Progress
    from .state import State


def seen(s: State, p: Progress, round: int, last: int) -> bool:
    """An answer to what was sent in `round` tells that the log of `p` agrees at most up to `last`. True if `p` has
    forgotten something; then the answer counts for nothing."""
    if p.forgot_at is None:
        if last >= p.match or round <= p.match_round:
            return False
        s.trace("forgetting", f"{p.id} acknowledged {p.match} and has {last}")
        _set_aside(p)
    elif s.now - p.forgot_at < s.config.election_timeout_seconds:
        return True
    p.forgot_at = s.now
    s.emit(ReportForgotten(p.id, s.view.incarnations.get(p.id, 0), p.forgotten, last))
    return True


def _set_aside(p: Progress) -> None:
    """As if nothing had ever been heard of it."""
    p.forgotten = p.match
    p.match = p.round = p.lease_round = 0
    p.inflight.clear()
    p.inflight_bytes = 0
    p.state = "probe"  # whatever it was: no transition, for it never leaves this state
    p.snapshot = p.held_since = None
    p.probed = p.caught_up = False
    p.reading = 0
