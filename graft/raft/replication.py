"""Log replication (5.3), pipelined (thesis 10.2.1), and what makes an entry committed (5.3, 5.4.2).

The leader sends entries while it still writes them and counts itself only up to what it has synced. Followers are sent
ahead, within a window. Nothing is sent from inside a rule: rules mark what is wanted, and the end of the call sends
once, so that a batch of proposals becomes one write and one message a follower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import election, forgetting, membership, quorum, reads, repair, snapshots, transfer, versions
from .effects import AcceptProposal, RefuseProposal
from .events import Proposed
from .log import OVERHEAD_BYTES
from .messages import AppendEntries, AppendReply, Heartbeat, StaleTerm
from .progress import Progress
from .records import Entry, Kind

if TYPE_CHECKING:
    from .state import State


# ---- the leader: its term and its log ------------------------------------------------------------------------------


def begin_term(s: State) -> None:
    """The election is won: follow every member from the end of the log, and write this term's no-op (5.4.2, 8)."""
    s.leader = s.id
    transfer.leader_found(s, s.id)
    s.votes = {}
    membership.follow_all(s)
    s.transfer_tainted = False
    s.round = s.confirmed_round = 0
    s.round_times.clear()
    s.lease_from_round = 0
    s.lease_until = None
    s.quorum_contact = s.now
    s.starved_at = float("-inf")
    s.heartbeat_due = s.now + s.config.heartbeat_seconds
    s.term_start = append(s, Kind.NOOP, b"")
    reads.begin_round(s)


def append(s: State, kind: int, data: bytes) -> int:
    """Add an entry of this term to the own log. Returns its index."""
    index = s.log.last + 1
    s.log.append((Entry(index, s.term, kind, data),))
    size = len(data) + OVERHEAD_BYTES
    s.uncommitted.append((index, size))
    s.uncommitted_bytes += size
    s.replicate_wanted = True
    return index


def proposed(s: State, event: Proposed) -> None:
    reason = refusal(s, len(event.data))
    if reason:
        s.emit(RefuseProposal(event.request, reason, s.leader))
        return
    s.emit(AcceptProposal(event.request, append(s, Kind.COMMAND, event.data), s.term))


def refusal(s: State, size: int) -> str:
    """Why a command of `size` bytes is not taken; empty if it is."""
    if s.role != "leader":
        return "not_leader"
    if s.transfer is not None:
        return "transferring"
    if size > s.config.max_entry_bytes:
        return "too_large"
    if s.uncommitted_bytes + size > s.config.max_uncommitted_bytes and s.uncommitted_bytes > 0:
        return "overloaded"
    return ""


# ---- the leader: committing ----------------------------------------------------------------------------------------


def own_match(s: State) -> int:
    """How far this member's own copy counts: what it has synced, and only to the first damaged entry."""
    return s.log.durable if not s.log.corrupt else repair.intact(s, s.log.durable)


def advance_commit(s: State) -> None:
    """Commit what a majority (of both sets of voters) holds synced, if the newest of it is of this term (5.4.2)."""
    progress, self_id = s.progress, s.id

    def match(id: str) -> int:
        if id == self_id:
            return own_match(s)
        p = progress.get(id)
        return 0 if p is None else p.match

    index = quorum.agreed(s.view.voters, match)
    if index > s.commit and may_commit(s, index):
        set_commit(s, index)
        s.broadcast_commit = True


def may_commit(s: State, index: int) -> bool:
    """Counting replicas commits entries of the current term only; older ones follow (5.4.2, figure 8; S9)."""
    return s.log.term_at(index) == s.term


def set_commit(s: State, index: int) -> None:
    """The commit index moves up to `index`, on any member."""
    assert index <= s.log.last, (index, s.log.last)
    s.commit = index
    if s.uncommitted:
        uncommitted = s.uncommitted
        while uncommitted and uncommitted[0][0] <= index:
            s.uncommitted_bytes -= uncommitted.popleft()[1]
    if membership.is_unsettled(s):
        membership.commit_advanced(s)
    if s.versions[-1][1] != s.version:
        versions.commit_advanced(s)
    if s.reads_waiting:
        reads.begin_round(s)


# ---- the leader: sending -------------------------------------------------------------------------------------------


def flush(s: State) -> None:
    """End of a call: send what became wanted. Followers that get no entries are told of a new commit index, unless
    they owe an answer: then the next message to them will do."""
    if s.replicate_wanted:
        s.replicate_wanted = False
        for p in s.progress.values():
            send(s, p)
    if s.broadcast_commit:
        s.broadcast_commit = False
        for p in s.progress.values():
            commit = min(s.commit, p.match)
            if p.commit_told < commit and not p.inflight:
                p.commit_told = commit
                s.send(Heartbeat(s.id, p.id, s.config.incarnation, s.term, commit, 0))


