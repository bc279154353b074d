"""`graft prune`: remove old runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from graft.cli import exits, removal
from graft.cli.data import must_exist
from graft.cli.interrupts import Interrupts
from graft.cli.looks import FINAL
from graft.cli.place import Place, place_options
from graft.cli.terminal import out
from graft.errors import UsageError

if TYPE_CHECKING:
    from graft.cli.sources import Engine
    from graft.cluster.views import RunSummary


@click.command("prune")
@click.option("--older-than", metavar="TIME", help="Only runs that ended so long ago: 30d, 12h, 1h 30m.")
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="Keep the newest N of them, however old.")
@click.option("--flow", metavar="NAME", help="Only runs of this flow.")
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@place_options
def command(
    older_than: str | None, keep: int | None, flow: str | None, dry_run: bool, as_json: bool, place: Place
) -> int:
    """Remove runs that have ended, with their results, history and logs. There is no way back.

    Give --older-than, --keep, or both. Runs in flight are left alone, and not counted.
    """
    from graft.cli.holding import with_engine
    from graft.cli.session import run_in_loop

    if older_than is None and keep is None:
        raise UsageError("nothing says which runs are old", hint="give --older-than 30d, --keep 100, or both")
    age_ms = 0 if older_than is None else _milliseconds(older_than)
    if not place.is_remote:
        must_exist(place.data)
    removed: list[str] = []

    async def body(engine: Engine) -> int:
        ended_before = int(time.time() * 1000) - age_ms
        old = select(await engine.runs(), ended_before, keep or 0, flow)
        if dry_run:
            removed[:] = [each.run_id for each in old]
        else:
            removed.extend(await removal.remove(engine, [each.run_id for each in old]))
        if dry_run and not as_json:
            for each in old:
                out(f"{each.run_id}  {each.name}  {each.status}")
        removal.say(removed, dry_run=dry_run, as_json=as_json)
        return exits.SUCCEEDED

    with Interrupts() as interrupts:
        return run_in_loop(lambda: with_engine(place, interrupts, body), interrupts)


def select(runs: Sequence[RunSummary], ended_before: int, keep: int, flow: str | None) -> list[RunSummary]:
    """What to remove of `runs`, which are the newest first; the oldest first."""
    ended = [run for run in runs if run.status in FINAL and flow in (None, run.name)]
    return [run for run in reversed(ended[keep:]) if run.ended_at is not None and run.ended_at <= ended_before]


def _milliseconds(text: str) -> int:
    from graft.plan.conversion import parse_duration

    try:
        return int(parse_duration(text) * 1000)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--older-than: {error}") from None
