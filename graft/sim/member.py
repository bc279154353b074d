"""A member of a simulated cluster: one pure core, and a shell around it that carries out its effects in virtual time.

The shell is the simulator's stand-in for `graft.raft_driver`, with the same duties (docs/internals/raft.md), and can
die between any two effects. What a crash must not lose is in `image`; everything else is rebuilt by `start`.
"""

from __future__ import annotations

import traceback
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from zlib import crc32

from graft.raft import Raft
from graft.raft import effects as fx
from graft.raft import events as ev
from graft.raft.messages import Message
from graft.raft.records import Configuration, Entry, HardState, Kind, SnapshotMeta
from graft.raft_driver.lateness import SHARE
from graft.raft_driver.reading import read_entries
from graft.sim.clocks import MemberClock
from graft.sim.desk import Desk
from graft.sim.disk import Image
from graft.sim.entropy import Entropy, stream
from graft.sim.invariants import Identity, Ledger, Violation, Watch
from graft.sim.oracles import PROMISES, Oracles
from graft.sim.records import event_record, message_record
from graft.sim.writer import DiskTrouble, Writer

if TYPE_CHECKING:
    from graft.sim.faults import Plan
    from graft.sim.world import World


class Member:
    """`alive`: a process runs. `leading`: it says that it leads. `returning`: it has a new disk and waits for the
    operator. `epoch` counts processes, so that what was scheduled for a dead one does nothing."""

    def __init__(self, world: World, id: str, clock: MemberClock) -> None:
        self.world = world
        self.plan: Plan = world.plan
        self.heap = world.heap
        self.ledger: Ledger = world.ledger
        self.fired: Counter[str] = world.fired
        self.id = id
        self.incarnation = 1
        self.clock = clock
        self.dice: Entropy = stream(world.plan.seed, "member", id)
        self._unlikely = stream(world.plan.seed, "buggify", id)
        self._exports = stream(world.plan.seed, "exports", id)
        self.image = Image(HardState())
        self.trouble = DiskTrouble()
        self.alive = False
        self.restarted = False  # the process found a disk that another one had used
        self.leading = False
        self.returning = False
        self.stopped = ""  # why the core stopped by itself
        self.paused = 0
        self._paused_since = 0.0
        self.epoch = 0
        self.program = int(world.plan.programs[(ord(id) - ord("a")) % len(world.plan.programs)])  # version of it
        self.fuse = 0  # the process dies before its `fuse`-th effect from now; 0: not lit; -1: before `fuse_effect`
        self.fuse_effect = ""
        self.dies_at = ""  # or in the next gap of that name, see `die_at`
        self.starts = 0  # of processes under this identity: known beside the store, too
        self._backlog: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._timer_at: int | None = None
        self._exported = 0
        self._spun_at = self._spins = 0
        self._outage_us = 0
        self._do: dict[type[Any], Callable[[Any], None]] = {
            fx.Persist: self._persist,
            fx.Send: self._send,
            fx.DropHeld: self._drop_held,
            fx.ReadEntries: self._read_entries,
            fx.ApplyEntries: self._apply_entries,
            fx.TakeSnapshot: self._take_snapshot,
            fx.DropSnapshot: self._drop_snapshot,
            fx.ReadChunk: self._read_chunk,
            fx.WriteChunk: self._write_chunk,
            fx.SwitchToSnapshot: self._switch,
            fx.PurgeLog: self._purge,
            fx.AcceptProposal: lambda effect: self.desk.accepted(effect),
            fx.RefuseProposal: lambda effect: self.desk.refused(effect),
            fx.AnswerRead: lambda effect: self.desk.may_read(effect),
            fx.RefuseRead: lambda effect: self.desk.may_not_read(effect),
            fx.AnswerRequest: lambda effect: self.desk.answered(effect),
            fx.ReportRole: self._report_role,
            fx.ReportMembership: self._report_membership,
            fx.ReportForgotten: self._report_forgotten,
            fx.Stop: self._stop,
        }

    @property
    def identity(self) -> Identity:
        return (self.id, self.incarnation)

    # -- life ------------------------------------------------------------------------------------------------------

    def found(self, configuration: Configuration) -> None:
        """Make the disk of a founding member (an empty configuration: of one that joins)."""
        self.image = Image(HardState(configurations=((0, configuration),)), self.incarnation)
        self.starts = 0

    def start(self) -> None:
        """A process starts on the disk as it is. One that finds a store which is older than what it knows to have been
        there refuses: it has forgotten promises, and counts as lost (docs/internals/simulation.md)."""
        assert not self.alive
        image = self.image
        if image.starts < self.starts:
            self.fired["stopped.rolled_back"] += 1
            self.world.note("rolled back", self.id)
            self.disk_lost()
            return
        self.starts = image.started()
        self.epoch += 1
        self.alive, self.leading, self.stopped = True, False, ""
        self.paused, self.fuse, self.dies_at, self._timer_at = 0, 0, "", None
        self._backlog.clear()
        recovered = image.recovered()
        self.restarted = image.used
        image.used = True
        image.exported.clear()
        self.watch = Watch.of(self.ledger, self.identity, image, recovered)
        self.machine = image.machine(self.world.decoded)
        self.applied = image.applied
        self.writer = Writer(self)
        self.desk = Desk(self)
        self._to_apply: deque[Entry] = deque()
        self._applying = False
        self._switching = 0
        config = self.plan.config(self.id, self.incarnation, self.program)
        hook = self._takes if self.plan.buggify else None
        self.world.note("start", self.id, self.incarnation, image.first, image.last, image.applied, len(image.corrupt))
        self.raft = Raft(config, recovered, entropy=self.dice.u64, now=self.local_now(), buggify=hook)
        self._state = self.raft.state
        self.oracles = Oracles(self)
        self._arm()

    def _takes(self, point: str) -> bool:
        """The hook of `graft.raft.buggify`."""
        plan = self.plan
        if self.world.healing or point not in plan.points or not self._unlikely.chance(plan.buggify):
            return False
        self.fired[f"buggify.{point}"] += 1
        return True

    def dies(self, where: str) -> bool:
        """Whether the process ends here, as a fault wants it to."""
        if self.dies_at != where:
            return False
        self.dies_at = ""
        self.fired[f"process.crash_at_{where}"] += 1
        self.crash()
        self.restart_after(self._outage_us)
        return True

    def crash(self) -> None:
        """Power off: nothing that was not synced is left, except what the disk did by itself."""
        if not self.alive:
            return
        self.world.note("crash", self.id)
        self.alive = False
        self.epoch += 1
        self._backlog.clear()
        self.writer.crash()

    def restart_after(self, delay_us: int) -> None:
        """Start the same identity again, unless that has become impossible or somebody else did."""
        identity = self.identity

        def restart() -> None:
            same = self.identity == identity and identity not in self.ledger.lost
            if same and not self.alive and not self.world.healing:
                self.start()

        self.heap.after(delay_us, restart)

    def wipe(self) -> None:
        """The disk is replaced. Whoever starts on the new one is somebody else."""
        self.crash()
        self.disk_lost()

    def disk_lost(self) -> None:
        """Nothing on the disk can be relied on: this identity is over, the operator brings another."""
        self.ledger.lost_disk(self.identity)
        self.returning = True
        self.renew()

    def renew(self) -> None:
        """Another identity on an empty disk."""
        self.incarnation += 1
        self.found(Configuration())

    def pause(self) -> Callable[[], None]:
        """The process stands still; time and the rest of the world do not. Returns what wakes it again."""
        if not self.paused:
            self._paused_since = self.local_now()
        self.paused += 1
        epoch = self.epoch

        def resume() -> None:
            if self.epoch == epoch and self.alive:
                self.paused -= 1
                if self.paused == 0:
                    self._catch_up()

        return resume

    def _catch_up(self) -> None:
        """What came meanwhile came by many sockets: each in its order, but who knows which one is read first."""
        late = self.local_now() - self._paused_since
        if late >= SHARE * self.plan.election_seconds:  # as the driver measures it, whoever looks first
            self.later(0, self.handle, ev.Starved(late))
        sockets: dict[str, list[tuple[Callable[..., None], tuple[Any, ...]]]] = {}
        for call, arguments in self._backlog:
            source = arguments[0].source if call == self.receive else call.__qualname__
            sockets.setdefault(source, []).append((call, arguments))
        self._backlog.clear()
        for source in self.dice.sample(sorted(sockets), len(sockets)):
            for call, arguments in sockets[source]:
                self.later(0, call, *arguments)

    def heal(self) -> None:
        """All is well with this machine from now on. A program that is too old for the cluster is replaced."""
        if self.program < self.world.newest_version():
            self.crash()
            self.program = self.world.newest_version()
        self.trouble = DiskTrouble()
        self.fuse, self.dies_at = 0, ""
        self.clock.set_drift(self.heap.now_us, 0)
        if self.alive:
            if self.paused:
                self.paused = 0
                self._catch_up()
            self.clock_changed()
        else:
            self.start()

    def clock_changed(self) -> None:
        """Deadlines lie elsewhere in true time now."""
        if self.alive:
            self._timer_at = None
            self._arm()

    def light_fuse(self, effects: int, outage_us: int) -> None:
        """Crash before the `effects`-th effect from now, and come back after the outage."""
        self.fuse = effects
        self._outage_us = outage_us

    def light_fuse_for(self, effect: str, outage_us: int) -> None:
        """Crash before the next effect of that name."""
        self.fuse, self.fuse_effect = -1, effect
        self._outage_us = outage_us

    def die_at(self, where: str, outage_us: int) -> None:
        """Crash in the next gap of that name: a write was ordered (`order`), nothing of a turn is written yet
        (`write`), it is synced and nobody was told (`sync`), a promise is on the wire (`word`), entries are applied and
        the core was not told (`apply`)."""
        self.dies_at = where
        self._outage_us = outage_us

    def scrub(self) -> None:
        """Read everything once, and tell of the first entry that is damaged."""
        found = self.image.store.damaged(self.image.first, self.image.last)
        if found:
            self.fired["disk.scrub_found"] += 1
            self.handle(ev.CorruptionFound(found[0]))

    def behind(self, leader: Member) -> str:
        """Why this member is not yet what the leader wants it to be; empty when it is."""
        if not self.alive:
            return f"{self.id} does not run"
        state = self.raft.state
        if self is not leader and (state.leader, state.term) != (leader.id, leader.watch.term):
            return f"{self.id} follows {state.leader} in term {state.term}, not {leader.id} in {leader.watch.term}"
        if self.applied != leader.watch.commit or self.applied != leader.watch.last:
            return f"{self.id} has applied {self.applied} of {leader.watch.commit}, {leader.watch.last}"
        if self.writer.turn is not None or self.writer.queue or self.writer.held:
            return f"{self.id} still writes"
        if self.desk.busy():
            return f"{self.id} owes answers: {self.desk.busy()}"
        return ""

    def local_now(self) -> float:
        return self.clock.seconds(self.heap.now_us)

    def later(self, delay_us: int, call: Callable[..., None], *arguments: Any) -> None:
        """Call in this process's life only, and not while it is paused."""
        self.heap.after(delay_us, self._wake, self.epoch, call, arguments)

    def _wake(self, epoch: int, call: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if epoch == self.epoch and self.alive:
            if self.paused:
                self._backlog.append((call, arguments))
            else:
                call(*arguments)

    # -- the core --------------------------------------------------------------------------------------------------

    def receive(self, message: Message) -> None:
        """A message has arrived."""
        if not self.alive:
            return
        if self.paused:
            self._backlog.append((self.receive, (message,)))
            return
        self.handle(ev.MessageReceived(message))

    def handle(self, event: ev.Event) -> None:
        """One event into the core, its effects out, and every promise checked."""
        world = self.world
        world.trace.add((self.heap.now_us, self.id, *event_record(event)))
        world.events += 1
        self.oracles.begins(event)
        try:
            effects = self.raft.handle(event, self.clock.seconds(self.heap.now_us))
        except Exception as error:
            raise Violation("crash", f"{self.identity} raised on {event}\n{traceback.format_exc()}") from error
        # Still in the term that it led: what it commits it commits by counting, by the configuration that it had.
        counted = self.leading and self._state.term == self.watch.term
        if counted:
            self._check(counted=True)
        self._execute(effects)
        if self.alive:
            self._check(counted=counted)
            self.oracles.ends(event)
            self.writer.kick()
            self._arm()

    def _execute(self, effects: list[fx.Effect]) -> None:
        do, orders = self._do, self.oracles.orders
        for effect in effects:
            if self.fuse and self._burns(effect):
                return
            orders(effect)
            do[type(effect)](effect)
            if not self.alive:
                return

    def _burns(self, effect: fx.Effect) -> bool:
        """Whether the fuse ends here, and the process with it."""
        name = type(effect).__name__
        if self.fuse > 0:
            self.fuse -= 1
            ends = self.fuse == 0
        else:
            ends = name == self.fuse_effect
        if ends:
            self.fuse = 0
            self.fired["process.crash_at_effect"] += 1
            self.fired[f"crash_before.{name}"] += 1
            self.crash()
            self.restart_after(self._outage_us)
        return ends

    def _check(self, *, counted: bool) -> None:
        """Look at the core's marks."""
        state, watch = self._state, self.watch
        commit = state.commit
        if commit != watch.commit:
            watch.committed(commit, by_counting=counted or self.leading)
        watch.marks(state.log.first - 1, state.applied, commit, state.log.last)

    def _arm(self) -> None:
        """Have the core called when it wants to be. An earlier call that is already scheduled serves as well: it finds
        nothing due and comes back here."""
        deadline = self.raft.next_deadline()
        if deadline is None:
            return
        due = self.heap.now_us + self.clock.true_delay_us(self.heap.now_us, deadline)
        if self._timer_at is None or due < self._timer_at:
            self._timer_at = due
            self.heap.at(due, self._wake, self.epoch, self._tick, (due,))

    def _tick(self, at: int) -> None:
        if self._timer_at == at:
            self._timer_at = None
            deadline = self.raft.next_deadline()
            if deadline is not None and deadline <= self.local_now():
                self._spins = self._spins + 1 if self._spun_at == at else 0
                self._spun_at = at
                if self._spins > 100:
                    raise Violation("liveness", f"{self.identity} wants to be called at once, again and again")
                self.handle(ev.DeadlinePassed())
            else:
                self._arm()

    # -- effects: writing and sending ------------------------------------------------------------------------------

    def _persist(self, effect: fx.Persist) -> None:
        if effect.truncate_from is not None:
            self.fired["reached.truncation"] += 1
            if effect.truncate_from > self.image.last or self.writer.turn is not None:
                self.fired["reached.truncation_unsynced"] += 1
        self.watch.persist(effect)
        self.oracles.disk.writes(effect)
        self.writer.order(effect)
        self.dies("order")

    def _send(self, effect: fx.Send) -> None:
        if effect.after:
            self.writer.hold(effect.message, effect.after)
        else:
            self.transmit(effect.message)

    def transmit(self, message: Message) -> None:
        """The message leaves, now."""
        self.watch.leaves(message, self.image)
        self.oracles.leaves(message)
        self.world.network.send(self.id, message.target, message)
        if self.dies_at and isinstance(message, PROMISES):
            self.dies("word")

    def _drop_held(self, effect: fx.DropHeld) -> None:
        self.writer.held.clear()

    def _purge(self, effect: fx.PurgeLog) -> None:
        self._note_holds(effect.index)
        self.watch.purge(effect.index, self.image)
        self.writer.purge(effect.index)

    def _note_holds(self, index: int) -> None:
        """The log is cut in spite of somebody for whom it was held (`graft.raft.retention`)."""
        state = self.raft.state
        for follower in state.progress.values():
            if follower.held_since is None or follower.match >= index:
                continue
            if state.now - follower.heard_at > self.plan.silence_seconds:
                self.fired["reached.hold_silent"] += 1
            elif state.log.taken_bytes - follower.held_since > self.plan.held_bytes:
                self.fired["reached.hold_full"] += 1

    # -- effects: applying -----------------------------------------------------------------------------------------

    def _apply_entries(self, effect: fx.ApplyEntries) -> None:
        self._to_apply.extend(effect.entries)
        self._apply_soon()

    def _apply_soon(self) -> None:
        if not self._applying:
            self._applying = True
            self.later(self.dice.below(self.plan.apply_us), self._apply)

    def _apply(self) -> None:
        """Apply what has gathered, then tell the core. What comes behind a snapshot waits for it."""
        self._applying = False
        if self._switching or not self._to_apply:
            return
        entries, self._to_apply = list(self._to_apply), deque()
        self.watch.apply(entries)
        machine, desk = self.machine, self.desk
        for entry in entries:
            if entry.kind == Kind.VERSION and int(entry.data) > self.program:
                raise Violation("version", f"{self.identity} applies version {entry.data!r}, it is {self.program}")
            answer = machine.apply(entry.data) if entry.kind == Kind.COMMAND else None
            changes, machine.changes = machine.changes, []
            self.applied = entry.index
            self.ledger.saw_state(entry.index, machine.state_hash, self.identity)
            self.writer.applied(entry.index, changes)
            desk.entry_applied(entry, answer)
        if not self.dies("apply"):
            desk.serve_reads()
            self.handle(ev.Applied(self.applied))

    # -- effects: reading the disk ---------------------------------------------------------------------------------

    def _read_entries(self, effect: fx.ReadEntries) -> None:
        self.later(self.dice.exponential(500), self._entries_read, effect)

    def _entries_read(self, effect: fx.ReadEntries) -> None:
        read = read_entries(self.image.store, effect)
        if read.corrupt is not None:
            self.fired["disk.corrupt_read"] += 1
        self.handle(read)

    # -- effects: snapshots ----------------------------------------------------------------------------------------

    def _take_snapshot(self, effect: fx.TakeSnapshot) -> None:
        self.later(2_000 + self.dice.exponential(5_000), self._snapshot_taken, effect)

    def _snapshot_taken(self, effect: fx.TakeSnapshot) -> None:
        image = self.image
        if image.applied < effect.at_least:
            self.later(20_000, self._snapshot_taken, effect)
            return
        if self.dice.chance(self.plan.snapshot_fails):
            self.fired["disk.snapshot_failed"] += 1
            self.handle(ev.SnapshotFailed("", "no room"))
            return
        self._exported += 1
        id = f"{self.id}-{self.incarnation}-{self._exported}-{image.applied}"
        data = self.export()
        image.exported[id] = data
        taken = ev.SnapshotTaken(id, image.applied, len(data), f"{crc32(data):08x}")
        delay = self._exports.exponential(2_000) + self._exports.chance(200) * self._exports.below(200_000)
        self.later(delay, self.handle, taken)  # the state goes on while the file is written

    def export(self) -> bytes:
        """The synced state as a snapshot file."""
        return self.image.machine(self.world.decoded).dump()

    def _drop_snapshot(self, effect: fx.DropSnapshot) -> None:
        self.image.exported.pop(effect.id, None)

    def _read_chunk(self, effect: fx.ReadChunk) -> None:
        self.later(self.dice.exponential(500), self._chunk_read, effect)

    def _chunk_read(self, effect: fx.ReadChunk) -> None:
        data = self.image.exported.get(effect.id)
        piece = None if data is None else data[effect.offset : effect.offset + effect.max_bytes]
        self.handle(ev.ChunkRead(effect.id, effect.target, effect.offset, piece))

    def _write_chunk(self, effect: fx.WriteChunk) -> None:
        self.writer.order(effect)

    def _switch(self, effect: fx.SwitchToSnapshot) -> None:
        self.watch.switch(effect)
        self.oracles.disk.writes(effect)
        self.writer.order(effect)
        self._to_apply.clear()
        self._switching += 1

    def switched(self, meta: SnapshotMeta) -> None:
        """The disk has switched: so does the process."""
        self.fired["snapshot.installed"] += 1
        self._switching -= 1
        self.machine = self.image.machine(self.world.decoded)
        self.applied = self.watch.applied = meta.index
        self.ledger.saw_state(meta.index, self.machine.state_hash, self.identity)
        self.desk.skipped_to(meta.index)
        self.desk.serve_reads()
        if self._to_apply:
            self._apply_soon()

    # -- effects: reports ------------------------------------------------------------------------------------------

    def _report_role(self, effect: fx.ReportRole) -> None:
        leads = effect.role == "leader"
        if leads and not self.leading:
            self.watch.became_leader(effect.term, self.image)
            self.world.note("leads", self.id, effect.term)
        self.leading = leads
        self.watch.leading = leads

    def _report_membership(self, effect: fx.ReportMembership) -> None:
        self.world.note("members", self.id, effect.index, int(effect.committed), str(effect.configuration))
        self.world.membership_moved(self, effect)

    def _report_forgotten(self, effect: fx.ReportForgotten) -> None:
        """Whose store was put back does not start here (see `start`), so nobody can have forgotten."""
        raise Violation("forgotten", f"{self.id} takes {effect.id} for one that has lost entries: {effect}")

    def _stop(self, effect: fx.Stop) -> None:
        self.world.note("stop", self.id, effect.reason)
        self.alive = False
        self.epoch += 1
        self.stopped = effect.reason
        self.world.member_stopped(self)


def message_line(message: Message) -> str:
    """For people: the message as one line of a trace."""
    return " ".join(str(part) for part in message_record(message))
