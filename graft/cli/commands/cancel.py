"""`graft cancel`: end a run, or one step of it, in an orderly way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from graft.cli import exits
from graft.cli.data import find_step, must_exist, run_argument
from graft.cli.interrupts import Interrupts
from graft.cli.looks import FINAL
from graft.cli.place import Place, place_options
from graft.cli.sources import find_target
from graft.cli.terminal import note
from graft.errors import RunConflict

if TYPE_CHECKING:
    from graft.cli.sources import Engine


@click.command("cancel")
@run_argument()
@click.argument("step_name", metavar="[STEP]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Events and the result as JSON, one object a line.")
@place_options
def command(run: str, step_name: str | None, as_json: bool, place: Place) -> int:
    """Cancel a run, whoever runs it: its `finally` runs, then it is over. With STEP only one step of it is cancelled.

    RUN is an id, the beginning of one, or `last`; STEP is a path, `pick[1]/pack`. `RUN/STEP` is the same in one word.

    Exit code 0 when it was cancelled.
    """
    from graft.cli.holding import with_engine
    from graft.cli.session import attend, run_in_loop

    if not place.is_remote:
        must_exist(place.data)
    asked: list[str] = []  # the run, once its cancel was taken

    async def body(engine: Engine) -> int:
        if not asked:
            view, step = await find_target(engine, run, step_name)
            run_id = view.run_id
            if view.status in FINAL:
                raise RunConflict(f"run {run_id} has ended: {view.status}")
            step_path = None if step is None else find_step(view, step)
            await engine.cancel(run_id, step_path)
            if step_path is not None:
                rest = "" if not view.paused else f"; `graft resume {run_id}{place.flags}` goes on with the rest"
                note(f"cancelled {step_path} of run {run_id}{rest}")
                return exits.SUCCEEDED
            asked.append(run_id)
        code = await attend(engine, asked[0], interrupts, as_json=as_json, wait=True, flags=place.flags)
        return exits.SUCCEEDED if code == exits.CANCELLED else code

    with Interrupts() as interrupts:
        return run_in_loop(lambda: with_engine(place, interrupts, body), interrupts)
