"""The one door: `Raft.handle(event, now)`. Dispatch, the rules about terms that hold for every message, time.

The consensus algorithm of Ongaro and Ousterhout, *In Search of an Understandable Consensus Algorithm* (2014), with
the extensions of Ongaro's thesis, *Consensus: Bridging Theory and Practice* (2014). See `docs/internals/raft.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import (
    applying,
    election,
    membership,
    messages,
    reads,
    recovery,
    repair,
    replication,
    retention,
    snapshots,
    transfer,
    versions,
)
from .buggify import Hook
from .config import Config
from .effects import AnswerRequest, Effect, RefuseProposal, RefuseRead
from .events import (
    Applied,
    CampaignRequested,
    ChunkRead,
    ChunkWritten,
    CompactionRequested,
    CorruptionFound,
    DeadlinePassed,
    EntriesRead,
    Event,
    MembershipChangeRequested,
    MessageReceived,
    Persisted,
    PersistFailed,
    Proposed,
    QuorumRecoveryRequested,
    ReadRequested,
    SnapshotFailed,
    SnapshotTaken,
    Starved,
    TransferRequested,
    VersionRequested,
)
from .messages import Message, RepairRequest, RequestVote, VoteReply
from .records import Configuration, Recovered, record
from .roles import become_follower
from .snapshots import Arrival
from .state import State, Tracer


@record
class Follower:
    """What a leader tells people about one follower. `heard_seconds`: since it answered; inf if it never did."""

    id: str
    state: str
    match: int
    next: int
    inflight: int
    caught_up: bool
    heard_seconds: float


@record
class Status:
    """A member as people and metrics see it. `last_term` is that of the last entry: it decides who knows more."""

    id: str
    role: str
    term: int
    leader: str | None
    vote: str | None
    first: int
    last: int
    last_term: int
    durable: int
    commit: int
    applied: int
    applied_durable: int
    version: int
    configuration: Configuration
    configuration_index: int
    damaged: int
    window_bytes: int
    followers: tuple[Follower, ...]
    stopped: str


class Raft:
    """One member's consensus. `entropy` returns integers in [0, 2**64); `now` in seconds, never going back. `buggify`
    is for simulations (see there).

    Not thread-safe, and never re-entered: effects are carried out after the call returned. Raises AssertionError when
    a member (this one or another) broke the protocol: stop the process, what the disk holds is still right.
    """

    __slots__ = ("state",)

    def __init__(
        self,
        config: Config,
        recovered: Recovered,
        entropy: Callable[[], int],
        now: float,
        tracer: Tracer | None = None,
        buggify: Hook | None = None,
    ) -> None:
        self.state = s = State(config, recovered, entropy, now, tracer, buggify)
        if recovered.staged is not None:
            s.arrival = Arrival(recovered.staged.meta, recovered.staged.offset, recovered.staged.offset)
        election.start(s, recovered.restarted)
        repair.start(s)
        versions.check(s)

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Tell one event; carry out what comes back, in order."""
        s = self.state
        if now > s.now:
            s.now = now
        if s.stopped:
            return _decline(event) or _last_word(s)
        HANDLERS[type(event)](s, event)
        return _finish(s)

    def handle_many(self, events: Sequence[Event], now: float) -> list[Effect]:
        """Tell several events at once: they share one write, and one message a follower where they can."""
        s = self.state
        if now > s.now:
            s.now = now
        declined: list[Effect] = []
        for event in events:
            if s.stopped:
                declined += _decline(event)
            else:
                HANDLERS[type(event)](s, event)
        return _finish(s) + declined

    def next_deadline(self) -> float | None:
        """When to tell `DeadlinePassed` unless something else is told before; None: never."""
        s = self.state
        if s.effects or s.outbox:
            return s.now  # the start itself ordered something
        if s.stopped:
            return None
        due = s.heartbeat_due if s.role == "leader" else s.election_deadline
        if s.repair is not None and s.repair.due < due:
            due = s.repair.due
        if s.handover is not None and s.handover.deadline < due:
            due = s.handover.deadline
        if s.follower_reads:
            due = min(due, reads.next_follower_deadline(s) or due)
        return due

    def status(self) -> Status:
        s = self.state
        followers = tuple(
            Follower(p.id, p.state, p.match, p.next, len(p.inflight), p.caught_up, s.now - p.heard_at)
            for p in s.progress.values()
        )
        return Status(
            s.id,
            s.role,
            s.term,
            s.leader,
            s.vote,
            s.log.first,
            s.log.last,
            s.log.last_term,
            s.log.durable,
            s.commit,
            s.applied,
            s.applied_durable,
            s.version,
            s.view.configuration,
            s.view.index,
            len(s.log.corrupt),
            s.log.window_bytes,
            followers,
            s.stopped,
        )


