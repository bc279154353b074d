"""What people see of runs: frozen records, read from the state. The command line and the API show these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec
from attrs import frozen

from graft.cluster.inputs import NO_INPUTS, Inputs
from graft.cluster.paths import Paths
from graft.cluster.reasons import told_once
from graft.cluster.secret_params import hide
from graft.cluster.state_view import StateView
from graft.cluster.values import Values
from graft.engine.effects import Happened
from graft.engine.lifecycle import FINAL
from graft.engine.records import INTERRUPTED, NONE, STORE_FULL, Run, Scope, Step
from graft.plan import ErrorRecord, Node, Plan


@frozen
class StepView:
    """A step, or a node that has not become one yet (`pending`). Times are wall ms."""

    path: str
    node: str
    kind: str
    status: str
    attempt: int = 0
    started_at: int | None = None
    ended_at: int | None = None
    error: ErrorRecord | None = None
    reason: str = ""
    has_out: bool = False
    children: tuple[StepView, ...] = ()
    map_total: int | None = None
    map_done: int | None = None
    member: str = ""  # of its attempt, or of the last one
    due_at: int | None = None  # when a timer lets it go on
    item: str = ""  # of a map: what it is for, in a few words


Idle = tuple[tuple[int, int], ...]
"""When nothing of a run went on, because it was held: (from, to) in wall ms; the last `to` is 0 while it lasts."""


def active_ms(since: int, until: int, idle: Idle) -> int:
    """The time between two moments (wall ms) without that for which the run stood still."""
    lost = sum(max(0, min(end or until, until) - max(begin, since)) for begin, end in idle)
    return max(0, until - since - lost)


def condition(status: str, paused: str, waiting: str | None) -> str:
    """What a run is called wherever it is shown: its status; why nothing new starts; or that it waits for a person."""
    if status in FINAL:
        return status
    if waiting is not None:
        return "waiting"
    return INTERRUPTED if paused == INTERRUPTED else "paused" if paused else status


@frozen
class RunSummary:
    """`waiting` is that of `RunView`."""

    run_id: str
    name: str
    status: str
    generation: int
    started_at: int
    ended_at: int | None
    paused: str
    reason: str
    idle: Idle = ()
    waiting: str | None = None

    @property
    def condition(self) -> str:
        return condition(self.status, self.paused, self.waiting)

    def took_ms(self, now: int) -> int:
        return active_ms(self.started_at, self.ended_at or now, self.idle)


@frozen
class RunView:
    """One run as a tree of steps. `waiting` says why nothing of it can go on without a person; None where it can."""

    run_id: str
    name: str
    status: str
    reason: str
    generation: int
    params: dict[str, Any]
    started_at: int
    ended_at: int | None
    paused: str
    outputs: Any
    error: ErrorRecord | None
    plan: Plan
    plan_hash: str
    flow_base: str
    steps: tuple[StepView, ...]
    counts: dict[str, int]
    waiting: str | None
    idle: Idle = ()

    @property
    def condition(self) -> str:
        return condition(self.status, self.paused, self.waiting)

    def took_ms(self, now: int) -> int:
        return active_ms(self.started_at, self.ended_at or now, self.idle)


@frozen
class EventView:
    """One line of a run's history. `seq` grows within the run and is the cursor of a watch; path "" is the run."""

    seq: int
    run_id: str
    at: int
    path: str
    what: str
    reason: str
    attempt: int


@frozen
class StepResult:
    """What one step was given, and what it came to: `out` is JSON, None when it has none; `items` are those of a map,
    once they are known."""

    status: str
    out: bytes | None
    items: MapView | None
    inputs: Inputs = NO_INPUTS


@frozen
class MapView:
    """The items of a map: how many, and what each is called (`item_name`); no names where they are very many."""

    total: int
    names: tuple[str, ...] = ()


MAX_NAMES: Final = 1000
MAX_NAME: Final = 40  # characters


def item_name(value: Any) -> str:
    """An item of a map in a few words: `3.10`, `py=3.10 os=debian`; "" where that does not say it."""
    if isinstance(value, dict):
        if not 0 < len(value) <= 4 or any(isinstance(each, (dict, list)) for each in value.values()):
            return ""
        text = " ".join(f"{name}={_plainly(each)}" for name, each in value.items())
    elif value is None or isinstance(value, list):
        return ""
    else:
        text = _plainly(value)
    text = " ".join(text.split())
    return text if len(text) <= MAX_NAME else text[: MAX_NAME - 1] + "…"


