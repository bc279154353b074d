"""`graft runs`: the runs of a data directory, or of a cluster."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from graft.cli import looks
from graft.cli.flows import compile_flow
from graft.cli.looks import Piece
from graft.cli.place import Place, place_options
from graft.cli.records import summary_record
from graft.cli.sources import read_or_stale
from graft.cli.stale import stale_option
from graft.cli.table import table
from graft.cli.terminal import Paint, clear, flush, is_terminal, note, out, out_json, speaks_unicode, width
from graft.cli.where import FIELDS, condition
from graft.errors import UsageError

if TYPE_CHECKING:
    from graft.cluster.views import RunSummary

WATCH_SECONDS = 1.0
HEAD = ("RUN", "FLOW", "STATUS", "STARTED", "TOOK")


@click.command(
    "runs",
    epilog="Fields for --where: " + ", ".join(f"{name} ({about})" for name, about in FIELDS.items()) + ".",
)
@click.argument("flow", metavar="[FLOW]", required=False)
@click.option("--where", metavar="EXPR", help="Only runs for which EXPR is true: \"status == 'failed'\".")
@click.option("--waiting", is_flag=True, help="Only those that wait for a person, and what for.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--watch", is_flag=True, help="Show them again every second, until Ctrl-C.")
@stale_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@place_options
def command(
    flow: str | None,
    where: str | None,
    waiting: bool,
    limit: int,
    everything: bool,
    watch: bool,
    stale: bool,
    as_json: bool,
    place: Place,
) -> None:
    """List the runs, the newest first; those of FLOW alone: its name, or its file."""
    name = "" if flow is None else flow_name(flow)
    wanted = None if where is None else condition(where)
    most = None if everything else limit
    if watch and (as_json or not is_terminal(sys.stdout)):
        raise UsageError("--watch needs a terminal", hint="`graft events RUN -f --json` follows one run")

    def find() -> list[RunSummary]:
        most_read = most if wanted is None and not waiting else None
        now = int(time.time() * 1000)
        found = read_or_stale(place, lambda source: source.runs(most_read, name=name), stale=stale, quiet=as_json)
        return [
            each
            for each in found
            if (wanted is None or wanted(each, now)) and not (waiting and each.condition != "waiting")
        ][:most]

    while watch:
        screen = list(lines(find(), waiting=waiting))
        clear()
        for line in screen:
            out(line)
        flush()
        time.sleep(WATCH_SECONDS)
    found = find()
    if as_json:
        for each in found:
            out_json(summary_record(each, stale=stale))
        return
    if not found:
        note("no runs" + (" for which that is true" if where or waiting or flow else ""))
        return
    for line in lines(found, waiting=waiting):
        out(line)
    if most is not None and len(found) == most:
        note(Paint.of(sys.stdout)(f"the newest {most}; --all lists all", "dim"))


def lines(found: list[RunSummary], *, waiting: bool) -> Iterator[str]:
    """The table; `waiting`: with what each waits for."""
    paint, unicode, now = Paint.of(sys.stdout), speaks_unicode(sys.stdout), int(time.time() * 1000)
    rows = [row(each, now, waiting=waiting, unicode=unicode) for each in found]
    for line in table(HEAD + ("WAITS FOR",) * waiting, rows, width(sys.stdout), give_way=5 if waiting else 1):
        yield looks.paint_line(line, paint).rstrip()


def flow_name(flow: str) -> str:
    """The name of a flow, given as such or as its file."""
    if not flow.endswith(".toml") and not Path(flow).is_dir():
        return flow
    return compile_flow(flow, resolve_python=False).plan.name


def row(summary: RunSummary, now: int, *, waiting: bool, unicode: bool) -> list[Piece]:
    look = looks.look(summary.condition)
    return [
        (summary.run_id, ""),
        (summary.name, ""),
        (f"{looks.symbol(look, unicode=unicode)} {looks.words(summary.condition)}", looks.style(look)),
        (looks.moment(summary.started_at), "dim"),
        (looks.duration(summary.took_ms(now)), "dim"),
        *([(summary.waiting or "", "yellow")] if waiting else []),
    ]
