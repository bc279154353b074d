"""S23: what a lease rests on, worked out anew for each read that is answered by one (thesis 6.4.1).

A round of heartbeats that a quorum answered with the promise binds that quorum for an election timeout of each one's
own clock, counted from when the round *began*, less what the drift allows a follower's clock to be faster. Rounds from
before the newest configuration bind nobody in it. A leader that told somebody to stand has no lease in that term.

The account is of rounds and answers alone. In true time the rule is shorter still: while a read is answered by a lease
nobody leads a later term.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.raft import events as ev
from graft.raft.effects import AnswerRead
from graft.raft.messages import Heartbeat, HeartbeatReply, Message, TimeoutNow
from graft.sim.invariants import Violation, voter_sets

if TYPE_CHECKING:
    from graft.sim.member import Member
    from graft.sim.oracles.all import Oracles

ROUNDING = 1e-6  # seconds


class Leases:
    """Of one process. `_began`: when each round of this term began; `_promised`: the newest round that each follower
    answered with its promise; `_valid_from`: the first round that the newest configuration lets count."""

    def __init__(self, member: Member, oracles: Oracles) -> None:
        self.member = member
        self.oracles = oracles
        self._term = 0
        self._began: dict[int, float] = {}
        self._promised: dict[tuple[str, int], int] = {}
        self._valid_from = 1
        self._tainted = False
        self._answered: set[int] = set()
        self._expected = False

    @property
    def given_up(self) -> bool:
        """A TimeoutNow was sent in this term."""
        return self._tainted and self._term == self.member.watch.term

    def _follow_term(self) -> None:
        term = self.member.watch.term
        if term != self._term:
            self._term, self._valid_from, self._tainted = term, 1, False
            self._began.clear()
            self._promised.clear()

    def hears(self, message: Message) -> None:
        if type(message) is HeartbeatReply and message.lease and message.term == self._term:
            who = (message.source, message.incarnation)
            self._promised[who] = max(message.round, self._promised.get(who, 0))

    def sends(self, message: Message) -> None:
        if type(message) is Heartbeat and message.round:
            self._follow_term()
            self._began.setdefault(message.round, self.oracles.now)
        elif type(message) is TimeoutNow:
            self._follow_term()
            self._tainted = True

    def configuration_changed(self) -> None:
        """The newest configuration is another one from here on."""
        self._follow_term()
        self._valid_from = max(self._began, default=0) + 1

    def ends_at(self, first_round: int) -> float | None:
        """Until when the lease runs, as a round from `first_round` on gives it; None: no round does."""
        round = min((self._agreed(voters) for voters in voter_sets(self.member.watch.configuration)), default=0)
        if round < first_round or round not in self._began:
            return None
        return self._began[round] + self.member.plan.election_seconds / (1 + self.member.plan.max_clock_drift)

    def _agreed(self, voters: list[tuple[str, int]]) -> int:
        """The newest round on which a majority of `voters` gave its promise, this leader included if it is one."""
        newest, mine = max(self._began, default=0), self.member.identity
        rounds = sorted((newest if who == mine else self._promised.get(who, 0) for who in voters), reverse=True)
        return rounds[len(voters) // 2]

    def answers(self, effect: AnswerRead) -> None:
        if effect.valid_until is None:
            return
        self._answered.update(effect.requests)
        if voter_sets(self.member.watch.configuration) == [[self.member.identity]]:
            return  # whoever votes alone hears of nobody else
        self._follow_term()
        if self.member.watch.term_at(self.member.watch.commit) != self._term:
            raise Violation("S23", f"{self.member.identity} answers by a lease before it committed anything")
        transfer, ends = self.member.raft.state.transfer, self.ends_at(self._valid_from)
        if self._tainted or transfer is not None:
            raise Violation("S23", f"{self.member.identity} answers by a lease after it told somebody to stand")
        if ends is None or effect.valid_until > ends + ROUNDING:
            until = f"until {effect.valid_until}, its rounds give it {ends}"
            raise Violation("S23", f"{self.member.identity} answers by a lease {until}; now: {self.oracles.now}")
        if self.oracles.now > effect.valid_until + ROUNDING:
            raise Violation("S23", f"{self.member.identity} answers by a lease that ended at {effect.valid_until}")

    def begins(self, event: ev.Event) -> None:
        self._expected = type(event) is ev.ReadRequested and event.lease and self.in_force()

    def ends(self, event: ev.Event) -> None:
        """A lease that was surely in force when the read came is made use of."""
        if type(event) is not ev.ReadRequested:
            return
        if self._expected and event.request not in self._answered:
            raise Violation("S23", f"{self.member.identity} has a lease and does not answer by it")
        self._answered.clear()

    def in_force(self) -> bool:
        """Beyond doubt: the last change of configuration was a whole round ago."""
        member, watch = self.member, self.member.watch
        state = member.raft.state
        if not (member.plan.lease_reads and member.leading and self._term == watch.term):
            return False
        if self._tainted or state.transfer is not None or watch.term_at(watch.commit) != watch.term:
            return False
        ends = self.ends_at(self._valid_from + 1)
        return ends is not None and self.oracles.now < ends - ROUNDING
