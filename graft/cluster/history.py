"""Reading runs: what has happened, and how things stand. `open_history` needs nobody's leave, nor Trio."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from graft.cluster.inputs import NO_INPUTS, inputs_of
from graft.cluster.loading import Loading
from graft.cluster.paths import Paths
from graft.cluster.state_view import StateView
from graft.cluster.values import Values
from graft.cluster.views import (
    SEQUENCE_BITS,
    EventView,
    MapView,
    RunSummary,
    RunView,
    StepResult,
    event_views,
    map_view,
    run_view,
    summary,
    unknown,
    waiting_for,
)
from graft.engine import Engine
from graft.engine.commands import Command, decode_command
from graft.engine.graph import plan_graph
from graft.engine.lifecycle import FINAL
from graft.engine.records import NONE, Run, Step
from graft.engine.state import State
from graft.errors import StoreCorrupt, UnknownRun
from graft.storage import LmdbReader, open_reader

if TYPE_CHECKING:
    from graft.raft_driver import Overlay

LOGS = "logs"  # the directory of the steps' logs, in the data directory


class Readable:
    """Everything that can be asked about runs without changing them."""

    def __init__(self, view: StateView, values: Values, paths: Paths) -> None:
        self._view, self._values, self._paths = view, values, paths

    def runs(self, limit: int | None = None, *, prefix: str = "", before: str = "", name: str = "") -> list[RunSummary]:
        """Newest first: those of the flow `name` whose ids begin with `prefix`, beyond the run `before`."""
        found = iter(self._view.runs())
        if before:
            for run in found:
                if run.id == before:
                    break
        wanted = (run for run in found if run.id.startswith(prefix) and name in ("", run.name))
        return [self._summary(run) for run in islice(wanted, limit)]

    def _summary(self, run: Run) -> RunSummary:
        if run.status in FINAL:
            return summary(run)
        self._prepare(run)
        return summary(run, waiting_for(run, self._steps_of(run), self._paths))

    def _steps_of(self, run: Run) -> Iterable[Step]:
        return self._view.steps_of(run.no)

    def run_ids(self) -> list[str]:
        """Newest first."""
        return [run.id for run in self._view.runs()]

    def run_view(self, run_id: str) -> RunView:
        run = self._run(run_id)
        self._prepare(run)
        return run_view(self._view, self._values, self._paths, run, self._why_queued)

    def _why_queued(self, step: Step) -> str:
        return unknown(step)

    def told_at(self) -> int:
        """When something last happened here (wall ms), as far as the state knows."""
        return self._view.meta().clock

    def status(self, run_id: str) -> str:
        return self._run(run_id).status

    def summary(self, run_id: str) -> RunSummary:
        return self._summary(self._run(run_id))

    def events(self, run_id: str, after: int = 0) -> Iterator[EventView]:
        """History beyond the event `after`, oldest first."""
        run = self._run(run_id)
        self._prepare(run)
        for happened in self._view.history(run, (after >> SEQUENCE_BITS) - 1 if after else 0):
            for event in event_views(happened, self._paths):
                if event.seq > after:
                    yield event

    def output(self, run_id: str, path: str) -> Any:
        """Result of a step. Raises AbsentValue when it has none, UnknownRun when there is no such step."""
        run = self._run(run_id)
        self._prepare(run)
        key = self._paths.find(run.no, path)
        if key is None:
            raise UnknownRun(f"run {run_id} has no step {path}", hint=f"see `graft show {run_id}`")
        return self._values.out(*key)

    def map_items(self, run_id: str, path: str) -> MapView | None:
        """The items of a mapped step; None while they are not known, and for what is no map."""
        run = self._run(run_id)
        self._prepare(run)
        key = self._paths.find(run.no, path)
        step = None if key is None else self._values.step(*key)
        if step is None or step.child == NONE:
            return None
        scope = self._values.scope(run.no, step.child)
        return map_view(self._values, run, scope) if scope.kind == "map" else None

    def step_result(self, run_id: str, path: str) -> StepResult:
        """What a step came to so far. Raises UnknownRun when there is no such step."""
        run = self._run(run_id)
        self._prepare(run)
        key = self._paths.find(run.no, path)
        step = None if key is None else self._values.step(*key)
        if key is None or step is None:
            raise UnknownRun(f"run {run_id} has no step {path}", hint=f"see `graft show {run_id}`")
        out = msgspec.json.encode(self._values.out(*key)) if step.status == "succeeded" else None
        node = self._paths.node(run.no, self._values.scope(run.no, step.scope), step.ordinal)
        is_map = node.for_each is not None and not path.endswith("]")
        inputs = NO_INPUTS if is_map else inputs_of(node, self._values.lookup(*key))  # those of a map are its items'
        return StepResult(step.status, out, self.map_items(run_id, path), inputs)

    def _run(self, run_id: str) -> Run:
        no = self._view.run_no(run_id)
        run = None if no is None else self._view.run(no)
        if run is None:
            raise UnknownRun(f"there is no run {run_id}", hint="see `graft runs`")
        return run

    def _prepare(self, run: Run) -> None:
        """Have the run's plan at hand."""
        plans = self._values.plans
        if run.plan not in plans:
            plan = self._view.plan(run.plan)
            assert plan is not None, f"the plan of run {run.id} is not in the store"
            plans[run.plan] = plan_graph(plan, run.plan)


def _log_behind(store: LmdbReader) -> Iterator[tuple[int, Command]]:
    """(index, command) of what the state does not cover."""
    from graft.raft import Kind
    from graft.raft_driver.hard_state import from_stored

    bounds = store.bounds()
    index = bounds.applied
    while index < bounds.last:
        for stored in store.entries(index + 1, bounds.last):
            index, entry = stored.index, from_stored(stored)
            if entry.kind == Kind.COMMAND:
                yield index, decode_command(entry.data)


@contextmanager
def open_history(data: Path) -> Iterator[Readable]:
    """Read runs of a data directory, whoever holds it.

    Shows what has reached the store; when its holder was killed also what the log holds beyond that.
    """
    store = open_reader(data)
    try:
        found = replayed(store)
        state, view = (State(), StateView(store)) if found is None else (found[0].state, StateView(store, found[1]))
        values = Values(state, view)
        yield Readable(view, values, Paths(values))
    finally:
        store.close()


def _is_held(store: LmdbReader) -> bool:
    return store.holder is not None and store.holder.closed_at is None and store.holder.is_alive()


def replayed(store: LmdbReader, *, strict: bool = False) -> tuple[Engine, Overlay] | None:
    """The engine after the whole log, and what that changes in the store: with one voter everything in it is committed.

    None where the state covers the log or a process holds the directory, and where only a cluster can tell the end of
    the log. A log that has to be mended first is not looked at either; `strict`: raises StoreCorrupt.
    """
    if _is_held(store) or store.bounds().last <= store.bounds().applied:
        return None
    from graft.raft_driver import Overlay, is_of_many  # loads Trio, which is not needed otherwise

    overlay, engine = Overlay(), Engine()
    try:
        if is_of_many(store):
            return None
        loading = Loading(engine, StateView(store, overlay))
        loading.load(store)
        for command in _log_behind(store):
            loading.apply(*command)
            for change in engine.drain():
                overlay.put(*change)
    except StoreCorrupt:
        if strict:
            raise
        return None
    return engine, overlay
