"""Who is in the cluster: joint consensus only (thesis 4.3), learners first (4.2.1), removal of the leader (4.2.2).

A configuration is in force as soon as it stands in a member's log, committed or not, and is taken back when it is
truncated. A change goes C_old -> C_old,new -> C_new; the leader appends C_new by itself once the joint one is
committed. A change that leaves the voters as they are (learners, executors) needs no joint step.

Rejected: single-server changes (4.1). They are unsafe without a commit of the leader's term first (the 2015 bug), and
cannot replace a member without a dangerous middle. A joint change of one voter costs one entry more.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define

from . import quorum, recovery, repair, replacing, replication, transfer
from .effects import AnswerRequest, ReportMembership
from .events import Change, MembershipChangeRequested
from .messages import Heartbeat
from .progress import Progress
from .records import Configuration, Kind, Member, Role
from .view import View

if TYPE_CHECKING:
    from .state import State

MAX_RETIRED = 1_000


@define
class Leaver:
    """A member that the configuration at `index` removed. The leader follows it until it knows that it was removed.

    `until` is None as long as that is not committed. `told_in` is the first round whose heartbeat told it of the
    commit: an answer to that or a later one is an acknowledgement.
    """

    incarnation: int
    index: int
    until: float | None = None
    told_in: int | None = None


def knows(s: State, id: str, incarnation: int) -> bool:
    """True if `id` in this very incarnation is a member, or is just leaving: only then its replies count (S13)."""
    return incarnation_of(s, id) == incarnation


def incarnation_of(s: State, id: str) -> int | None:
    """Of a member, or of one that is just leaving; None for anybody else."""
    leaver = s.departing.get(id)
    return s.view.incarnations.get(id) if leaver is None else leaver.incarnation


# ---- what a change leads to (pure) ---------------------------------------------------------------------------------


class Impossible(Exception):
    """The change makes no sense; `args[0]` is the reason that `AnswerRequest` carries."""


def plan(old: Configuration, changes: Sequence[Change], caught_up: Collection[str]) -> Configuration:
    """The configuration that comes first when `changes` are wished of `old` (not joint). Raises `Impossible`."""
    members = {m.id: m for m in old.members}
    for change in changes:
        STEPS.get(change.op, _unknown_step)(old, members, change, caught_up)
    new = tuple(members[id] for id in sorted(members))
    before, after = _voters(old.members), _voters(new)
    if not after:
        raise Impossible("no_voter")
    gone = tuple((m.id, m.incarnation) for m in old.members if m.id not in members)
    retired = (*old.retired, *gone)[-MAX_RETIRED:]
    if new == old.members:
        raise Impossible("no_change")
    return Configuration(new, before if before != after else (), retired)


def leave(joint: Configuration) -> Configuration:
    """C_new of a joint configuration."""
    return Configuration(joint.members, (), joint.retired)


def _voters(members: Sequence[Member]) -> tuple[Member, ...]:
    return tuple(m for m in members if m.role == "voter")


def _add(old: Configuration, members: dict[str, Member], change: Change, caught_up: Collection[str]) -> None:
    known = old.find(change.id)
    if known is not None:
        raise Impossible("no_change" if known.incarnation == change.incarnation else "incarnation_in_use")
    if change.id in members or not change.id or change.role not in ("voter", "learner", "executor"):
        raise Impossible("invalid")
    if (change.id, change.incarnation) in old.retired:
        raise Impossible("incarnation_in_use")
    role: Role = "executor" if change.role == "executor" else "learner"
    members[change.id] = Member(change.id, change.incarnation, role)


def _existing(members: dict[str, Member], change: Change) -> Member:
    member = members.get(change.id)
    if member is None or change.incarnation not in (0, member.incarnation):
        raise Impossible("unknown_member")
    return member


def _promote(old: Configuration, members: dict[str, Member], change: Change, caught_up: Collection[str]) -> None:
    member = _existing(members, change)
    if member.role != "learner":
        raise Impossible("no_change" if member.role == "voter" else "invalid")
    if member.id not in caught_up:
        raise Impossible("not_caught_up")
    members[member.id] = Member(member.id, member.incarnation, "voter")


def _demote(old: Configuration, members: dict[str, Member], change: Change, caught_up: Collection[str]) -> None:
    member = _existing(members, change)
    if member.role != "voter":
        raise Impossible("no_change" if member.role == "executor" else "invalid")
    members[member.id] = Member(member.id, member.incarnation, "executor")


def _remove(old: Configuration, members: dict[str, Member], change: Change, caught_up: Collection[str]) -> None:
    del members[_existing(members, change).id]


def _unknown_step(old: Configuration, members: dict[str, Member], change: Change, caught_up: Collection[str]) -> None:
    raise Impossible("invalid")


STEPS = {"add": _add, "promote": _promote, "demote": _demote, "remove": _remove}


# ---- codec ---------------------------------------------------------------------------------------------------------


def encode(configuration: Configuration) -> bytes:
    """JSON of a fixed order, so that equal configurations have equal bytes."""
    rows = [[[m.id, m.incarnation, m.role] for m in group] for group in (configuration.members, configuration.outgoing)]
    return json.dumps([*rows, configuration.retired], separators=(",", ":")).encode()


def decode(data: bytes) -> Configuration:
    members, outgoing, retired = json.loads(data)
    return Configuration(_members(members), _members(outgoing), tuple((str(id), int(n)) for id, n in retired))


def _members(rows: list[Any]) -> tuple[Member, ...]:
    return tuple(Member(str(id), int(incarnation), role) for id, incarnation, role in rows)


# ---- what is in force ----------------------------------------------------------------------------------------------


def adopt(s: State, index: int, configuration: Configuration) -> None:
    """A configuration entry was appended at `index`, or a snapshot brought it: it is in force."""
    s.configurations.append((index, configuration))
    s.hard_dirty = True
    _refresh(s)


def roll_back(s: State, index: int) -> None:
    """Entries >= `index` are being truncated, and the configurations among them."""
    if s.configurations[-1][0] >= index:
        while s.configurations[-1][0] >= index:
            s.configurations.pop()
        s.hard_dirty = True
        _refresh(s)


def replace(s: State, index: int, configuration: Configuration) -> None:
    """A snapshot takes the log's place: its membership is the only one (S14)."""
    s.configurations = [(index, configuration)]
    s.configuration_committed = max(index, s.commit)
    s.hard_dirty = True
    _refresh(s)
    s.emit(ReportMembership(configuration, index, True))


