"""Records from the store into an engine: all live ones at a start, and what a command names before it is applied."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from graft.cluster.state_view import StateView
from graft.engine import Applied, Engine
from graft.engine.commands import Command
from graft.engine.engine import HASH_KEY
from graft.engine.records import run_key
from graft.errors import StoreCorrupt
from graft.interfaces import Reader


class Loading:
    """Of one engine. `view` sees the changes that are on their way to the store, too."""

    def __init__(self, engine: Engine, view: StateView) -> None:
        self._engine, self._view = engine, view

    def load(self, store: Reader) -> None:
        """The live records of the store."""
        engine = self._engine
        engine.load(("members", data) for _, data in store.scan("members"))
        if (meta := store.get("meta", b"engine")) is not None:
            engine.load([("meta", meta)])
        for run in self._view.live_runs():
            self._load_run(run)
        engine.load_removed(self._view.removed_runs())
        stored = store.get("meta", HASH_KEY)
        engine.restore(store.bounds().applied, 0 if stored is None else int.from_bytes(stored, "big"))

    def apply(self, index: int, command: Command) -> Applied:
        """Load what `command` wants, and apply it."""
        for want in self._engine.wants(command):
            self._WANTS[want.what](self, want.key)
        return self._engine.apply(index, command)

    def _load_run(self, run: int) -> None:
        rows = list(self._view.record_rows(run))
        self._engine.load(rows)
        self._load_plan(self._engine.state.runs[run].plan)

    def _load_plan(self, plan_hash: str) -> None:
        if plan_hash not in self._engine.state.plans:
            plan = self._view.plan(plan_hash)
            if plan is None:
                raise StoreCorrupt(
                    f"the plan {plan_hash[:12]} of a run is not in the store",
                    hint="restore the data directory from a backup",
                )
            self._engine.load_plan(plan_hash, plan)

    def _want_id(self, key: bytes) -> None:
        found = self._view.get("keys", key)
        self._engine.load_id(key, 0 if found is None else int.from_bytes(found, "big"))

    def _want_plan(self, plan_hash: str) -> None:
        plan = self._view.plan(plan_hash)
        if plan is not None:
            self._engine.load_plan(plan_hash, plan)

    def _want_run(self, run: int) -> None:
        if self._view.run(run) is not None:
            self._load_run(run)
            state = self._engine.state
            for key in state.scopes:
                state.children.setdefault(key, {})

    def _want_record(self, run: int) -> None:
        self._view.take(self._engine.drain())
        if (data := self._view.get("runs", run_key(run))) is not None:
            self._engine.load([("runs", data)])

    def _want_rows(self, key: tuple[int, int]) -> None:
        self._view.take(self._engine.drain())
        self._engine.load_rows(list(islice(self._view.left_behind(key[0]), key[1])))

    _WANTS: Final[dict[str, Callable[[Loading, Any], None]]] = {
        "id": _want_id,
        "plan": _want_plan,
        "record": _want_record,
        "rows": _want_rows,
        "run": _want_run,
    }
