"""A small, patient cluster for tests: every message is delivered when the test says so, nothing happens by itself.

Time stands still unless `advance` is called; disks sync at once unless `hold_disk` was called; messages wait in
`wire` until `deliver`. Every event is followed by `invariants.check_deeply`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

from attrs import evolve

from graft.raft import (
    Config,
    Configuration,
    Entry,
    HardState,
    Kind,
    Member,
    Raft,
    Recovered,
    SnapshotMeta,
    StagedSnapshot,
)
from graft.raft import effects as fx
from graft.raft import events as ev
from graft.raft.invariants import check_deeply
from graft.raft.messages import Message


def dice(seed: int) -> Callable[[], int]:
    """SplitMix64."""
    state = seed

    def u64() -> int:
        nonlocal state
        state = (state + 0x9E3779B97F4A7C15) & (2**64 - 1)
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        return z ^ (z >> 31)

    return u64


def founding(*ids: str, learners: Iterable[str] = (), executors: Iterable[str] = ()) -> Configuration:
    members = [Member(id, 1, "voter") for id in ids]
    members += [Member(id, 1, "learner") for id in learners] + [Member(id, 1, "executor") for id in executors]
    return Configuration(tuple(sorted(members, key=lambda m: m.id)))


class Server:
    """One member with its disk. `disk_*` is what a crash leaves."""

    def __init__(self, config: Config, hard: HardState, log: Iterable[Entry] = (), now: float = 0.0) -> None:
        self.config = config
        self.disk_hard = hard
        self.disk_log: dict[int, Entry] = {entry.index: entry for entry in log}
        self.disk_first = 1
        self.disk_applied = 0
        self.disk_state: list[str] = []
        self.disk_staged: tuple[SnapshotMeta, bytes] | None = None
        self.damaged: set[int] = set()
        self.auto_disk = True
        self.auto_apply = True
        self.files: dict[str, bytes] = {}
        self.exports = 0
        self.trace: list[str] = []
        self.started = 0
        self.boot(now, restarted=False)

    # ---- life ----

    def boot(self, now: float, restarted: bool = True) -> None:
        self.started += 1
        staged = None
        if self.disk_staged is not None:
            staged = StagedSnapshot(self.disk_staged[0], len(self.disk_staged[1]))
        last = max(self.disk_log, default=self.disk_first - 1)
        recovered = Recovered(
            self.disk_hard,
            self.disk_first,
            last,
            self.disk_applied,
            tuple(sorted(i for i in self.damaged if self.disk_applied < i <= last)),
            staged,
            restarted,
        )
        self.queue: list[fx.Persist | fx.SwitchToSnapshot] = []  # writes that are ordered
        self.held: list[fx.Send] = []
        self.outgoing: list[Message] = []
        self.applied = self.disk_applied
        self.state = list(self.disk_state)
        self.unapplied: list[Entry] = []
        self.answers: list[fx.Effect] = []
        self.effects: list[fx.Effect] = []
        self.alive = True
        self.raft = Raft(
            self.config,
            recovered,
            dice(sum(self.config.id.encode()) * 1000 + self.started),
            now,
            lambda what, details: self.trace.append(f"{what}: {details}"),
        )

    def crash(self) -> None:
        self.alive = False
        self.outgoing = []

    # ---- events ----

    def tell(self, event: ev.Event, now: float) -> list[fx.Effect]:
        effects = self.raft.handle(event, now)
        self.carry_out(effects, now)
        return effects

    def carry_out(self, effects: list[fx.Effect], now: float) -> None:
        check_deeply(self.raft)
        self.effects += effects
        for effect in effects:
            self._do(effect, now)
        if self.auto_disk and self.queue:
            self.sync(now)
        if self.auto_apply and self.unapplied:
            self.apply(now)

    def _do(self, effect: fx.Effect, now: float) -> None:
        if isinstance(effect, fx.Persist | fx.SwitchToSnapshot):
            if isinstance(effect, fx.SwitchToSnapshot):
                self.unapplied = []
            self.queue.append(effect)
        elif isinstance(effect, fx.Send):
            if effect.after and effect.after > self.raft.state.synced:
                self.held.append(effect)
            else:
                self.outgoing.append(effect.message)
        elif isinstance(effect, fx.DropHeld):
            self.held = []
        elif isinstance(effect, fx.ApplyEntries):
            self.unapplied += effect.entries
        elif isinstance(effect, fx.ReadEntries):
            self.read(effect, now)
        elif isinstance(effect, fx.PurgeLog):
            for index in [i for i in self.disk_log if i <= effect.index]:
                del self.disk_log[index]
            self.disk_first = effect.index + 1
        elif isinstance(effect, fx.TakeSnapshot):
            self.take_snapshot(now)
        elif isinstance(effect, fx.DropSnapshot):
            self.files.pop(effect.id, None)
        elif isinstance(effect, fx.ReadChunk):
            data = self.files[effect.id][effect.offset : effect.offset + effect.max_bytes]
            self.tell(ev.ChunkRead(effect.id, effect.target, effect.offset, data), now)
        elif isinstance(effect, fx.WriteChunk):
            self.write_chunk(effect, now)
        elif not isinstance(effect, fx.ReportRole | fx.ReportMembership):
            self.answers.append(effect)

    # ---- disk ----

    def sync(self, now: float, count: int | None = None) -> None:
        """Write what is ordered (the first `count` of it), sync it, let go of what waited for it."""
        writes = self.queue[:count]
        del self.queue[: len(writes)]
        if not writes:
            return
        for write in writes:
            self._write(write)
        ticket = writes[-1].ticket
        ready = [send for send in self.held if send.after <= ticket]
        self.held = [send for send in self.held if send.after > ticket]
        self.outgoing += [send.message for send in ready]
        self.tell(ev.Persisted(ticket, self.disk_applied), now)
        if self.auto_apply and self.unapplied:
            self.apply(now)

    def _write(self, write: fx.Persist | fx.SwitchToSnapshot) -> None:
        if isinstance(write, fx.SwitchToSnapshot):
            data = b""
            if write.meta.size:
                assert self.disk_staged is not None
                assert self.disk_staged[0].id == write.meta.id
                data = self.disk_staged[1]
            behind = {i: entry for i, entry in self.disk_log.items() if i > write.meta.index}
            self.disk_log = behind if write.keep_log else {}
            self.damaged = {i for i in self.damaged if i in self.disk_log}
            self.disk_first = write.meta.index + 1
            self.disk_applied = self.applied = write.meta.index
            self.disk_state = data.decode().split()
            self.state = list(self.disk_state)
            self.disk_hard = write.hard_state
            self.disk_staged = None
            return
        if write.truncate_from is not None:
            for index in [i for i in self.disk_log if i >= write.truncate_from]:
                del self.disk_log[index]
                self.damaged.discard(index)
        for entry in write.entries:
            assert entry.index == max(self.disk_log, default=self.disk_first - 1) + 1, "a gap on the disk"
            self.disk_log[entry.index] = entry
        for entry in write.repaired:
            assert self.disk_log[entry.index].term == entry.term
            self.damaged.discard(entry.index)
            self.disk_log[entry.index] = entry
        if write.hard_state is not None:
            assert write.hard_state.term >= self.disk_hard.term
            self.disk_hard = write.hard_state

    def read(self, effect: fx.ReadEntries, now: float) -> None:
        entries: list[Entry] = []
        size = 0
        for index in range(effect.first, effect.last + 1):
            if index in self.damaged:
                self.tell(ev.EntriesRead(effect.read, tuple(entries), index), now)
                return
            entry = self.disk_log[index]
            size += len(entry.data)
            if entries and size > effect.max_bytes:
                break
            entries.append(entry)
        self.tell(ev.EntriesRead(effect.read, tuple(entries)), now)

    # ---- the state machine: a list of words ----

    def apply(self, now: float, count: int | None = None) -> None:
        if any(isinstance(write, fx.SwitchToSnapshot) for write in self.queue):
            return  # the state is not there yet
        entries = self.unapplied[:count]
        del self.unapplied[: len(entries)]
        for entry in entries:
            assert entry.index == self.applied + 1
            self.applied = entry.index
            if entry.kind == Kind.COMMAND:
                self.state.append(entry.data.decode())
        if entries:
            self.tell(ev.Applied(self.applied), now)
            if self.auto_disk:
                self.sync_state(now)

    def sync_state(self, now: float) -> None:
        if self.applied > self.disk_applied and not self.queue:
            self.disk_applied = self.applied
            self.disk_state = list(self.state)
            self.tell(ev.Persisted(0, self.applied), now)

    def take_snapshot(self, now: float) -> None:
        self.exports += 1
        id = f"{self.config.id}-{self.exports}"
        data = " ".join(self.state).encode()
        self.files[id] = data
        self.tell(ev.SnapshotTaken(id, self.applied, len(data), str(zlib.crc32(data))), now)

    def write_chunk(self, effect: fx.WriteChunk, now: float) -> None:
        before = b""
        if effect.offset and self.disk_staged is not None and self.disk_staged[0].id == effect.meta.id:
            before = self.disk_staged[1]
        assert len(before) == effect.offset
        data = before + effect.data
        self.disk_staged = (effect.meta, data)
        if len(data) == effect.meta.size and str(zlib.crc32(data)) != effect.meta.checksum:
            self.disk_staged = None
            self.tell(ev.SnapshotFailed(effect.meta.id, "checksum"), now)
        else:
            self.tell(ev.ChunkWritten(effect.meta.id, len(data)), now)


class Cluster:
    """Servers, the wire between them, and one clock."""

    def __init__(
        self,
        *ids: str,
        learners: Iterable[str] = (),
        executors: Iterable[str] = (),
        joining: Iterable[str] = (),
        config: Config | None = None,
        logs: dict[str, tuple[int, ...]] | None = None,
        term: int | None = None,
    ) -> None:
        """`logs`: terms of the entries that a server starts with; `term` its current term (default: of its last)."""
        self.now = 0.0
        base = config or Config("")
        self.configuration = founding(*ids, learners=learners, executors=executors)
        self.servers: dict[str, Server] = {}
        self.wire: list[Message] = []
        self.cut: set[tuple[str, str]] = set()
        self.requests = 0
        for id in (*ids, *learners, *executors, *joining):
            configuration = Configuration() if id in set(joining) else self.configuration
            terms = (logs or {}).get(id, ())
            entries = tuple(Entry(i, t, Kind.COMMAND, f"{i}/{t}".encode()) for i, t in enumerate(terms, 1))
            hard = HardState(
                term if term is not None else max(terms, default=0),
                None,
                runs_of(entries),
                ((0, configuration),),
            )
            self.servers[id] = Server(evolve(base, id=id), hard, entries)
        self.collect()

    def __getitem__(self, id: str) -> Server:
        return self.servers[id]

    # ---- events ----

    def tell(self, id: str, event: ev.Event) -> list[fx.Effect]:
        effects = self.servers[id].tell(event, self.now) if self.servers[id].alive else []
        self.collect()
        return effects

    def collect(self) -> None:
        for server in self.servers.values():
            self.wire += server.outgoing
            server.outgoing = []

    def deliver(self, match: Callable[[Message], bool] = lambda m: True, limit: int = 10_000) -> int:
        """Deliver messages in order, and those that they cause, until no matching one is left."""
        count = 0
        while count < limit:
            message = next((m for m in self.wire if match(m)), None)
            if message is None:
                return count
            self.wire.remove(message)
            self.pass_on(message)
            count += 1
        raise AssertionError(f"still talking after {limit} messages")

    def pass_on(self, message: Message) -> None:
        server = self.servers.get(message.target)
        if (message.source, message.target) not in self.cut and server is not None:
            self.tell(message.target, ev.MessageReceived(message))

    def drop(self, match: Callable[[Message], bool] = lambda m: True) -> list[Message]:
        """Lose messages that are on the wire."""
        lost = [m for m in self.wire if match(m)]
        self.wire = [m for m in self.wire if not match(m)]
        return lost

    def advance(self, seconds: float, deliver: bool = True, step: float = 0.01) -> None:
        """Let time pass in small steps; deadlines are told, messages delivered."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(end, self.now + step)
            self.wake()
            if deliver:
                self.deliver()

    def wake(self) -> None:
        for id, server in self.servers.items():
            deadline = server.raft.next_deadline() if server.alive else None
            if deadline is not None and deadline <= self.now:
                self.tell(id, ev.DeadlinePassed())

    def expire(self, id: str) -> None:
        """Make the election deadline of `id` pass, and only its."""
        server = self.servers[id]
        self.now = max(self.now, server.raft.state.election_deadline)
        self.tell(id, ev.DeadlinePassed())

    # ---- shorthands ----

    def elect(self, id: str) -> None:
        """Make `id` the leader: it times out, all messages are delivered."""
        for _ in range(5):
            self.quiet()
            self.expire(id)
            self.deliver()
            if self.leader(id):
                return
        raise AssertionError(f"{id} was not elected: {self.roles()}")

    def quiet(self) -> None:
        """Long enough for every promise to be over, without anybody acting on it."""
        self.now += 10 * self.servers[next(iter(self.servers))].config.election_timeout_seconds

    def leader(self, id: str) -> bool:
        return self.servers[id].raft.state.role == "leader"

    def roles(self) -> dict[str, str]:
        return {id: server.raft.state.role for id, server in self.servers.items()}

    def propose(self, id: str, text: str) -> fx.AcceptProposal | fx.RefuseProposal:
        self.requests += 1
        effects = self.tell(id, ev.Proposed(self.requests, text.encode()))
        return next(e for e in effects if isinstance(e, fx.AcceptProposal | fx.RefuseProposal))

    def request(self, id: str, event: ev.Event) -> None:
        self.tell(id, event)

    def commits(self) -> dict[str, int]:
        return {id: server.raft.state.commit for id, server in self.servers.items()}

    def log_terms(self, id: str) -> tuple[int, ...]:
        log = self.servers[id].raft.state.log
        return tuple(log.term_at(i) for i in range(log.first, log.last + 1))

    def restart(self, id: str) -> None:
        self.servers[id].crash()
        self.servers[id].boot(self.now)
        self.tell(id, ev.DeadlinePassed())

    def partition(self, *groups: Iterable[str]) -> None:
        """Only members of one group hear each other."""
        where = {id: number for number, group in enumerate(groups) for id in group}
        ids = list(self.servers)
        self.cut = {(a, b) for a in ids for b in ids if where.get(a, -1) != where.get(b, -2)}

    def heal(self) -> None:
        self.cut = set()


def runs_of(entries: Iterable[Entry]) -> tuple[tuple[int, int], ...]:
    runs = [(0, 0)]
    for entry in entries:
        if entry.term != runs[-1][1]:
            runs.append((entry.index, entry.term))
    return tuple(runs)