def forget_before(s: State, index: int) -> None:
    """Configurations that were replaced at or below `index` are history. They are written with the next hard state."""
    while len(s.configurations) > 1 and s.configurations[1][0] <= index:
        del s.configurations[0]


def at(s: State, index: int) -> tuple[int, Configuration]:
    """The configuration in force at `index` of the log, and where it stands."""
    return next(pair for pair in reversed(s.configurations) if pair[0] <= index)


def _refresh(s: State) -> None:
    index, configuration = s.configurations[-1]
    old, s.view = s.view, View(index, configuration, s.id, s.config.incarnation)
    s.emit(ReportMembership(configuration, index, False))
    if s.role == "leader":
        _follow_members(s, old)


def _follow_members(s: State, old: View) -> None:
    """The leader follows every member, and who was removed (see `Leaver`)."""
    for id in old.others:
        if id not in s.view.incarnations:
            s.departing[id] = Leaver(old.incarnations[id], s.view.index)
    for id in s.view.others:
        if id not in s.progress or s.departing.pop(id, None) is not None:  # another server of the same name
            s.progress[id] = Progress(id, s.log.last + 1, s.now)
    s.lease_from_round = s.round + 1
    s.lease_until = None
    s.replicate_wanted = True


# ---- who was removed ---------------------------------------------------------------------------------------------


def follow_all(s: State) -> None:
    """A term begins: follow every member, and who was removed of late, for the leader before may not have told it. A
    leader that handed over to this one because it was removed knows it."""
    predecessor = s.told_to_stand[1] if s.told_to_stand[0] == s.term else None
    s.departing = {
        member.id: Leaver(member.incarnation, s.view.index)
        for _, configuration in s.configurations
        for member in (*configuration.members, *configuration.outgoing)
        if member.id not in s.view.incarnations and member.id not in (s.id, predecessor)
    }
    if s.view.index <= s.commit:
        removal_committed(s)
    s.progress = {id: Progress(id, s.log.last + 1, s.now) for id in (*s.view.others, *s.departing)}


def removal_committed(s: State) -> None:
    """From now on those that were removed may be told, and are given an election timeout to acknowledge it."""
    for leaver in s.departing.values():
        if leaver.until is None:
            leaver.until = s.now + s.config.election_timeout_seconds


def heartbeat_sent(s: State, p: Progress, commit: int) -> None:
    """The heartbeat of the present round tells `p` of the commit index `commit`."""
    leaver = s.departing.get(p.id)
    if leaver is not None and leaver.told_in is None and commit >= leaver.index:
        leaver.told_in = s.round


def round_answered(s: State, p: Progress) -> None:
    """`p` answered a newer round than before. If that one told it of its removal, it is followed no more."""
    leaver = s.departing.get(p.id)
    if leaver is not None and leaver.told_in is not None and leaver.told_in <= p.round:
        let_go(s, p.id)


def let_go(s: State, id: str) -> None:
    del s.departing[id], s.progress[id]


def is_followed(s: State, p: Progress) -> bool:
    """False when this member leads no more, or let `p` go, since `p` was looked up."""
    return s.progress.get(p.id) is p


# ---- changing it ---------------------------------------------------------------------------------------------------


