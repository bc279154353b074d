"""S18: an acknowledgement means one entry, on the disk that it leaves from, and a leader counts no more than that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.raft import events as ev
from graft.raft.membership import incarnation_of
from graft.raft.messages import AppendReply, Message, RequestVote, SnapshotReply, VoteReply
from graft.sim.invariants import Violation

if TYPE_CHECKING:
    from graft.sim.member import Member

PROMISES = (AppendReply, SnapshotReply, VoteReply, RequestVote)
"""What `DropHeld` takes back when the term changes."""


class Acks:
    """Of one process. `_meant`: by the answer's `id` (it is kept while it waits), the term of the entry that it
    acknowledges, as the log was when the core made it."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self._meant: dict[int, tuple[Message, int | None]] = {}
        self._counted: dict[tuple[str, int, int], int] = {}  # (follower, incarnation, term) -> up to where

    def sends(self, message: Message) -> None:
        if type(message) is AppendReply and message.success and message.match:
            self._meant[id(message)] = (message, self.member.watch.term_at(message.match))

    def dropped(self) -> None:
        """Nothing that waited will leave."""
        self._meant.clear()

    def leaves(self, message: Message) -> None:
        member = self.member
        if isinstance(message, PROMISES) and message.term < member.watch.term:
            raise Violation("S18", f"{member.identity} says {message} in term {member.watch.term}")
        if type(message) is AppendReply and message.success and message.match:
            self._acknowledges(message)
        elif type(message) is SnapshotReply and message.installed:
            commit = member.raft.state.commit
            if message.match > commit:  # behind it the log may be another one than the leader's
                raise Violation("S18", f"{member.identity} acknowledges {message}, committed are {commit}")
            member.ledger.told(member.identity, message.term, message.match)

    def _acknowledges(self, message: AppendReply) -> None:
        member, index = self.member, message.match
        _, meant = self._meant.pop(id(message), (message, None))
        stored = member.image.stored_term(index)
        if meant is not None and stored is not None and meant != stored:
            raise Violation("S18", f"{member.identity} acknowledges {index}/{meant}, its disk holds {index}/{stored}")
        member.ledger.told(member.identity, message.term, index)

    def ends(self, event: ev.Event) -> None:
        if type(event) is ev.MessageReceived:
            message = event.message
            if type(message) is AppendReply or type(message) is SnapshotReply:
                self._counts(message.source)
        elif type(event) is ev.Persisted:
            self._relies_on_itself()

    def _counts(self, source: str) -> None:
        """A leader knows of a follower what that follower has said in this term."""
        state = self.member.raft.state
        progress = state.progress.get(source)
        if progress is None:
            return
        incarnation = incarnation_of(state, source) or 0
        told = self.member.ledger.acknowledgements.get(((source, incarnation), state.term), 0)
        before = self._counted.get((source, incarnation, state.term), 0)
        if progress.match > told or progress.match < before:
            text = f"{self.member.identity} counts {source} up to {progress.match}, it has acknowledged {told}"
            raise Violation("S18", f"{text} in term {state.term} and was counted up to {before}")
        self._counted[source, incarnation, state.term] = progress.match

    def _relies_on_itself(self) -> None:
        """What the core takes to be durable is on the disk as it stands in its log."""
        member = self.member
        index, image = member.raft.state.log.durable, member.image
        if index <= image.applied or index < image.first:
            return
        stored, meant = image.stored_term(index), member.watch.term_at(index)
        if stored is None or (meant is not None and stored != meant):
            raise Violation("S18", f"{member.identity} relies on {index}/{meant}, its disk holds {index}/{stored}")
