"""`graft show`: one run as it stands, or one step of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from graft.cli import looks
from graft.cli.board import Board
from graft.cli.data import find_step, run_argument
from graft.cli.ending import failures, headline
from graft.cli.looks import Piece
from graft.cli.onestep import Detail, detail_of, detail_record, detail_screen
from graft.cli.outline import shown_params
from graft.cli.place import Place, place_options
from graft.cli.records import run_record, step_records
from graft.cli.sources import Source, find_target, read_or_stale
from graft.cli.stale import stale_option
from graft.cli.terminal import Paint, out, out_json, speaks_unicode
from graft.cli.tree import tree_lines

if TYPE_CHECKING:
    from graft.cluster.views import RunView


@click.command("show")
@run_argument(required=False)
@click.argument("step", metavar="[STEP]", required=False)
@click.option("--all", "everything", is_flag=True, help="Show every item of large maps.")
@stale_option
@click.option(
    "--json", "as_json", is_flag=True, help="The run, then every step, one JSON object a line; of STEP one object."
)
@place_options
def command(run: str | None, step: str | None, everything: bool, stale: bool, as_json: bool, place: Place) -> None:
    """Show a run (default: the last): its steps, their states, reasons, attempts, durations, errors; its outputs.

    RUN is an id, the beginning of one, or `last`. With STEP, a path such as `pick[3]/pack`, that step alone: what it
    was given, its attempts, its result or error, and the end of its log. `RUN/STEP` is the same in one word.
    """

    async def body(source: Source) -> RunView | Detail:
        view, named = await find_target(source, run or "last", step)
        return view if named is None else await detail_of(source, view, find_step(view, named))

    found = read_or_stale(place, body, stale=stale, quiet=as_json)
    if isinstance(found, Detail):
        show_step(found, place, as_json=as_json, stale=stale)
    else:
        show_run(found, everything=everything, as_json=as_json, stale=stale)


def show_step(detail: Detail, place: Place, *, as_json: bool, stale: bool) -> None:
    if as_json:
        out_json(detail_record(detail, stale=stale))
        return
    paint = Paint.of(sys.stdout)
    for line in detail_screen(detail, flags=place.flags, unicode=speaks_unicode(sys.stdout)):
        out(looks.paint_line(line, paint).rstrip())


def show_run(view: RunView, *, everything: bool, as_json: bool, stale: bool) -> None:
    if as_json:
        out_json(run_record(view, stale=stale))
        for record in step_records(view, stale=stale):
            out_json(record)
        return
    paint = Paint.of(sys.stdout)
    for line in screen(view, int(time.time() * 1000), everything=everything, unicode=speaks_unicode(sys.stdout)):
        out(looks.paint_line(line, paint).rstrip())


def screen(view: RunView, now: int, *, everything: bool, unicode: bool) -> Iterator[list[Piece]]:
    """The lines of `graft show`. `now`: wall time in ms."""
    generation = f", generation {view.generation}" if view.generation > 1 else ""
    yield headline(view, unicode=unicode)
    yield [(f"  started {looks.moment(view.started_at)}{generation}", "dim")]
    for name, text in shown_params(view.plan, view.params):
        yield [(f"  {name} = {text}", "dim")]
    yield []
    board = Board.of(view)
    for error in failures(view):  # whole below the tree, so only named in it
        board.name_only(error)
    for line in tree_lines(board, now, everything=everything, unicode=unicode):
        yield [("  ", ""), *line]
    for error in failures(view):
        yield []
        yield from looks.error_lines(error)
    if view.outputs:
        yield []
        yield [("outputs", "bold")]
        yield from ([("  " + line, "")] for line in looks.pretty(view.outputs).split("\n"))
