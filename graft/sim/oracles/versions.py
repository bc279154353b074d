"""S22: the version gate opens where the log says so, for all at one index, and never closes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.raft.effects import Persist, SwitchToSnapshot
from graft.raft.messages import AppendReply, HeartbeatReply, Message, SnapshotReply
from graft.raft.records import Kind
from graft.sim.invariants import Identity, Violation

if TYPE_CHECKING:
    from graft.sim.member import Member


class Versions:
    """Of one process. `_known`: the newest version that each follower said it understands, to this leader, last."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self._term = 0
        self._known: dict[Identity, int] = {}

    def hears(self, message: Message) -> None:
        watch = self.member.watch
        if isinstance(message, AppendReply | HeartbeatReply | SnapshotReply) and message.term == watch.term:
            if self._term != watch.term:
                self._term = watch.term
                self._known.clear()
            self._known[message.source, message.incarnation] = message.max_version

    def persists(self, effect: Persist) -> None:
        """A version that this leader asks for is known to all members."""
        watch = self.member.watch
        for entry in effect.entries:
            if entry.kind == Kind.VERSION and watch.leading and entry.term == watch.term:
                members = [(m.id, m.incarnation) for m in watch.configuration.members]
                known = {who: self._known.get(who, 0) for who in members if who != self.member.identity}
                known[self.member.identity] = self.member.program
                if min(known.values()) < int(entry.data):
                    raise Violation("S22", f"{self.member.identity} begins version {int(entry.data)}, known: {known}")

    def switches(self, effect: SwitchToSnapshot) -> None:
        """A snapshot brings the version that was in force where it was taken."""
        meta = effect.meta
        version = self.member.ledger.version_at(meta.index)
        if meta.version != version:
            raise Violation("S22", f"{meta.id} brings version {meta.version}, at {meta.index} it was {version}")

    def ends(self) -> None:
        member = self.member
        version, state = member.ledger.version_at(member.watch.commit), member.raft.state
        if state.version != version:
            text = f"{member.identity} is at version {state.version}"
            raise Violation("S22", f"{text}, by the log up to {member.watch.commit} it is {version}")
        if version > member.program:
            raise Violation("S22", f"{member.identity} goes on at {version}, its program knows {member.program}")
