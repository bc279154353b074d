"""`graft events`: the history of a run."""

from __future__ import annotations

import sys
from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from graft.cli import looks
from graft.cli.data import run_argument
from graft.cli.place import Place, place_options
from graft.cli.records import event_record
from graft.cli.sources import Source, find_run, read_or_stale
from graft.cli.stale import stale_option
from graft.cli.terminal import Paint, out, out_json

if TYPE_CHECKING:
    from graft.cluster.views import EventView


@click.command("events")
@run_argument(required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="N", help="Only events after number N.")
@stale_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@place_options
def command(run: str | None, follow: bool, after: int, stale: bool, as_json: bool, place: Place) -> None:
    """Print what happened in a run (default: the last), in order; its events are numbered from 1.

    RUN is an id, the beginning of one, or `last`.
    """
    paint = Paint.of(sys.stdout)

    def show(number: int, event: EventView) -> None:
        if number <= after:
            return
        if as_json:
            out_json(event_record(event, number, stale=stale))
        else:
            out(event_line(event, number, paint))

    async def body(source: Source) -> None:
        run_id = (await find_run(source, run or "last")).run_id
        if not follow:
            for number, event in enumerate(await source.events(run_id), start=1):
                show(number, event)
            return
        number = 0
        async with aclosing(source.watch(run_id)) as events:
            async for event in events:
                number += 1
                show(number, event)
                if place.is_remote:
                    sys.stdout.flush()

    read_or_stale(place, body, stale=stale, quiet=as_json)


def event_line(event: EventView, number: int, paint: Paint) -> str:
    what = looks.words(event.what).ljust(12)
    attempt = f"  attempt {event.attempt}" if event.attempt > 1 and event.path else ""
    pieces = [
        (f"{number:>5}  ", "dim"),
        (f"{looks.moment(event.at)}.{event.at % 1000:03d}  ", "dim"),
        (what, looks.style(event.what)),
        (f"  {event.path or event.run_id}", "" if event.path else "bold"),
        (attempt, "dim"),
        (f"  {event.reason}" if event.reason else "", ""),
    ]
    return looks.paint_line(pieces, paint)
