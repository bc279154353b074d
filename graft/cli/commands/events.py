"""`graft events`: the history of a run."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from graft.cli import looks
from graft.cli.data import data_option, find_run, is_over, open_runs, run_argument
from graft.cli.records import event_record
from graft.cli.terminal import Paint, out, out_json

if TYPE_CHECKING:
    from graft.cluster.views import EventView

POLL_SECONDS = 0.2


@click.command("events")
@run_argument(required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("--after", type=int, default=0, metavar="SEQ", help="Only events after this sequence number.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@data_option
def command(run: str | None, follow: bool, after: int, as_json: bool, data: str) -> None:
    """Print what happened in a run (default: the last), in order.

    RUN is an id, the beginning of one, or `last`.
    """
    paint = Paint.of(sys.stdout)
    with open_runs(data) as history:
        run_id = find_run(data, history, run or "last").run_id
        while True:
            # Asked before the events are read: all that was written until then is among them.
            ended = not follow or is_over(data, history, run_id)
            for event in history.events(run_id, after):
                after = event.seq
                if as_json:
                    out_json(event_record(event))
                else:
                    out(event_line(event, paint))
            sys.stdout.flush()
            if ended:
                return
            time.sleep(POLL_SECONDS)


def event_line(event: EventView, paint: Paint) -> str:
    what = looks.words(event.what).ljust(12)
    attempt = f"  attempt {event.attempt}" if event.attempt > 1 and event.path else ""
    pieces = [
        (f"{event.seq:>10}  ", "dim"),
        (f"{looks.moment(event.at)}.{event.at % 1000:03d}  ", "dim"),
        (what, looks.style(event.what)),
        (f"  {event.path or event.run_id}", "" if event.path else "bold"),
        (attempt, "dim"),
        (f"  {event.reason}" if event.reason else "", ""),
    ]
    return looks.paint_line(pieces, paint)
