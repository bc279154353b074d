"""`graft resume`: go on with a run whose process is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from graft.cli import exits
from graft.cli.data import must_exist, run_argument
from graft.cli.interrupts import Interrupts
from graft.cli.looks import FINAL
from graft.cli.place import Place, place_options
from graft.cli.records import every_step
from graft.cli.sources import find_id, read
from graft.cli.terminal import note
from graft.cli.verbosity import Verbosity, verbosity_options
from graft.errors import RunConflict, UsageError

if TYPE_CHECKING:
    from graft.cli.sources import Engine, Source
    from graft.cluster.views import RunView

NAMES = 6


@click.command("resume")
@run_argument(required=False)
@click.option("--plan", "plan_only", is_flag=True, help="Print what it would do, and stop there.")
@click.option("--no-wait", is_flag=True, help="Do not wait for timers: exit 3 when only waiting steps remain.")
@click.option("--json", "as_json", is_flag=True, help="Events and the result as JSON, one object a line.")
@verbosity_options
@place_options
def command(run: str | None, plan_only: bool, no_wait: bool, as_json: bool, place: Place, verbosity: Verbosity) -> int:
    """Go on with a run that was interrupted (default: the newest of them), and wait for its end.

    No step that has ended runs again. Attempts that were under way when the process died start anew and do not count.
    Exit codes and Ctrl-C are those of `graft run`.
    """
    with Interrupts() as interrupts:
        if plan_only:
            for line in read(place, lambda source: _intended(source, run)):
                note(line)
            return exits.SUCCEEDED
        return _resume(run, place, interrupts, as_json=as_json, wait=not no_wait, verbosity=verbosity)


async def _intended(source: Source, run: str | None) -> list[str]:
    return intention(await source.run_view(await choose(source, run)))


def _resume(
    run: str | None, place: Place, interrupts: Interrupts, *, as_json: bool, wait: bool, verbosity: Verbosity
) -> int:
    from graft.cli.holding import with_engine
    from graft.cli.session import attend, run_in_loop

    if not place.is_remote:
        must_exist(place.data)
    chosen: list[str] = []

    async def body(engine: Engine) -> int:
        if not chosen:
            chosen.append(await choose(engine, run))
        view = await engine.run_view(chosen[0])
        if view.status not in FINAL and (view.paused or not engine.is_elsewhere):
            for line in intention(view):
                note(line)
            await engine.resume(view.run_id)
        elif view.status not in FINAL:
            note(f"run {view.run_id} goes on already")
        return await attend(
            engine, view.run_id, interrupts, as_json=as_json, wait=wait, flags=place.flags, verbosity=verbosity
        )

    return run_in_loop(lambda: with_engine(place, interrupts, body), interrupts)


async def choose(source: Source, name: str | None) -> str:
    """The run to go on with. Raises UsageError when there is none, RunConflict when it has ended."""
    if name is not None:
        run_id = await find_id(source, name)
        status = (await source.run_view(run_id)).status
        if status in FINAL:
            hint = f"`graft retry {run_id}` runs again what did not succeed" if status != "succeeded" else None
            raise RunConflict(f"run {run_id} has ended: {status}", hint=hint)
        return run_id
    live = [each for each in await source.runs() if each.status not in FINAL]
    unfinished = [each.run_id for each in live if each.paused] or [each.run_id for each in live]
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
