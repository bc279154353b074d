"""The workflow engine: `apply(index, command)`, a pure state machine and the scheduler in one (ARCHITECTURE §4).

What may not happen inside apply: reading a clock, a die, a file or a registry. What an apply needs beyond the live
records (the plan of a start, whether a run id is taken, the records of a finished run) is loaded by the driver before
it, as `wants` tells.

A deterministic exception while a run is changed drops the change and quarantines that run: it is paused with the
reason `internal`, the same on every member. MemoryError and RecursionError are not deterministic and pass through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from attrs import frozen

from graft.engine import members, pausing, removing, reopen, scopes, steps
from graft.engine.commands import (
    AttemptSettled,
    CancelRun,
    Command,
    Decided,
    DrainMember,
    DropPlans,
    ForgetMember,
    MemberDown,
    PauseRun,
    RegisterMember,
    RegisterPlan,
    RemoveRuns,
    RetryRun,
    SetClockOffset,
    SetClusterConfig,
    StartRun,
    SweepRun,
    TimersDue,
    UnpauseRun,
)
from graft.engine.effects import Applied, CancelAttempt, Change, Decide, Effect, StartAttempt
from graft.engine.graph import PlanGraph, plan_graph
from graft.engine.lifecycle import FINAL
from graft.engine.records import NONE, Run, Step, digest, id_key, run_key
from graft.engine.state import HASH_KEY, State
from graft.errors import PlanError
from graft.plan import Plan, decode, plan_hash

MAX_KNOWN_IDS: Final = 65_536
Row = tuple[str, bytes, bytes]  # table, key, value
OTHER_GENERATION: Final = "the run has another generation"
NO_PLAN: Final = "its plan is not registered"
TICK_MS: Final = 10_000
TOO_MANY_RUNS: Final = "there are as many live runs as the cluster's configuration allows"


@frozen
class Want:
    """Something that the driver has to load before a command is applied.

    `("id", key of the keys table)`, `("plan", hash as hex)`, `("run", run number)`: all records of a run;
    `("record", run number)`: only that of the run itself; `("rows", (run number, limit))`: the first rows of what it
    left in the tables `OF_RUN`. Before the last two the engine is drained, and what it gives is readable.
    """

    what: str
    key: Any


class Engine:
    """`strict` re-raises exceptions of an apply (tests, simulation); `keep` keeps final records in memory."""

    def __init__(self, *, strict: bool = False, keep: bool = False) -> None:
        self.state = State(keep=keep)
        self.strict = strict
        self.applied = 0
        self._result: Any = None
        self._rows: Sequence[Row] = ()  # for the sweep that comes next

    # Commands

    def wants(self, command: Command) -> list[Want]:
        """What `command` needs and the engine does not hold. Answer with `load_id`, `load_plan`, `load`."""
        s = self.state
        wants: list[Want] = []
        match command:
            case StartRun():
                if id_key(command.run_id) not in s.known_ids:
                    wants.append(Want("id", id_key(command.run_id)))
                if command.plan not in s.plans:
                    wants.append(Want("plan", command.plan))
            case RemoveRuns(runs=runs):
                wants += [Want("record", run) for run, _ in runs]
            case SweepRun(run=run, limit=limit) if run in s.removed:
                wants.append(Want("rows", (run, limit)))
            case RetryRun(run=run) if run not in s.runs or s.runs[run].status in FINAL:
                wants.append(Want("run", run))  # also when it is still here: final steps leave the memory before it
        return wants

    def apply(self, index: int, command: Command) -> Applied:
        """Apply the committed command of log entry `index`. Indexes only grow."""
        assert index > self.applied, f"entry {index} was applied before ({self.applied})"
        s = self.state
        s.open(index)
        s.meta.now = max(s.meta.now, command.now)
        s.meta.wall = max(s.meta.wall, command.wall)
        self._result, refused = None, None
        effects: list[Effect] = []
        for run_no, section in _SECTIONS[type(command)](self, command):
            refused = self._section(run_no, section, effects) or refused
        effects.extend(s.close())
        self.applied = index
        return Applied(index, self._result, refused, tuple(effects))

    def _section(self, run_no: int, section: Callable[[], str | None], effects: list[Effect]) -> str | None:
        """One run's share of a command: all of it or nothing."""
        s = self.state
        s.begin()
        s.edit(s.meta)
        try:
            refused = section()
            scopes.run_agenda(s)
            steps.dispatch(s)
        except (MemoryError, RecursionError):
            raise
        except Exception as error:
            if self.strict:
                raise
            s.rollback()
            self._quarantine(run_no, f"{type(error).__name__}: {error}")
            return "internal"
        effects.extend(s.commit())
        return refused

    def _quarantine(self, run_no: int, why: str) -> None:
        s = self.state
        run = s.runs.get(run_no)
        if run is not None and run.status not in FINAL:
            s.begin()
            pausing.pause(s, run, "internal", f"entry {s.index}: {why}"[:500])
            s.commit()

    # Sections: what each command does, run by run

    def _register_plan(self, command: RegisterPlan) -> str | None:
        try:
            plan = decode(command.plan)
        except PlanError as error:
            return str(error)
        hash = plan_hash(plan)
        if hash not in self.state.plans:
            self.load_plan(hash, plan)
        self.state.write("plans", bytes.fromhex(hash), command.plan)
        self._result = hash
        return None

    def _start(self, command: StartRun) -> str | None:
        s = self.state
        key = id_key(command.run_id)
        existing = s.known_ids.get(key, 0)
        self._result = existing
        if existing:
            return "exists"
        graph = s.plans.get(command.plan)
        if graph is None:
            return NO_PLAN
        if self._is_full():
            return TOO_MANY_RUNS
        run = Run(no=s.meta.next_run, id=command.run_id, name=graph.plan.name, plan=command.plan, base=command.base)
        s.meta.next_run += 1
        run.request, run.started_wall = request_digest(command), s.meta.clock
        s.add(run)
        s.write("keys", key, run_key(run.no))
        s.write("live", run_key(run.no), b"")
        s.tell(run.no, 0, NONE, "running", "", 1)
        scopes.open_root(s, run, command.params, dict(command.given), frozenset(command.excluded))
        s.known_ids[key] = self._result = run.no
        return None

    def _settle(self, command: AttemptSettled) -> str | None:
        step = self.state.steps.get((command.run, command.scope, command.ordinal))
        return steps.settle(self.state, step, command)

    def _decided(self, command: Decided) -> str | None:
        s = self.state
        run = s.runs.get(command.run)
        if run is None or run.generation != command.generation:
            return OTHER_GENERATION
        for decision in command.decisions:
            if decision.ordinal == NONE:
                scope = s.scopes.get((run.no, decision.scope))
                if scope is not None:
                    scopes.concluded(s, scope, decision)
            else:
                step = s.steps.get((run.no, decision.scope, decision.ordinal))
                if step is not None and step.status == "ready":
                    steps.decided(s, step, decision)
            scopes.run_agenda(s)
        return None

    def _fire(self, due: list[tuple[int, int, int, int]], wall: bool) -> str | None:
        s = self.state
        for when, run, scope_no, ordinal in due:
            scope = s.scopes.get((run, scope_no))
            step = s.steps.get((run, scope_no, ordinal))
            if ordinal == NONE:
                if scope is not None and scope.deadline == when and scope.status != "ended":
                    scopes.time_out(s, scope)
            elif step is not None:
                self._fire_step(step, when, wall)
            scopes.run_agenda(s)
        return None

    def _fire_step(self, step: Step, when: int, wall: bool) -> None:
        s = self.state
        if wall:
            if step.wake == when and step.status == "waiting":
                steps.finish(s, step, "succeeded", "slept")
        elif step.deadline == when and step.status not in FINAL:
            s.edit(step)
            step.deadline = 0
            scopes.cancel_step(s, step, "total_timeout", "timed_out")
        elif step.due == when and step.status == "backing_off":
            steps.enqueue(s, step)

    def _cancel(self, command: CancelRun) -> str | None:
        s = self.state
        run = s.runs.get(command.run)
        if run is None or run.status in FINAL:
            return "the run has ended"
        if command.generation not in (0, run.generation):
            return OTHER_GENERATION
        if run.paused:
            pausing.unpause(s, run)
        if command.ordinal == NONE:
            scope = s.scopes.get((run.no, 0 if command.scope == NONE else command.scope))
            if scope is None or scope.status == "ended":
                return "the scope has ended"
            scopes.fail(s, scope, "cancelled", command.reason)
            return None
        step = s.steps.get((run.no, command.scope, command.ordinal))
        if step is None or step.status in FINAL:
            return "the step has ended or not begun"
        scopes.cancel_step(s, step, command.reason)
        return None

    def _pause_run(self, command: PauseRun) -> str | None:
        run = self.state.runs.get(command.run)
        if run is None or run.status in FINAL:
            return "the run has ended"
        if run.paused:
            return "the run is paused already"
        pausing.pause(self.state, run, command.reason, command.reason, command.since)
        return None

    def _unpause_run(self, command: UnpauseRun) -> str | None:
        run = self.state.runs.get(command.run)
        if run is None or not run.paused:
            return "the run is not paused"
        if command.paused_at not in (-1, run.paused_at):
            return "the run was paused again since"
        pausing.unpause(self.state, run)
        return None

    def _retry(self, command: RetryRun) -> str | None:
        s = self.state
        run = s.runs.get(command.run)
        if run is not None and command.generation not in (0, run.generation):
            refused: str | None = OTHER_GENERATION
        elif run is not None and run.status in FINAL and self._is_full():
            refused = TOO_MANY_RUNS
        else:
            refused = reopen.retry(s, command)
        if refused is not None and run is not None and run.status in FINAL:
            s.edit(run)  # it may have been loaded for this command only: the next drain lets it go
        return refused

    def _set_clock_offset(self, command: SetClockOffset) -> str | None:
        self.state.meta.clock_offset = command.offset
        return None

    def _remove(self, command: RemoveRuns) -> str | None:
        self._result = removing.remove(self.state, command)
        return None

    def _sweep(self, command: SweepRun) -> str | None:
        rows, self._rows = self._rows, ()
        if command.run not in self.state.removed:
            return "the run left nothing behind"
        self._result = removing.sweep(self.state, command, rows)
        return None

    def _is_full(self) -> bool:
        """Whether there are as many live runs as the configuration allows."""
        config = self.state.meta.config
        return config is not None and 0 < config.max_runs <= len(self.state.live_runs())

    # What the driver loads

    def load_id(self, key: bytes, run_no: int) -> None:
        """A run id is taken by run `run_no`; 0: it is free."""
        self.state.known_ids[key] = run_no

    def load_plan(self, hash: str, plan: Plan) -> PlanGraph:
        graph = self.state.plans[hash] = plan_graph(plan, hash)
        return graph

    def load_removed(self, runs: Iterable[int]) -> None:
        """At a start: the runs that were removed and left rows behind."""
        self.state.removed.update(runs)

    def load_rows(self, rows: Sequence[Row]) -> None:
        """What is to be swept, `(table, key, value)`."""
        self._rows = rows

    def load(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Records from the store, `(table, value)`; plans of live runs must be loaded first."""
        self.state.load(rows)

    def restore(self, applied: int, state_hash: int) -> list[Effect]:
        """After `load` at a start: build the indexes. Gives the effects that the state still asks for."""
        self.applied = applied
        self.state.hash = state_hash
        self.state.reindex()
        return self.outstanding()

    def outstanding(self) -> list[Effect]:
        """Every effect that the state still waits for an answer to: derived from state, never replayed."""
        s = self.state
        effects: list[Effect] = []
        for key, step in sorted(s.steps.items()):
            if step.status == "ready":
                effects.append(steps.decide(s, step))
            elif step.member:
                effects.append(StartAttempt(key, step.token, step.attempt, step.member, step.incarnation))
                if step.status == "cancelling":
                    effects.append(CancelAttempt(key, step.token, step.member, step.incarnation, step.reason))
        for _, scope in sorted(s.scopes.items()):
            if scope.status == "concluding":
                effects.append(scopes.decide_outputs(s, scope))
        return effects

    def undecided(self) -> Iterator[Decide]:
        """What of `outstanding` has to be decided, in no order; the state may change between one and the next."""
        s = self.state
        for key in list(s.steps):
            step = s.steps.get(key)
            if step is not None and step.status == "ready":
                yield steps.decide(s, step)
        for scope_key in list(s.scopes):
            scope = s.scopes.get(scope_key)
            if scope is not None and scope.status == "concluding":
                yield scopes.decide_outputs(s, scope)

    # What the driver asks

    def drain(self) -> list[Change]:
        """What the store has to write so that it holds the state after the last apply."""
        s = self.state
        changes = s.drain()
        if len(s.known_ids) > MAX_KNOWN_IDS:
            s.known_ids.clear()
        return changes

    def state_hash(self) -> int:
        """64 bits over all stored records, equal on members that applied the same log. Drain first."""
        return self.state.hash

    def next_timer(self) -> tuple[int | None, int | None]:
        """When time has to be told again: (engine time, wall time) in ms, None where nothing waits for it.

        While a timer waits for engine time, at least every `TICK_MS` of it: a new leader goes on from the engine time
        that was told last, so that much at most is lost when the leader changes.
        """
        s = self.state
        return (
            min(s.timers[0][0], s.meta.now + TICK_MS) if s.timers else None,
            s.wakes[0][0] if s.wakes else None,
        )


def request_digest(command: StartRun) -> int:
    """What a start asks for: a second start with the same id is the same request only if this is equal."""
    return digest(command.plan.encode() + command.params + repr((command.given, command.excluded)).encode())


Section = tuple[int, Callable[[], str | None]]


def _due(engine: Engine, command: TimersDue) -> list[Section]:
    """Fire what is due, grouped by run; a paused run's timers are set again when it goes on."""
    s = engine.state
    sections: list[Section] = []
    for heap, now, wall in ((s.timers, s.meta.now, False), (s.wakes, s.meta.wall, True)):
        by_run: dict[int, list[tuple[int, int, int, int]]] = {}
        for timer in s.pop_due(heap, now):
            run = s.runs.get(timer[1])
            if run is not None and not run.paused:
                by_run.setdefault(timer[1], []).append(timer)
        for run_no, due in sorted(by_run.items()):
            sections.append((run_no, lambda due=due, wall=wall: engine._fire(due, wall)))  # type: ignore[misc]
    return sections


def _register(engine: Engine, command: RegisterMember) -> list[Section]:
    """The account opens first, so that every run's lost attempts can start again at once."""
    return [(0, lambda: members.register(engine.state, command)), *_losses(engine, command.member)]


def _down(engine: Engine, command: MemberDown) -> list[Section]:
    return [(0, lambda: members.down(engine.state, command)), *_losses(engine, command.member)]


def _forget(engine: Engine, command: ForgetMember) -> list[Section]:
    s = engine.state
    return [
        (0, lambda: members.retire(s, command)),
        *_losses(engine, command.member),
        (0, lambda: members.forget(s, command)),
    ]


def _losses(engine: Engine, member: str) -> list[Section]:
    """Settle, run by run, what an incarnation that ended has out. Nothing, where the one that lives had it."""
    s = engine.state
    runs = members.runs_on_member(s, member)
    return [(run_no, lambda run_no=run_no: members.lose_attempts(s, member, run_no)) for run_no in runs]  # type: ignore[misc]


def _one(method: Callable[[Engine, Any], str | None]) -> Callable[[Engine, Any], list[Section]]:
    """A command that concerns one run, or none."""
    return lambda engine, command: [(getattr(command, "run", 0), lambda: method(engine, command))]


_SECTIONS: Final[dict[type[Command], Callable[[Engine, Any], list[Section]]]] = {
    RegisterPlan: _one(Engine._register_plan),
    StartRun: _one(Engine._start),
    RegisterMember: _register,
    AttemptSettled: _one(Engine._settle),
    Decided: _one(Engine._decided),
    TimersDue: _due,
    CancelRun: _one(Engine._cancel),
    PauseRun: _one(Engine._pause_run),
    UnpauseRun: _one(Engine._unpause_run),
    RetryRun: _one(Engine._retry),
    MemberDown: _down,
    DrainMember: _one(lambda engine, command: members.drain(engine.state, command)),
    ForgetMember: _forget,
    SetClockOffset: _one(Engine._set_clock_offset),
    RemoveRuns: _one(Engine._remove),
    SweepRun: _one(Engine._sweep),
    DropPlans: _one(lambda engine, command: removing.drop_plans(engine.state, command)),
    SetClusterConfig: _one(lambda engine, command: members.configure(engine.state, command)),
}

__all__ = ["HASH_KEY", "Engine", "Want", "request_digest"]
