"""`graft runs`: the runs of a data directory, or of a cluster."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from graft.cli import looks
from graft.cli.looks import Piece
from graft.cli.place import Place, place_options
from graft.cli.records import summary_record
from graft.cli.sources import read_or_stale
from graft.cli.stale import stale_option
from graft.cli.table import table
from graft.cli.terminal import Paint, note, out, out_json, speaks_unicode, width
from graft.cli.where import FIELDS, condition

if TYPE_CHECKING:
    from graft.cluster.views import RunSummary

HEAD = ("RUN", "FLOW", "STATUS", "STARTED", "TOOK")


@click.command(
    "runs",
    epilog="Fields for --where: " + ", ".join(f"{name} ({about})" for name, about in FIELDS.items()) + ".",
)
@click.option("--where", metavar="EXPR", help="Only runs for which EXPR is true: \"status == 'failed'\".")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@stale_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@place_options
def command(where: str | None, limit: int, everything: bool, stale: bool, as_json: bool, place: Place) -> None:
    """List the runs, the newest first."""
    wanted = None if where is None else condition(where)
    most = None if everything else limit
    now = int(time.time() * 1000)
    most_read = most if wanted is None else None
    found = list(read_or_stale(place, lambda source: source.runs(most_read), stale=stale, quiet=as_json))
    if wanted is not None:
        found = [each for each in found if wanted(each, now)][:most]
    if as_json:
        for each in found:
            out_json(summary_record(each, stale=stale))
        return
    if not found:
        note("no runs" + (" for which that is true" if where else ""))
        return
    paint, unicode = Paint.of(sys.stdout), speaks_unicode(sys.stdout)
    rows = [row(each, now, unicode=unicode) for each in found]
    for line in table(HEAD, rows, width(sys.stdout), give_way=1):
        out(looks.paint_line(line, paint).rstrip())
    if most is not None and len(found) == most:
        note(paint(f"the newest {most}; --all lists all", "dim"))


def row(summary: RunSummary, now: int, *, unicode: bool) -> list[Piece]:
    status, look = looks.state(summary.status, summary.paused)
    return [
        (summary.run_id, ""),
        (summary.name, ""),
        (f"{looks.symbol(look, unicode=unicode)} {looks.words(status)}", looks.style(look)),
        (looks.moment(summary.started_at), "dim"),
        (looks.duration(summary.took_ms(now)), "dim"),
    ]
