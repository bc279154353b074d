"""The objects that `--json` prints: one a line, with fields that stay.

Fields are only ever added. Moments are UTC text with milliseconds, durations integer milliseconds; a field that does
not apply is null. `type` tells the objects of one stream apart: `event` and `result` for `graft run` and its like,
`run` and `step` for `graft show`. `stale`: one member was asked alone, and what it knows may be old.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from graft.cli import exits
from graft.cli.looks import iso
from graft.cluster.views import active_ms

if TYPE_CHECKING:
    from graft.cluster.views import EventView, RunSummary, RunView, StepView
    from graft.plan import ErrorRecord
    from graft.worker.logs import LogLine


def event_record(event: EventView, number: int, *, stale: bool = False) -> dict[str, Any]:
    """`path` is "" for the run itself. `seq` counts the events of a run: `graft events --after SEQ` goes on there."""
    return {
        "type": "event",
        "run": event.run_id,
        "seq": number,
        "at": iso(event.at),
        "path": event.path,
        "what": event.what,
        "attempt": event.attempt,
        "reason": event.reason,
        "stale": stale,
    }


def result_record(view: RunView, code: int) -> dict[str, Any]:
    """The last line of `graft run --json`."""
    return run_record(view) | {"type": "result", "exit_code": code}


def run_record(view: RunView, *, stale: bool = False) -> dict[str, Any]:
    return {
        "type": "run",
        "run": view.run_id,
        "name": view.name,
        "status": view.condition,
        "generation": view.generation,
        "reason": view.reason,
        "paused": view.paused or None,
        "waiting": view.waiting,
        "started_at": iso(view.started_at),
        "ended_at": iso(view.ended_at),
        "took_ms": None if view.ended_at is None else view.took_ms(view.ended_at),
        "params": shown_params(view),
        "outputs": view.outputs,
        "error": error_record(view.error),
        "stale": stale,
    }


def step_records(view: RunView, *, stale: bool = False) -> Iterator[dict[str, Any]]:
    """Every step of a run in the order of its tree, scopes before what is in them."""
    for step in every_step(view.steps):
        yield step_record(view, step, stale=stale)


def step_record(view: RunView, step: StepView, *, stale: bool = False) -> dict[str, Any]:
    return {
        "type": "step",
        "run": view.run_id,
        "path": step.path,
        "node": step.node,
        "kind": step.kind,
        "status": step.status,
        "reason": step.reason,
        "attempt": step.attempt,
        "started_at": iso(step.started_at),
        "ended_at": iso(step.ended_at),
        "took_ms": _took(step, view),
        "due_at": iso(step.due_at),
        "member": step.member or None,
        "item": step.item or None,
        "items": step.map_total,
        "items_ended": step.map_done if step.map_total is not None else None,
        "error": error_record(step.error),
        "stale": stale,
    }


def summary_record(summary: RunSummary, *, stale: bool = False) -> dict[str, Any]:
    """A line of `graft runs --json`."""
    return {
        "run": summary.run_id,
        "name": summary.name,
        "status": summary.condition,
        "generation": summary.generation,
        "reason": summary.reason,
        "paused": summary.paused or None,
        "waiting": summary.waiting,
        "started_at": iso(summary.started_at),
        "ended_at": iso(summary.ended_at),
        "took_ms": None if summary.ended_at is None else summary.took_ms(summary.ended_at),
        "stale": stale,
    }


def log_record(run_id: str, line: LogLine, *, stale: bool = False) -> dict[str, Any]:
    return {
        "run": run_id,
        "path": line.path,
        "at": line.time,
        "attempt": line.attempt,
        "stream": line.stream,
        "text": line.text,
        "continues": line.continues,
        "member": line.member or None,
        "stale": stale,
    }


HIDDEN = "***"


def shown_params(view: RunView) -> dict[str, Any]:
    """The parameters of a run; a secret one is hidden."""
    secret = {param.name for param in view.plan.root.params if param.secret}
    return {name: HIDDEN if name in secret else value for name, value in view.params.items()}


def error_record(error: ErrorRecord | None) -> dict[str, Any] | None:
    """R9: `{ type, title, detail, node, attempt, cause[] }`."""
    if error is None:
        return None
    return {
        "type": error.type,
        "title": error.title,
        "detail": error.detail,
        "node": error.node,
        "attempt": error.attempt,
        "cause": [error_record(cause) for cause in error.cause],
    }


def every_step(steps: tuple[StepView, ...]) -> Iterator[StepView]:
    """All steps below, depth first, without recursion."""
    waiting = [iter(steps)]
    while waiting:
        step = next(waiting[-1], None)
        if step is None:
            waiting.pop()
            continue
        yield step
        waiting.append(iter(step.children))


def exit_code(view: RunView) -> int:
    """Of a command that ends while the run is as `view` says."""
    if view.status in exits.OF_STATUS:
        return exits.OF_STATUS[view.status]
    statuses = {step.status for step in every_step(view.steps)}
    if "uncertain" in statuses:
        return exits.UNCERTAIN
    return exits.WAITING


def _took(step: StepView, view: RunView) -> int | None:
    if step.started_at is None or step.ended_at is None:
        return None
    return active_ms(step.started_at, step.ended_at, view.idle)
