"""What `rm` and `prune` have in common: asking for the removal, in pieces, and saying what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from graft.cli.terminal import note, out_json

if TYPE_CHECKING:
    from graft.cli.sources import Engine

AT_ONCE: Final = 200


async def remove(engine: Engine, run_ids: Sequence[str]) -> list[str]:
    """Those that were there. Raises RunConflict."""
    removed: list[str] = []
    for at in range(0, len(run_ids), AT_ONCE):
        removed += await engine.remove(run_ids[at : at + AT_ONCE])
    return removed


def say(removed: Sequence[str], *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        out_json({"removed": list(removed), "dry_run": dry_run})
        return
    runs = f"{len(removed)} run{'' if len(removed) == 1 else 's'}"
    note(f"would remove {runs}" if dry_run else f"removed {runs}")
