"""S17: what is synced is what was ordered, order by order; and its parts agree with each other.

The core orders writes by ticket and may have several on their way; the shell merges those that gathered. The account
here is what the disk must hold once a ticket is synced: the end of the log and the hard state as they were ordered by
then. A crash may leave the turn that it met, or not: whatever is found, the hard state must fit the entries beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING

from attrs import frozen

from graft.raft.effects import Persist, SwitchToSnapshot
from graft.raft.records import HardState
from graft.sim.disk import Image
from graft.sim.invariants import Identity, Ledger, Violation

if TYPE_CHECKING:
    from graft.sim.member import Member


@frozen
class _Ordered:
    """What a ticket leaves on the disk."""

    ticket: int
    last: int
    last_term: int | None
    hard_state: HardState


class Disk:
    """Of one process."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self._ordered: deque[_Ordered] = deque()
        self._hard_state = member.image.hard_state
        check_parts(member.image, member.ledger, member.identity)

    def writes(self, effect: Persist | SwitchToSnapshot) -> None:
        """`effect` was ordered, and the watch knows of it."""
        watch = self.member.watch
        if effect.hard_state is not None:
            self._hard_state = effect.hard_state
        self._ordered.append(_Ordered(effect.ticket, watch.last, watch.term_at(watch.last), self._hard_state))

    def synced(self, ticket: int) -> None:
        """The shell says that all writes up to `ticket` are on the disk."""
        ordered, image, who = self._ordered, self.member.image, self.member.identity
        found: _Ordered | None = None
        while ordered and ordered[0].ticket <= ticket:
            found = ordered.popleft()
        if found is None:
            return
        if image.last != found.last or image.stored_term(found.last) not in (found.last_term, None):
            stored = (image.last, image.stored_term(image.last))
            raise Violation("S17", f"{who} has synced {ticket}: {(found.last, found.last_term)}; stored: {stored}")
        if image.hard_state is not found.hard_state and image.hard_state != found.hard_state:
            raise Violation("S17", f"{who} has synced {ticket}: {found.hard_state}; stored: {image.hard_state}")
        check_parts(image, self.member.ledger, who)

    def agrees(self) -> None:
        """The core goes on from nothing that it has not ordered to be written."""
        state, watch = self.member.raft.state, self.member.watch
        held = (state.term, state.vote, state.log.last, state.log.last_term)
        ordered = (watch.term, watch.vote, watch.last, watch.term_at(watch.last))
        if held != ordered:
            raise Violation("S17", f"{self.member.identity} holds {held} and has ordered {ordered}")
        if state.log.run_starts[0] > state.log.first - 1:
            raise Violation(
                "S17", f"{self.member.identity} does not know the terms of its log from {state.log.first} on"
            )
        if any(last > state.log.last for _, last in state.log.pending):
            raise Violation("S17", f"{self.member.identity} waits for {state.log.pending}, its log ends before")
        if state.log.window_first > max(state.log.durable, state.log.first - 1) + 1:
            raise Violation("S17", f"{self.member.identity} has dropped entries from {state.log.durable} on, unsynced")
        held_at = (state.configurations[-1][0], state.view.index, state.versions[-1][0])
        if held_at != (watch.configurations[-1][0],) * 2 + (self._hard_state.versions[-1][0],):
            raise Violation("S17", f"{self.member.identity} has configuration, view and version of {held_at}")


def check_parts(image: Image, ledger: Ledger, who: Identity) -> None:
    """The hard state says of the entries beside it what they are."""
    _check_runs(image, who)
    hard = image.hard_state
    _check_special("configurations", ledger.configurations, [index for index, _ in hard.configurations], image, who)
    _check_special("versions", ledger.versions, [index for index, _ in hard.versions], image, who)


def _check_runs(image: Image, who: Identity) -> None:
    """Terms never fall along a log, so a run whose first and last entry are of its term is right in between."""
    runs, first, last = image.hard_state.runs, image.first, image.last
    ends = [start - 1 for start, _ in runs[1:]] + [last]
    for (start, term), end in zip(runs, ends, strict=True):
        inside = [index for index in (max(start, first), end) if start <= index <= end]
        if start > last or any(image.stored_term(index) not in (term, None) for index in inside):
            raise Violation("S17", f"{who} has stored {runs}, run {start}/{term} is not that of its log up to {last}")
    if runs[0][0] > max(first - 1, image.applied):  # a purge that was ordered and not finished leaves more entries
        raise Violation("S17", f"{who} has stored {runs}, its log begins at {first}")


def _check_special(name: str, known: Collection[tuple[int, int]], kept: list[int], image: Image, who: Identity) -> None:
    """`kept` are the indexes of those in the hard state, `known` (index, term) of all such entries there ever were."""
    stored = {index for index, term in known if image.stored_term(index) == term}
    covered = max((index for index in stored if index <= image.applied), default=0)
    in_log = {index for index in kept if index >= image.first}
    if not in_log <= stored or not {index for index in stored if index >= covered} <= in_log:
        raise Violation("S17", f"{who} has stored {name} at {kept}, its log has those at {sorted(stored)}")
    if kept[0] > image.applied:
        raise Violation("S17", f"{who} has stored {name} at {kept}, none for its applied index {image.applied}")
