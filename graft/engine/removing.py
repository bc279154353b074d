"""Removing runs that have ended, and plans that no run uses.

A run is gone with one command, however large it was: its record and its id go, and a mark in the `live` table says that
it left rows behind. Those are swept by further commands, each of bounded size: an apply may not take as long as a run
was large. The rows that a sweep deletes are loaded before it, because the shares of their records in the state hash are
taken out of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from graft.engine.commands import DropPlans, RemoveRuns, SweepRun
from graft.engine.effects import RunRemoved
from graft.engine.lifecycle import FINAL
from graft.engine.records import REMOVED, Run, id_key, run_key
from graft.engine.state import State


def remove(s: State, command: RemoveRuns) -> list[int]:
    """Those that were removed."""
    removed: list[int] = []
    for no, generation in command.runs:
        run = s.runs.get(no)
        if run is None or run.status not in FINAL:
            continue
        if run.generation == generation:
            _remove(s, run)
            removed.append(no)
        else:
            s.edit(run)  # it was loaded for this command only: the next drain lets it go
    return removed


def _remove(s: State, run: Run) -> None:
    key = id_key(run.id)
    s.write("keys", key, None)
    s.write("live", run_key(run.no), REMOVED)
    s.delete(run)
    s.forget_run(run.no)
    s.effects.append(RunRemoved(run.no, run.id))
    s.known_ids[key] = 0
    s.removed.add(run.no)


def sweep(s: State, command: SweepRun, rows: Sequence[tuple[str, bytes, bytes]]) -> bool:
    """Whether these were the last."""
    for table, key, value in rows:
        s.delete_row(table, key, value)
    if len(rows) >= command.limit:
        return False
    s.write("live", run_key(command.run), None)
    s.removed.discard(command.run)
    return True


def drop_plans(s: State, command: DropPlans) -> str | None:
    if command.next_run != s.meta.next_run:
        return "a run was started since"
    for hash in command.plans:
        s.write("plans", bytes.fromhex(hash), None)
        s.plans.pop(hash, None)
    return None
