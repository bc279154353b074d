"""One step whole: what it was given, its attempts, what it came to, and the end of what it printed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from graft.cli import looks
from graft.cli.lastlines import last_lines
from graft.cli.looks import Piece
from graft.cli.records import every_step, log_record, step_record
from graft.errors import UnknownRun

if TYPE_CHECKING:
    from graft.cli.sources import Source
    from graft.cluster.views import EventView, RunView, StepResult, StepView
    from graft.worker.logs import LogLine

LOG_LINES = 10
VALUE_LINES = 40
ITEMS = 50
STOPS = ("succeeded", "failed", "cancelled", "timed_out", "skipped", "backing_off", "waiting", "uncertain", "queued")


@frozen
class Attempt:
    """Times are wall ms; `outcome` is what came after it, "" while it lasts."""

    number: int
    started_at: int
    ended_at: int | None = None
    outcome: str = ""
    member: str = ""
    reason: str = ""


@frozen
class Detail:
    """Of one step of a run. `result` is None for a node that is no step yet."""

    view: RunView
    step: StepView
    result: StepResult | None
    attempts: Sequence[Attempt]
    log: Sequence[LogLine] = field(factory=list)


async def detail_of(source: Source, view: RunView, path: str) -> Detail:
    step = next(each for each in every_step(view.steps) if each.path == path)
    try:
        result = await source.step_result(view.run_id, path)
    except UnknownRun:
        result = None
    events = [event for event in await source.events(view.run_id) if event.path == path]
    lines, _ = await last_lines(source, view.run_id, path, LOG_LINES)
    return Detail(view, step, result, attempts_of(events, step), lines)


def attempts_of(events: Sequence[EventView], step: StepView) -> list[Attempt]:
    """From the events of the step. Those of an earlier generation are among them."""
    found: list[Attempt] = []
    for event in events:
        if event.what == "running" and event.attempt:
            member = event.reason.removeprefix("on ") if event.reason.startswith("on ") else ""
            found.append(Attempt(event.attempt, event.at, member=member))
        elif found and not found[-1].outcome and event.what in STOPS:
            last = found[-1]
            found[-1] = Attempt(last.number, last.started_at, event.at, event.what, last.member, event.reason)
    if found and not found[-1].member and step.member:
        last = found[-1]
        found[-1] = Attempt(
            last.number, last.started_at, last.ended_at, last.outcome, member=step.member, reason=last.reason
        )
    return found


def detail_record(detail: Detail, *, stale: bool = False) -> dict[str, Any]:
    """The object of `graft show RUN STEP --json`."""
    result = detail.result
    return step_record(detail.view, detail.step, stale=stale) | {
        "inputs": {} if result is None else result.inputs.values,
        "unknown_inputs": {} if result is None else result.inputs.unknown,
        "result": _value(result),
        "attempts": [
            {
                "attempt": each.number,
                "started_at": looks.iso(each.started_at),
                "ended_at": looks.iso(each.ended_at),
                "outcome": each.outcome or None,
                "member": each.member or None,
                "reason": each.reason,
            }
            for each in detail.attempts
        ],
        "inside": [
            {"path": each.path, "item": each.item or None, "status": each.status} for each in detail.step.children
        ],
        "log": [log_record(detail.view.run_id, line, stale=stale) for line in detail.log],
    }


def _value(result: StepResult | None) -> Any:
    return None if result is None or result.out is None else json.loads(result.out)


def detail_screen(detail: Detail, *, flags: str, unicode: bool) -> Iterator[list[Piece]]:
    """`flags`: what a command needs to find the same place."""
    yield from _head(detail.step, unicode=unicode)
    result = detail.result
    if result is not None and (result.inputs.values or result.inputs.unknown):
        yield from _section("given")
        for name, value in result.inputs.values.items():
            yield from _named(name, value)
        for name, why in result.inputs.unknown.items():
            yield [(f"  {name}  ", ""), (f"cannot be told: {why}", "yellow")]
    if detail.attempts:
        yield from _section("attempts")
        yield from map(_attempt, detail.attempts)
    if detail.step.children:
        yield from _section("inside")
        yield from _inside(detail.step.children, unicode=unicode)
    if result is not None and result.out is not None:
        yield from _section("result")
        yield from _text(looks.pretty(_value(result)))
    if detail.step.error is not None:
        yield from _section("error")
        yield from ([("  ", ""), *line] for line in looks.error_lines(detail.step.error, named=False))
    if detail.log:
        yield from _section("log")
        yield from ([("  " + line.text, "")] for line in detail.log)
        yield [(f"  graft logs {detail.view.run_id} '{detail.step.path}'{flags}", "dim"), ("  shows all", "dim")]


def _head(step: StepView, *, unicode: bool) -> Iterator[list[Piece]]:
    pieces: list[Piece] = [
        (looks.symbol(step.status, unicode=unicode) + " ", looks.style(step.status)),
        (step.path, "bold"),
        (f" {step.item}" if step.item else "", "bold"),
        (f" {looks.words(step.status)}", looks.style(step.status)),
    ]
    if step.started_at is not None and step.ended_at is not None:
        pieces.append((f" in {looks.duration(step.ended_at - step.started_at)}", ""))
    if where := looks.where_run(step.member):
        pieces.append((f" {where}", ""))
    yield [*pieces, (f"  {step.kind}", "dim")]
    if step.reason:
        yield [("  " + step.reason, "")]
    if step.due_at is not None:
        yield [(f"  until {looks.moment(step.due_at)}", "yellow")]


def _section(name: str) -> Iterator[list[Piece]]:
    yield []
    yield [(name, "bold")]


def _named(name: str, value: Any) -> Iterator[list[Piece]]:
    text = value if isinstance(value, str) and "\n" in value else looks.pretty(value)
    if "\n" not in text:
        yield [(f"  {name}  ", ""), (text, "dim")]
        return
    yield [(f"  {name}", "")]
    yield from ([("  ", ""), *line] for line in _text(text))


def _text(text: str) -> Iterator[list[Piece]]:
    lines = text.rstrip("\n").split("\n")
    for line in lines[:VALUE_LINES]:
        yield [("  " + line, "dim")]
    if len(lines) > VALUE_LINES:
        yield [(f"  … {len(lines) - VALUE_LINES} lines more; --json has all", "yellow")]


def _attempt(attempt: Attempt) -> list[Piece]:
    took = "" if attempt.ended_at is None else f" after {looks.duration(attempt.ended_at - attempt.started_at)}"
    outcome = attempt.outcome or "running"
    where = looks.where_run(attempt.member)
    return [
        (f"  {attempt.number}  {looks.moment(attempt.started_at)}  ", "dim"),
        (looks.words(outcome), looks.style(outcome)),
        (took, ""),
        (f" {where}" if where else "", "dim"),
        (f": {attempt.reason}" if attempt.reason else "", ""),
    ]


def _inside(children: Sequence[StepView], *, unicode: bool) -> Iterator[list[Piece]]:
    order = {status: at for at, status in enumerate(looks.IMPORTANCE)}
    shown = children if len(children) <= ITEMS else sorted(children, key=lambda each: order.get(each.status, 99))
    for child in shown[:ITEMS]:
        why = child.reason or (looks.error_title(child.error) if child.error is not None else "")
        yield [
            (f"  {looks.symbol(child.status, unicode=unicode)} ", looks.style(child.status)),
            (f"{child.path} {child.item}".rstrip(), ""),
            (f"  {looks.words(child.status)}", looks.style(child.status)),
            (f": {why}" if why else "", ""),
        ]
    if len(children) > ITEMS:
        yield [("  … ", "dim"), (f"{len(children) - ITEMS} more", "dim")]
