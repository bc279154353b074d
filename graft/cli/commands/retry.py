"""`graft retry`: the next generation of a run that ended, or a new budget for steps that gave up."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from graft.cli import exits
from graft.cli.changed import changed_flow
from graft.cli.commands.resume import listed
from graft.cli.data import find_step, must_exist, run_argument
from graft.cli.interrupts import Interrupts
from graft.cli.labels import is_unplaceable
from graft.cli.looks import FINAL
from graft.cli.outline import plan_path, walk
from graft.cli.place import Place, place_options
from graft.cli.records import every_step
from graft.cli.selection import followers
from graft.cli.sources import find_id, read
from graft.cli.terminal import note
from graft.cli.verbosity import Verbosity, verbosity_options
from graft.errors import RunConflict, UsageError
from graft.plan.records import ACTIONS, SCOPE_KINDS, TASK_KINDS

if TYPE_CHECKING:
    from graft.cli.sources import Engine, Source
    from graft.cluster.views import RunView

HARMLESS = ACTIONS.keys() - TASK_KINDS - SCOPE_KINDS  # these touch nothing outside of the run


@click.command("retry")
@run_argument()
@click.option("--from", "from_node", metavar="NODE", help="Run NODE (a path) again, and all that follows it.")
@click.option("--failed", is_flag=True, help="Run again what did not succeed (the default).")
@click.option("--plan", "plan_only", is_flag=True, help="Print what it would do, and stop there.")
@click.option("--no-wait", is_flag=True, help="Do not wait for timers: exit 3 when only waiting steps remain.")
@click.option("--json", "as_json", is_flag=True, help="Events and the result as JSON, one object a line.")
@verbosity_options
@place_options
def command(
    run: str,
    from_node: str | None,
    failed: bool,
    plan_only: bool,
    no_wait: bool,
    as_json: bool,
    place: Place,
    verbosity: Verbosity,
) -> int:
    """Run again what did not succeed in RUN, and wait for its end. What succeeded is kept.

    RUN is an id, the beginning of one, or `last`. Its plan stays the one that it began with. Exit codes and Ctrl-C are
    those of `graft run`.
    """
    if from_node is not None and failed:
        raise UsageError("--from and --failed exclude each other")
    with Interrupts() as interrupts:
        if plan_only:
            for line in read(place, lambda source: _intention(source, run, from_node)):
                note(line)
            return exits.SUCCEEDED
        return _retry(run, from_node, place, interrupts, as_json=as_json, wait=not no_wait, verbosity=verbosity)


def _retry(
    run: str,
    from_node: str | None,
    place: Place,
    interrupts: Interrupts,
    *,
    as_json: bool,
    wait: bool,
    verbosity: Verbosity,
) -> int:
    from graft.cli.holding import with_engine
    from graft.cli.session import attend, last_event, run_in_loop

    if not place.is_remote:
        must_exist(place.data)
    opened: list[str] = []  # the run, once its retry was taken

    async def body(engine: Engine) -> int:
        since: int | None = None
        if not opened:
            run_id = await find_id(engine, run)
            for line in await _intention(engine, run_id, from_node):
                note(line)
            since = await last_event(engine, run_id)
            await _reopen(engine, run_id, from_node)
            opened.append(run_id)
        elif (await engine.run_view(opened[0])).paused:  # its process went away
            await engine.resume(opened[0])
        return await attend(
            engine,
            opened[0],
            interrupts,
            as_json=as_json,
            wait=wait,
            since=since,
            flags=place.flags,
            verbosity=verbosity,
        )

    return run_in_loop(lambda: with_engine(place, interrupts, body), interrupts)


async def _reopen(engine: Engine, run_id: str, from_node: str | None) -> None:
    view = await engine.run_view(run_id)
    if view.status not in FINAL and (view.paused or not engine.is_elsewhere):  # held since its process ended
        await engine.resume(run_id)
    await engine.retry(run_id, None if from_node is None else find_step(view, from_node))


async def _intention(source: Source, run: str, from_node: str | None) -> list[str]:
    view = await source.run_view(await find_id(source, run))
    path = None if from_node is None else find_step(view, from_node)
    return intention(view, path)


def intention(view: RunView, path: str | None) -> list[str]:
    """What the retry will do, by the nodes of the flow. Raises RunConflict when there is nothing to do."""
    if view.status not in FINAL:
        parked = [step.path for step in every_step(view.steps) if step.status == "waiting" and not is_unplaceable(step)]
        if not parked:
            raise RunConflict(f"run {view.run_id} has not ended", hint=f"`graft resume {view.run_id}` goes on with it")
        return [f"retry {view.run_id} ({view.name}): a new budget for {listed(parked)}"]
    if path is None and view.status == "succeeded":
        raise RunConflict(f"run {view.run_id} succeeded", hint="name a step to run again from: --from NODE")
    begin = _unfinished(view) | ({path.partition("/")[0].partition("[")[0]} if path else set())
    again = begin.union(_finals(view), *(followers(view.plan.root, name) for name in begin))
    names = [step.node for step in view.steps]
    kept = [name for name in names if name not in again]
    lines = [
        f"retry {view.run_id} ({view.name}), generation {view.generation + 1}",
        f"  runs again: {listed([_begin_text(name, path, view) for name in names if name in again])}",
    ]
    if kept:
        lines.append(f"  keeps: {listed(kept)}")
        lines += _undone_perhaps(view)
    return lines + _file_changed(view, begin)


def _undone_perhaps(view: RunView) -> list[str]:
    """A `finally` may have taken back what a kept step did, and nobody but its author knows."""
    finals = {path for _, path, node, is_final in walk(view.plan) if is_final and node.kind not in HARMLESS}
    ran = [step.path for step in every_step(view.steps) if step.started_at and plan_path(step.path) in finals]
    if not ran:
        return []
    return [
        f"  `finally` has run in between: {listed(ran)}",
        "    if that took back what a kept step did, begin there: --from NODE",
    ]


def _file_changed(view: RunView, begin: set[str]) -> list[str]:
    file = changed_flow(view)
    if file is None:
        return []
    first = next(step.node for step in view.steps if step.node in begin)
    return [
        f"  {os.path.relpath(file)} has changed since; a retry goes on with the plan that the run began with",
        f"    to run the file as it is now: graft run {os.path.relpath(file)} --from {first}",
    ]


def _unfinished(view: RunView) -> set[str]:
    return {step.node for step in view.steps if step.status not in ("succeeded", "skipped")} | _finals(view)


def _finals(view: RunView) -> set[str]:
    return {node.name for node in view.plan.root.finals}


def _begin_text(name: str, path: str | None, view: RunView) -> str:
    if path is not None and path != name and path.startswith((name + "/", name + "[")):
        return f"{name} (from {path})"
    step = next(step for step in view.steps if step.node == name)
    inside = step.children and step.status != "succeeded" and path is None
    return f"{name} (what did not succeed in it)" if inside else name
