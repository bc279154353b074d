"""The last screen of a command that ran something: how it ended, why, and what can be done next.

The outputs of the flow are the only thing that goes to standard output.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

import attrs

from graft.cli import exits, looks
from graft.cli.groups import annotation, group
from graft.cli.labels import advice, is_unplaceable
from graft.cli.lastlines import GROUP_LINES
from graft.cli.looks import Piece
from graft.cli.records import every_step
from graft.cli.terminal import Paint, clip, is_terminal, note, out_value, plain_text, speaks_unicode, width, wrapped
from graft.cli.verbosity import FAILED, NONE, Verbosity
from graft.cluster.views import active_ms
from graft.errors import GraftError

if TYPE_CHECKING:
    from graft.cli.sources import Source
    from graft.cluster.views import RunView
    from graft.plan import ErrorRecord

    Tails = dict[ErrorRecord, list[str]]

MAX_ERRORS = 5
MAX_WAITS = 8
TAIL_LINES, TAIL_COLUMNS = 10, 2000  # of what a step wrote; the error itself is told whole


async def tails_of(source: Source, view: RunView, verbosity: Verbosity) -> Tails:
    """The last lines that the attempts wrote whose errors are shown. What cannot be had is left out."""
    found: Tails = {}
    for error in failures(view)[:MAX_ERRORS]:
        with suppress(GraftError, OSError):
            found[error] = await tail(source, view, error, _tail_lines(verbosity))
    return found


def _tail_lines(verbosity: Verbosity) -> int:
    return GROUP_LINES if verbosity.in_groups and verbosity.logs == FAILED else TAIL_LINES


def print_ending(
    view: RunView,
    code: int,
    tails: Tails,
    *,
    flags: str = "",
    kept: bool = True,
    opened_at: int | None = None,
    verbosity: Verbosity,
) -> None:
    """`flags`: what a command needs to find the same place; `kept`: there is one; `opened_at`: see `headline`."""
    paint = Paint.of(sys.stderr)
    columns = width(sys.stderr) - 6 if is_terminal(sys.stderr) else None
    bar = "    │ " if speaks_unicode(sys.stderr) else "    | "
    note(looks.paint_line(headline(view, unicode=speaks_unicode(sys.stderr), opened_at=opened_at), paint))
    if code in (exits.WAITING, exits.UNCERTAIN):
        for line in waits(view):
            note(looks.paint_line(line, paint))
    for error in failures(view)[:MAX_ERRORS]:
        note()
        said = tails.get(error, [])
        if set(error.detail.splitlines()) <= set(said):  # of a command, the detail is the end of what it wrote
            error = attrs.evolve(error, detail="")
        for line in looks.error_lines(error):
            note(looks.paint_line(line, paint))
        if verbosity.logs != NONE and said:
            _print_tail(error, said, bar, columns, verbosity)
        if verbosity.in_groups:
            note(annotation(error))
    hidden = len(failures(view)) - MAX_ERRORS
    if hidden > 0:
        note(paint(f"\n… {hidden} more errors", "dim"))
    hints = list(next_commands(view, code, flags)) if kept else []
    if hints:
        note()
    widest = max((len(command) for command, _ in hints), default=0)
    for command, why in hints:
        note(f"  {command.ljust(widest)}  {paint(why, 'dim')}")
    if view.outputs:
        out_value(looks.pretty(view.outputs))


def _print_tail(error: ErrorRecord, said: list[str], bar: str, columns: int | None, verbosity: Verbosity) -> None:
    if verbosity.in_groups:
        for text in group(error.node, said) if verbosity.logs == FAILED else ():  # else its group stands above
            note(text)
        return
    paint = Paint.of(sys.stderr)
    for text in said:
        for part in wrapped(clip(plain_text(text), TAIL_COLUMNS), columns):
            note(looks.paint_line([(bar, "dim"), (part, "")], paint))


def headline(view: RunView, *, unicode: bool, opened_at: int | None = None) -> list[Piece]:
    """`opened_at`: when its last generation began (wall time in ms)."""
    look = looks.look(view.condition)
    pieces: list[Piece] = [
        (looks.symbol(look, unicode=unicode) + " ", looks.style(look)),
        (view.name, "bold"),
        (f" {looks.words(view.condition)}", looks.style(look)),
    ]
    if view.ended_at is not None:
        pieces.append((_took(view, view.ended_at, opened_at), ""))
    elif view.paused and view.idle:
        pieces.append((f" after {looks.duration(view.took_ms(view.idle[-1][0]))}", ""))
    pieces.append((f"  {view.run_id}", "dim"))
    return pieces


def _took(view: RunView, ended_at: int, opened_at: int | None) -> str:
    if opened_at is None and view.generation > 1:  # the time between two generations is no work of the run
        return f" {looks.duration(ended_at - view.started_at)} after its first start"
    return f" in {looks.duration(active_ms(opened_at or view.started_at, ended_at, view.idle))}"


def failures(view: RunView) -> list[ErrorRecord]:
    """The errors of the steps that made the run what it is, each once."""
    if view.error is None or view.status not in looks.BAD:
        return []
    return list(dict.fromkeys(looks.leaf_errors(view.error)))


async def tail(source: Source, view: RunView, error: ErrorRecord, most: int) -> list[str]:
    """The last lines that the attempt wrote which failed; not those of an earlier generation of the run."""
    step = next((step for step in every_step(view.steps) if step.path == error.node), None)
    if step is None:
        return []
    since = looks.iso(step.started_at) or ""
    last: deque[str] = deque(maxlen=most)
    async with aclosing(source.logs(view.run_id, error.node)) as lines:
        async for line in lines:
            if line.attempt == error.attempt and line.time >= since:
                last.append(line.text)
    return list(last)


def next_commands(view: RunView, code: int, flags: str) -> list[tuple[str, str]]:
    """(command, why): what a person may want to do now."""
    run = view.run_id
    if code in (exits.FAILED, exits.TIMED_OUT):
        paths = [error.node for error in failures(view) if error.node]
        step = f" {paths[0]}" if len(paths) == 1 else ""
        return [
            (f"graft logs {run}{step}{flags}", "everything it wrote"),
            (f"graft show {run}{flags}", "every step of the run"),
            (f"graft retry {run}{flags}", "try again what failed; what succeeded is kept"),
        ]
    if code == exits.CANCELLED:
        return [(f"graft retry {run}{flags}", "run what was cancelled; what succeeded is kept")]
    if code == exits.WAITING:
        waiting = [step for step in every_step(view.steps) if step.status == "waiting"]
        stranded = [step for step in waiting if is_unplaceable(step)]
        commands = [(f"graft show {run}{flags}", "what it waits for")]
        if len(stranded) < len(waiting) or not waiting:
            commands.append((f"graft retry {run}{flags}", "try again what is parked"))
            commands.append((f"graft resume {run}{flags}", "wait on"))
        if stranded:
            commands.append((f"graft cancel {run}{flags}", "if no such member will come"))
        return commands
    return []


def waits(view: RunView) -> Iterator[list[Piece]]:
    """The steps that wait, and why; where the run itself is held, the reason for that."""
    if view.paused and view.reason:
        yield [("  " + plain_text(view.reason), "")]
    steps = [step for step in every_step(view.steps) if step.status in ("waiting", "uncertain")]
    for step in steps[:MAX_WAITS]:
        yield [("  ", ""), (step.path, "bold"), (f"  {step.reason}", "yellow")]
        if step.error is not None:
            yield [("    " + looks.error_title(step.error), "red")]
    if len(steps) > MAX_WAITS:
        yield [(f"  … {len(steps) - MAX_WAITS} more", "dim")]
    if any(map(is_unplaceable, steps)):
        yield from advice()
