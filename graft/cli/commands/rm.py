"""`graft rm`: remove runs that have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from graft.cli import exits, removal
from graft.cli.data import must_exist, runs_argument
from graft.cli.interrupts import Interrupts
from graft.cli.looks import FINAL
from graft.cli.place import Place, place_options
from graft.errors import RunConflict

if TYPE_CHECKING:
    from graft.cli.sources import Engine
    from graft.cluster.views import RunView


@click.command("rm")
@runs_argument()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@place_options
def command(runs: tuple[str, ...], as_json: bool, place: Place) -> int:
    """Remove runs that have ended, with their results, history and logs. There is no way back.

    RUN is an id, the beginning of one, or `last`. None is removed while one of them is in flight: `graft cancel` ends
    that. The id of a removed run is free: a run that is given it (`--id`) is a new one.
    """
    from graft.cli.holding import with_engine
    from graft.cli.session import run_in_loop
    from graft.cli.sources import find_id

    if not place.is_remote:
        must_exist(place.data)
    found: list[str] = []  # found once: a command that is asked again must not take the next one for `last`

    async def body(engine: Engine) -> int:
        if not found:
            found[:] = dict.fromkeys([await find_id(engine, run) for run in runs])
            for run_id in found:
                _check_ended(await engine.run_view(run_id))
        await removal.remove(engine, found)
        removal.say(found, dry_run=False, as_json=as_json)
        return exits.SUCCEEDED

    with Interrupts() as interrupts:
        return run_in_loop(lambda: with_engine(place, interrupts, body), interrupts)


def _check_ended(view: RunView) -> None:
    if view.status not in FINAL:
        way = f"; `graft resume {view.run_id}` goes on with it" if view.condition == "interrupted" else ""
        hint = f"`graft cancel {view.run_id}` ends it{way}"
        raise RunConflict(f"run {view.run_id} is in flight: {view.condition}", hint=hint)
