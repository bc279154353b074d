"""`graft resume`: go on with a run whose process is gone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from graft.cli import exits
from graft.cli.data import complete_id, data_flag, data_option, must_exist, open_runs, run_argument
from graft.cli.interrupts import Interrupts
from graft.cli.looks import FINAL
from graft.cli.records import every_step
from graft.cli.terminal import note
from graft.errors import RunConflict, UsageError

if TYPE_CHECKING:
    from graft.cluster.history import Readable
    from graft.cluster.views import RunView

NAMES = 6


@click.command("resume")
@run_argument(required=False)
@click.option("--plan", "plan_only", is_flag=True, help="Print what it would do, and stop there.")
@click.option("--no-wait", is_flag=True, help="Do not wait for timers: exit 3 when only waiting steps remain.")
@click.option("--json", "as_json", is_flag=True, help="Events and the result as JSON, one object a line.")
@data_option
def command(run: str | None, plan_only: bool, no_wait: bool, as_json: bool, data: str) -> int:
    """Go on with a run that was interrupted (default: the newest of them), and wait for its end.

    No step that has ended runs again. Attempts that were under way when the process died start anew and do not count.
    Exit codes and Ctrl-C are those of `graft run`.
    """
    with Interrupts() as interrupts:
        if plan_only:
            with open_runs(data) as history:
                for line in intention(history.run_view(choose(history, run))):
                    note(line)
            return exits.SUCCEEDED
        return _resume(run, data, interrupts, as_json=as_json, wait=not no_wait)


def _resume(run: str | None, data: str, interrupts: Interrupts, *, as_json: bool, wait: bool) -> int:
    from graft.cli.session import attend, run_in_loop
    from graft.cluster.embedded import open_embedded

    path = must_exist(data)

    async def main() -> int:
        async with open_embedded(Path(path)) as engine:
            run_id = choose(engine, run)
            for line in intention(engine.run_view(run_id)):
                note(line)
            await engine.resume(run_id)
            return await attend(engine, run_id, interrupts, as_json=as_json, wait=wait, data_flag=data_flag(data))

    return run_in_loop(main, interrupts)


def choose(history: Readable, name: str | None) -> str:
    """The run to go on with. Raises UsageError when there is none, RunConflict when it has ended."""
    if name is not None:
        run_id = complete_id(name, history.run_ids())
        status = history.status(run_id)
        if status in FINAL:
            hint = f"`graft retry {run_id}` runs again what did not succeed" if status != "succeeded" else None
            raise RunConflict(f"run {run_id} has ended: {status}", hint=hint)
        return run_id
    unfinished = [each.run_id for each in history.runs() if each.status not in FINAL]
    if not unfinished:
        raise UsageError("there is no run to go on with: all have ended", hint="`graft runs` lists them")
    if len(unfinished) > 1:
        note(f"{len(unfinished)} runs were interrupted; this is the newest. The others: {', '.join(unfinished[1:4])}")
    return unfinished[0]


def intention(view: RunView) -> list[str]:
    """What going on with the run will do."""
    steps = [step for step in every_step(view.steps) if not step.children]
    done = sum(step.status in FINAL for step in steps)
    anew = [step.path for step in steps if step.status in ("running", "queued", "cancelling")]
    lines = [f"resume {view.run_id} ({view.name}): {done} of {len(steps)} steps have ended and stay as they are"]
    if anew:
        lines.append(f"  starts anew: {listed(anew)}")
    left = len(steps) - done - len(anew)
    if left:
        lines.append(f"  still to come: {left} step{'s' if left != 1 else ''}")
    return lines


def listed(names: list[str]) -> str:
    return ", ".join(names[:NAMES]) + (f" and {len(names) - NAMES} more" if len(names) > NAMES else "")
