"""What crosses the wire between members. Names are the paper's and the thesis's (Ongaro, 2014).

Every message carries
    source, target  ids of members
    incarnation     the sender's (see `Member.incarnation`)
    term            the sender's current term, or for a pre-vote the term it would begin

All are one-way: a reply is a message like any other, may be lost, repeated, late or overtaken.
"""

from __future__ import annotations

from .records import Entry, SnapshotMeta, record


@record
class RequestVote:
    """`pre_vote`: would you vote for me? Asked without beginning the term (thesis 9.6).

    `transfer`: the leader asked for this election (TimeoutNow), so nobody waits for the old leader's timeout.
    """

    source: str
    target: str
    incarnation: int
    term: int
    last_index: int
    last_term: int
    pre_vote: bool = False
    transfer: bool = False


@record
class VoteReply:
    """`term` is the request's term when `granted`, else the voter's own."""

    source: str
    target: str
    incarnation: int
    term: int
    granted: bool
    pre_vote: bool = False


@record
class AppendEntries:
    """`entries` follow `prev_index` without a gap and may be empty (a probe).

    `commit` is the leader's commit index, `round` the newest round of heartbeats (see `Heartbeat`).
    """

    source: str
    target: str
    incarnation: int
    term: int
    prev_index: int
    prev_term: int
    entries: tuple[Entry, ...]
    commit: int
    round: int = 0


@record
class AppendReply:
    """Accepted: `match` is the last index known to agree with the leader's log *and synced* on the sender.

    Rejected: `prev_index` is the request's, and the newest entry that may agree is at most at `hint_index`, with term
    `hint_term` (the fast backing up at the end of section 5.3).
    `max_version` is the newest cluster version that the sender's program understands.
    """

    source: str
    target: str
    incarnation: int
    term: int
    success: bool
    match: int
    prev_index: int = 0
    hint_index: int = 0
    hint_term: int = 0
    round: int = 0
    max_version: int = 1


@record
class Heartbeat:
    """Leadership asserted, and `round` to be confirmed by a quorum: for reads, leases and check-quorum alike.

    `commit` is at most what the target is known to hold. A round of 0 wants no reply: it only tells the commit index.
    """

    source: str
    target: str
    incarnation: int
    term: int
    commit: int
    round: int


@record
class HeartbeatReply:
    """`round` is the heartbeat's. `lease`: the sender keeps its promise to vote for nobody else for a while.

    `log_end`: the index behind the newest entry of the sender's log; 0: it does not say.
    """

    source: str
    target: str
    incarnation: int
    term: int
    round: int
    lease: bool = False
    max_version: int = 1
    log_end: int = 0


@record
class StaleTerm:
    """Answer to a leader or candidate of an older term: begin again in mine or later."""

    source: str
    target: str
    incarnation: int
    term: int


@record
class InstallSnapshot:
    """One chunk of a snapshot. `checksum` is the CRC-32 of `data`; the last chunk ends at `meta.size`.

    An empty chunk at `offset` 0 of a snapshot larger than 0 asks where to resume.
    """

    source: str
    target: str
    incarnation: int
    term: int
    meta: SnapshotMeta
    offset: int
    data: bytes
    checksum: int


@record
class SnapshotReply:
    """`next_offset` is the first byte that the sender still wants of snapshot `id`, as far as it has them synced.

    `installed`: no more is wanted, the log now agrees up to `match`. `restart`: what was staged is bad, begin at 0.
    """

    source: str
    target: str
    incarnation: int
    term: int
    id: str
    next_offset: int
    installed: bool = False
    restart: bool = False
    match: int = 0
    max_version: int = 1


@record
class TimeoutNow:
    """Leadership transfer (thesis 3.10): stand for election at once."""

    source: str
    target: str
    incarnation: int
    term: int


@record
class ReadIndex:
    """A follower asks for the leader's read index (thesis 6.4). `request` is the follower's number for the batch."""

    source: str
    target: str
    incarnation: int
    term: int
    request: int


@record
class ReadIndexReply:
    """`index` answers `request` of the target's incarnation `asked_by`; None: refused, ask again later."""

    source: str
    target: str
    incarnation: int
    term: int
    request: int
    asked_by: int
    index: int | None


@record
class RepairRequest:
    """My entry at `index`, which was written in `entry_term`, is damaged: who has it?"""

    source: str
    target: str
    incarnation: int
    term: int
    index: int
    entry_term: int


@record
class RepairReply:
    """`entry` when the sender holds it. Else `absent`: it does not and never will accept it from an older leader.

    `purged`: it was committed and has gone into a snapshot. All three empty: cannot say now.
    """

    source: str
    target: str
    incarnation: int
    term: int
    index: int
    entry_term: int
    entry: Entry | None = None
    absent: bool = False
    purged: bool = False


Message = (
    RequestVote
    | VoteReply
    | AppendEntries
    | AppendReply
    | Heartbeat
    | HeartbeatReply
    | StaleTerm
    | InstallSnapshot
    | SnapshotReply
    | TimeoutNow
    | ReadIndex
    | ReadIndexReply
    | RepairRequest
    | RepairReply
)
