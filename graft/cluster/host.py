"""One member's state machine and its shell: loads what the engine wants, carries its effects out.

Effects go three ways: attempts to the worker, expressions to the decider, history to whoever watches. Whatever comes
back is proposed at the commit door. Nothing here awaits: every call happens between two checkpoints of the door's
loop or of a worker's task.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import trio

from graft.cluster.deciding import Decider
from graft.cluster.paths import Paths
from graft.cluster.state_view import StateView
from graft.cluster.values import Values
from graft.engine import (
    Applied,
    CancelAttempt,
    Change,
    Decide,
    Effect,
    Engine,
    Happened,
    RunEnded,
    StartAttempt,
)
from graft.engine.commands import (
    AttemptSettled,
    Command,
    Decided,
    Decision,
    PauseRun,
    RegisterMember,
    TimersDue,
    decode_command,
    encode_command,
)
from graft.engine.engine import HASH_KEY
from graft.engine.records import NONE, Scope, id_key
from graft.errors import StoreCorrupt
from graft.interfaces import Clock, Entropy, Store
from graft.plan import Block
from graft.raft_driver import RaftDoor
from graft.worker import Assignment, Outcome

MAX_RESULT_BYTES: Final = 1 << 20


class Attempts(Protocol):
    """What the host asks of a worker."""

    def start(self, assignment: Assignment, settle: Callable[[Assignment, Outcome], None]) -> None: ...

    def cancel(self, key: tuple[int, int, int], token: int) -> None: ...

    def drop_run(self, run_no: int) -> None: ...


class Host:
    """`member` and `incarnation` are this process; attempts that the state assigns to others are not run here."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        entropy: Entropy,
        *,
        member: str,
        slots: tuple[tuple[str, int], ...],
        max_result_bytes: int = MAX_RESULT_BYTES,
        strict: bool = False,
    ) -> None:
        self.engine = Engine(strict=strict)
        self.door = RaftDoor(store, self, member, clock, entropy)
        self.view = StateView(store, self.door.overlay)
        self.values = Values(self.engine.state, self.view)
        self.paths = Paths(self.values)
        self.decider = Decider(self.values, self.paths, max_result_bytes)
        self._worker: Attempts | None = None
        self._clock, self._entropy = clock, entropy
        self._member, self._slots = member, slots
        self._incarnation = entropy.u64() >> 1
        self._max_result_bytes = max_result_bytes
        self._undecided: list[Decide] = []
        self._changed: dict[int, trio.Event] = {}  # run -> something happened
        self._ended: dict[int, trio.Event] = {}
        self._timers_changed = trio.Event()
        self._load(store)
        self._origin = clock.monotonic()
        self._engine_origin = self.engine.state.meta.now

    # Time

    def now(self) -> int:
        """Engine time in ms: it advances while this process leads, and stands still while there is none."""
        return self._engine_origin + int((self._clock.monotonic() - self._origin) * 1000)

    def stamp(self) -> dict[str, int]:
        return {"now": self.now(), "wall": self._clock.wall()}

    # Starting

    def _load(self, store: Store) -> None:
        """The live records of the store, then what the log holds beyond them."""
        engine = self.engine
        engine.load(("members", data) for _, data in store.scan("members"))
        if (meta := store.get("meta", b"engine")) is not None:
            engine.load([("meta", meta)])
        for run in self.view.live_runs():
            self._load_run(run)
        stored = store.get("meta", HASH_KEY)
        engine.restore(store.bounds().applied, 0 if stored is None else int.from_bytes(stored, "big"))
        self.door.replay()
        self._undecided += [effect for effect in engine.outstanding() if isinstance(effect, Decide)]

    def _load_run(self, run: int) -> None:
        rows = list(self.view.record_rows(run))
        self.engine.load(rows)
        self._load_plan(self.engine.state.runs[run].plan)

    def _load_plan(self, plan_hash: str) -> None:
        if plan_hash not in self.engine.state.plans:
            plan = self.view.plan(plan_hash)
            if plan is None:
                raise StoreCorrupt(
                    f"the plan {plan_hash[:12]} of a run is not in the store",
                    hint="restore the data directory from a backup",
                )
            self.engine.load_plan(plan_hash, plan)

    async def serve(self, worker: Attempts) -> None:
        """Run attempts from now on. Runs that an earlier process left unfinished are held until they are resumed.

        The registration goes through the log, and settles what earlier incarnations had as lost; returns after it.
        """
        self._worker = worker
        for run in self.engine.state.live_runs():
            if not run.paused:
                self.door.propose(PauseRun(run.no, "interrupted", **self.stamp()))
        await self.request(RegisterMember(self._member, self._incarnation, self._slots, **self.stamp()))

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
        for want in self.engine.wants(command):
            self._WANTS[want.what](self, want.key)
        return self.engine.apply(index, command)

    def _want_id(self, key: bytes) -> None:
        found = self.view.get("keys", key)
        self.engine.load_id(key, 0 if found is None else int.from_bytes(found, "big"))

    def _want_plan(self, plan_hash: str) -> None:
        plan = self.view.plan(plan_hash)
        if plan is not None:
            self.engine.load_plan(plan_hash, plan)

    def _want_run(self, run: int) -> None:
        if self.view.run(run) is not None:
            self._load_run(run)
            state = self.engine.state
            for key in state.scopes:
                state.children.setdefault(key, {})

    _WANTS: Final[dict[str, Callable[[Host, Any], None]]] = {"id": _want_id, "plan": _want_plan, "run": _want_run}

    def drain(self) -> list[Change]:
        return self.engine.drain()

    def dispatch(self, turn: list[Applied]) -> None:
        for applied in turn:
            for effect in applied.effects:
                _DISPATCH[type(effect)](self, effect)
        if self._undecided:
            self.decide_outstanding()
        self._timers_changed.set()

    def reset(self) -> None:
        """Load the state that a snapshot left in the store. A cluster of one is never sent one."""
        raise NotImplementedError("a cluster of one takes no snapshots")

    # Effects

    def _start_attempt(self, effect: StartAttempt) -> None:
        if effect.member != self._member or effect.incarnation != self._incarnation or self._worker is None:
            return
        step = self.engine.state.steps.get(effect.key)
        if step is not None and step.token == effect.token and step.member == self._member:
            self._worker.start(self._assignment(effect), self._settled)

    def _assignment(self, effect: StartAttempt) -> Assignment:
        run_no, scope_no, ordinal = effect.key
        run = self.engine.state.runs[run_no]
        scope = self.engine.state.scopes[run_no, scope_no]
        path = self.paths.path(run_no, scope_no, ordinal)
        flow = self._flow_block(scope)
        return Assignment(
            run_id=run.id,
            key=effect.key,
            token=effect.token,
            attempt=effect.attempt,
            path=path,
            node=self.paths.node(run_no, scope, ordinal),
            lookup=self.values.lookup(run_no, scope_no, ordinal),
            secrets={secret.name: secret for secret in flow.secrets},
            base=Path(run.base, flow.directory),
            idempotency_key=f"{run.id}:{path}",
            programs=self.decider.programs(run.plan),
            max_result_bytes=self._max_result_bytes,
        )

    def _flow_block(self, scope: Scope) -> Block:
        """The block of the flow around a step: what it declared, and where its file stands."""
        block = self.values.graph(scope.run, scope.block).block
        while block.kind != "flow":
            scope = self.values.scope(scope.run, scope.parent_scope)
            block = self.values.graph(scope.run, scope.block).block
        return block

    def _settled(self, assignment: Assignment, outcome: Outcome) -> None:
        if self._worker is None:
            return
        self.door.propose(
            AttemptSettled(
                *assignment.key,
                token=assignment.token,
                status=outcome.status,
                dice=self._entropy.u64() & 0xFFFFFFFF if outcome.error is not None else 0,
                value=outcome.value,
                error=outcome.error,
                retry_after_ms=outcome.retry_after_ms,
                now=self.now(),
                wall=self._clock.wall(),
            )
        )

    def _cancel_attempt(self, effect: CancelAttempt) -> None:
        if effect.incarnation == self._incarnation and self._worker is not None:
            self._worker.cancel(effect.key, effect.token)

    def _decide_later(self, effect: Decide) -> None:
        self._undecided.append(effect)

    def decide_outstanding(self) -> None:
        """Evaluate what the turn left to decide, and propose the decisions, run by run."""
        undecided, self._undecided = self._undecided, []
        by_run: dict[tuple[int, int], list[Decision]] = {}
        for effect in undecided:
            decision = self._decide(effect)
            if decision is not None:
                by_run.setdefault((effect.key[0], effect.generation), []).append(decision)
        for (run, generation), decisions in by_run.items():
            self.door.propose(Decided(run, generation, tuple(decisions), **self.stamp()))

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

    def _happened(self, effect: Happened) -> None:
        changed = self._changed.pop(effect.run, None)
        if changed is not None:
            changed.set()

    async def wait_changed(self, run: int) -> None:
        """Return when something more has happened in a run."""
        await self._changed.setdefault(run, trio.Event()).wait()

    async def wait_ended(self, run: int) -> None:
        await self._ended.setdefault(run, trio.Event()).wait()

    # Requests

    async def request(self, command: Command) -> Applied:
        """Propose, and wait until it was applied. Raises Rejected."""
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

    async def run_timers(self) -> None:
        """Tell the engine that time has passed, whenever a timer of it is due."""
        while True:
            self._timers_changed = trio.Event()
            delay = self._timer_delay()
            if delay is not None and delay <= 0:
                await self.request(TimersDue(**self.stamp()))
                continue
            with trio.move_on_after(float("inf") if delay is None else delay):
                await self._timers_changed.wait()

    def _timer_delay(self) -> float | None:
        """Seconds until the next timer. Wall time may jump, so a sleep looks again every minute."""
        engine_due, wall_due = self.engine.next_timer()
        delays = []
        if engine_due is not None:
            delays.append((engine_due - self.now()) / 1000)
        if wall_due is not None:
            delays.append(min((wall_due - self._clock.wall()) / 1000, 60.0))
        return min(delays, default=None)


_DISPATCH: Final[dict[type[Effect], Callable[[Host, Any], None]]] = {
    StartAttempt: Host._start_attempt,
    CancelAttempt: Host._cancel_attempt,
    Decide: Host._decide_later,
    RunEnded: Host._run_ended,
    Happened: Host._happened,
}

__all__ = ["MAX_RESULT_BYTES", "Host", "id_key"]