def _finish(s: State) -> list[Effect]:
    """End of a call: what was wanted becomes effects, the write before the messages that wait for it."""
    if not s.stopped:
        if s.role == "leader" and (s.replicate_wanted or s.broadcast_commit):
            replication.flush(s)
        if s.reads_waiting:
            reads.flush(s)
        if s.snapshots:
            snapshots.drop_unused(s)
        s.order_write()
        if s.outbox:
            s.order_sends()
        if s.applying < s.commit:
            applying.flush(s)
        if s.log.window_bytes > s.log.max_window_bytes:
            s.log.trim()
        s.report_role()
    effects = s.effects
    s.effects = []
    return effects


def _last_word(s: State) -> list[Effect]:
    """What was ordered before the first call, if the member never started."""
    effects, s.effects = s.effects, []
    return effects


def _decline(event: Event) -> list[Effect]:
    """A stopped member answers requests, so that nobody waits."""
    if isinstance(event, Proposed):
        return [RefuseProposal(event.request, "stopped")]
    if isinstance(event, ReadRequested):
        return [RefuseRead((event.request,), "stopped")]
    if isinstance(event, MembershipChangeRequested | TransferRequested | VersionRequested | QuorumRecoveryRequested):
        return [AnswerRequest(event.request, "stopped")]
    return []


# ---- messages ------------------------------------------------------------------------------------------------------

REQUESTS: dict[type[Any], Callable[[State, Any], None]] = {
    messages.RequestVote: election.vote_requested,
    messages.ReadIndex: reads.read_index,
    messages.RepairRequest: repair.requested,
}
FROM_LEADER: dict[type[Any], Callable[[State, Any], None]] = {
    messages.AppendEntries: replication.append_entries,
    messages.Heartbeat: replication.heartbeat,
    messages.InstallSnapshot: snapshots.install_snapshot,
    messages.TimeoutNow: transfer.timeout_now,
}
REPLIES: dict[type[Any], Callable[[State, Any], None]] = {
    messages.VoteReply: election.vote_replied,
    messages.AppendReply: replication.append_replied,
    messages.HeartbeatReply: reads.heartbeat_replied,
    messages.SnapshotReply: snapshots.snapshot_replied,
    messages.ReadIndexReply: reads.read_index_replied,
    messages.RepairReply: repair.replied,
    messages.StaleTerm: lambda s, m: None,  # its term is all it says
}
ANY_TERM = (messages.RepairRequest, messages.RepairReply, messages.ReadIndexReply, messages.RequestVote)
"""Messages that are handled although their term is over: they answer by it, or do not speak of it."""


def message_received(s: State, event: MessageReceived) -> None:
    """What goes before every message: is it for me, from whom it says, and of which term (5.1, figure 2)."""
    m = event.message
    kind = type(m)
    if m.target != s.id:
        return
    handler = REPLIES.get(kind)
    if handler is not None:
        # Who was removed, or lost its disk, has no voice (S13).
        if not membership.knows(s, m.source, m.incarnation) and not _is_from_the_leader_of_a_joiner(s, m):
            return
        if m.term != s.term and not _term_of_reply(s, m):
            return
        handler(s, m)
        return
    handler = FROM_LEADER.get(kind)
    if handler is not None:
        if m.term < s.term:
            replication.tell_stale(s, m.source)
            return
        if m.term > s.term:
            become_follower(s, "higher_term", m.term, m.source)
        handler(s, m)
        return
    if isinstance(m, RequestVote) and election.ignores(s, m):
        return
    if m.term > s.term and _takes_term(s, m):
        become_follower(s, "higher_term", m.term, None)
    if m.term < s.term and kind not in ANY_TERM:
        return
    REQUESTS[kind](s, m)


