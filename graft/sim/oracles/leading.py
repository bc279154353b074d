"""S20, S21, S26: who may lead and stand, whom a leader makes a voter, and when it gives a transfer up."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from graft.raft import events as ev
from graft.raft.effects import Persist
from graft.raft.membership import decode
from graft.raft.messages import AppendReply, HeartbeatReply, Message, RequestVote, SnapshotReply
from graft.raft.records import Configuration, Kind
from graft.sim.invariants import Identity, Violation

if TYPE_CHECKING:
    from graft.raft.transfer import Transfer
    from graft.sim.member import Member
    from graft.sim.oracles.all import Oracles

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

    def ends(self, event: ev.Event) -> None:
        member, watch = self.member, self.member.watch
        if self._lasts[-1][1] != watch.last:
            self._lasts.append((self.oracles.now, watch.last))
        if member.leading and self._is_removed():
            raise Violation("S20", f"{member.identity} leads on; {watch.configurations[-1]} is committed")
        self._follow_transfers(event)

    def _is_removed(self) -> bool:
        """This leader knows that it is a voter no longer, and that nothing of that is open."""
        watch = self.member.watch
        index, configuration = watch.configurations[-1]
        settled = index <= watch.commit and not configuration.joint and watch.term_at(watch.commit) == watch.term
        return settled and not self._votes(configuration)

    # -- transfers (S26) ---------------------------------------------------------------------------------------------

    def _follow_transfers(self, event: ev.Event) -> None:
        """A transfer ends after an election timeout, at the next heartbeat; its outcome is told after two more."""
        state, now, plan = self.member.raft.state, self.oracles.now, self.member.plan
        if state.transfer is not self._transfer:
            self._transfer, self._transfer_since = state.transfer, now
        if state.handover is not self._handover:
            self._handover, self._handover_since = state.handover, now
        if type(event) is not ev.DeadlinePassed:
            return
        slack = 2 * plan.heartbeat_seconds
        if self._transfer is not None and now > self._transfer_since + plan.election_seconds + slack:
            raise Violation("S26", f"{self.member.identity} is transferring to {self._transfer.target} for too long")
        if self._handover is not None and now > self._handover_since + 2 * plan.election_seconds + slack:
            raise Violation("S26", f"{self.member.identity} does not tell how the transfer ended")
