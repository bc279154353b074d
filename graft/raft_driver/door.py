"""The commit door over Raft: propose -> persist -> apply (ARCHITECTURE §6). In a cluster of one it has one voter.

Everything that needs no waiting is done where it comes up, in one go (`_look`): what arrived (messages, requests,
answers of the snapshot desk) and what was proposed is told to the core, its effects are carried out in order by the
table at the end, a slice of what is committed is applied, and where the disk is fast the transaction is written. A
message of another member is thus answered by the task that read it from its socket.

Two loops do the rest: the *pump* looks when nobody else does, and *turns* wait for a slow disk, while a leader goes on
to send, count and apply. The cleverness belongs in `graft.raft`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import trio
from attrs import evolve

from graft import raft
from graft.engine.commands import CLUSTER_VERSION
from graft.errors import StoreFull, SyncFailed
from graft.interfaces import Clock, Entropy, Snapshots, Store, Transport
from graft.raft import effects as fx
from graft.raft import events as ev
from graft.raft.messages import Message
from graft.raft_driver import reading
from graft.raft_driver.applying import MAX_SLICE_ENTRIES, Applier
from graft.raft_driver.founding import open_member
from graft.raft_driver.lateness import Lateness
from graft.raft_driver.machine import Machine
from graft.raft_driver.overlay import Overlay
from graft.raft_driver.proposals import Done, Proposal, Proposals, Refused, not_taken, stopping
from graft.raft_driver.requests import Requests
from graft.raft_driver.scrub import Scrub
from graft.raft_driver.snapshots import SnapshotDesk
from graft.raft_driver.writer import Writer

MAX_INBOX: Final = 4096  # messages that wait for the pump; more are dropped, which Raft allows
MAX_LOOKED: Final = 256  # events that the core is told at once
RETAIN_ENTRIES: Final = 1024  # applied entries that stay in the log of a cluster of one
MAX_ENTRY_BYTES: Final = 16 << 20  # … and how large one may be there: a plan of ten thousand nodes, say
CLOSE_SECONDS: Final = 30.0

T = TypeVar("T")


class RaftDoor:
    """`run` is the loop; `propose` may be called before it starts: in a cluster of one proposals wait for it.

    `overlay` holds the newest state changes that are not in the store yet: read it before the store.
    `founders`, `incarnation`: see `founding.open_member`. `config` is for all but the ids. Without a `transport`
    messages go nowhere, without `snapshots` none are made or taken; with one, a full disk is waited for.
    `objection` may refuse a client's command before it is proposed; it is asked where the command would be proposed.
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
        incarnation: int | None = None,
        transport: Transport | None = None,
        snapshots: Snapshots | None = None,
    ) -> None:
        self._store, self._machine, self._clock, self._transport = store, machine, clock, transport
        self.identity, recovered = open_member(store, member, entropy, founders, snapshots, incarnation)
        if config is None:
            config = raft.Config(
                id=member,
                retain_entries=RETAIN_ENTRIES,
                max_entry_bytes=MAX_ENTRY_BYTES,
                max_version=CLUSTER_VERSION,
            )
        config = evolve(config, id=member, incarnation=self.identity.incarnation)
        self._core = raft.Raft(config, recovered, entropy.u64, clock.monotonic())
        self.lateness = Lateness(clock, config.election_timeout_seconds)
        self.overlay = Overlay()
        self._applier = Applier(machine, self.overlay, recovered.applied)
        self._writer = Writer(
            store,
            clock,
            self._applier,
            self.overlay,
            self.identity.incarnation,
            recovered.applied,
            waits_for_room=transport is not None,
        )
        self._proposals = Proposals(config.max_entry_bytes)
        self._requests = Requests(self._post)
        self._requests.applied(recovered.applied)
        self._desk = SnapshotDesk(store, snapshots, entropy, self._post, self._writer.write)
        self._scrub = Scrub(store, self.report_damage, lambda: self._is_sole)
        self._inbox: deque[ev.Event] = deque()
        self._outbox: list[Message] = []
        self._leads = self._looks = self._runs = False
        self._problem: BaseException | None = None  # what a look met in somebody else's task
        self._role_changed = trio.Event()
        self._alarm = trio.Event()  # for the pump
        self._earlier = trio.Event()  # for the clock: the deadline came closer
        self._rings_at = math.inf  # when the clock wakes
        self._closing = False
        self.on_forgotten: Callable[[fx.ReportForgotten], None] = lambda effect: None  # while this member leads
        self.objection: Callable[[Any], Exception | None] = lambda command: None
        self.on_starved: Callable[[float], None] = lambda seconds: None

    @property
    def applied(self) -> int:
        return self._applier.applied

    @property
    def version(self) -> int:
        """Of the cluster: what is proposed may be what came with it, and nothing newer."""
        return self._core.state.version

    @property
    def full(self) -> StoreFull | None:
        """Why the disk takes nothing for now, while this member waits for room."""
        return self._writer.full

    @property
    def leads(self) -> bool:
        return self._leads

    @property
    def leader(self) -> str | None:
        """Who leads, as far as this member knows."""
        return self._core.state.leader

    @property
    def term(self) -> int:
        return self._core.state.term

    @property
    def configuration(self) -> raft.Configuration:
        """Who is in the cluster, as far as this member knows. Costs nothing, where `status` tells of every follower."""
        return self._core.state.view.configuration

    async def wait_role(self) -> None:
        """Return when this member's role, its term, or whom it takes for the leader has changed."""
        await self._role_changed.wait()

    async def wait_applied(self, index: int) -> None:
        """Return when this member has applied the log up to `index`. Raises Rejected when it stops."""
        await self._requests.wait_applied(index)

    def status(self) -> raft.Status:
        return self._core.status()

    @property
    def is_alone(self) -> bool:
        """Whether this member is the only voter."""
        return self._is_sole

    @property
    def _is_sole(self) -> bool:
        return self._core.state.view.sole

    # What others ask of this member

    def propose(self, command: Any, done: Done | None = None, refused: Refused | None = None) -> None:
        """See `graft.interfaces.CommitDoor`. Proposals without `refused` are our own, and are always taken.

        A client's proposal is refused with the leader as a hint when another member leads.
        """
        data = self._machine.encode(command)
        if refused is not None and (error := self._objection(len(data)) or self.objection(command)) is not None:
            refused(error)
            return
        self._proposals.check_size(len(data))
        self._proposals.add(Proposal(command, data, done, refused))
        self._alarm.set()

    def _objection(self, size: int) -> Exception | None:
        if self._closing:
            return stopping()
        if not self._leads and not self._is_sole:
            return not_taken("not_leader", self._core.state.leader)
        return self._proposals.objection(size)

    def receive(self, *messages: Message) -> None:
        """Messages of other members. Never waits, though it may write; on the Trio thread."""
        room = max(0, MAX_INBOX - len(self._inbox))
        self._inbox.extend(map(ev.MessageReceived, messages[:room]))
        self._look_here()

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
        return await self.read(lambda: self._applier.applied)

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
        """The stored entry at `index` fails its checksum: it is fetched from others. The scrub tells this."""
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
        self._send_all()
        deadline = self._core.next_deadline()
        if deadline is not None and deadline < self._rings_at:
            self._earlier.set()

    def _persist(self, effect: fx.Persist) -> None:
        self._writer.writes.order(effect)

    def _switch_later(self, effect: fx.SwitchToSnapshot) -> None:
        """What was to be applied is in the snapshot; what comes to be applied later waits for it."""
        self._applier.hold()
        self._writer.writes.order(effect)
        if self._desk.staged_id != effect.meta.id:
            self._desk.stage(effect.meta, lambda: self._writer.wake.set())

    def _send(self, effect: fx.Send) -> None:
        if not self._writer.writes.hold(effect.message, effect.after):
            self._outbox.append(effect.message)

    def _send_all(self) -> None:
        """All that one look at the core gave, so that each peer gets it in one piece."""
        messages, self._outbox = self._outbox, []  # in tests what is sent may be answered before `send` returns
        if messages and self._transport is not None:
            self._transport.send(*messages)

    def _drop_held(self, effect: fx.DropHeld) -> None:
        self._writer.writes.drop_held()

    def _purge(self, effect: fx.PurgeLog) -> None:
        self._writer.writes.purge_to = max(self._writer.writes.purge_to, effect.index)

    def _read(self, effect: fx.ReadEntries) -> ev.Event | None:
        """Alone there is nobody whom a slow disk could keep waiting; in a cluster it must not delay a heartbeat."""
        if self._is_sole:
            return reading.read_entries(self._store, effect)
        self._nursery.start_soon(self._read_in_thread, effect)
        return None

    async def _read_in_thread(self, effect: fx.ReadEntries) -> None:
        self._post(await trio.to_thread.run_sync(reading.read_entries, self._store, effect))

    def _apply_later(self, effect: fx.ApplyEntries) -> None:
        self._applier.add(effect.entries)

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
        self._role_changed.set()
        self._role_changed = trio.Event()

    def _stop(self, effect: fx.Stop) -> None:
        raise SyncFailed(f"this member has to stop: {effect.reason}", hint="see `graft doctor`")

    def _nothing(self, effect: fx.Effect) -> None:
        """Nobody asked: `status` tells it."""

    def _report_forgotten(self, effect: fx.ReportForgotten) -> None:
        self.on_forgotten(effect)

    # Running

    def replay(self) -> None:
        """Apply what the log holds beyond the stored state, if this member is the only voter; else do nothing.

        With one voter everything in its log is committed; effects are not carried out. Once this is done the state is
        what it was, and `run` may start; the election then has nothing left to apply. With more voters the end of the
        log may never be committed, so nothing is applied before Raft says so.
        """
        if self.identity.sole:
            self._applier.replay(self._store, self._core.state.log.last)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Turn after turn, until cancelled; then one last turn that leaves nothing to replay.

        Raises what the store raises: a store that cannot be written to must stop everything at once.
        """
        try:
            async with trio.open_nursery() as self._nursery:
                self._tell([ev.CampaignRequested()] if self._is_sole else [])
                self._writer.dirty.set()  # what was replayed
                self._nursery.start_soon(self._pump)
                self._nursery.start_soon(self._ring)
                self._nursery.start_soon(self._beat)
                self._nursery.start_soon(self._writer.flush)
                self._nursery.start_soon(self._desk.run)
                self._nursery.start_soon(self._scrub.run)
                task_status.started()
                self._runs = True
                while True:
                    await self._writer.wait(self._has_work)
                    await self._turn()
        finally:
            self._closing, self._runs = True, False
            self._requests.stop()
            self._proposals.refuse_clients()
            if not self._writer.has_failed:
                with trio.move_on_after(CLOSE_SECONDS, shield=True):
                    await self._writer.commit()

    # Looking

    def _look(self) -> None:
        """Tell the core what arrived, what was proposed, and when its deadline has passed; apply what is committed;
        write what is ordered, if that is done at once."""
        self._looks = True
        try:
            events = [self._inbox.popleft() for _ in range(min(len(self._inbox), MAX_LOOKED))]
            if late := self.lateness.take():
                events.insert(0, ev.Starved(late))
                self.on_starved(late)
            deadline = self._core.next_deadline()
            if deadline is not None and deadline <= self._clock.monotonic():
                events.append(ev.DeadlinePassed())
                self._proposals.is_stalled = False
            if self._takes_proposals:
                events += self._proposals.take(MAX_SLICE_ENTRIES)
            if events:
                self._tell(events)
            self._apply_some()
            if self._writer.writes.is_due and (written := self._writer.commit_here()) is not None:
                self._synced(*written)
                self._apply_some()
        finally:
            self._looks = False
        if self._has_work():
            self._writer.wake.set()
        if self._has_more:
            self._alarm.set()

    def _look_here(self) -> None:
        """In the task of whoever brought something; what goes wrong is not his fault."""
        if self._looks or not self._runs:
            self._alarm.set()
            return
        try:
            self._look()
        except Exception as error:
            self._problem, self._runs = error, False
            self._alarm.set()

    @property
    def _takes_proposals(self) -> bool:
        """Alone they gather while the disk syncs; in a cluster the others can work on them meanwhile."""
        return self._leads and bool(self._proposals) and not (self._is_sole and self._writer.is_busy)

    @property
    def _has_more(self) -> bool:
        return bool(self._inbox) or self._applier.is_ready or self._takes_proposals

    async def _pump(self) -> None:
        """Look when it was rung for, once every turn of Trio's loop while there is more."""
        while True:
            if self._has_more:
                await trio.lowlevel.checkpoint()
            else:
                self._alarm = trio.Event()
                await self._alarm.wait()
            if self._problem is not None:
                raise self._problem
            self._look()

    async def _ring(self) -> None:
        """Look at the core's deadline. Most deadlines only move away, which costs nothing here."""
        while True:
            self._earlier = trio.Event()
            left = self._until_deadline()
            if left <= 0:
                self._look_here()
                left = self._until_deadline()
            if left <= 0:  # something else looks, or nothing does any more
                await trio.lowlevel.checkpoint()
                continue
            self._rings_at = self._clock.monotonic() + left
            with trio.move_on_after(left):
                await self._earlier.wait()

    async def _beat(self) -> None:
        """Measure how late this loop is. Whoever looks first after a delay tells the core of it."""
        while True:
            self.lateness.beat()
            await trio.sleep(self.lateness.interval)
            if self.lateness.is_starved:
                self._look_here()

    def _until_deadline(self) -> float:
        deadline = self._core.next_deadline()
        return math.inf if deadline is None else deadline - self._clock.monotonic()

    # Turns

    @property
    def _switch_is_ready(self) -> bool:
        switch = self._writer.writes.switch
        return switch is not None and switch.meta.id == self._desk.staged_id

    def _has_work(self) -> bool:
        return self._writer.has_work or self._switch_is_ready

    async def _turn(self) -> None:
        if self._switch_is_ready:
            self._switched(await self._writer.switch())
        elif (written := await self._writer.commit()) is not None:
            self._synced(*written)
        self._apply_some()
        await self._writer.commit_extra()
        if self._has_more:
            self._alarm.set()

    def _synced(self, ticket: int, applied: int) -> None:
        self._outbox += self._writer.writes.synced(ticket)
        # A replay may be ahead of what the core has handed out; it is told only of that.
        self._tell([ev.Persisted(ticket, min(applied, self._applier.handed))])

    def _switched(self, switch: fx.SwitchToSnapshot) -> None:
        index = switch.meta.index
        self._applier.switched(index)
        self._desk.switched()
        self._proposals.skipped_to(index)
        self._requests.applied(index)
        self._synced(switch.ticket, index)
        self._alarm.set()  # there may be something to apply behind it

    # Applying

    def _apply_some(self) -> None:
        """Apply a slice of what is committed; carry out effects, answer who proposed, tell the core."""
        if not self._applier.is_ready:
            return
        results, answers = self._applier.apply_slice(self._proposals)
        self._machine.dispatch(results)
        for done, applied in answers:
            done(applied)
        self._requests.applied(self._applier.applied)
        self._tell([ev.Applied(self._applier.handed)])
        if self.overlay:
            self._writer.dirty.set()


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
    fx.ReportForgotten: RaftDoor._report_forgotten,
    fx.Stop: RaftDoor._stop,
}