def _is_from_the_leader_of_a_joiner(s: State, m: Message) -> bool:
    """The log of a joiner does not say yet who is in the cluster: it knows only who leads it."""
    return not s.view.configuration.members and m.source == s.leader


def _takes_term(s: State, m: Message) -> bool:
    """A request of a later term begins it here, but for a pre-vote, which only asks, and for the repair of somebody
    whose elections are ignored: a removed server would depose every leader by it (thesis 4.2.3)."""
    if isinstance(m, RequestVote):
        return not m.pre_vote
    return not (isinstance(m, RepairRequest) and election.promised(s))


def _term_of_reply(s: State, m: Message) -> bool:
    """A reply of another term: take a later term, and say whether the reply still means something."""
    if m.term > s.term:
        if type(m) is VoteReply and m.pre_vote and m.granted:
            return True  # a grant carries the term that would begin
        become_follower(s, "higher_term", m.term, None)
        return True
    return type(m) in ANY_TERM


# ---- the disk and the clock ----------------------------------------------------------------------------------------


def persisted(s: State, event: Persisted) -> None:
    if event.ticket > s.synced:
        assert event.ticket <= s.ticket, (event, s.ticket)
        s.synced = event.ticket
        s.log.acknowledge(event.ticket)
        if s.role == "leader":
            replication.advance_commit(s)
        elif s.role == "candidate":
            election.own_vote_synced(s)
        if s.log.corrupt:
            repair.written(s)
    if event.applied:
        applying.applied_durably(s, event.applied)


def persist_failed(s: State, event: PersistFailed) -> None:
    """What the disk holds is not known; trying again would only hide it (the page cache forgets the failed page)."""
    s.stop(f"a write to the log failed: {event.reason}")


def deadline_passed(s: State, event: DeadlinePassed) -> None:
    if s.role == "leader":
        if s.now >= s.heartbeat_due:
            reads.tick(s)
    elif s.now >= s.election_deadline:
        election.timed_out(s)
    if s.follower_reads:  # a leader may still have some, of its time as a follower
        reads.follower_tick(s)
    transfer.handover_timed_out(s)
    repair.tick(s)


def starved(s: State, event: Starved) -> None:
    election.starved(s, event.seconds)


def applied(s: State, event: Applied) -> None:
    applying.applied(s, event.index)


def snapshot_failed(s: State, event: SnapshotFailed) -> None:
    if event.id:
        snapshots.staging_failed(s, event)
    elif s.taking_snapshot is not None:
        snapshots.take_failed(s)


def campaign_requested(s: State, event: CampaignRequested) -> None:
    election.campaign_requested(s)


HANDLERS: dict[type[Any], Callable[[State, Any], None]] = {
    DeadlinePassed: deadline_passed,
    Starved: starved,
    MessageReceived: message_received,
    Persisted: persisted,
    PersistFailed: persist_failed,
    EntriesRead: repair.entries_read,
    CorruptionFound: repair.corruption_found,
    Applied: applied,
    SnapshotTaken: snapshots.snapshot_taken,
    SnapshotFailed: snapshot_failed,
    ChunkRead: snapshots.chunk_read,
    ChunkWritten: snapshots.chunk_written,
    Proposed: replication.proposed,
    ReadRequested: reads.read_requested,
    MembershipChangeRequested: membership.change_requested,
    TransferRequested: transfer.transfer_requested,
    CampaignRequested: campaign_requested,
    CompactionRequested: retention.compaction_requested,
    VersionRequested: versions.version_requested,
    QuorumRecoveryRequested: recovery.recovery_requested,
}
