"""`graft cancel`: end a run, or one step of it, in an orderly way."""

from __future__ import annotations

import click

from graft.cli import exits
from graft.cli.data import complete_id, data_flag, data_option, find_step, must_exist, run_argument
from graft.cli.interrupts import Interrupts
from graft.cli.looks import FINAL
from graft.cli.terminal import note
from graft.errors import RunConflict


@click.command("cancel")
@run_argument()
@click.option("--json", "as_json", is_flag=True, help="Events and the result as JSON, one object a line.")
@data_option
def command(run: str, as_json: bool, data: str) -> int:
    """Cancel an interrupted run: its `finally` runs, then it is over. `RUN/pick[1]/pack` cancels one step of it.

    RUN is an id, the beginning of one, or `last`. A run that another process runs is cancelled there, with Ctrl-C: in
    this version no other process can reach it.

    Exit code 0 when it was cancelled.
    """
    from graft.cli.session import attend, run_in_loop
    from graft.cluster.embedded import open_embedded

    path = must_exist(data)

    async def main() -> int:
        async with open_embedded(path) as engine:
            run_id, step = _target(run, engine.run_ids())
            view = engine.run_view(run_id)
            if view.status in FINAL:
                raise RunConflict(f"run {run_id} has ended: {view.status}")
            step_path = None if step is None else find_step(view, step)
            await engine.cancel(run_id, step_path)
            if step_path is not None:
                note(f"cancelled {step_path} of run {run_id}; `graft resume {run_id}` goes on with the rest")
                return exits.SUCCEEDED
            code = await attend(engine, run_id, interrupts, as_json=as_json, wait=True, data_flag=data_flag(data))
            return exits.SUCCEEDED if code == exits.CANCELLED else code

    with Interrupts() as interrupts:
        return run_in_loop(main, interrupts)


def _target(name: str, newest_first: list[str]) -> tuple[str, str | None]:
    """The run, and the path of the step after its first `/`, if any. A run's own id may have a `/`, too."""
    if name in newest_first or "/" not in name:
        return complete_id(name, newest_first), None
    run, _, step = name.partition("/")
    return complete_id(run, newest_first), step
