"""`graft logs`: what the steps of a run wrote."""

from __future__ import annotations

import sys
import time
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING

import click

from graft.cli.data import find_step, run_argument
from graft.cli.looks import iso
from graft.cli.place import Place, place_options
from graft.cli.records import every_step, log_record
from graft.cli.sources import Source, every, find_target, read_or_stale, unsaid
from graft.cli.stale import stale_option
from graft.cli.terminal import Paint, note, out_json, out_piece, plain_text
from graft.errors import UsageError

if TYPE_CHECKING:
    from graft.cluster.views import RunView, StepView
    from graft.worker.logs import LogLine


MOST_GONE = 20  # steps that are named


@click.command("logs")
@run_argument(required=False)
@click.argument("step", metavar="[STEP]", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("-t", "--time", "show_time", is_flag=True, help="Begin each line with its time.")
@click.option("-n", "--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines, and what follows.")
@click.option(
    "--since", metavar="WHEN", help="Only lines from then on: `10m` ago, or a moment such as 2026-01-31T06:00."
)
@click.option("--attempt", type=int, metavar="N", help="Only what this attempt wrote.")
@stale_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@place_options
def command(
    run: str | None,
    step: str | None,
    follow: bool,
    show_time: bool,
    tail: int | None,
    since: str | None,
    attempt: int | None,
    stale: bool,
    as_json: bool,
    place: Place,
) -> None:
    """Print what the steps of a run (default: the last) wrote: all in the order of time, or those of STEP.

    RUN is an id, the beginning of one, or `last`. STEP is a path, `pick[3]/pack`; of a map, a group or a sub-flow it
    means every step inside. `RUN/STEP` is the same in one word.

    Of a cluster, the lines of all members that are up are put together by their clocks; with --follow, as they come.
    """

    from_then = "" if since is None else moment_of(since, time.time())

    async def body(source: Source) -> None:
        view, named = await find_target(source, run or "last", step)
        paths = None if named is None else _paths(view, find_step(view, named))
        only = paths[0] if paths is not None and len(paths) == 1 else None
        printer = LinePrinter(named=paths is None or len(paths) > 1, show_time=show_time, paint=Paint.of(sys.stdout))
        wanted = None if paths is None else frozenset(paths)

        def is_wanted(line: LogLine) -> bool:
            return (
                (wanted is None or line.path in wanted)
                and attempt in (None, line.attempt)
                and line.time >= from_then  # both are UTC
            )

        shown: set[str] = set()

        def show(line: LogLine) -> None:
            shown.add(line.path)
            if as_json:
                out_json(log_record(view.run_id, line, stale=stale))
                return
            printer.line(line)
            if follow and place.is_remote:
                sys.stdout.flush()

        seen = 0
        if tail is not None:
            there = await every(source.logs(view.run_id, only, lost=unsaid if follow else say_lost), is_wanted)
            seen = len(there)
            for line in there[seen - min(tail, seen) :]:
                show(line)
        if tail is None or follow:
            async with aclosing(source.logs(view.run_id, only, follow=follow, lost=say_lost)) as lines:
                async for line in lines:
                    if is_wanted(line):
                        seen -= 1
                        if seen < 0:
                            show(line)
        printer.end()
        if as_json:
            return
        gone = [each for each in await _gone(source, view, paths) if each.path not in shown]
        for each in gone[:MOST_GONE]:
            note(plain_text(f"what {each.path} wrote was lost with member {each.member}"))
        if not printer.printed and not gone:
            note(f"{'it' if named else f'run {view.run_id}'} wrote nothing" + (" since then" if since else ""))

    read_or_stale(place, body, stale=stale, quiet=as_json)


def moment_of(text: str, now: float) -> str:
    """A duration before `now` (seconds since the Unix epoch), or a moment, as logs have it: UTC as ISO 8601."""
    from graft.plan.types import convert

    try:
        return iso(int((now - convert("duration", text)) * 1000)) or ""
    except ValueError:
        pass
    try:
        return iso(int(datetime.fromisoformat(text).timestamp() * 1000)) or ""
    except (ValueError, OverflowError):
        raise UsageError(
            f"--since {text}: expected a duration or a moment", hint="such as 10m, 2h, or 2026-01-31T06:00"
        ) from None


async def _gone(source: Source, view: RunView, paths: list[str] | None) -> list[StepView]:
    """Those of the steps that a member ran which is no part of the cluster any more."""
    members = await source.member_names()
    if not members:
        return []
    steps = (step for step in every_step(view.steps) if paths is None or step.path in paths)
    return [step for step in steps if step.member and step.member not in members]


def say_lost(member: str, why: str) -> None:
    said = f"{member} does not answer, what it has of the run is missing here: {plain_text(why)}"
    note(Paint.of(sys.stderr)(said, "yellow"))


def _paths(view: RunView, path: str) -> list[str]:
    """The step itself, or all below when it is a scope."""
    below = (path + "/", path + "[")
    return [each.path for each in every_step(view.steps) if each.path == path or each.path.startswith(below)]


class LinePrinter:
    """Prints lines of logs. A piece of a long line goes on where the last one ended."""

    def __init__(self, *, named: bool, show_time: bool, paint: Paint) -> None:
        self._named, self._show_time, self._paint = named, show_time, paint
        self._before: tuple[str, str] | None = None

    @property
    def printed(self) -> bool:
        return self._before is not None

    def line(self, line: LogLine) -> None:
        source, paint = (line.path, line.stream), self._paint
        goes_on = line.continues and source == self._before
        if self.printed and not goes_on:
            out_piece("\n")
        if not goes_on:
            time_text = paint(f"{line.time}  ", "dim") if self._show_time else ""
            name = paint(f"{line.path} | ", "cyan") if self._named else ""
            mark = paint("graft: ", "dim") if line.stream == "graft" else ""
            out_piece(time_text + name + mark)
        out_piece(line.text, theirs=True)
        self._before = source

    def end(self) -> None:
        if self.printed:
            out_piece("\n")
