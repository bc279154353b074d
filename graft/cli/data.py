"""The data directory, and the run that RUN names in it."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from graft.errors import GraftError, UnknownRun, UsageError

if TYPE_CHECKING:
    from graft.cluster.embedded import Readable
    from graft.cluster.views import RunSummary, RunView
    from graft.worker.logs import LogStore

DEFAULT = ".graft"
LAST = ("last", "-")
MAX_COMPLETIONS = 50

F = TypeVar("F", bound=Callable[..., Any])


def data_option(command: F) -> F:
    """`--data DIR`: given to the command as `data`."""
    return click.option(
        "--data",
        metavar="DIR",
        envvar="GRAFT_DATA",
        default=DEFAULT,
        help="Data directory (default: .graft in the current directory; env var: GRAFT_DATA).",
    )(command)


def data_flag(data: str) -> str:
    """What a command needs so that it finds the same data directory."""
    return "" if data == DEFAULT else f" --data {shlex.quote(data)}"


def must_exist(data: str) -> Path:
    path = Path(data)
    if not path.is_dir():
        hint = "nothing has been run here; --data DIR names another directory" if data == DEFAULT else None
        raise UsageError(f"there is no data directory {data}", hint=hint)
    return path


def open_runs(data: str) -> AbstractContextManager[Readable]:
    """The runs of a data directory, read-only; also while another process holds it."""
    from graft.cluster.embedded import open_history

    return open_history(must_exist(data))


def open_logs(data: str) -> LogStore:
    from graft.cluster.embedded import LOGS
    from graft.worker.logs import LogStore

    return LogStore(Path(data) / LOGS)


def find_run(history: Readable, name: str) -> RunView:
    """The run that `name` names: its id, a prefix that only one id has, or `last` / `-` for the newest.

    Raises UnknownRun, and UsageError for a prefix that several ids have.
    """
    if name not in LAST:
        try:
            return history.run_view(name)
        except UnknownRun:
            pass
    return history.run_view(complete_id(name, history.run_ids()))


def complete_id(name: str, newest_first: list[str]) -> str:
    if not newest_first:
        raise UnknownRun("there are no runs yet", hint="`graft run FLOW` makes one")
    if name in LAST:
        return newest_first[0]
    found = [run_id for run_id in newest_first if run_id.startswith(name)] if name not in newest_first else [name]
    if len(found) == 1:
        return found[0]
    if not found:
        close = difflib.get_close_matches(name, newest_first, n=1, cutoff=0.7)
        hint = f"did you mean {close[0]}?" if close else "`graft runs` lists the runs; `last` is the newest"
        raise UnknownRun(f"there is no run {name}", hint=hint)
    shown = ", ".join(found[:4]) + (", …" if len(found) > 4 else "")
    raise UsageError(f"{name} is the beginning of {len(found)} run ids", hint=f"which one? {shown}")


def find_step(view: RunView, name: str) -> str:
    """The path of the step that `name` names in the run: its path, or the name of a node that has only one step."""
    from graft.cli.records import every_step

    steps = list(every_step(view.steps))
    if any(step.path == name for step in steps):
        return name
    named = [step.path for step in steps if step.node == name and not step.path.endswith("]")]
    if len(named) == 1:
        return named[0]
    paths = [step.path for step in steps if "[" in name or "[" not in step.path]
    close = named[:3] or difflib.get_close_matches(name, paths, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(close)}?" if close else f"`graft show {view.run_id}` lists them"
    raise UsageError(f"run {view.run_id} has no step {name}", hint=hint)


if TYPE_CHECKING:
    _TextType = click.ParamType[str]
else:  # clicks before 8.3 have no generic one
    _TextType = click.ParamType


class RunName(_TextType):
    """RUN on the command line; completes to the ids of the newest runs."""

    name = "run"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        try:
            with open_runs(ctx.params.get("data") or DEFAULT) as history:
                newest: list[RunSummary] = history.runs(MAX_COMPLETIONS)
        except (GraftError, OSError):
            return []
        return [
            CompletionItem(each.run_id, help=f"{each.name}, {each.status}")
            for each in newest
            if each.run_id.startswith(incomplete)
        ]


def run_argument(*, required: bool = True) -> Callable[[F], F]:
    """RUN: given to the command as `run`."""
    return click.argument("run", metavar="RUN" if required else "[RUN]", required=required, type=RunName())
