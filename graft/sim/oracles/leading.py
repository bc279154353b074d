"""S20, S21, S26: who may lead and stand, whom a leader makes a voter, and when it gives a transfer up."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from graft.raft import events as ev
from graft.raft.effects import AnswerRequest, Persist, RefuseProposal
from graft.raft.membership import decode
from graft.raft.messages import AppendReply, HeartbeatReply, Message, RequestVote, SnapshotReply, TimeoutNow
from graft.raft.records import Configuration, Kind
from graft.sim.invariants import Identity, Violation

if TYPE_CHECKING:
    from graft.raft.transfer import Transfer
    from graft.sim.member import Member
    from graft.sim.oracles.all import Oracles

Request = ev.MembershipChangeRequested | ev.TransferRequested | ev.VersionRequested
REPLIES = (AppendReply, HeartbeatReply, SnapshotReply)


class Leading:
    """Of one process. `_lasts`: (time, end of the log), the newest last; `_heard`: what each follower acknowledged in
    this term; `_ready`: those whose answers have covered the log of a round before."""

    def __init__(self, member: Member, oracles: Oracles) -> None:
        self.member = member
        self.oracles = oracles
        self._lasts: deque[tuple[float, int]] = deque([(oracles.now, member.watch.last)])
        self._term = 0
        self._heard: dict[Identity, int] = {}
        self._ready: set[Identity] = set()
        self._transfer: Transfer | None = None
        self._handover: Transfer | None = None
        self._transfer_since = self._handover_since = oracles.now
        self._told: Transfer | None = None  # whose target was told to stand
        self._overdue_us: int | None = None
        self._requests: dict[int, Request] = {}

    # -- learners (S21) ----------------------------------------------------------------------------------------------

    def hears(self, message: Message) -> None:
        watch = self.member.watch
        if not isinstance(message, REPLIES) or not watch.leading or message.term != watch.term:
            return
        if self._term != watch.term:
            self._term = watch.term
            self._heard.clear()
            self._ready.clear()
        who = (message.source, message.incarnation)
        match = 0 if isinstance(message, HeartbeatReply) else message.match
        heard = self._heard[who] = max(match, self._heard.get(who, 0))
        if heard >= self._last_a_round_ago():
            self._ready.add(who)

    def _last_a_round_ago(self) -> int:
        """The least that the log held since a round before now, the longest that a round may take."""
        lasts, since = self._lasts, self.oracles.now - self.member.plan.election_seconds
        while len(lasts) > 1 and lasts[1][0] <= since:
            lasts.popleft()
        return min(last for _, last in lasts)

    def persists(self, effect: Persist) -> None:
        watch = self.member.watch
        for entry in effect.entries:
            if entry.kind == Kind.CONFIGURATION and watch.leading and entry.term == watch.term:
                self._begins(watch.configuration, decode(entry.data))

    def _begins(self, old: Configuration, new: Configuration) -> None:
        """This leader orders the configuration `new`."""
        roles = {(m.id, m.incarnation): m.role for m in old.members}
        for joining in new.members:
            who = (joining.id, joining.incarnation)
            before = roles.get(who)
            if joining.role == "voter" and before != "voter" and (before != "learner" or who not in self._ready):
                text = f"{self.member.identity} makes a voter of {who}, which is {before or 'no member'}"
                raise Violation("S21", f"{text} and has acknowledged {self._heard.get(who, 0)} of {self._lasts}")

    # -- who leads (S20) ---------------------------------------------------------------------------------------------

    def sends(self, message: RequestVote) -> None:
        """Who is a voter in no configuration that may yet be in force does not stand."""
        watch = self.member.watch
        committed = max((index for index, _ in watch.configurations if index <= watch.commit), default=0)
        for index, configuration in watch.configurations:
            if index >= committed and self._votes(configuration):
                return
        raise Violation("S20", f"{self.member.identity} stands and is a voter in none of {watch.configurations}")

    def _votes(self, configuration: Configuration) -> bool:
        found = (*(m for m in configuration.members if m.role == "voter"), *configuration.outgoing)
        return any((m.id, m.incarnation) == self.member.identity for m in found)

    def ends(self) -> None:
        member, watch = self.member, self.member.watch
        if self._lasts[-1][1] != watch.last:
            self._lasts.append((self.oracles.now, watch.last))
        if member.leading and self._is_removed():
            raise Violation("S20", f"{member.identity} leads on; {watch.configurations[-1]} is committed")
        self._follow_transfers()

    def _is_removed(self) -> bool:
        """This leader knows that it is a voter no longer, and that nothing of that is open."""
        watch = self.member.watch
        index, configuration = watch.configurations[-1]
        settled = index <= watch.commit and not configuration.joint and watch.term_at(watch.commit) == watch.term
        return settled and not self._votes(configuration)

    # -- transfers (S26) ---------------------------------------------------------------------------------------------

    def tells(self, message: TimeoutNow) -> None:
        """Whom a leader wants to stand holds the whole log: it could not win otherwise."""
        transfer, watch = self.member.raft.state.transfer, self.member.watch
        if transfer is not None and transfer is self._told:
            return  # again: the first one may be lost
        self._told = transfer
        target = watch.configuration.find(message.target)
        if target is None or target.role != "voter":
            raise Violation("S26", f"{self.member.identity} tells {message.target} to stand, which is no voter")
        heard = max((match for (id, _), match in self._heard.items() if id == message.target), default=0)
        if heard < watch.last:
            text = f"{self.member.identity} tells {message.target} to stand"
            raise Violation("S26", f"{text}, which has acknowledged {heard} of {watch.last}")

    def _follow_transfers(self) -> None:
        """A transfer ends after an election timeout, at the next heartbeat; its outcome is told after two more. A clock
        that has jumped is found out a moment later: what is overdue must still be so after another heartbeat."""
        state, now, plan = self.member.raft.state, self.oracles.now, self.member.plan
        if state.transfer is not self._transfer:
            self._transfer, self._transfer_since = state.transfer, now
        if state.handover is not self._handover:
            self._handover, self._handover_since = state.handover, now
        slack, timeout = 2 * plan.heartbeat_seconds, plan.election_seconds
        overdue = self._transfer is not None and now > self._transfer_since + timeout + slack
        overdue = overdue or (self._handover is not None and now > self._handover_since + 2 * timeout + slack)
        if not overdue:
            self._overdue_us = None
            return
        true_us = self.member.heap.now_us
        if self._overdue_us is None:
            self._overdue_us = true_us
        if true_us > self._overdue_us + 2_000_000 * plan.heartbeat_seconds:
            raise Violation("S26", f"{self.member.identity} is still at {self._transfer or self._handover}")

    def refuses(self, effect: RefuseProposal) -> None:
        """Writes wait for a transfer, and for nothing that is over."""
        if effect.reason == "transferring" and self.member.raft.state.transfer is None:
            raise Violation("S26", f"{self.member.identity} refuses a write for a transfer that there is not")

    # -- requests ----------------------------------------------------------------------------------------------------

    def begins(self, event: ev.Event) -> None:
        if isinstance(event, ev.MembershipChangeRequested | ev.TransferRequested | ev.VersionRequested):
            self._requests[event.request] = event

    def answers(self, effect: AnswerRequest) -> None:
        """What is told to be done is done."""
        request, state, who = self._requests.pop(effect.request, None), self.member.raft.state, self.member.identity
        if request is None:
            raise Violation("S26", f"{who} answers again what it has answered: {effect}")
        if isinstance(request, ev.TransferRequested):
            led = effect.reason == "" if request.target == effect.leader else effect.reason != ""
            if request.target is not None and effect.reason in ("", "timed_out") and not led:
                raise Violation("S26", f"{who} says of {request}: {effect}")
        elif effect.reason:
            return
        elif isinstance(request, ev.VersionRequested):
            if state.version < request.version:
                raise Violation("S22", f"{who} says that {request} is done, the version is {state.version}")
        else:
            committed = next(c for index, c in reversed(state.configurations) if index <= state.commit)
            if committed.joint or not all(_is_done(change, committed) for change in request.changes):
                raise Violation("S20", f"{who} says that {request} is done; committed is {committed}")


def _is_done(change: ev.Change, configuration: Configuration) -> bool:
    found = configuration.find(change.id)
    if change.op == "add":
        return found is not None and found.incarnation == change.incarnation
    if change.op == "remove":
        return found is None or found.incarnation != change.incarnation != 0
    return found is not None and found.role == ("voter" if change.op == "promote" else "executor")
