"""S25: every budget counts what is really outstanding, and is back at its base line when nothing is.

A budget that leaks is harmless for long: it is seen when the last byte of it has gone, and then only as a cluster that
is slow, or refuses everybody. So the numbers are compared with an account of what was ordered and not answered, and in
the second phase of a run (`left_over`) each must be what it was at the beginning.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from graft.raft import events as ev
from graft.raft.effects import AnswerRead, ApplyEntries, ReadEntries, RefuseRead
from graft.raft.log import OVERHEAD_BYTES
from graft.raft.messages import AppendEntries, Message
from graft.raft.progress import Progress
from graft.raft.records import Entry
from graft.sim.invariants import Violation

if TYPE_CHECKING:
    from graft.sim.member import Member
    from graft.sim.oracles.all import Oracles


def size_of(entry: Entry) -> int:
    """What an entry costs in every budget of bytes."""
    return len(entry.data) + OVERHEAD_BYTES


class Budgets:
    """Of one process. `_applying`: (last index, bytes) of what was handed over; `_reading`: reads of the store under
    way; `_asked`: reads of clients under way; `_sent`: follower -> last index -> bytes of the appends of this term."""

    def __init__(self, member: Member, oracles: Oracles) -> None:
        self.member = member
        self.oracles = oracles
        self._applying: deque[tuple[int, int]] = deque()
        self._reading: set[int] = set()
        self._asked: set[int] = set()
        self._term = 0
        self._sent: dict[str, dict[int, set[int]]] = {}

    # -- what is outstanding -----------------------------------------------------------------------------------------

    def begins(self, event: ev.Event) -> None:
        if type(event) is ev.EntriesRead:
            self._reading.discard(event.read)
        elif type(event) is ev.ReadRequested:
            self._asked.add(event.request)
        elif type(event) is ev.Applied:
            self._applied(event.index)
        elif type(event) is ev.Persisted:
            self._applied(event.applied)

    def applies(self, effect: ApplyEntries) -> None:
        self._applying.append((effect.entries[-1].index, sum(map(size_of, effect.entries))))

    def _applied(self, index: int) -> None:
        while self._applying and self._applying[0][0] <= index:
            self._applying.popleft()

    def reads(self, effect: ReadEntries) -> None:
        self._reading.add(effect.read)

    def answers(self, effect: AnswerRead | RefuseRead) -> None:
        if not self._asked.issuperset(effect.requests):
            raise Violation("S25", f"{self.member.identity} answers again what it has answered: {effect}")
        self._asked.difference_update(effect.requests)

    def switches(self) -> None:
        """A snapshot takes the place of what was handed over."""
        self._applying.clear()

    def sends(self, message: Message) -> None:
        if type(message) is AppendEntries and message.entries:
            if self._term != message.term:
                self._term = message.term
                self._sent.clear()
            sent = self._sent.setdefault(message.target, {})
            sent.setdefault(message.entries[-1].index, set()).add(sum(map(size_of, message.entries)))

    # -- the base line -----------------------------------------------------------------------------------------------

    def left_over(self) -> str:
        """What is still counted though nothing is under way any more; empty when nothing is."""
        member, state = self.member, self.member.raft.state
        counted = {
            "uncommitted bytes": state.uncommitted_bytes,
            "bytes that are being applied": state.applying_bytes,
            "reads of the store": len(state.under_read),
            "reads": len(state.reads_waiting) + len(state.follower_reads) + (state.read_round is not None),
            "writes": len(state.log.pending) + len(state.log.mending) + len(state.log.repaired),
            "transfers": (state.transfer is not None) + (state.handover is not None),
            "changes": (state.change_request is not None) + (state.version_request is not None),
            "members that were removed": len(state.departing),
        }
        left = [f"{count} {name}" for name, count in counted.items() if count]
        left += self._left_of_followers()
        needy = any(progress.state == "snapshot" for progress in state.progress.values())
        files = sorted(member.image.exported)
        if files != sorted(meta.id for meta in state.snapshots) or (files and not needy):
            left.append(f"snapshots {files}")
        if state.taking_snapshot is not None and not needy:
            left.append("a snapshot that is being taken")
        return f"{member.id} still counts {', '.join(left)}" if left else ""

    def _left_of_followers(self) -> list[str]:
        """Of those that hear this leader and are heard."""
        member, world, state = self.member, self.member.world, self.member.raft.state
        healed = world.core if member.id in world.core else []
        left = []
        for id, progress in state.progress.items():
            other = world.members[id]
            if id in healed and other.alive and state.view.incarnations.get(id) == other.incarnation:
                counts = (len(progress.inflight), progress.inflight_bytes, progress.reading)
                if any(counts) or progress.state != "replicate":
                    left.append(f"{counts} of {id}, which is in {progress.state}")
        return left

    # -- comparing ---------------------------------------------------------------------------------------------------

    def ends(self, event: ev.Event) -> None:
        if type(event) is not ev.DeadlinePassed:
            return
        for problem in (self._log(), self._applier(), self._questions(), self._uncommitted(), self._windows()):
            if problem:
                raise Violation("S25", f"{self.member.identity} {problem}")

    def _log(self) -> str:
        log = self.member.raft.state.log
        held = sum(map(size_of, log.window))
        if log.window_bytes != held:
            return f"counts {log.window_bytes} bytes of log in memory, there are {held}"
        if held > log.max_window_bytes and log.window_first <= min(log.durable, log.last):
            return f"keeps {held} bytes of log in memory, synced ones among them"
        if log.taken_bytes != self.oracles.retention.taken:
            return f"counts {log.taken_bytes} bytes taken in, {self.oracles.retention.taken} were"
        if log.pending and log.pending[0][0] <= self.member.raft.state.synced:
            return f"waits for {log.pending[0]}, which is synced"
        return ""

    def _applier(self) -> str:
        state = self.member.raft.state
        handed = sum(size for _, size in self._applying)
        if (state.applying_bytes, len(state.applying_sizes)) != (handed, len(self._applying)):
            return f"counts {state.applying_bytes} bytes that are being applied, there are {handed}"
        return ""

    def _questions(self) -> str:
        state = self.member.raft.state
        if not state.under_read.keys() <= self._reading:
            return f"waits for reads of the store {sorted(state.under_read)}, under way are {sorted(self._reading)}"
        if state.reading_apply and not any(purpose.kind == "apply" for purpose in state.under_read.values()):
            return "waits for entries to apply, and nothing reads them"
        waiting = [*state.reads_waiting, *(state.read_round.reads if state.read_round is not None else ())]
        kept = {read.request for read in waiting if not read.source}
        kept.update(request for requests, _ in state.follower_reads.values() for request in requests)
        if kept != self._asked:
            return f"keeps the reads {sorted(kept)}, unanswered are {sorted(self._asked)}"
        return ""

    def _uncommitted(self) -> str:
        """A leader counts what it took in this term and has not committed; nobody else counts anything."""
        state, watch, ledger = self.member.raft.state, self.member.watch, self.member.ledger
        total = 0
        if self.member.leading:
            for index in range(watch.last, watch.commit, -1):
                if watch.term_at(index) != watch.term:
                    break
                total += len(ledger.entries[index, watch.term][1]) + OVERHEAD_BYTES
        if state.uncommitted_bytes != total or bool(state.uncommitted) != bool(total):
            return f"counts {state.uncommitted_bytes} uncommitted bytes, there are {total}"
        return ""

    def _windows(self) -> str:
        for progress in self.member.raft.state.progress.values():
            problem = self._window(progress)
            if problem:
                return f"of {progress.id} {problem}"
        return ""

    def _window(self, progress: Progress) -> str:
        """What a follower owes an answer to was sent to it, and is not answered."""
        counted = sum(size for _, size in progress.inflight)
        if progress.inflight_bytes != counted:
            return f"counts {progress.inflight_bytes} bytes in flight, its messages have {counted}"
        sent = self._sent.get(progress.id, {})
        for last, size in progress.inflight:
            if last <= progress.match or size not in sent.get(last, ()):
                known = f"{progress.match} is acknowledged, sent up to there: {sent.get(last)}"
                return f"counts {size} bytes up to {last} in flight; {known}"
        if progress.reading and progress.reading not in self.member.raft.state.under_read:
            return f"waits for entries that nothing reads: {progress.reading}"
        ahead = progress.chunk_next - progress.chunk_acked
        most = min(self.oracles.max_chunks, -(-ahead // self.member.plan.chunk_bytes))
        if progress.state == "snapshot" and not 0 <= progress.chunks <= most:
            return f"counts {progress.chunks} chunks on their way, {ahead} bytes are not acknowledged"
        return ""
