"""One member's state machine and its shell: loads what the engine wants, carries its effects out.

Effects go three ways: attempts to the worker, expressions to the decider, history to whoever watches. Whatever comes
back goes to the leader's commit door. Nothing here awaits: every call happens between two checkpoints of the door's
loop or of a worker's task.

Every member applies everything and runs the attempts that the state gives to this incarnation of it. Only the member
that leads decides expressions and tells the engine the time (`begin_term` .. `end_term`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import trio
from attrs import Factory, evolve, frozen

from graft import raft
from graft.cluster.deciding import Decider
from graft.cluster.loading import Loading
from graft.cluster.paths import Paths
from graft.cluster.state_view import StateView
from graft.cluster.values import Values
from graft.cluster.wall_time import WallTime
from graft.engine import (
    Applied,
    CancelAttempt,
    Change,
    Decide,
    Effect,
    Engine,
    Happened,
    RunEnded,
    RunRemoved,
    StartAttempt,
)
from graft.engine.commands import (
    RULES,
    SINCE,
    SKIPS_SINCE,
    AttemptSettled,
    Command,
    Decided,
    Decision,
    ForgetMember,
    PauseRun,
    RegisterMember,
    SetClockOffset,
    TimersDue,
    decode_command,
    encode_command,
)
from graft.engine.defaults import with_defaults
from graft.engine.records import INTERRUPTED, NONE, Scope, id_key
from graft.errors import Rejected
from graft.ids import StepKey
from graft.interfaces import Clock, Entropy, Snapshots, Store, Transport
from graft.plan import Block
from graft.raft_driver import RaftDoor
from graft.worker import Assignment, Outcome

MAX_RESULT_BYTES: Final = 1 << 20
MAX_DECIDED_BYTES: Final = 256 << 10  # of several decisions in one command
MAX_DECIDING_SECONDS: Final = 0.005  # at a stretch, and as long again to propose it: Raft waits for that
AGAIN_SECONDS: Final = 0.05
STOPPED_TYPES: Final = frozenset(
    {"signal.SIGTERM", "signal.SIGINT", "signal.SIGHUP", "exit.143", "exit.130", "exit.129"}
)
"""How a command fails that a signal told to stop; 128 and the signal's number is how a shell says it."""
TOO_OLD: Final = "version_too_old"  # of the cluster, for what is asked for
CLOCKS_SECONDS: Final = 10.0  # between two looks at the clocks


@frozen
class Offer:
    """What a member has for the steps of the cluster, and where it is reached. `slots`: attempts at once, by kind."""

    slots: tuple[tuple[str, int], ...]
    address: str = ""
    labels: Mapping[str, str] = Factory(dict)
    node_types: tuple[str, ...] = ()
    zone: str = ""
    version: int = 1


class Attempts(Protocol):
    """What the host asks of a worker."""

    def start(self, assignment: Assignment, settle: Callable[[Assignment, Outcome], None]) -> None: ...

    def cancel(self, key: tuple[int, int, int], token: int) -> None: ...

    def drop_run(self, run_no: int) -> None: ...


class Submitter(Protocol):
    """The way of a command to the leader."""

    def submit(self, command: Command) -> None:
        """It has to be applied, however long that takes."""
        ...

    async def request(self, command: Command) -> Applied:
        """Return when it was applied here. Raises Rejected."""
        ...