def send(s: State, p: Progress) -> None:
    """Send `p` as much as its window allows."""
    log, config = s.log, s.config
    if p.forgot_at is not None:
        return
    while not p.reading:
        if p.state == "replicate":
            if p.next > log.last or p.is_full(config.max_inflight_messages, config.max_inflight_bytes):
                return
            if p.inflight and s.takes("window.closed"):
                return
        elif p.state == "snapshot" or p.probed:
            return
        if p.next < log.first or (log.corrupt and repair.is_hopeless(s, p.next)):
            if s.now - p.heard_at <= config.rpc_timeout_seconds and p.id not in s.departing:
                snapshots.begin(s, p)
            return  # one that is away gets a fresh one when it is heard of
        if p.next <= s.applied_durable and s.takes("snapshot.early"):
            snapshots.begin(s, p)
            return
        entries: tuple[Entry, ...] | None = ()
        if p.next <= log.last:
            most = 1 if s.takes("append.partial_batch") else config.max_append_entries
            entries = log.slice(p.next, log.last, config.max_append_bytes, most)
        if entries is None:
            if p.state == "replicate":
                _read_for(s, p)
                return
            entries = ()  # where a probe will land is not known: it is not worth a read
        send_entries(s, p, entries)


def send_entries(s: State, p: Progress, entries: tuple[Entry, ...]) -> None:
    """One AppendEntries that begins at `p.next`."""
    prev = p.next - 1
    size = sum([len(entry.data) for entry in entries]) + OVERHEAD_BYTES * len(entries)
    p.commit_told = max(p.commit_told, min(s.commit, prev + len(entries)))
    s.send(
        AppendEntries(s.id, p.id, s.config.incarnation, s.term, prev, s.log.term_at(prev), entries, s.commit, s.round)
    )
    p.sent(prev + len(entries), size, s.now)


def _read_for(s: State, p: Progress) -> None:
    room = max(1, s.config.max_inflight_bytes - p.inflight_bytes)
    p.reading = repair.read(s, "send", p.next, s.log.window_first - 1, min(room, s.config.max_append_bytes), p.id)


def entries_read(s: State, id: str, read: int, entries: tuple[Entry, ...]) -> None:
    """What `_read_for` asked for has come. What no longer fits the follower's state is dropped and read again."""
    p = s.progress.get(id)
    if p is None or p.reading != read:
        return
    p.reading = 0
    log = s.log
    if (
        entries
        and p.state == "replicate"
        and p.next == entries[0].index
        and p.next >= log.first
        and log.matches(entries[-1].index, entries[-1].term)
    ):
        send_entries(s, p, entries)
        send(s, p)


def missing(s: State, p: Progress, round_began: float) -> None:
    """`p` answered a heartbeat, and not what was sent to it before (or a heartbeat ago): ask with an empty append
    behind it all whether something was lost. A window that is full, and was lost whole, shows in nothing else before
    the RPC timeout."""
    heartbeat = s.config.heartbeat_seconds
    overdue = round_began > p.waiting_since or s.now - p.waiting_since >= heartbeat
    if overdue and s.now - p.asked_at >= heartbeat:
        p.asked_at = s.now
        prev = p.next - 1
        if prev >= s.log.first - 1:
            s.send(
                AppendEntries(
                    s.id, p.id, s.config.incarnation, s.term, prev, s.log.term_at(prev), (), s.commit, s.round
                )
            )


def tick(s: State) -> None:
    """Every heartbeat: nothing waits for ever for an answer."""
    for p in s.progress.values():
        if p.state == "snapshot" and p.snapshot is None:
            snapshots.provide(s, p)
        elif not p.timed_out(s.now, s.config.rpc_timeout_seconds):
            send(s, p)
        elif p.state == "snapshot":
            snapshots.resend(s, p)
        else:
            if p.state == "replicate":
                p.move("timed_out", s.now)
            p.probed = False
            p.caught_up = False
            send(s, p)


# ---- the leader: answers -------------------------------------------------------------------------------------------


def append_replied(s: State, m: AppendReply) -> None:
    if s.role != "leader":
        return
    p = s.progress.get(m.source)
    if p is None or p.forgot_at is not None:
        return
    # What was sent begins behind `match` as it was then, so a log that has all up to there names no hint before it.
    if not m.success and m.prev_index >= p.match and forgetting.seen(s, p, m.round, m.hint_index):
        return
    p.heard_at = s.now
    p.max_version = m.max_version
    if m.round > p.round:
        reads.acknowledged(s, p, m.round)
        if not membership.is_followed(s, p):
            return
    if m.success:
        accepted(s, p, m.match)
    else:
        rejected(s, p, m)


