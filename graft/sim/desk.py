"""The client side of a simulated member: what was asked, and what it is still waiting for.

A write is answered when the entry that carries it is applied; a read when the state covers the read index. What
happens to the answer on its way to the client is the client's business (`graft.sim.clients`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from attrs import define

from graft.raft import effects as fx
from graft.raft import events as ev
from graft.raft.records import Entry
from graft.sim.invariants import Violation

if TYPE_CHECKING:
    from graft.sim.member import Member


@define
class Answer:
    """`done`: `value` and the index of the state it comes from. `refused`: certainly not done by this attempt.
    `unknown`: who knows."""

    outcome: Literal["done", "refused", "unknown"]
    value: int | bool | None = None
    index: int = 0
    leader: str | None = None
    reason: str = ""


Reply = Callable[[Answer], None]


@define
class _Read:
    key: str
    needed: int  # highest index acknowledged to anyone when the client asked
    lease: bool
    reply: Reply


class Desk:
    """Of one process."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self._next = 0
        self._proposed: dict[int, Reply] = {}  # request -> reply, until the core has answered
        self._writes: dict[int, tuple[int, Reply]] = {}  # index -> (term, reply)
        self._reads: dict[int, _Read] = {}
        self._due: list[tuple[int, int, float | None]] = []  # (index, request, valid until)
        self.admin: dict[int, Callable[[str], None]] = {}
        self.leased = 0  # reads that were answered by a lease

    def busy(self) -> str:
        """What has not been answered, for people; empty when all has. A write that a later leader cut off is found out
        when another entry takes its place: it does not count before."""
        last = self.member.watch.last
        writes = [index for index in self._writes if index <= last]
        waiting = {"proposals": self._proposed, "writes": writes, "reads": self._reads, "requests": self.admin}
        return ", ".join(f"{len(found)} {name}" for name, found in waiting.items() if found)

    def number(self) -> int:
        self._next += 1
        return self._next

    # -- writes ----------------------------------------------------------------------------------------------------

    def write(self, data: bytes, reply: Reply) -> None:
        request = self.number()
        self._proposed[request] = reply
        self.member.handle(ev.Proposed(request, data))

    def accepted(self, effect: fx.AcceptProposal) -> None:
        self._writes[effect.index] = (effect.term, self._proposed.pop(effect.request))

    def refused(self, effect: fx.RefuseProposal) -> None:
        self._proposed.pop(effect.request)(Answer("refused", leader=effect.leader, reason=effect.reason))

    def entry_applied(self, entry: Entry, answer: bool | None) -> None:
        waiting = self._writes.pop(entry.index, None)
        if waiting is not None:
            term, reply = waiting
            reply(
                Answer("done", answer, entry.index) if term == entry.term else Answer("refused", reason="overwritten")
            )

    def skipped_to(self, index: int) -> None:
        """A snapshot took the place of entries up to `index`: nobody here knows what became of those."""
        for waiting in [i for i in self._writes if i <= index]:
            self._writes.pop(waiting)[1](Answer("unknown", reason="snapshot"))

    # -- reads -----------------------------------------------------------------------------------------------------

    def read(self, key: str, needed: int, lease: bool, reply: Reply) -> None:
        self._ask(_Read(key, needed, lease, reply))

    def _ask(self, read: _Read) -> None:
        request = self.number()
        self._reads[request] = read
        self.member.handle(ev.ReadRequested(request, read.lease))

    def may_read(self, effect: fx.AnswerRead) -> None:
        self._due += [(effect.index, request, effect.valid_until) for request in effect.requests]
        self.serve_reads()

    def may_not_read(self, effect: fx.RefuseRead) -> None:
        for request in effect.requests:
            self._reads.pop(request).reply(Answer("refused", leader=effect.leader, reason=effect.reason))

    def serve_reads(self) -> None:
        """Answer what the state covers by now."""
        applied = self.member.applied
        ready = [due for due in self._due if due[0] <= applied]
        if not ready:
            return
        self._due = [due for due in self._due if due[0] > applied]
        for _, request, valid_until in ready:
            self.serve(self._reads.pop(request), valid_until)

    def serve(self, read: _Read, valid_until: float | None) -> None:
        """Look at the state, then, for a lease read, at the clock."""
        member = self.member
        value = member.machine.read(read.key)
        if valid_until is not None and member.local_now() > valid_until:
            member.later(0, self._ask, read)
            return
        deposed = max(member.ledger.leaders) > member.watch.term
        if valid_until is not None:
            member.fired["reached.lease_read"] += 1
            self.leased += 1
            if deposed:
                raise Violation("S23", f"{member.identity} answers by a lease, a later term has a leader already")
        if deposed:
            member.fired["reached.read_in_old_term"] += 1
        member.ledger.saw_read(member.applied, read.needed, member.identity)
        read.reply(Answer("done", value, member.applied))

    # -- operators -------------------------------------------------------------------------------------------------

    def answered(self, effect: fx.AnswerRequest) -> None:
        self.admin.pop(effect.request)(effect.reason)
