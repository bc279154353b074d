"""The data directory, and the run that RUN names in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import evolve
from click.shell_completion import CompletionItem

from graft.cli.guess import closest
from graft.cli.looks import FINAL
from graft.cli.place import DEFAULT
from graft.errors import GraftError, UnknownRun, UsageError
from graft.ids import RUN_ID

if TYPE_CHECKING:
    from graft.cluster.views import RunSummary, RunView

INTERRUPTED = "interrupted"  # the engine's own word, too
LAST = ("last", "-")
MAX_COMPLETIONS = 50

F = TypeVar("F", bound=Callable[..., Any])


def must_exist(data: str) -> Path:
    """The data directory `data`. Raises UsageError or StorageError, so that looking for a run never makes one."""
    from graft.storage.directory import existing

    path = Path(data)
    if not path.is_dir():
        hint = "nothing has been run here; --data DIR names another directory" if data == DEFAULT else None
        raise UsageError(f"there is no data directory {data}", hint=hint)
    return existing(path).root


def is_held(data: str) -> bool:
    """Whether a process works on the data directory, as far as can be told from here."""
    from graft.storage import LOCK, read_holder

    holder = read_holder(Path(data) / LOCK)
    return holder is not None and holder.closed_at is None and holder.is_alive()


R = TypeVar("R", "RunSummary", "RunView")


def as_it_is(run: R, stopped_at: int | None) -> R:
    """A run that has not ended and that no process works on is interrupted, though nobody was left to record it.

    `stopped_at`: since when none does (wall ms); None while one does.
    """
    if stopped_at is None or run.paused or run.status in FINAL:
        return run
    return evolve(run, paused=INTERRUPTED, idle=(*run.idle, (max(stopped_at, run.started_at), 0)))


def stopped_at(data: str) -> int | None:
    """Since when no process works on the data directory (wall ms), as far as can be told; None while one does."""
    from graft.storage import LOCK, last_alive

    return None if is_held(data) else last_alive(Path(data) / LOCK) or 0


def check_id(run_id: str) -> str:
    """`run_id` if it may be the id of a run. Raises UsageError: it must be easy to type and to tell apart."""
    if run_id in LAST:
        raise UsageError(f"--id {run_id}: that word means the newest run", hint="choose another id")
    if not RUN_ID.fullmatch(run_id):
        hint = "1 to 200 letters, digits and . _ : @ + = , -, the first of them a letter or a digit"
        raise UsageError(f"--id {run_id!r} cannot be the id of a run", hint=hint)
    return run_id


def complete_id(name: str, newest_first: list[str]) -> str:
    if not newest_first:
        raise UnknownRun("there are no runs yet", hint="`graft run FLOW` makes one")
    if name in LAST:
        return newest_first[0]
    if not name:
        raise UsageError("RUN is empty", hint="`graft runs` lists the runs; `last` is the newest")
    found = [run_id for run_id in newest_first if run_id.startswith(name)] if name not in newest_first else [name]
    if len(found) == 1:
        return found[0]
    if not found:
        close = closest(name, newest_first, cutoff=0.7)
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
    close = named[:3] or closest(name, paths, most=3)
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
        from graft.cluster.history import open_history

        try:
            with open_history(must_exist(ctx.params.get("data") or DEFAULT)) as history:
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


def runs_argument() -> Callable[[F], F]:
    """RUN…, at least one: given to the command as `runs`."""
    return click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=RunName())
