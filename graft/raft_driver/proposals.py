"""What was proposed here, from `propose` until its entry is applied or certainly lost.

::

    waiting --told to the core--> told --accepted--> placed at (index, term) --applied--> done
       ^                            |                    |
       +------- own: refused -------+                    +-- another term's entry is applied there or before: lost

Proposals of clients have a `refused` and are told at once when something is in their way, also when this member stops
to lead and nobody here knows what became of them: commands have natural keys, so asking again is right. Proposals
without it are our own. They are kept until they are applied: what is lost waits for the next time that this member
leads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from attrs import frozen

from graft import raft
from graft.engine import Applied
from graft.errors import Rejected
from graft.raft import effects as fx
from graft.raft import events as ev

MAX_PENDING_BYTES: Final = 64 << 20
STALLING: Final = frozenset({"overloaded", "transferring"})  # the core takes none for a while

Done = Callable[[Applied], None]
Refused = Callable[[Exception], None]


@frozen(eq=False)
class Proposal:
    command: Any
    data: bytes
    done: Done | None
    refused: Refused | None


class Proposals:
    """Of one process. `is_stalled`: the core refused one for now; look again when something was applied."""

    def __init__(self, max_entry_bytes: int) -> None:
        self._max_entry_bytes = max_entry_bytes
        self._waiting: deque[Proposal] = deque()
        self._pending_bytes = 0
        self._told: dict[int, Proposal] = {}
        self._placed: dict[int, tuple[int, Proposal]] = {}
        self._requests = 0
        self._newest_term = 0  # of the entries that were applied
        self.is_stalled = False

    def __bool__(self) -> bool:
        """Whether some can be told to a core that leads."""
        return bool(self._waiting) and not self.is_stalled

    def add(self, proposal: Proposal) -> None:
        self._waiting.append(proposal)
        self._pending_bytes += len(proposal.data)

    def check_size(self, size: int) -> None:
        """Our own are taken whatever comes, so they must not be what the log never takes."""
        assert size <= self._max_entry_bytes, f"a command of {size} bytes, of at most {self._max_entry_bytes}"

    def objection(self, size: int) -> Rejected | None:
        """Why a client's proposal of `size` bytes cannot wait here."""
        if size > self._max_entry_bytes:
            return Rejected(
                f"the request has {size} bytes, more than the {self._max_entry_bytes} that one log entry may have",
                reason="too_large",
            )
        if self._pending_bytes + size > MAX_PENDING_BYTES:
            return Rejected("too many requests wait to be written to disk", reason="overloaded", hint="try again later")
        return None

    # The core

    def take(self, limit: int) -> list[ev.Event]:
        """What to tell the core: those that waited longest."""
        told: list[ev.Event] = []
        while self._waiting and len(told) < limit:
            proposal = self._waiting.popleft()
            self._pending_bytes -= len(proposal.data)
            self._requests += 1
            self._told[self._requests] = proposal
            told.append(ev.Proposed(self._requests, proposal.data))
        return told

    def accepted(self, effect: fx.AcceptProposal) -> None:
        self._placed[effect.index] = (effect.term, self._told.pop(effect.request))

    def refused(self, effect: fx.RefuseProposal) -> None:
        proposal = self._told.pop(effect.request)
        if effect.reason in STALLING:
            self.is_stalled = True
        self._lost(proposal, not_taken(effect.reason, effect.leader))

    def _lost(self, proposal: Proposal, error: Rejected) -> None:
        if proposal.refused is None:
            self.add(proposal)
        else:
            proposal.refused(error)

    # The log

    def applied(self, entry: raft.Entry) -> Proposal | None:
        """Who proposed the entry that is being applied."""
        self.is_stalled = False
        if entry.term > self._newest_term:
            self._newest_term = entry.term
            self._overtaken(entry.term)
        placed = self._placed.pop(entry.index, None)
        return None if placed is None else placed[1]

    def _overtaken(self, term: int) -> None:
        """An entry of `term` is committed: what older terms placed behind it never will be."""
        for index in [index for index, (placed, _) in self._placed.items() if placed < term]:
            self._lost(self._placed.pop(index)[1], Rejected("another leader overwrote the request", reason="lost"))

    def deposed(self, leader: str | None) -> None:
        """This member leads no more: clients have to ask the next one."""
        for index in [index for index, (_, proposal) in self._placed.items() if proposal.refused is not None]:
            self._lost(self._placed.pop(index)[1], unknown(leader))
        for proposal in list(self._waiting):
            if proposal.refused is not None:
                self._waiting.remove(proposal)
                self._pending_bytes -= len(proposal.data)
                proposal.refused(not_taken("not_leader", leader))

    def skipped_to(self, index: int) -> None:
        """A snapshot took the place of entries up to `index`."""
        for old in [old for old in self._placed if old <= index]:
            self._lost(self._placed.pop(old)[1], unknown(None))

    def refuse_clients(self) -> None:
        """This member stops."""
        kept = [*self._waiting, *self._told.values(), *(proposal for _, proposal in self._placed.values())]
        self._waiting.clear()
        self._told.clear()
        self._placed.clear()
        for proposal in kept:
            if proposal.refused is not None:
                proposal.refused(stopping())


def not_taken(reason: str, leader: str | None) -> Rejected:
    if reason == "not_leader":
        return Rejected("this member does not lead the cluster", reason=reason, hint=ask(leader), leader=leader)
    return Rejected(f"the log did not take it: {reason}", reason=reason, hint="try again", leader=leader)


def unknown(leader: str | None) -> Rejected:
    return Rejected(
        "this member lost the leadership before the request was committed; it may still be carried out",
        reason="unknown",
        hint=ask(leader),
        leader=leader,
    )


def stopping() -> Rejected:
    return Rejected("this Graft process is stopping", reason="stopping", hint="try again when it has restarted")


def ask(leader: str | None) -> str:
    return "try again in a moment" if leader is None else f"ask {leader}"
