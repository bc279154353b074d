"""The commit door over Raft: propose -> persist -> apply (ARCHITECTURE §6). In a cluster of one it has one voter.

One transaction a turn: everything Raft ordered to be written while the last turn synced, together with the state
changes of what was applied meanwhile. State changes that no write of Raft carries along wait up to `FLUSH_SECONDS`:
after a crash they are derived again by replaying the log.

The core is told events at three places, each of them synchronous: before a turn (what was proposed), after it (what is
synced), and when its deadline passes. Its effects are carried out in order, at once, by the table at the end. The
cleverness belongs in `graft.raft`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import trio
from attrs import define, frozen

from graft import raft
from graft.engine import Applied, Change
from graft.errors import Rejected, StoreCorrupt, SyncFailed
from graft.interfaces import Clock, Entropy, Store, Turn
from graft.raft import effects as fx
from graft.raft import events as ev
from graft.raft_driver.hard_state import decode_hard_state, encode_hard_state, from_stored, to_stored
from graft.raft_driver.overlay import Overlay
from graft.raft_driver.syncing import commit_turn

MAX_TURN_ENTRIES: Final = 256  # an apply costs tens of microseconds, and Trio waits for the whole turn
MAX_PENDING_BYTES: Final = 64 << 20
FLUSH_SECONDS: Final = 0.05
RETAIN_ENTRIES: Final = 1024  # applied entries that stay in the log
CLOSE_SECONDS: Final = 30.0


class Machine(Protocol):
    """The state machine behind the log. All calls come from the door, on the Trio thread, and do not block."""

    def encode(self, command: Any) -> bytes: ...

    def decode(self, data: bytes) -> Any: ...

    def apply(self, index: int, command: Any) -> Applied: ...

    def drain(self) -> list[Change]:
        """State changes since the last call."""
        ...

    def dispatch(self, turn: list[Applied]) -> None:
        """Carry out the effects of a turn. Its state changes can be read by now."""
        ...


@frozen(eq=False)
class _Proposal:
    command: Any
    data: bytes
    done: Callable[[Applied], None] | None
    refused: Callable[[Exception], None] | None


@define
class _Writes:
    """What Raft ordered to be written since the last turn."""

    persists: list[fx.Persist]
    purge_to: int = 0


def founded(store: Store, member: str, incarnation: int) -> raft.HardState:
    """The hard state of `store`; an empty store becomes a cluster with `member` as its only voter."""
    stored = store.hard_state()
    if stored is not None:
        return decode_hard_state(stored)
    voter = raft.Member(member, incarnation, "voter")
    state = raft.HardState(configurations=((0, raft.Configuration((voter,))),))
    store.commit(Turn(hard_state=encode_hard_state(state)))
    return state


class RaftDoor:
    """`run` is the loop; `propose` may be called before it starts: proposals wait until this member leads.

    `overlay` holds the newest state changes that are not in the store yet: read it before the store.
    """

    def __init__(self, store: Store, machine: Machine, member: str, clock: Clock, entropy: Entropy) -> None:
        self._store, self._machine, self._clock, self._entropy = store, machine, clock, entropy
        fresh = store.hard_state() is None
        hard = founded(store, member, entropy.u64() >> 1)
        me = next(each for each in hard.configurations[-1][1].members if each.id == member)
        bounds = store.bounds()
        self._core = raft.Raft(
            raft.Config(id=member, incarnation=me.incarnation, retain_entries=RETAIN_ENTRIES),
            raft.Recovered(hard, bounds.first, bounds.last, bounds.applied, restarted=not fresh),
            entropy.u64,
            clock.monotonic(),
        )
        self.overlay = Overlay()
        self._applied = self._handed = self._durable_applied = bounds.applied
        self._failed = False
        self._queue: deque[_Proposal] = deque()
        self._pending_bytes = 0
        self._proposed: dict[int, _Proposal] = {}  # request -> what the core was told
        self._placed: dict[int, tuple[int, _Proposal]] = {}  # index -> (term, proposal)
        self._requests = 0
        self._to_apply: deque[raft.Entry] = deque()
        self._writes = _Writes([])
        self._leads = False
        self._wake = trio.Event()
        self._replanned = trio.Event()
        self._closing = False

    @property
    def applied(self) -> int:
        return self._applied

    def status(self) -> raft.Status:
        return self._core.status()

    # Proposing

    def propose(
        self,
        command: Any,
        done: Callable[[Applied], None] | None = None,
        refused: Callable[[Exception], None] | None = None,
    ) -> None:
        """See `graft.interfaces.CommitDoor`. Proposals without `refused` are our own, and are always taken."""
        data = self._machine.encode(command)
        if refused is not None and (error := self._objection(len(data))) is not None:
            refused(error)
            return
        self._queue.append(_Proposal(command, data, done, refused))
        self._pending_bytes += len(data)
        self._wake.set()

    def _objection(self, size: int) -> Rejected | None:
        if self._closing:
            return Rejected("this Graft process is stopping", reason="stopping", hint="try again when it has restarted")
        limit = self._core.state.config.max_entry_bytes
        if size > limit:
            return Rejected(
                f"the request has {size} bytes, more than the {limit} that one log entry may have",
                reason="too_large",
            )
        if self._pending_bytes + size > MAX_PENDING_BYTES:
            return Rejected("too many requests wait to be written to disk", reason="overloaded", hint="try again later")
        return None

    def _tell_proposals(self) -> None:
        """Tell the core what waits, at most a turn's worth."""
        told: list[ev.Event] = []
        while self._queue and len(told) < MAX_TURN_ENTRIES:
            proposal = self._queue.popleft()
            self._pending_bytes -= len(proposal.data)
            self._requests += 1
            self._proposed[self._requests] = proposal
            told.append(ev.Proposed(self._requests, proposal.data))
        self._tell(told)

    def _accepted(self, effect: fx.AcceptProposal) -> None:
        self._placed[effect.index] = (effect.term, self._proposed.pop(effect.request))

    def _refused(self, effect: fx.RefuseProposal) -> None:
        proposal = self._proposed.pop(effect.request)
        if proposal.refused is not None:
            proposal.refused(Rejected(f"the log did not take it: {effect.reason}", reason=effect.reason))
        else:
            self._queue.append(proposal)  # our own: it waits for a leader, or for room
            self._pending_bytes += len(proposal.data)

    # The core

    def _tell(self, events: list[ev.Event]) -> None:
        """Tell the core, and carry out what it orders, until nothing follows from it."""
        while events:
            effects = self._core.handle_many(events, self._clock.monotonic())
            events = []
            for effect in effects:
                answer = _EXECUTE[type(effect)](self, effect)
                if answer is not None:
                    events.append(answer)
        self._replanned.set()

    def _persist(self, effect: fx.Persist) -> None:
        self._writes.persists.append(effect)
        self._wake.set()

    def _purge(self, effect: fx.PurgeLog) -> None:
        self._writes.purge_to = max(self._writes.purge_to, effect.index)

    def _read(self, effect: fx.ReadEntries) -> ev.Event:
        try:
            found = self._store.entries(effect.first, effect.last, effect.max_bytes)
        except StoreCorrupt:
            return self._read_damaged(effect)
        return ev.EntriesRead(effect.read, tuple(map(from_stored, found)))

    def _read_damaged(self, effect: fx.ReadEntries) -> ev.Event:
        """Which entry is damaged: the good ones before it are still of use."""
        good: list[raft.Entry] = []
        for index in range(effect.first, effect.last + 1):
            try:
                good.extend(map(from_stored, self._store.entries(index, index)))
            except StoreCorrupt:
                return ev.EntriesRead(effect.read, tuple(good), corrupt=index)
        return ev.EntriesRead(effect.read, tuple(good))

    def _apply_later(self, effect: fx.ApplyEntries) -> None:
        self._to_apply.extend(effect.entries)
        self._wake.set()

    def _report_role(self, effect: fx.ReportRole) -> None:
        self._leads = effect.role == "leader"
        if self._leads:
            self._wake.set()

    def _stop(self, effect: fx.Stop) -> None:
        raise SyncFailed(f"this member has to stop: {effect.reason}", hint="see `graft doctor`")

    def _nothing(self, effect: fx.Effect) -> None:
        """Nobody asked, or a cluster of one has nobody to tell."""

    # Turns

    def replay(self) -> None:
        """Apply what the log of a cluster of one holds beyond the stored state; effects are not carried out.

        With one voter everything in its log is committed. Once this is done the state is what it was, and `run` may
        start; the election then has nothing left to apply.
        """
        core = self._core.state
        assert core.log.last >= self._applied
        while self._applied < core.log.last:
            for stored in self._store.entries(self._applied + 1, core.log.last):
                self._apply(from_stored(stored))
            self._collect()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Turn after turn, until cancelled; then one last turn that leaves nothing to replay.

        Raises what the store raises: a store that cannot be written to must stop everything at once.
        """
        self._tell([ev.CampaignRequested()])
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_time)
                task_status.started()
                while True:
                    await self._wait_for_work()
                    await self._turn()
        finally:
            self._closing = True
            if not self._failed:
                with trio.move_on_after(CLOSE_SECONDS, shield=True):
                    await self._commit()

    async def _keep_time(self) -> None:
        """Tell the core when its deadline has passed."""
        while True:
            self._replanned = trio.Event()
            deadline = self._core.next_deadline()
            delay = math.inf if deadline is None else deadline - self._clock.monotonic()
            with trio.move_on_after(max(0.0, delay)):
                await self._replanned.wait()
                continue
            self._tell([ev.DeadlinePassed()])
            await trio.lowlevel.checkpoint()

    def _has_work(self) -> bool:
        return bool(self._writes.persists or self._to_apply or (self._queue and self._leads))

    async def _wait_for_work(self) -> None:
        if self._has_work():
            return
        self._wake = trio.Event()
        with trio.move_on_after(FLUSH_SECONDS if self.overlay else math.inf):
            await self._wake.wait()

    async def _turn(self) -> None:
        if self._leads and self._queue:
            self._tell_proposals()
        await self._commit()
        self._apply_some()

    async def _commit(self) -> None:
        """One transaction and one fsync, on the storage thread: all that is ordered, and all state that is known."""
        writes, self._writes = self._writes, _Writes([], self._writes.purge_to)
        if not writes.persists and not self.overlay:
            return
        merged = fx.merge(writes.persists) if writes.persists else fx.Persist(0)
        applied = self._applied
        turn = Turn(
            entries=[to_stored(entry) for entry in merged.entries],
            truncate_from=merged.truncate_from,
            hard_state=None if merged.hard_state is None else encode_hard_state(merged.hard_state),
            changes=self.overlay.begin_write(),
            applied=applied,
            purge_to=min(writes.purge_to, self._durable_applied) or None,
        )
        try:
            await commit_turn(self._store, turn)
        except BaseException:
            self._failed = True  # what the disk holds is unknown, or it is full: never a second try
            raise
        self.overlay.end_write()
        self._durable_applied = applied
        if self._store.bounds().first > self._writes.purge_to:
            self._writes.purge_to = 0
        # A replay may be ahead of what the core has handed out; it is told only of that.
        self._tell([ev.Persisted(merged.ticket, min(applied, self._handed))])

    def _apply_some(self) -> None:
        """Apply what is committed, a turn's worth; tell the core, carry out effects, answer who proposed."""
        results: list[Applied] = []
        answers: list[tuple[_Proposal, Applied]] = []
        if not self._to_apply:
            return
        while self._to_apply and len(results) < MAX_TURN_ENTRIES:
            entry = self._to_apply.popleft()
            self._handed = entry.index
            proposal = self._proposal_of(entry)
            applied = self._apply(entry, proposal)
            if applied is not None:
                results.append(applied)
                if proposal is not None:
                    answers.append((proposal, applied))
        self._collect()
        self._tell([ev.Applied(self._handed)])
        self._machine.dispatch(results)
        for proposal, applied in answers:
            if proposal.done is not None:
                proposal.done(applied)

    def _proposal_of(self, entry: raft.Entry) -> _Proposal | None:
        """Who proposed this entry; a proposal whose place another entry took is lost."""
        term, proposal = self._placed.pop(entry.index, (0, None))
        if proposal is None or term == entry.term:
            return proposal
        if proposal.refused is not None:
            proposal.refused(Rejected("another leader overwrote the request", reason="lost", hint="try again"))
        return None

    def _apply(self, entry: raft.Entry, proposal: _Proposal | None = None) -> Applied | None:
        """Apply one committed entry, unless a replay did."""
        if entry.index <= self._applied:
            return None
        self._applied = entry.index
        if entry.kind != raft.Kind.COMMAND:
            return None
        command = self._machine.decode(entry.data) if proposal is None else proposal.command
        return self._machine.apply(entry.index, command)

    def _collect(self) -> None:
        for table, key, value in self._machine.drain():
            self.overlay.put(table, key, value)


_EXECUTE: Final[dict[type, Callable[[RaftDoor, Any], ev.Event | None]]] = {
    fx.Persist: RaftDoor._persist,
    fx.PurgeLog: RaftDoor._purge,
    fx.ReadEntries: RaftDoor._read,
    fx.ApplyEntries: RaftDoor._apply_later,
    fx.AcceptProposal: RaftDoor._accepted,
    fx.RefuseProposal: RaftDoor._refused,
    fx.ReportRole: RaftDoor._report_role,
    fx.ReportMembership: RaftDoor._nothing,
    fx.DropHeld: RaftDoor._nothing,
    fx.Stop: RaftDoor._stop,
}
