"""The commit door over Raft: propose -> persist -> apply (ARCHITECTURE §6). In a cluster of one it has one voter.

Two loops share the Trio thread, and only one of them ever waits for the disk:

* the *writer*: one transaction a turn, with everything Raft ordered to be written while the last turn synced, together
  with the state changes of what was applied meanwhile. State changes that no write of Raft carries along wait up to
  `FLUSH_SECONDS`: after a crash they are derived again by replaying the log;
* the *pump*: what arrived (messages, requests, answers of the snapshot desk), the core's deadline, and slices of what
  is committed. So a leader sends, counts and applies while its own disk syncs.

The core is told events by both, synchronously; its effects are carried out in order, at once, by the table at the end.
The cleverness belongs in `graft.raft`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import trio
from attrs import evolve

from graft import raft
from graft.engine import Applied, Change
from graft.errors import StoreFull, SyncFailed
from graft.interfaces import Clock, Entropy, Snapshots, Store, Switch, Transport, Turn
from graft.raft import effects as fx
from graft.raft import events as ev
from graft.raft.messages import Message
from graft.raft_driver import reading
from graft.raft_driver.founding import open_member
from graft.raft_driver.hard_state import encode_hard_state, from_stored, to_stored
from graft.raft_driver.overlay import Overlay
from graft.raft_driver.proposals import Done, Proposal, Proposals, Refused, not_taken, stopping
from graft.raft_driver.requests import Requests
from graft.raft_driver.snapshots import SnapshotDesk
from graft.raft_driver.syncing import commit_turn
from graft.raft_driver.writes import Writes

MAX_SLICE_ENTRIES: Final = 256  # an apply costs tens of microseconds, and Trio waits for the whole slice
MAX_INBOX: Final = 4096  # messages that wait for the pump; more are dropped, which Raft allows
MAX_PUMPED: Final = 256  # events that the core is told at once
FLUSH_SECONDS: Final = 0.05
RETAIN_ENTRIES: Final = 1024  # applied entries that stay in the log of a cluster of one
CLOSE_SECONDS: Final = 30.0

T = TypeVar("T")


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

    def reset(self) -> None:
        """A snapshot took the place of the state in the store: forget everything and load it from there."""
        ...


class RaftDoor:
    """`run` is the loop; `propose` may be called before it starts: in a cluster of one proposals wait for it.

    `overlay` holds the newest state changes that are not in the store yet: read it before the store.
    `founders`: see `founding.open_member`. `config` is for all but the ids. Without a `transport` messages go nowhere,
    without `snapshots` none are made or taken.
    """

    def __init__(
        self,
        store: Store,
        machine: Machine,
        member: str,
        clock: Clock,
        entropy: Entropy,
        *,
        config: raft.Config | None = None,
        founders: Sequence[raft.Member] | None = None,
        transport: Transport | None = None,
        snapshots: Snapshots | None = None,
    ) -> None:
        self._store, self._machine, self._clock, self._transport = store, machine, clock, transport
        self.identity, recovered = open_member(store, member, entropy, founders, snapshots)
        config = raft.Config(id=member, retain_entries=RETAIN_ENTRIES) if config is None else config
        config = evolve(config, id=member, incarnation=self.identity.incarnation)
        self._core = raft.Raft(config, recovered, entropy.u64, clock.monotonic())
        self.overlay = Overlay()
        self._applied = self._handed = self._durable_applied = recovered.applied
        self._proposals = Proposals(config.max_entry_bytes)
        self._requests = Requests(self._post)
        self._requests.applied(recovered.applied)
        self._desk = SnapshotDesk(store, snapshots, entropy, self._post, self._write_extra)
        self._writes = Writes()
        self._extra: deque[tuple[Turn, Callable[[StoreFull | None], None]]] = deque()
        self._inbox: deque[ev.Event] = deque()
        self._to_apply: deque[raft.Entry] = deque()
        self._switches = 0  # to snapshots, ordered and not done: what is to be applied waits for them
        self._leads = False
        self._wake = trio.Event()  # for the writer
        self._alarm = trio.Event()  # for the pump
        self._alarm_at = math.inf
        self._closing = self._failed = False

    @property
    def applied(self) -> int:
        return self._applied

    @property
    def leads(self) -> bool:
        return self._leads

    def status(self) -> raft.Status:
        return self._core.status()

    @property
    def _is_sole(self) -> bool:
        return self._core.state.view.sole

    # What others ask of this member

    def propose(self, command: Any, done: Done | None = None, refused: Refused | None = None) -> None:
        """See `graft.interfaces.CommitDoor`. Proposals without `refused` are our own, and are always taken.

        A client's proposal is refused with the leader as a hint when another member leads.
        """
        data = self._machine.encode(command)
        if refused is not None and (error := self._objection(len(data))) is not None:
            refused(error)
            return
        self._proposals.add(Proposal(command, data, done, refused))
        if self._is_sole:
            self._wake.set()
        else:
            self._alarm.set()  # the others can work on it while this disk syncs

    def _objection(self, size: int) -> Exception | None:
        if self._closing:
            return stopping()
        if not self._leads and not self._is_sole:
            return not_taken("not_leader", self._core.state.leader)
        return self._proposals.objection(size)

    def receive(self, message: Message) -> None:
        """A message of another member. Never blocks; on the Trio thread."""
        if len(self._inbox) < MAX_INBOX:
            self._post(ev.MessageReceived(message))

    def _post(self, event: ev.Event) -> None:
        self._inbox.append(event)
        self._alarm.set()

    async def read(self, look: Callable[[], T], *, lease: bool = False) -> T:
        """What `look` sees in a state that holds everything that was acknowledged before the call (linearizable).

        `lease`: where the configuration allows it, the leader answers without asking the others. Raises Rejected.
        """
        while True:
            answer = await self._requests.read_index(lease)
            await self._requests.wait_applied(answer.index)
            seen = look()
            if answer.valid_until is None or self._clock.monotonic() <= answer.valid_until:
                return seen

    async def read_index(self) -> int:
        """Return when this member's state holds everything that was acknowledged before the call. Raises Rejected."""
        return await self.read(lambda: self._applied)

    async def change_members(self, *changes: ev.Change) -> None:
        """Return when the new configuration is in force. Raises Rejected, with a word of `AnswerRequest` as reason."""
        await self._requests.order(lambda number: ev.MembershipChangeRequested(number, changes))

    async def transfer_leadership(self, target: str | None = None) -> None:
        await self._requests.order(lambda number: ev.TransferRequested(number, target))

    async def raise_version(self, version: int) -> None:
        await self._requests.order(lambda number: ev.VersionRequested(number, version))

    async def recover_quorum(self, configuration: raft.Configuration) -> None:
        """The operator says that the majority is lost for ever; see `QuorumRecoveryRequested`."""
        await self._requests.order(lambda number: ev.QuorumRecoveryRequested(number, configuration))

    def campaign(self) -> None:
        self._post(ev.CampaignRequested())

    def compact(self, index: int) -> None:
        self._post(ev.CompactionRequested(index))

    def report_damage(self, index: int) -> None:
        """A scrub found that the stored entry at `index` fails its checksum: it is fetched from others."""
        self._post(ev.CorruptionFound(index))

    # The core

    def _tell(self, events: Sequence[ev.Event]) -> None:
        """Tell the core, and carry out what it orders, until nothing follows from it."""
        while True:
            answers: list[ev.Event] = []
            for effect in self._core.handle_many(events, self._clock.monotonic()):
                answer = _EXECUTE[type(effect)](self, effect)
                if answer is not None:
                    answers.append(answer)
            if not answers:
                break
            events = answers
        deadline = self._core.next_deadline()
        if deadline is not None and deadline < self._alarm_at:
            self._alarm.set()

    def _persist(self, effect: fx.Persist) -> None:
        self._writes.order(effect)
        self._wake.set()

    def _switch_later(self, effect: fx.SwitchToSnapshot) -> None:
        """What was to be applied is in the snapshot; what comes to be applied later waits for it."""
        self._switches += 1
        self._to_apply.clear()
        self._writes.order(effect)
        if self._desk.staged_id != effect.meta.id:
            self._desk.stage(effect.meta, lambda: self._wake.set())
        self._wake.set()

    def _send(self, effect: fx.Send) -> None:
        if not self._writes.hold(effect.message, effect.after) and self._transport is not None:
            self._transport.send(effect.message)

    def _drop_held(self, effect: fx.DropHeld) -> None:
        self._writes.drop_held()

    def _purge(self, effect: fx.PurgeLog) -> None:
        self._writes.purge_to = max(self._writes.purge_to, effect.index)

    def _read(self, effect: fx.ReadEntries) -> ev.Event | None:
        """Alone there is nobody whom a slow disk could keep waiting; in a cluster it must not delay a heartbeat."""
        if self._is_sole:
            return reading.read_entries(self._store, effect)
        self._nursery.start_soon(self._read_in_thread, effect)
        return None

    async def _read_in_thread(self, effect: fx.ReadEntries) -> None:
        self._post(await trio.to_thread.run_sync(reading.read_entries, self._store, effect))

    def _apply_later(self, effect: fx.ApplyEntries) -> None:
        self._to_apply.extend(effect.entries)

    def _accepted(self, effect: fx.AcceptProposal) -> None:
        self._proposals.accepted(effect)

    def _refused(self, effect: fx.RefuseProposal) -> None:
        self._proposals.refused(effect)

    def _answer_read(self, effect: fx.AnswerRead | fx.RefuseRead) -> None:
        self._requests.answer_read(effect)

    def _answer_request(self, effect: fx.AnswerRequest) -> None:
        self._requests.answer(effect)

    def _order_snapshot(self, effect: fx.TakeSnapshot | fx.DropSnapshot | fx.ReadChunk | fx.WriteChunk) -> None:
        self._desk.order(effect)

    def _report_role(self, effect: fx.ReportRole) -> None:
        led, self._leads = self._leads, effect.role == "leader"
        self._proposals.is_stalled = False
        if led and not self._leads:
            self._proposals.deposed(effect.leader)
        if self._leads:
            self._wake.set()

    def _stop(self, effect: fx.Stop) -> None:
        raise SyncFailed(f"this member has to stop: {effect.reason}", hint="see `graft doctor`")

    def _nothing(self, effect: fx.Effect) -> None:
        """Nobody asked: `status` tells it."""

    def _tell_proposals(self) -> None:
        if self._leads and self._proposals:
            self._tell(self._proposals.take(MAX_SLICE_ENTRIES))

    # Running

    def replay(self) -> None:
        """Apply what the log holds beyond the stored state, if this member is the only voter; else do nothing.

        With one voter everything in its log is committed; effects are not carried out. Once this is done the state is
        what it was, and `run` may start; the election then has nothing left to apply. With more voters the end of the
        log may never be committed, so nothing is applied before Raft says so.
        """
        if not self.identity.sole:
            return
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
        try:
            async with trio.open_nursery() as self._nursery:
                self._tell([ev.CampaignRequested()] if self._is_sole else [])
                self._nursery.start_soon(self._pump)
                self._nursery.start_soon(self._desk.run)
                task_status.started()
                while True:
                    await self._wait_for_work()
                    await self._turn()
        finally:
            self._closing = True
            self._proposals.refuse_clients()
            self._requests.stop()
            if not self._failed:
                with trio.move_on_after(CLOSE_SECONDS, shield=True):
                    await self._commit()

    # The pump

    async def _pump(self) -> None:
        """Tell the core what arrived, and when its deadline has passed; apply what is committed."""
        while True:
            await self._wait_for_events()
            events = [self._inbox.popleft() for _ in range(min(len(self._inbox), MAX_PUMPED))]
            deadline = self._core.next_deadline()
            if deadline is not None and deadline <= self._clock.monotonic():
                events.append(ev.DeadlinePassed())
                self._proposals.is_stalled = False
            if self._leads and self._proposals and not self._is_sole:
                events += self._proposals.take(MAX_SLICE_ENTRIES)
            if events:
                self._tell(events)
            self._apply_some()
            await trio.lowlevel.checkpoint()

    async def _wait_for_events(self) -> None:
        if self._inbox or self._can_apply or (self._leads and self._proposals and not self._is_sole):
            return
        self._alarm = trio.Event()
        deadline = self._core.next_deadline()
        self._alarm_at = math.inf if deadline is None else deadline
        with trio.move_on_after(max(0.0, self._alarm_at - self._clock.monotonic())):
            await self._alarm.wait()
        self._alarm_at = -math.inf

    # The writer

    @property
    def _switch_is_ready(self) -> bool:
        switch = self._writes.switch
        return switch is not None and switch.meta.id == self._desk.staged_id

    def _has_work(self) -> bool:
        return bool(
            self._writes.is_due
            or self._can_apply
            or (self._leads and self._proposals)
            or self._extra
            or self._switch_is_ready
        )

    async def _wait_for_work(self) -> None:
        if self._has_work():
            return
        self._wake = trio.Event()
        with trio.move_on_after(FLUSH_SECONDS if self.overlay else math.inf):
            await self._wake.wait()

    async def _turn(self) -> None:
        self._tell_proposals()
        if self._switch_is_ready:
            await self._switch()
        else:
            await self._commit()
        self._apply_some()
        if self._extra:
            await self._commit_extra()

    async def _commit(self) -> None:
        """One transaction and one fsync, on the storage thread: all that is ordered, and all state that is known."""
        write = self._writes.take()
        if not write.ticket and not self.overlay:
            return await trio.lowlevel.checkpoint()
        applied = self._applied
        hard = write.hard_state
        turn = Turn(
            entries=[to_stored(entry) for entry in write.entries],
            truncate_from=write.truncate_from,
            hard_state=None if hard is None else encode_hard_state(hard, self.identity.incarnation),
            changes=self.overlay.begin_write(),
            applied=applied,
            purge_to=min(self._writes.purge_to, self._durable_applied) or None,
            repaired=[to_stored(entry) for entry in write.repaired],
        )
        await self._store_turn(turn)
        self.overlay.end_write()
        self._durable_applied = applied
        if self._store.bounds().first > self._writes.purge_to:
            self._writes.purge_to = 0
        # A replay may be ahead of what the core has handed out; it is told only of that.
        self._synced(write.ticket, min(applied, self._handed))

    def _synced(self, ticket: int, applied: int) -> None:
        for message in self._writes.synced(ticket):
            if self._transport is not None:
                self._transport.send(message)
        self._tell([ev.Persisted(ticket, applied)])

    async def _store_turn(self, turn: Turn) -> None:
        try:
            await commit_turn(self._store, turn)
        except BaseException:
            self._failed = True  # what the disk holds is unknown, or it is full: never a second try
            raise

    async def _switch(self) -> None:
        """The staged snapshot becomes the state, in one small transaction."""
        switch = self._writes.take_switch()
        meta = switch.meta
        hard = encode_hard_state(switch.hard_state, self.identity.incarnation)
        await self._store_turn(Turn(hard_state=hard, switch=Switch(meta.index, meta.term, switch.keep_log)))
        self.overlay.clear()
        self._applied = self._handed = self._durable_applied = meta.index
        self._switches -= 1
        self._writes.purge_to = 0
        self._desk.switched()
        self._machine.reset()
        self._proposals.skipped_to(meta.index)
        self._requests.applied(meta.index)
        self._synced(switch.ticket, meta.index)
        self._alarm.set()  # what waits to be applied

    async def _write_extra(self, turn: Turn) -> None:
        """Commit a turn of the snapshot desk. Raises StoreFull; anything worse stops the member."""
        answer: list[StoreFull | None] = []
        written = trio.Event()

        def take(error: StoreFull | None) -> None:
            answer.append(error)
            written.set()

        self._extra.append((turn, take))
        self._wake.set()
        await written.wait()
        if answer[0] is not None:
            raise answer[0]

    async def _commit_extra(self) -> None:
        turn, take = self._extra.popleft()
        try:
            await commit_turn(self._store, turn)
        except StoreFull as error:
            take(error)
        except BaseException:
            self._failed = True
            raise
        else:
            take(None)

    # Applying

    @property
    def _can_apply(self) -> bool:
        return bool(self._to_apply) and not self._switches

    def _apply_some(self) -> None:
        """Apply what is committed, a slice of it; tell the core, carry out effects, answer who proposed."""
        if not self._can_apply:
            return
        results: list[Applied] = []
        answers: list[tuple[Done, Applied]] = []
        for _ in range(min(len(self._to_apply), MAX_SLICE_ENTRIES)):
            entry = self._to_apply.popleft()
            self._handed = entry.index
            proposal = self._proposals.applied(entry)
            applied = self._apply(entry, proposal)
            if applied is not None:
                results.append(applied)
                if proposal is not None and proposal.done is not None:
                    answers.append((proposal.done, applied))
        self._collect()
        self._tell([ev.Applied(self._handed)])
        self._machine.dispatch(results)
        for done, applied in answers:
            done(applied)
        self._requests.applied(self._applied)
        if self.overlay:
            self._wake.set()  # the writer may have to begin its wait for the next flush

    def _apply(self, entry: raft.Entry, proposal: Proposal | None = None) -> Applied | None:
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
    fx.Send: RaftDoor._send,
    fx.DropHeld: RaftDoor._drop_held,
    fx.ReadEntries: RaftDoor._read,
    fx.ApplyEntries: RaftDoor._apply_later,
    fx.TakeSnapshot: RaftDoor._order_snapshot,
    fx.DropSnapshot: RaftDoor._order_snapshot,
    fx.ReadChunk: RaftDoor._order_snapshot,
    fx.WriteChunk: RaftDoor._order_snapshot,
    fx.SwitchToSnapshot: RaftDoor._switch_later,
    fx.PurgeLog: RaftDoor._purge,
    fx.AcceptProposal: RaftDoor._accepted,
    fx.RefuseProposal: RaftDoor._refused,
    fx.AnswerRead: RaftDoor._answer_read,
    fx.RefuseRead: RaftDoor._answer_read,
    fx.AnswerRequest: RaftDoor._answer_request,
    fx.ReportRole: RaftDoor._report_role,
    fx.ReportMembership: RaftDoor._nothing,
    fx.Stop: RaftDoor._stop,
}
