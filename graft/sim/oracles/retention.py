"""S24: how much of the log is kept, worked out anew whenever the synced state moves (`graft.raft.retention`).

* Of what the synced state covers `retain` entries are kept, and cut in steps.
* A follower that needs a snapshot holds what comes behind it until its log has come as close as those of others.
* It holds nothing while it is silent, nor once the log has taken in more than it may hold.
* A snapshot file is there as long as somebody is sent it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.raft import events as ev
from graft.raft.effects import DropSnapshot, Persist, PurgeLog
from graft.raft.log import OVERHEAD_BYTES
from graft.raft.progress import Progress
from graft.sim.invariants import Violation

if TYPE_CHECKING:
    from graft.sim.member import Member
    from graft.sim.oracles.all import Oracles


class Retention:
    """Of one process. `taken`: bytes that the log took in; `_held`: follower -> `taken` when it came to need a
    snapshot. `_purged`: what this event cut; `_wanted`: what it should, by the followers as they were before it."""

    def __init__(self, member: Member, oracles: Oracles) -> None:
        self.member = member
        self.oracles = oracles
        self.taken = 0
        self._held: dict[str, int] = {}
        self._applied = member.image.applied
        self._first = self._purged = self._wanted = self._taken_before = 0
        self._moved = False  # the synced state did

    def persists(self, effect: Persist) -> None:
        self.taken += sum(len(entry.data) + OVERHEAD_BYTES for entry in effect.entries)

    def begins(self, event: ev.Event) -> None:
        self._first = self.member.raft.state.log.first
        self._taken_before = self.taken
        self._purged = self._wanted = 0
        self._moved = False
        if type(event) is ev.CompactionRequested:
            self._wanted = min(event.index, self._applied)
        elif type(event) is ev.Persisted and event.applied > self._applied:
            self._applied, self._moved = event.applied, True
            self._wanted = self._due()

    def purges(self, effect: PurgeLog) -> None:
        self._purged = effect.index

    def drops(self, effect: DropSnapshot) -> None:
        for progress in self.member.raft.state.progress.values():
            if progress.snapshot is not None and progress.snapshot.id == effect.id:
                raise Violation("S24", f"{self.member.identity} drops {effect.id}, which {progress.id} is being sent")

    def ends(self, event: ev.Event) -> None:
        allowed = {self._in_log(self._wanted)}
        if type(event) is ev.Persisted and self._purged not in allowed:
            # The same event may have ended a follower's membership, or its leader's term.
            allowed.add(self._in_log(self._due()))
        if self._purged not in allowed:
            text = f"{self.member.identity} cut its log up to {self._purged}, by the rules it is {self._wanted}"
            raise Violation("S24", f"{text}; it began at {self._first} and {self._applied} is applied")
        if type(event) is ev.Persisted and event.applied == self.member.raft.state.applied_durable:
            self._forgets()
        self._follow_snapshots()

    def _forgets(self) -> None:
        """Of the configurations that the synced state covers one is kept, unless a snapshot is being taken."""
        state = self.member.raft.state
        covered = sum(index <= state.applied_durable for index, _ in state.configurations)
        if covered > 1 and state.taking_snapshot is None and self._moved:
            raise Violation("S24", f"{self.member.identity} keeps {covered} configurations that its state covers")

    def _in_log(self, index: int) -> int:
        return index if index >= self._first else 0

    def _follow_snapshots(self) -> None:
        """Who needs a snapshot holds the log from now on; and whose snapshot is there at all."""
        member, state = self.member, self.member.raft.state
        if member.leading:
            for id, progress in state.progress.items():
                if progress.state != "snapshot":
                    continue
                since = progress.held_since
                if id not in self._held or (since is not None and self._taken_before <= since <= self.taken):
                    self._held[id] = self.taken if since is None else since  # it needs one, or yet another one
            for id in [id for id in self._held if id not in state.progress]:
                del self._held[id]
        elif self._held:
            self._held.clear()
        if state.snapshots and not member.leading:
            raise Violation("S24", f"{member.identity} leads nobody and keeps {state.snapshots}")

    def _due(self) -> int:
        """How far the log is to be cut now; 0: not yet."""
        plan, state = self.member.plan, self.member.raft.state
        target = self._applied - plan.retain
        if target - self._first + 1 < max(1, plan.retain // 4):
            return 0
        holding = [follower for follower in state.progress.values() if follower.id in self._held]
        return min([target, *(self._until(follower, target) for follower in holding)])

    def _until(self, follower: Progress, target: int) -> int:
        """How far `follower` lets the log be cut."""
        plan, state = self.member.plan, self.member.raft.state
        if self.oracles.now - follower.heard_at > plan.silence_seconds:
            return target
        if self.taken - self._held[follower.id] > plan.held_bytes:
            return target
        if follower.state == "snapshot":
            at = state.taking_snapshot if follower.snapshot is None else follower.snapshot.index
            return target if at is None else at
        if follower.match >= target:
            self._held.pop(follower.id)
        return follower.match if follower.match >= self._first - 1 else target
