"""`graft logs`: what the steps of a run wrote."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from graft.cli.data import data_option, find_run, find_step, is_over, open_logs, open_runs, run_argument
from graft.cli.records import every_step, log_record
from graft.cli.terminal import Paint, note, out_json

if TYPE_CHECKING:
    from graft.cluster.history import Readable
    from graft.cluster.views import RunView
    from graft.worker.logs import LogLine, LogStore

POLL_SECONDS = 0.2


@click.command("logs")
@run_argument(required=False)
@click.argument("step", metavar="[STEP]", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("-t", "--time", "show_time", is_flag=True, help="Begin each line with its time.")
@click.option("--attempt", type=int, metavar="N", help="Only what this attempt wrote.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@data_option
def command(
    run: str | None, step: str | None, follow: bool, show_time: bool, attempt: int | None, as_json: bool, data: str
) -> None:
    """Print what the steps of a run (default: the last) wrote: all in the order of time, or those of STEP.

    RUN is an id, the beginning of one, or `last`. STEP is a path, `pick[3]/pack`; of a map, a group or a sub-flow it
    means every step inside.
    """
    with open_runs(data) as history:
        view = find_run(data, history, run or "last")
        paths = None if step is None else _paths(view, find_step(view, step))
        _raise_file_limit()
        logs = open_logs(data)
        lines = _followed(data, history, logs, view, paths) if follow else _written(logs, view.run_id, paths)
        chosen = (line for line in lines if attempt is None or line.attempt == attempt)
        if as_json:
            for line in chosen:
                out_json(log_record(view.run_id, line))
            return
        named = paths is None or len(paths) > 1
        shown = print_lines(chosen, named=named, show_time=show_time, paint=Paint.of(sys.stdout))
    if not shown:
        note(f"{'it' if step else f'run {view.run_id}'} wrote nothing")


def _paths(view: RunView, path: str) -> list[str]:
    """The step itself, or all below when it is a scope."""
    below = (path + "/", path + "[")
    return [each.path for each in every_step(view.steps) if each.path == path or each.path.startswith(below)]


def _written(logs: LogStore, run_id: str, paths: list[str] | None) -> Iterator[LogLine]:
    if paths is not None and len(paths) == 1:
        return logs.read(run_id, paths[0])
    wanted = None if paths is None else frozenset(paths)
    return (line for line in logs.read(run_id) if wanted is None or line.path in wanted)


def _followed(
    data: str, history: Readable, logs: LogStore, view: RunView, paths: list[str] | None
) -> Iterator[LogLine]:
    wanted = None if paths is None else frozenset(paths)
    follower = logs.follow(view.run_id, paths[0] if paths is not None and len(paths) == 1 else None)
    while True:
        ended = is_over(data, history, view.run_id)  # asked before the last look, so nothing is missed
        lines = follower.poll()
        yield from (line for line in lines if wanted is None or line.path in wanted)
        sys.stdout.flush()
        if ended and not lines:
            return
        if not lines:
            time.sleep(POLL_SECONDS)


def print_lines(lines: Iterable[LogLine], *, named: bool, show_time: bool, paint: Paint) -> bool:
    """Print lines of logs; gives whether there were any. A piece of a long line goes on where the last one ended."""
    before: tuple[str, str] | None = None
    write = sys.stdout.write
    for line in lines:
        source = (line.path, line.stream)
        if before is not None and not (line.continues and source == before):
            write("\n")
        if not (line.continues and source == before):
            time_text = paint(f"{line.time}  ", "dim") if show_time else ""
            name = paint(f"{line.path} | ", "cyan") if named else ""
            mark = paint("graft: ", "dim") if line.stream == "graft" else ""
            write(time_text + name + mark)
        write(line.text)
        before = source
    if before is not None:
        write("\n")
    return before is not None


def _raise_file_limit() -> None:
    """Logs are merged by time, each from its own open file: a run of 10,000 steps needs more than the usual 1024."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
