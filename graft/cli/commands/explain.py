"""`graft explain`: what an error code means, or why a step is as it is."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import click

from graft.cli import looks
from graft.cli.data import RunName, find_step
from graft.cli.looks import Piece
from graft.cli.outline import plan_nodes, plan_path
from graft.cli.place import Place, place_options
from graft.cli.records import every_step
from graft.cli.sources import Source, find_target, read
from graft.cli.terminal import Paint, is_terminal, out
from graft.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from graft.cluster.views import EventView, RunView, StepView

CODE = re.compile(r"[Gg][Rr]\d+")


@click.command("explain")
@click.argument("subject", metavar="[CODE | RUN]", required=False, type=RunName())
@click.argument("step", metavar="[STEP]", required=False)
@place_options
def command(subject: str | None, step: str | None, place: Place) -> None:
    """Explain an error code (GR010), or why a step of a run is as it is (RUN STEP).

    Without anything it lists the codes. RUN is an id, the beginning of one, or `last`. `RUN/STEP` is the same in one
    word.
    """
    if subject is None:
        _list_codes()
    elif CODE.fullmatch(subject) and step is None:
        _explain_code(subject.upper())
    else:
        _explain_run(subject, step, place)


def _list_codes() -> None:
    from graft_dsl import CODES

    paint = Paint.of(sys.stdout)
    for code, entry in sorted(CODES.items()):
        out(f"{paint(code, 'bold')}  {entry.title}")


def _explain_code(code: str) -> None:
    from graft_dsl import CODES, explain

    if code not in CODES:
        raise UsageError(f"there is no code {code}", hint="`graft explain` lists them")
    text = explain(code)
    if not is_terminal(sys.stdout) or not Paint.of(sys.stdout).on:
        out(text.rstrip("\n"))
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(text))


def _explain_run(run: str, step: str | None, place: Place) -> None:
    paint = Paint.of(sys.stdout)

    async def body(source: Source) -> list[list[Piece]]:
        view, named = await find_target(source, run, step)
        if named is None:
            return list(run_reasons(view))
        path = find_step(view, named)
        events = [event for event in await source.events(view.run_id) if event.path == path]
        return list(step_reasons(view, path, events))

    for line in read(place, body):
        out(looks.paint_line(line, paint))


def run_reasons(view: RunView) -> Iterator[list[Piece]]:
    """Why the run is as it is, and every step that did not simply succeed."""
    yield [(view.run_id, "bold"), (" is ", ""), (looks.words(view.condition), looks.style(looks.look(view.condition)))]
    for text in (view.reason, view.paused and f"paused: {view.paused}", view.waiting and f"waits for {view.waiting}"):
        if text:
            yield [(f"  {text}", "")]
    for step in every_step(view.steps):
        if step.status not in ("succeeded", "pending") and not step.children:
            yield _state(step)
            for needed in _needs(view, step) if step.status == "skipped" else ():
                if needed.status != "succeeded":
                    yield [("  it needs ", "dim"), *_state(needed)]


def step_reasons(view: RunView, path: str, events: list[EventView]) -> Iterator[list[Piece]]:
    """Why the step is as it is, what it waits for, and how it came to that."""
    step = next(each for each in every_step(view.steps) if each.path == path)
    yield _state(step)
    for needed in _needs(view, step):
        why = needed.reason or (looks.error_title(needed.error) if needed.error is not None else "")
        yield [
            ("  needs ", "dim"),
            (needed.node, ""),
            (" ", ""),
            (looks.words(needed.status), looks.style(needed.status)),
            (f": {why}" if why and needed.status != "succeeded" else "", ""),
        ]
    if step.error is not None:
        yield from ([("  ", ""), *line] for line in looks.error_lines(step.error, named=False))
    for event in events:
        attempt = f" (attempt {event.attempt})" if event.attempt > 1 else ""
        reason = f": {event.reason}" if event.reason else ""
        yield [(f"  {looks.moment(event.at)}  ", "dim"), (looks.words(event.what) + attempt + reason, "")]


def _state(step: StepView) -> list[Piece]:
    reason = step.reason or (looks.error_title(step.error) if step.error is not None else "")
    return [
        (step.path, "bold"),
        (" is ", ""),
        (looks.words(step.status), looks.style(step.status)),
        (f": {reason}" if reason else "", ""),
        ("  " + looks.where_run(step.member) if looks.where_run(step.member) not in ("", reason) else "", "dim"),
    ]


def _needs(view: RunView, step: StepView) -> list[StepView]:
    """The steps beside this one that it needs. An item of a map needs nothing of its own."""
    node = plan_nodes(view.plan).get(plan_path(step.path))
    if node is None or step.path.endswith("]"):
        return []
    scope = step.path.rpartition("/")[0]
    siblings = view.steps if not scope else next(each for each in every_step(view.steps) if each.path == scope).children
    return [each for each in siblings if each.node in (*node.needs, *node.after)]
