"""Linearizable reads without writing to the log (thesis 6.4), and the rounds of heartbeats behind them.

A *round* is one number that the leader sends to all members and a quorum gives back: then the leader was still the
leader when the round began. One mechanism serves three masters:

* read index: the commit index at the time that a read came is right to read from once a round that began later is
  confirmed, and the leader has committed in its term (6.4, steps 1 to 3). Reads that come while a round is under way
  share the next one;
* lease reads (6.4.1): the quorum that answered a round votes for nobody else for an election timeout after it, so
  until then, less the declared drift of clocks, no round is needed;
* check-quorum (6.2): a leader that no round was confirmed to for an election timeout steps down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from . import forgetting, membership, quorum, replication, transfer
from .effects import AnswerRead, RefuseRead
from .events import ReadRequested
from .messages import Heartbeat, HeartbeatReply, ReadIndex, ReadIndexReply
from .progress import Progress
from .records import record
from .roles import become_follower

if TYPE_CHECKING:
    from .state import State


@record
class Waiting:
    """A read that waits: of this member (`source` empty) or a batch of a follower's."""

    request: int
    source: str = ""
    incarnation: int = 0


@record
class ReadRound:
    """Reads that are answered with `index` when `round` is confirmed."""

    round: int
    index: int
    reads: tuple[Waiting, ...]


# ---- requests ------------------------------------------------------------------------------------------------------


def read_requested(s: State, event: ReadRequested) -> None:
    if s.role == "leader":
        if event.lease and lease_valid(s):
            s.emit(AnswerRead((event.request,), s.commit, s.lease_until))
        else:
            _enqueue(s, Waiting(event.request))
    elif s.leader is None:
        s.emit(RefuseRead((event.request,), "not_leader", None))
    elif len(s.reads_waiting) + len(s.follower_reads) >= s.config.max_pending_reads:
        s.emit(RefuseRead((event.request,), "overloaded", s.leader))
    else:
        s.reads_waiting.append(Waiting(event.request))


def read_index(s: State, m: ReadIndex) -> None:
    """A follower asks. A member that does not lead stays silent: the follower will see the next leader."""
    if s.role == "leader":
        _enqueue(s, Waiting(m.request, m.source, m.incarnation))


def _enqueue(s: State, read: Waiting) -> None:
    if len(s.reads_waiting) >= s.config.max_pending_reads:
        _refuse(s, (read,), "overloaded")
        return
    s.reads_waiting.append(read)


def flush(s: State) -> None:
    """End of a call: reads that came during it go out together."""
    if s.role == "leader":
        begin_round(s)
        return
    requests = tuple(read.request for read in s.reads_waiting)
    s.reads_waiting = []
    if s.leader is None:
        s.emit(RefuseRead(requests, "not_leader", None))
        return
    s.next_read_batch += 1
    s.follower_reads[s.next_read_batch] = (requests, s.now)
    s.send(ReadIndex(s.id, s.leader, s.config.incarnation, s.term, s.next_read_batch))


# ---- rounds --------------------------------------------------------------------------------------------------------


def may_read(s: State) -> bool:
    """Before it commits in its term a leader does not know what is committed (6.4, step 1)."""
    return membership.committed_in_term(s)


def begin_round(s: State) -> None:
    """Give the waiting reads a round, unless one is under way or it is too early."""
    if s.reads_waiting and s.read_round is None and s.role == "leader" and may_read(s):
        heartbeat_all(s)


def heartbeat_all(s: State) -> None:
    """Begin a round: tell all members that this is still their leader."""
    s.round += 1
    s.round_times.append((s.round, s.now))
    if s.reads_waiting and s.read_round is None and may_read(s):
        s.read_round = ReadRound(s.round, s.commit, tuple(s.reads_waiting))
        s.reads_waiting = []
    for p in s.progress.values():
        commit = min(s.commit, p.match)
        p.commit_told = max(p.commit_told, commit)
        membership.heartbeat_sent(s, p, commit)
        s.send(Heartbeat(s.id, p.id, s.config.incarnation, s.term, commit, s.round))
    if not s.view.peers:
        confirm(s)


def heartbeat_reply(s: State, m: Heartbeat) -> HeartbeatReply:
    """The follower's side. The promise holds only where restarts are waited out, hence the flag."""
    lease = s.config.lease_reads and s.config.check_quorum
    return HeartbeatReply(
        s.id, m.source, s.config.incarnation, s.term, m.round, lease, s.config.max_version, s.log.last + 1
    )


def heartbeat_replied(s: State, m: HeartbeatReply) -> None:
    p = s.progress.get(m.source)
    if s.role != "leader" or p is None:
        return
    if m.log_end and forgetting.seen(s, p, m.round, m.log_end - 1):
        return
    p.heard_at = s.now
    p.max_version = m.max_version
    promises = m.lease and m.round > p.lease_round
    if promises:
        p.lease_round = m.round
    if m.round > p.round:
        acknowledged(s, p, m.round)
        if not membership.is_followed(s, p):
            return
    elif promises:
        confirm(s)  # the answer to an append came first: it confirms the round, and promises nothing
    if p.state == "replicate":
        if p.inflight:
            replication.missing(s, p, began(s, m.round))
    elif p.state == "probe" and p.probed and s.now - p.waiting_since >= s.config.heartbeat_seconds:
        p.probed = False
    if p.id in s.view.learners:
        membership.follow_round(s, p)
    replication.send(s, p)