class Host:
    """`member` is this process, as is `incarnation`, which is another one after the cluster took it for dead."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        entropy: Entropy,
        *,
        member: str,
        offer: Offer,
        max_result_bytes: int = MAX_RESULT_BYTES,
        strict: bool = False,
        config: raft.Config | None = None,
        founders: Sequence[raft.Member] | None = None,
        directory_incarnation: int | None = None,
        transport: Transport | None = None,
        snapshots: Snapshots | None = None,
    ) -> None:
        self.engine = Engine(strict=strict)
        self.door = RaftDoor(
            store,
            self,
            member,
            clock,
            entropy,
            config=config,
            founders=founders,
            incarnation=directory_incarnation,
            transport=transport,
            snapshots=snapshots,
        )
        self.view = StateView(store, self.door.overlay)
        self.values = Values(self.engine.state, self.view)
        self.paths = Paths(self.values)
        self.decider = Decider(self.values, self.paths, max_result_bytes)
        self.submitter: Submitter = _Direct(self)
        self.may_start: Callable[[], bool] = lambda: True  # a member without a lease starts nothing
        self.object_to: Callable[[Command], Rejected | None] = lambda command: None  # what is asked for, if it leads
        self.on_removed: Callable[[str], None] = lambda run_id: None
        self.on_reset: Callable[[], None] = lambda: None  # a snapshot took the place of the state
        self.door.objection = self._objection
        self._worker: Attempts | None = None
        self._store, self._clock, self._entropy = store, clock, entropy
        self.member, self.offer = member, offer
        self.incarnation = entropy.u64() >> 1
        self._max_result_bytes = max_result_bytes
        self._leads = False
        self._running: dict[tuple[StepKey, int], bool] = {}  # attempts that the worker has; True: it is to be lost
        self._told_to_stop = False
        self._is_alone = False  # in a cluster of one, whose log no other program applies
        self._settling: set[tuple[StepKey, int]] = set()  # attempts that ended, of which the state does not know yet
        self.snapshots_installed = 0
        self._idle = trio.Event()
        self._held: list[StartAttempt] = []  # until the member may start
        self._undecided: deque[Decide] = deque()
        self._backlog: Iterator[Decide] = iter(())  # what earlier leaders left undecided
        self._lost: list[Decide] = []  # decided, and the log did not take it
        self._more_to_decide = trio.Event()
        self._changed: dict[int, trio.Event] = {}  # run -> something happened
        self._ended: dict[int, trio.Event] = {}
        self._timers_changed = trio.Event()
        self._timers_due: tuple[int | None, int | None] = (None, None)  # what `run_timers` sleeps for
        self._origin, self._engine_origin = clock.monotonic(), 0
        self._wall_time = WallTime(clock)
        self._loading = Loading(self.engine, self.view)
        self._loading.load(store)
        self.door.replay()

    # Time

    def now(self) -> int:
        """Engine time in ms: it advances while a member leads, and stands still while none does."""
        if not self._leads:
            return self.engine.state.meta.now
        return self._engine_origin + int((self._clock.monotonic() - self._origin) * 1000)

    def stamp(self) -> dict[str, int]:
        return {"now": self.now(), "wall": self._wall_time.now()}

    def clock(self) -> int:
        """What people are shown as the time: ms since the Unix epoch."""
        return self._clock.wall()

    # Leading

    @property
    def leads(self) -> bool:
        """Whether this member leads and has applied all that earlier leaders committed."""
        return self._leads

    def begin_term(self) -> None:
        """From now on this member decides, and tells the time, which goes on from where the last leader left it."""
        self._leads = True
        meta = self.engine.state.meta
        self._origin, self._engine_origin = self._clock.monotonic(), meta.now
        self._wall_time.begin(meta.wall, meta.clock_offset)
        self._backlog = self.engine.undecided()
        self._more_to_decide.set()

    def end_term(self) -> None:
        self._leads = False
        self._backlog = iter(())
        self._undecided.clear()
        self._lost.clear()

    # Starting

    def _objection(self, command: Command) -> Rejected | None:
        """Why `command` is not proposed here and now, although this member leads."""
        since, version = SINCE.get(type(command), 1), self.door.version
        if version < since:
            return Rejected(
                f"the cluster's version is {version}, and this needs {since}",
                reason=TOO_OLD,
                hint="when all members run this program: `graft member finalize-upgrade`",
            )
        return self.object_to(command)

    async def serve_alone(self, worker: Attempts, stopped_at: int | None = None) -> None:
        """Run attempts from now on. Runs that an earlier process left unfinished are held until they are resumed.
        `stopped_at` (ms since the Unix epoch) is when that process stopped, as far as is known.

        The registration goes through the log, and settles what earlier incarnations had as lost; returns after it.
        """
        self.begin_term()
        self._worker, self._is_alone = worker, True
        self._submit_clock_offset()
        since = max(stopped_at or 0, self.engine.state.meta.clock)
        for run in self.engine.state.live_runs():
            if not run.paused:
                self.submitter.submit(PauseRun(run.no, INTERRUPTED, since, **self.stamp()))
        for other in sorted(self.engine.state.members.keys() - {self.member}):
            self.submitter.submit(ForgetMember(other, **self.stamp()))  # the state may come from a cluster's backup
        await self.submitter.request(self.registration())

    def serve(self, worker: Attempts) -> None:
        """Run what the state gives to this incarnation, which has to be registered for it."""
        self._worker = worker

    def registration(self) -> RegisterMember:
        offer = self.offer
        return RegisterMember(
            self.member,
            self.incarnation,
            offer.slots,
            offer.address,
            tuple(sorted(offer.labels.items())),
            offer.node_types,
            offer.zone,
            offer.version,
            RULES,
            **self.stamp(),
        )

    def new_incarnation(self) -> None:
        """The cluster took this process for dead: what it was given is given to others. It has to register again."""
        self.lose_attempts()
        self._held.clear()
        self.incarnation = self._entropy.u64() >> 1

    def stop_serving(self) -> None:
        """From now on what the worker settles is not recorded: it stops its attempts because the process stops.

        They count as lost when the next incarnation registers.
        """
        self._worker = None

    # The machine behind the door

    def encode(self, command: Command) -> bytes:
        return encode_command(command)

    def decode(self, data: bytes) -> Command:
        return decode_command(data)

    def apply(self, index: int, command: Command) -> Applied:
        if isinstance(command, AttemptSettled):
            self._settling.discard(((command.run, command.scope, command.ordinal), command.token))
        return self._loading.apply(index, command)

    def drain(self) -> list[Change]:
        return self.engine.drain()

    def dispatch(self, turn: list[Applied]) -> None:
        for applied in turn:
            for effect in applied.effects:
                _DISPATCH[type(effect)](self, effect)
        if self._undecided:
            self._decide_some()
        if any(map(_is_earlier, self.engine.next_timer(), self._timers_due)):
            self._timers_changed.set()

    def reset(self) -> None:
        """Load the state that a snapshot left in the store: this member had missed what led to it."""
        self.snapshots_installed += 1
        self.engine = Engine(strict=self.engine.strict)
        self.values.rebase(self.engine.state)
        self._loading = Loading(self.engine, self.view)
        self._loading.load(self._store)
        self._reconcile()
        for waiters in (self._changed, self._ended):
            for waiter in waiters.values():
                waiter.set()
            waiters.clear()
        self._timers_changed.set()
        self.on_reset()

    def _reconcile(self) -> None:
        """Run what the state gives to this incarnation, and nothing else."""
        self._held.clear()
        effects = [e for e in self.engine.outstanding() if isinstance(e, (StartAttempt, CancelAttempt))]
        mine = {(e.key, e.token) for e in effects if e.member == self.member and e.incarnation == self.incarnation}
        self._settling &= mine  # of the others the state knows what became of them
        for key, token in list(self._running):
            if (key, token) not in mine and self._worker is not None:
                self._worker.cancel(key, token)
        for effect in effects:
            _DISPATCH[type(effect)](self, effect)

    # Effects

    def _start_attempt(self, effect: StartAttempt) -> None:
        if effect.member != self.member or effect.incarnation != self.incarnation or self._worker is None:
            return
        if (effect.key, effect.token) in self._settling:
            return  # it has run, and a snapshot took the place of the state from before its end was applied
        if not self.may_start():
            self._held.append(effect)
            return
        step = self.engine.state.steps.get(effect.key)
        if step is not None and step.token == effect.token and step.member == self.member:
            self._running.setdefault((effect.key, effect.token), False)
            self._worker.start(self._assignment(effect), self._settled)

    @property
    def running(self) -> int:
        """How many attempts the worker has."""
        return len(self._running)

    async def wait_idle(self) -> None:
        """Return when the worker has no attempt."""
        while self._running:
            await self._idle.wait()

    def start_held(self) -> None:
        """The member may start attempts: those that waited for it, if the state still gives them to it."""
        held, self._held = self._held, []
        for effect in held:
            self._start_attempt(effect)

    def lose_attempts(self) -> None:
        """Stop all attempts; they end as lost, not as cancelled."""
        for key, token in list(self._running):
            self._running[key, token] = True
            if self._worker is not None:
                self._worker.cancel(key, token)

    def begin_stop(self) -> None:
        """This process was told to stop. Commands that end of the same signals now were told, too: they are lost."""
        self._told_to_stop = True

    @property
    def is_stopping(self) -> bool:
        return self._told_to_stop

    def _assignment(self, effect: StartAttempt) -> Assignment:
        run_no, scope_no, ordinal = effect.key
        run = self.engine.state.runs[run_no]
        scope = self.engine.state.scopes[run_no, scope_no]
        path = self.paths.path(run_no, scope_no, ordinal)
        flow = self._flow_block(scope)
        lookup = self.values.lookup(run_no, scope_no, ordinal)
        return Assignment(
            run_id=run.id,
            key=effect.key,
            token=effect.token,
            attempt=effect.attempt,
            path=path,
            node=with_defaults(self.paths.node(run_no, scope, ordinal), self.engine.state.meta.config),
            lookup=lookup,
            secrets={secret.name: secret for secret in flow.secrets},
            base=Path(run.base, flow.directory),
            idempotency_key=f"{run.id}:{path}",
            programs=self.decider.programs(run.plan),
            max_result_bytes=self._max_result_bytes,
            hidden=lookup.hidden(),
        )

    def _flow_block(self, scope: Scope) -> Block:
        """The block of the flow around a step: what it declared, and where its file stands."""
        block = self.values.graph(scope.run, scope.block).block
        while block.kind != "flow":
            scope = self.values.scope(scope.run, scope.parent_scope)
            block = self.values.graph(scope.run, scope.block).block
        return block

    def _settled(self, assignment: Assignment, outcome: Outcome) -> None:
        is_lost = self._running.pop((assignment.key, assignment.token), False) and outcome.status == "cancelled"
        if self._told_to_stop and outcome.error is not None and outcome.error.type in STOPPED_TYPES:
            is_lost = True
        if not self._running:
            self._idle.set()
            self._idle = trio.Event()
        if self._worker is None:
            return
        if outcome.status == "skipped":
            outcome = self._if_skips_are_known(outcome)
        self._settling.add((assignment.key, assignment.token))
        self.submitter.submit(
            AttemptSettled(
                *assignment.key,
                token=assignment.token,
                status="lost" if is_lost else outcome.status,
                dice=self._entropy.u64() & 0xFFFFFFFF if outcome.error is not None else 0,
                value=outcome.value,
                error=outcome.error,
                retry_after_ms=outcome.retry_after_ms,
                **self.stamp(),
            )
        )

    def _if_skips_are_known(self, outcome: Outcome) -> Outcome:
        """A failure, while there may be members whose programs apply it as one. Alone, there are none."""
        error, version = outcome.error, self.door.version
        if self._is_alone or version >= SKIPS_SINCE or error is None:
            return outcome
        why = (
            f"it skipped itself, for which the cluster's version has to be {SKIPS_SINCE}: it is {version}; "
            "when all members run this program: `graft member finalize-upgrade`"
        )
        return Outcome("failed", error=evolve(error, detail=why))

    def _cancel_attempt(self, effect: CancelAttempt) -> None:
        if effect.incarnation == self.incarnation and self._worker is not None:
            self._worker.cancel(effect.key, effect.token)

    def _decide_later(self, effect: Decide) -> None:
        if self._leads:
            self._undecided.append(effect)

    async def run_decisions(self) -> None:
        """Decide what took longer than a turn of the door may, and what the log did not take; until cancelled."""
        while True:
            self._more_to_decide = trio.Event()
            if self._lost:
                await trio.sleep(AGAIN_SECONDS)
                self._undecided.extend(self._lost)
                self._lost.clear()
            self._decide_some()
            await self._more_to_decide.wait()

    def _decide_some(self) -> None:
        """Evaluate what is to be decided, for as long as Raft can wait, and propose the decisions, run by run."""
        until = self._clock.monotonic() + MAX_DECIDING_SECONDS
        by_run: dict[tuple[int, int], list[tuple[Decide, Decision]]] = {}
        while (effect := self._next_undecided()) is not None:
            decision = self._decide(effect)
            if decision is not None:
                by_run.setdefault((effect.key[0], effect.generation), []).append((effect, decision))
            if self._clock.monotonic() >= until:
                self._more_to_decide.set()
                break
        for (run, generation), decided in by_run.items():
            for batch in batches(decided):
                command = Decided(run, generation, tuple(decision for _, decision in batch), **self.stamp())
                self._propose_decided(command, [effect for effect, _ in batch])

    def _next_undecided(self) -> Decide | None:
        return self._undecided.popleft() if self._undecided else next(self._backlog, None)

    def _propose_decided(self, command: Decided, effects: list[Decide]) -> None:
        """Alone, it is taken for sure. In a cluster it may be lost with the leadership: then the next leader decides
        from the state. When the log is full for a moment this one decides again."""
        self.door.propose(command, None, None if self.is_alone else partial(self._decision_lost, effects))

    def _decision_lost(self, effects: list[Decide], error: Exception) -> None:
        if self._leads:
            self._lost += effects
            self._more_to_decide.set()

    @property
    def is_alone(self) -> bool:
        """Whether this member is the cluster."""
        return isinstance(self.submitter, _Direct)

    def _decide(self, effect: Decide) -> Decision | None:
        run_no, scope_no, ordinal = effect.key
        state = self.engine.state
        run, scope = state.runs.get(run_no), state.scopes.get((run_no, scope_no))
        if run is None or scope is None or run.paused or run.generation != effect.generation:
            return None  # a paused run asks again when it goes on
        step = state.steps.get(effect.key)
        if ordinal != NONE and (step is None or step.status != "ready"):
            return None
        node = None if step is None else state.node_of(step)
        return self.decider.decide(effect, scope, state.graph_of(scope).block, node, run.plan)

    def _run_ended(self, effect: RunEnded) -> None:
        if self._worker is not None:
            self._worker.drop_run(effect.run)
        ended = self._ended.pop(effect.run, None)
        if ended is not None:
            ended.set()

    def _run_removed(self, effect: RunRemoved) -> None:
        self.on_removed(effect.run_id)

    def _happened(self, effect: Happened) -> None:
        changed = self._changed.pop(effect.run, None)
        if changed is not None:
            changed.set()

    async def wait_changed(self, run: int) -> None:
        """Return when something more has happened in a run."""
        await self._changed.setdefault(run, trio.Event()).wait()

    async def wait_ended(self, run: int) -> None:
        await self._ended.setdefault(run, trio.Event()).wait()

    # Time

    async def run_timers(self) -> None:
        """Tell the engine that time has passed, whenever a timer of it is due. Raises Rejected when another leads."""
        while True:
            self._timers_changed = trio.Event()
            self._timers_due = self.engine.next_timer()
            self._submit_clock_offset()
            delay = self._timer_delay()
            if delay <= 0:
                await self.propose(TimersDue(**self.stamp()))
                continue
            with trio.move_on_after(delay):
                await self._timers_changed.wait()

    async def propose(self, command: Command) -> Applied:
        """Propose at the door of this member, and wait until it was applied. Raises Rejected."""
        answer: list[Applied | Exception] = []
        answered = trio.Event()

        def take(result: Any) -> None:
            answer.append(result)
            answered.set()

        self.door.propose(command, take, take)
        await answered.wait()
        result = answer[0]
        if isinstance(result, Exception):
            raise result
        return result

    def _timer_delay(self) -> float:
        """Seconds until the next timer, or the next look at the clocks: while the machine is suspended, wall time
        passes and Trio's does not; and the system clock may have been set."""
        engine_due, wall_due = self._timers_due
        delays = [CLOCKS_SECONDS]
        if engine_due is not None:
            delays.append((engine_due - self.now()) / 1000)
        if wall_due is not None:
            delays.append((wall_due - self._wall_time.now()) / 1000)
        return min(delays)

    def _submit_clock_offset(self) -> None:
        """Let the times that people see follow a system clock that was set."""
        offset = self._wall_time.new_offset()
        if offset is not None:
            self.submitter.submit(SetClockOffset(offset, **self.stamp()))