def change_requested(s: State, event: MembershipChangeRequested) -> None:
    reason = may_change(s)
    if not reason:
        coming, rest = replacing.parts(event.changes)
        try:
            if coming:
                reason = replacing.begin(s, event.request, coming, rest)
            else:
                reason = _begin(s, event.request, plan(s.view.configuration, rest, caught_up(s)))
        except Impossible as impossible:
            reason = str(impossible.args[0])
    if reason:
        s.emit(AnswerRequest(event.request, reason, s.leader))


def _begin(s: State, request: int, new: Configuration) -> str:
    if not is_reachable(s, new):
        return "quorum_unreachable"
    s.change_request = request
    propose(s, new)
    return ""


def may_change(s: State) -> str:
    """Why no configuration may be proposed now; empty if one may (S12)."""
    if s.role != "leader":
        return "not_leader"
    if s.transfer is not None:
        return "transferring"
    if s.view.configuration.joint or s.view.index > s.commit or s.change_request is not None:
        return "busy"
    if repair.is_crippled(s):
        return "damaged"  # it may depend on a member that would be removed
    return "" if committed_in_term(s) else "too_early"


def is_reachable(s: State, new: Configuration) -> bool:
    """A majority of the voters-to-be answered lately, and does not wait for a snapshot.

    Otherwise the change could be neither finished nor taken back (etcd's strict reconfiguration check): remove who is
    dead, not who lives.
    """
    timeout = s.config.election_timeout_seconds
    alive = {id for id, p in s.progress.items() if s.now - p.heard_at < timeout and p.state != "snapshot"}
    return quorum.reached((tuple(m.id for m in _voters(new.members)), ()), alive | {s.id})


def committed_in_term(s: State) -> bool:
    """The leader has committed an entry of its own term: it knows which configuration is the newest (S12)."""
    return s.commit >= s.term_start


def propose(s: State, configuration: Configuration) -> None:
    index = replication.append(s, Kind.CONFIGURATION, encode(configuration))
    adopt(s, index, configuration)


def caught_up(s: State) -> set[str]:
    return {id for id, p in s.progress.items() if p.caught_up}


def follow_round(s: State, p: Progress) -> None:
    """A learner catches up in rounds (thesis 4.2.1): each brings what was in the log when the round began. It has
    caught up when a round takes it less than an election timeout. A round ends when it has all that the round brings:
    one that begins with nothing to bring ends at once, however long the next answer takes that tells it."""
    if p.round_target and p.match < p.round_target:
        return
    if p.round_target:
        took = max(0.0, p.match_at - p.round_started)
        p.caught_up = took < s.config.promotion_rounds_seconds
    p.round_target = s.log.last
    p.round_started = s.now
    if p.caught_up:
        go_on(s)


def tick(s: State) -> None:
    """What had to wait: for another change to end, or for damage to be mended."""
    for id in [id for id, leaver in s.departing.items() if leaver.until is not None and s.now >= leaver.until]:
        let_go(s, id)
    if s.view.configuration.joint:
        commit_advanced(s)
    go_on(s)


def go_on(s: State) -> None:
    """Make the changes that wait for a member to catch up."""
    replacing.advance(s)
    promote_learners(s)


def promote_learners(s: State) -> None:
    """Make voters of all learners that have caught up; executors stay what they are. Those that come in the place of
    somebody wait for each other (see `replacing`)."""
    if may_change(s):
        return
    ready = [
        Change("promote", m.id)
        for m in s.view.configuration.members
        if m.role == "learner" and m.id in s.progress and s.progress[m.id].caught_up
        if s.replacement is None or not s.replacement.is_coming(m.id)
    ]
    if ready:
        new = plan(s.view.configuration, ready, caught_up(s))
        if is_reachable(s, new):
            propose(s, new)


def is_unsettled(s: State) -> bool:
    """True if a configuration waits for the commit index to move."""
    if s.configuration_committed < s.configurations[-1][0]:
        return True
    return s.role == "leader" and bool(s.view.configuration.outgoing or s.change_request is not None)


def commit_advanced(s: State) -> None:
    """The commit index moved: report what became committed, and go on with the change that waits for it."""
    index = s.configurations[-1][0]
    if s.configuration_committed < s.commit:
        for at_index, configuration in s.configurations:
            if s.configuration_committed < at_index <= s.commit:
                s.emit(ReportMembership(configuration, at_index, True))
        s.configuration_committed = s.commit
    recovery.commit_advanced(s)
    if s.role != "leader" or index > s.commit or not committed_in_term(s):
        return
    if s.view.configuration.joint:
        if not repair.is_crippled(s):
            propose(s, leave(s.view.configuration))
        return
    _finish_change(s)


def _finish_change(s: State) -> None:
    """The newest configuration is committed and simple."""
    if s.change_request is not None:
        s.emit(AnswerRequest(s.change_request, "", s.id))
        s.change_request = None
    removal_committed(s)
    if not s.view.is_voter:
        for id in s.departing:  # the last word: the next leader follows them if it remembers them
            s.send(Heartbeat(s.id, id, s.config.incarnation, s.term, min(s.commit, s.progress[id].match), 0))
        transfer.step_aside(s)
    else:
        go_on(s)