def acknowledged(s: State, p: Progress, round: int) -> None:
    """`p` answered `round`, which is newer than all that it answered before."""
    if round <= s.round:
        p.round = round
        confirm(s)
        membership.round_answered(s, p)


def confirm(s: State) -> None:
    """See which rounds a quorum has answered by now."""
    confirmed = quorum.agreed(s.view.voters, _rounds(s, lambda p: p.round))
    if confirmed > s.confirmed_round:
        s.confirmed_round = confirmed
        s.quorum_contact = max(s.quorum_contact, began(s, confirmed))
        answer(s)
    needed = s.confirmed_round
    if s.config.lease_reads:
        needed = min(needed, extend_lease(s))
    while s.round_times and s.round_times[0][0] < needed:
        s.round_times.popleft()


def _rounds(s: State, value: Callable[[Progress], int]) -> Callable[[str], int]:
    def of(id: str) -> int:
        if id == s.id:
            return s.round
        p = s.progress.get(id)
        return 0 if p is None else value(p)

    return of


def began(s: State, round: int) -> float:
    """When `round` began; the distant past if that is forgotten."""
    return next((time for number, time in s.round_times if number == round), float("-inf"))


def answer(s: State) -> None:
    """The reads of a confirmed round are right to answer."""
    waiting = s.read_round
    if waiting is None or waiting.round > s.confirmed_round:
        return
    s.read_round = None
    mine = tuple(read.request for read in waiting.reads if not read.source)
    if mine:
        s.emit(AnswerRead(mine, waiting.index))
    for read in waiting.reads:
        if read.source:
            _reply(s, read, waiting.index)
    begin_round(s)


def _reply(s: State, read: Waiting, index: int | None) -> None:
    s.send(ReadIndexReply(s.id, read.source, s.config.incarnation, s.term, read.request, read.incarnation, index))


def _refuse(s: State, reads: tuple[Waiting, ...], reason: str) -> None:
    mine = tuple(read.request for read in reads if not read.source)
    if mine:
        s.emit(RefuseRead(mine, reason, s.leader))
    for read in reads:
        if read.source:
            _reply(s, read, None)


# ---- leases --------------------------------------------------------------------------------------------------------


def extend_lease(s: State) -> int:
    """Returns the newest round that a quorum promised on.

    The lease runs from the *beginning* of that round. Rounds from before the newest configuration do not count; in a
    joint configuration both quorums must have promised.
    """
    round = quorum.agreed(s.view.voters, _rounds(s, lambda p: p.lease_round))
    if round >= max(1, s.lease_from_round):
        until = began(s, round) + lease_seconds(s)
        s.lease_until = until if s.lease_until is None else max(until, s.lease_until)
    return round


def lease_seconds(s: State) -> float:
    """A follower's clock may run faster than this one by the declared drift."""
    return s.config.election_timeout_seconds / (1.0 + s.config.max_clock_drift)


def lease_valid(s: State) -> bool:
    """A lease read may be answered now. A leader that told somebody to stand has no lease for the rest of its term."""
    return (
        s.config.lease_reads
        and s.lease_until is not None
        and s.now < s.lease_until
        and s.transfer is None
        and not s.transfer_tainted
        and may_read(s)
    )


# ---- time and change of roles --------------------------------------------------------------------------------------


def tick(s: State) -> None:
    """The leader's heartbeat is due."""
    s.heartbeat_due = s.now + s.config.heartbeat_seconds
    if s.config.check_quorum and not s.view.sole and lost_quorum(s):
        s.trace("election", "no quorum answers: steps down")
        become_follower(s, "stepped_down", s.term, None)
        return
    heartbeat_all(s)
    transfer.tick(s)
    membership.tick(s)
    replication.tick(s)


def lost_quorum(s: State) -> bool:
    timeout = s.config.election_timeout_seconds
    return s.now - s.quorum_contact >= timeout and s.now - s.starved_at >= timeout / 2


def deposed(s: State) -> None:
    """No longer the leader: the reads must be asked of the next one."""
    waiting = tuple(s.reads_waiting)
    if s.read_round is not None:
        waiting = s.read_round.reads + waiting
    s.reads_waiting = []
    s.read_round = None
    if waiting:
        _refuse(s, waiting, "deposed")


# ---- the follower's reads ------------------------------------------------------------------------------------------


def read_index_replied(s: State, m: ReadIndexReply) -> None:
    if m.asked_by != s.config.incarnation or m.request not in s.follower_reads:
        return
    requests, _ = s.follower_reads.pop(m.request)
    if m.index is None:
        s.emit(RefuseRead(requests, "overloaded", s.leader))
    else:
        s.emit(AnswerRead(requests, m.index))


def follower_tick(s: State) -> None:
    """What the leader does not answer in time is refused, so that nobody waits for ever."""
    for batch, (requests, sent) in list(s.follower_reads.items()):
        if s.now >= sent + s.config.rpc_timeout_seconds:  # the very sum that `next_follower_deadline` gives
            del s.follower_reads[batch]
            s.emit(RefuseRead(requests, "timed_out", s.leader))


def next_follower_deadline(s: State) -> float | None:
    """The oldest batch times out first."""
    return next((sent + s.config.rpc_timeout_seconds for _, sent in s.follower_reads.values()), None)