def _is_earlier(due: int | None, than: int | None) -> bool:
    """None: never."""
    return due is not None and (than is None or due < than)


def batches(decided: list[tuple[Decide, Decision]]) -> Iterator[list[tuple[Decide, Decision]]]:
    """Those of one turn, as few commands of bounded size: what was decided may be large, and a log entry may not."""
    batch: list[tuple[Decide, Decision]] = []
    size = 0
    for effect, decision in decided:
        data = len(decision.data or b"")
        if batch and size + data > MAX_DECIDED_BYTES:
            yield batch
            batch, size = [], 0
        batch.append((effect, decision))
        size += data
    yield batch


class _Direct:
    """Alone, the door is here, and what it was given it keeps."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def submit(self, command: Command) -> None:
        self._host.door.propose(command)

    async def request(self, command: Command) -> Applied:
        return await self._host.propose(command)


_DISPATCH: Final[dict[type[Effect], Callable[[Host, Any], None]]] = {
    StartAttempt: Host._start_attempt,
    CancelAttempt: Host._cancel_attempt,
    Decide: Host._decide_later,
    RunEnded: Host._run_ended,
    RunRemoved: Host._run_removed,
    Happened: Host._happened,
}

__all__ = ["MAX_RESULT_BYTES", "Host", "id_key"]
