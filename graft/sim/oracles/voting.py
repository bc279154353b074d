"""S19: who may ask for votes, and who may be given one.

A member that heard of a leader owes it not to help another one for an election timeout of its own clock, and after a
restart (leases are in use) for the longest time that it may have promised (thesis 4.2.3, 6.4.1). Only an election
that a leader asked for is excepted.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from graft.raft.messages import AppendEntries, Heartbeat, InstallSnapshot, Message, RequestVote, VoteReply
from graft.sim.invariants import Violation, voter_sets

if TYPE_CHECKING:
    from graft.sim.member import Member
    from graft.sim.oracles.all import Oracles

FROM_LEADER = (AppendEntries, Heartbeat, InstallSnapshot)
ROUNDING = 1e-6  # seconds: deadlines are sums of floats


class Voting:
    """Of one process. `contact`: when, on its clock, it last heard of a leader; `contact_term`: of that leader."""

    def __init__(self, member: Member, oracles: Oracles) -> None:
        self.member = member
        self.oracles = oracles
        self.contact, self.contact_term = -inf, 0
        plan, watch = member.plan, member.watch
        alone = voter_sets(watch.configuration) == [[member.identity]]
        waits = plan.lease_reads and member.restarted and not alone
        self.grace_until = oracles.now + 2 * plan.election_seconds if waits else -inf
        self._request: RequestVote | None = None
        self._before: tuple[int, str | None, float] = (0, None, 0.0)

    def hears(self, message: Message) -> None:
        member = self.member
        if isinstance(message, FROM_LEADER) and message.term >= member.watch.term and message.target == member.id:
            self.contact, self.contact_term = self.oracles.now, message.term
        self._request = message if type(message) is RequestVote else None
        if self._request is not None:
            self._before = self._now()

    def _now(self) -> tuple[int, str | None, float]:
        watch = self.member.watch
        return watch.term, watch.vote, self.member.raft.state.election_deadline

    def owes(self) -> bool:
        """It must not help anybody into office, unless a leader asked for it."""
        timeout = self.member.plan.election_seconds
        return self.oracles.now < max(self.contact + timeout, self.grace_until) - ROUNDING

    def sends(self, message: Message) -> None:
        if type(message) is VoteReply and message.granted:
            self._grants(message)
        elif type(message) is RequestVote:
            self._asks(message)

    def _grants(self, reply: VoteReply) -> None:
        request, watch, who = self._request, self.member.watch, self.member.identity
        if request is None or (request.source, request.pre_vote, request.term) != (
            *(reply.target, reply.pre_vote, reply.term),
        ):
            raise Violation("S19", f"{who} grants {reply}, which nobody asked for: {request}")
        if request.term <= watch.term if request.pre_vote else request.term != watch.term:
            raise Violation("S19", f"{who} grants {request} in term {watch.term}")
        mine = (watch.term_at(watch.last) or 0, watch.last)
        if (request.last_term, request.last_index) < mine:
            raise Violation("S19", f"{who} grants {request}, its own log ends at {mine}")
        if self.member.plan.check_quorum and not self.member.leading and not request.transfer and self.owes():
            raise Violation("S19", f"{who} grants {request} while it owes it to a leader not to")

    def _asks(self, request: RequestVote) -> None:
        member, watch = self.member, self.member.watch
        if (request.last_index, request.last_term) != (watch.last, watch.term_at(watch.last)):
            raise Violation("S19", f"{member.identity} asks {request}, its log ends at {watch.last}")
        if request.term != watch.term + request.pre_vote:
            raise Violation("S19", f"{member.identity} asks {request} in term {watch.term}")
        if member.plan.check_quorum and not request.transfer and self.owes():
            raise Violation("S19", f"{member.identity} asks {request} while it owes it to a leader not to")

    def _counts_itself(self) -> None:
        """A candidate's own vote counts once it is synced."""
        state, hard = self.member.raft.state, self.member.image.hard_state
        if state.role == "candidate" and state.votes.get(state.id) and (hard.term, hard.vote) != (state.term, state.id):
            stored = f"synced: {hard.term}, {hard.vote}"
            raise Violation("S19", f"{self.member.identity} counts its own vote in term {state.term}; {stored}")

    def leaves(self, message: Message) -> None:
        """A candidate claims a term, its own vote in it, and the end of a log: all of it is synced."""
        if type(message) is not RequestVote or message.pre_vote:
            return
        member, image = self.member, self.member.image
        hard = image.hard_state
        if (hard.term, hard.vote) != (message.term, member.id):
            raise Violation("S19", f"{member.identity} asks {message}; synced: {hard.term}, {hard.vote}")
        state = member.raft.state
        if state.role == "candidate" and image.stored_term(message.last_index) not in (message.last_term, None):
            raise Violation("S19", f"{member.identity} asks {message}, its disk holds another log")
        if message.last_index > image.last:
            raise Violation("S19", f"{member.identity} asks {message}; its log is synced up to {image.last}")

    def ends(self) -> None:
        self._counts_itself()
        request, self._request = self._request, None
        if request is None or not request.pre_vote:
            return
        after = self._now()
        if after != self._before:
            raise Violation("S19", f"{self.member.identity} was asked {request}: {self._before} became {after}")