def _plainly(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def map_view(values: Values, run: Run, scope: Scope) -> MapView:
    """Of the scope of a map. Items of a run with secret params have no names: they may be made of those."""
    items = values.items(run.no, scope.no)
    is_secret = any(param.secret for param in values.plans[run.plan].plan.root.params)
    if is_secret or items.keys is not None or scope.total > MAX_NAMES:
        return MapView(scope.total)
    return MapView(scope.total, tuple(item_name(items.item(i)) for i in range(scope.total)))


SEQUENCE_BITS = 20  # events of one log entry that one run can have: a million


def event_views(happened: Happened, paths: Paths) -> Iterator[EventView]:
    for i, (scope, ordinal, what, reason, attempt) in enumerate(happened.events):
        path = paths.path(happened.run, scope, ordinal)
        yield EventView(
            happened.index << SEQUENCE_BITS | i, happened.run_id, happened.wall, path, what, told_once(reason), attempt
        )


def summary(run: Run, waiting: str | None = None) -> RunSummary:
    return RunSummary(
        run.id,
        run.name,
        run.status,
        run.generation,
        run.started_wall,
        run.ended_wall or None,
        run.paused,
        told_once(run.reason),
        run.idle,
        waiting,
    )


WhyQueued = Callable[[Step], str]


def unknown(step: Step) -> str:
    """Who only reads the store does not know the members."""
    return ""


def run_view(view: StateView, values: Values, paths: Paths, run: Run, why_queued: WhyQueued = unknown) -> RunView:
    """Read a run whole. Costs O(its steps). `why_queued` says what a queued step waits for."""
    plan = view.plan(run.plan)
    assert plan is not None, f"the plan of run {run.id} is missing"
    reader = _Reader(view, values, paths, run, why_queued)
    steps = reader.scope_steps(reader.scopes[0]) if reader.scopes else ()
    params = view.params(run.no, 0)
    outputs = view.outputs(run.no) if run.out else None
    return RunView(
        run_id=run.id,
        name=run.name,
        status=run.status,
        reason=told_once(run.reason),
        generation=run.generation,
        params={} if params is None else hide(plan.root.params, msgspec.json.decode(params)),
        started_at=run.started_wall,
        ended_at=run.ended_wall or None,
        paused=run.paused,
        outputs=None if outputs is None else msgspec.json.decode(outputs),
        error=run.error,
        plan=plan,
        plan_hash=run.plan,
        flow_base=run.base,
        steps=steps,
        counts=reader.counts,
        waiting=reader.waiting(),
        idle=run.idle,
    )


class _Reader:
    """Builds the tree from all records of a run, read once."""

    def __init__(self, view: StateView, values: Values, paths: Paths, run: Run, why_queued: WhyQueued) -> None:
        self._values, self._paths, self._run = values, paths, run
        self._why_queued = why_queued
        self.scopes = {scope.no: scope for scope in view.scopes_of(run.no)}
        self._steps: dict[int, dict[int, Step]] = {no: {} for no in self.scopes}
        self.counts: dict[str, int] = {}
        self._meta = view.meta()
        for step in view.steps_of(run.no):
            self._steps[step.scope][step.ordinal] = step

    def scope_steps(self, scope: Scope) -> tuple[StepView, ...]:
        steps = self._steps[scope.no]
        graph = self._values.graph(scope.run, scope.block)
        if scope.kind == "map":
            names = map_view(self._values, self._run, scope).names
            return tuple(
                self._step(scope, graph.nodes[scope.node], steps[i], names[i] if names else "") for i in sorted(steps)
            )
        views = []
        for i, node in enumerate(graph.nodes):
            step = steps.get(i)
            views.append(self._never(scope, node, i) if step is None else self._step(scope, node, step))
        return tuple(views)

    def _never(self, scope: Scope, node: Node, ordinal: int) -> StepView:
        """A node that never became a step: it still may, or its scope ended before."""
        path = self._paths.path(scope.run, scope.no, ordinal)
        status, reason = ("cancelled", "its scope ended before") if scope.status == "ended" else ("pending", "")
        self._count(status)
        return StepView(path, node.name, node.kind, status, reason=reason)

    def _step(self, scope: Scope, node: Node, step: Step, item: str = "") -> StepView:
        self._count(step.status)
        child = self.scopes.get(step.child) if step.child != NONE else None
        is_map = child is not None and child.kind == "map"
        return StepView(
            path=self._paths.path(scope.run, scope.no, step.ordinal),
            node=node.name,
            kind=node.kind,
            status=step.status,
            attempt=step.attempt,
            started_at=step.started_wall or None,
            ended_at=step.ended_wall or None,
            error=step.error,
            reason=self._reason(step),
            has_out=step.status == "succeeded",
            children=() if child is None else self.scope_steps(child),
            map_total=child.total if child is not None and is_map else None,
            map_done=child.total - child.remaining if child is not None and is_map else None,
            member=step.member or step.ran_on,
            due_at=self._due_at(step),
            item=item,
        )

    def _due_at(self, step: Step) -> int | None:
        meta = self._meta
        if step.status == "waiting" and step.wake:
            return step.wake + meta.clock_offset
        if step.status == "backing_off":
            return meta.clock + step.due - meta.now
        return None

    def _reason(self, step: Step) -> str:
        if step.status == "queued" and not self._run.paused:
            return self._why_queued(step)
        return told_once(step.reason)

    def _count(self, status: str) -> None:
        self.counts[status] = self.counts.get(status, 0) + 1

    def waiting(self) -> str | None:
        return waiting_for(self._run, (step for steps in self._steps.values() for step in steps.values()), self._paths)


def waiting_for(run: Run, steps: Iterable[Step], paths: Paths) -> str | None:
    """Why only a person can make the run go on, None when it has ended or something of it can by itself."""
    if run.status in FINAL:
        return None
    if run.paused == "internal":
        return f"internal: {run.reason}"
    live = [step for step in steps if step.status not in FINAL and step.status != "pending"]
    if run.paused == STORE_FULL and not any(step.member for step in live):
        return "room in the store: see `graft status`"
    parked = []
    for step in live:
        if step.status == "waiting" and not step.wake:
            parked.append(step)
        elif step.child == NONE:  # a scope can go on only as far as what is in it
            return None
    reasons = (f"{paths.path(step.run, step.scope, step.ordinal)}: {told_once(step.reason)}" for step in parked[:3])
    return "; ".join(reasons) or None