def accepted(s: State, p: Progress, match: int) -> None:
    if match > s.log.last:
        s.trace("replication", f"{p.id} acknowledges {match}, which was never sent")
        return
    news = p.accepted(match, s.now)
    if news:
        p.match_round = s.round
    if p.state == "snapshot" and match >= s.log.first - 1:
        p.move("installed", s.now)
    if p.state == "probe":
        p.move("accepted", s.now)
        p.next = p.match + 1
    if news:
        advance_commit(s)
        if s.role != "leader":
            return  # it committed its own removal
        if s.transfer is not None:
            transfer.advance(s)
    if p.id in s.view.learners:
        membership.follow_round(s, p)
    if not p.inflight and p.commit_told < min(s.commit, p.match):
        s.broadcast_commit = True
    send(s, p)


def rejected(s: State, p: Progress, m: AppendReply) -> None:
    """The logs differ at or before `m.prev_index`: begin where the hint says that they may agree (end of 5.3)."""
    log = s.log
    if p.state == "replicate":
        if m.prev_index > p.match:
            p.move("rejected", s.now)
            send(s, p)
        return
    if p.state != "probe" or m.prev_index != p.next - 1:
        return  # late: something newer is on its way
    hint = log.newest_at_most(min(m.hint_index, m.prev_index - 1), m.hint_term)
    if m.hint_index < log.first - 1 or log.term_at(hint) > m.hint_term:
        hint = log.first - 2  # they may agree only before this log begins: `send` turns to a snapshot
    p.next = max(hint, p.match) + 1
    p.probed = False
    send(s, p)


# ---- the follower --------------------------------------------------------------------------------------------------


def append_entries(s: State, m: AppendEntries) -> None:
    """Of this term (see `core`)."""
    assert s.role != "leader", f"two leaders in term {s.term}: {s.id} and {m.source}"
    election.leader_heard(s, m.source)
    log, prev, entries = s.log, m.prev_index, m.entries
    if prev < s.commit:
        # What is committed agrees by itself; and it may be gone from the log.
        skip = s.commit - prev
        prev = s.commit
        entries = entries[skip:]
    elif prev > log.last or log.term_at(prev) != m.prev_term:
        _reject(s, m)
        return
    if entries:
        take(s, prev, entries)
    match = prev + len(entries)
    if log.corrupt:
        match = repair.intact(s, match)
    config = s.config
    s.send(AppendReply(s.id, m.source, config.incarnation, s.term, True, match, 0, 0, 0, m.round, config.max_version))
    commit = min(m.commit, match)
    if commit > s.commit:
        set_commit(s, commit)


def _reject(s: State, m: AppendEntries) -> None:
    log = s.log
    hint = log.newest_at_most(m.prev_index, m.prev_term)
    s.send(
        AppendReply(
            s.id,
            m.source,
            s.config.incarnation,
            s.term,
            False,
            0,
            m.prev_index,
            hint,
            log.term_at(hint),
            m.round,
            s.config.max_version,
        )
    )


def take(s: State, prev: int, entries: tuple[Entry, ...]) -> None:
    """Make the log agree with `entries`, which follow `prev`: drop what conflicts and all behind it, keep what is
    there already, add what is new (5.3, figure 2; S15)."""
    log = s.log
    conflict = log.first_conflict(prev, entries)
    if conflict is None:
        return
    if conflict <= log.last:
        assert conflict > s.commit, f"term {s.term}: entry {conflict} is committed and the leader has another one"
        s.trace("log", f"truncates from {conflict} to {log.last}")
        log.truncate(conflict)
        membership.roll_back(s, conflict)
        versions.roll_back(s, conflict)
        repair.cut(s)
    new = entries if conflict == prev + 1 else entries[conflict - prev - 1 :]
    log.append(new)
    for entry in new:
        if entry.kind >= Kind.CONFIGURATION:
            special(s, entry)


def special(s: State, entry: Entry) -> None:
    """An entry that the core itself reads was appended."""
    if entry.kind == Kind.CONFIGURATION:
        membership.adopt(s, entry.index, membership.decode(entry.data))
    elif entry.kind == Kind.VERSION:
        versions.adopt(s, entry.index, entry.data)


def heartbeat(s: State, m: Heartbeat) -> None:
    assert s.role != "leader", f"two leaders in term {s.term}: {s.id} and {m.source}"
    election.leader_heard(s, m.source)
    commit = min(m.commit, s.log.last)
    if commit > s.commit:
        set_commit(s, commit if not s.log.corrupt else max(s.commit, repair.intact(s, commit)))
    if m.round:
        s.send(reads.heartbeat_reply(s, m))


def tell_stale(s: State, source: str) -> None:
    """Somebody leads an older term, or stands for one: let it know."""
    s.send(StaleTerm(s.id, source, s.config.incarnation, s.term))
