"""Reading the workflow state: the changes that are on their way to the store first, then the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from graft.engine.effects import Change, Happened
from graft.engine.records import (
    ITEMS,
    NONE,
    OF_RUN,
    OUT,
    PARAMS,
    REMOVED,
    Meta,
    Run,
    Scope,
    Step,
    decode_record,
    events_key,
    id_key,
    run_key,
    scope_key,
    step_key,
    value_key,
)
from graft.interfaces import Reader
from graft.plan import Plan, decode

if TYPE_CHECKING:
    from graft.raft_driver import Overlay  # reading history alone needs no Trio

_decode = msgspec.msgpack.Decoder().decode


class StateView:
    """Typed reads. Without an overlay (another process holds the directory) it shows what the store has."""

    def __init__(self, store: Reader, overlay: Overlay | None = None) -> None:
        self.store = store
        self._overlay = overlay
        self._plans: dict[str, Plan] = {}

    def get(self, table: str, key: bytes) -> bytes | None:
        if self._overlay is not None:
            found, value = self._overlay.get(table, key)
            if found:
                return value
        return self.store.get(table, key)

    def take(self, changes: Iterable[Change]) -> None:
        """Show `changes` from now on; they are on their way to the store."""
        assert self._overlay is not None
        for change in changes:
            self._overlay.put(*change)

    def scan(self, table: str, start: bytes = b"", stop: bytes | None = None) -> list[tuple[bytes, bytes]]:
        """Pairs with start <= key < stop, in order."""
        rows = self.store.scan(table, start, stop)
        if self._overlay is None:
            return rows
        return self._merged(rows, self._overlay.items(table), start, stop)

    def scan_run(self, table: str, run: int, start: bytes | None = None) -> list[tuple[bytes, bytes]]:
        """All pairs of one run, or those from the key `start` on."""
        start, stop = start or run_key(run), run_key(run + 1)
        rows = self.store.scan(table, start, stop)
        if self._overlay is None:
            return rows
        return self._merged(rows, self._overlay.items(table, run_key(run)), start, stop)

    @staticmethod
    def _merged(
        rows: list[tuple[bytes, bytes]], changes: dict[bytes, bytes | None], start: bytes, stop: bytes | None
    ) -> list[tuple[bytes, bytes]]:
        mine = {key: value for key, value in changes.items() if start <= key and (stop is None or key < stop)}
        if not mine:
            return rows
        merged = {**dict(rows), **mine}
        return sorted((key, value) for key, value in merged.items() if value is not None)

    def _record(self, table: str, key: bytes) -> Any:
        data = self.get(table, key)
        return None if data is None else decode_record(table, data)

    def meta(self) -> Meta:
        """The engine's own counters and clocks."""
        found: Meta | None = self._record("meta", b"engine")
        return Meta() if found is None else found

    def run(self, no: int) -> Run | None:
        run: Run | None = self._record("runs", run_key(no))
        return run

    def run_no(self, run_id: str) -> int | None:
        data = self.get("keys", id_key(run_id))
        return None if data is None else int.from_bytes(data, "big")

    def run_by_id(self, run_id: str) -> Run | None:
        no = self.run_no(run_id)
        return None if no is None else self.run(no)

    def run_numbers(self) -> list[int]:
        """All runs, oldest first."""
        return [int.from_bytes(key, "big") for key, _ in self.scan("runs")]

    def runs(self) -> list[Run]:
        """All runs, newest first."""
        return [self._decoded("runs", data) for _, data in reversed(self.scan("runs"))]

    def live_runs(self) -> list[int]:
        return [int.from_bytes(key, "big") for key, mark in self.scan("live") if mark != REMOVED]

    def removed_runs(self) -> list[int]:
        """Those that left rows behind."""
        return [int.from_bytes(key, "big") for key, mark in self.scan("live") if mark == REMOVED]

    def left_behind(self, run: int) -> Iterator[tuple[str, bytes, bytes]]:
        """The rows of a removed run, in the order in which they are swept."""
        for table in OF_RUN:
            for key, value in self.scan_run(table, run):
                yield table, key, value

    def _decoded(self, table: str, data: bytes) -> Any:
        return decode_record(table, data)

    def scope(self, run: int, scope: int) -> Scope | None:
        found: Scope | None = self._record("scopes", scope_key(run, scope))
        return found

    def step(self, run: int, scope: int, ordinal: int) -> Step | None:
        found: Step | None = self._record("steps", step_key(run, scope, ordinal))
        return found

    def scopes_of(self, run: int) -> list[Scope]:
        rows = self.scan_run("scopes", run)
        return [self._decoded("scopes", data) for _, data in rows]

    def steps_of(self, run: int) -> list[Step]:
        rows = self.scan_run("steps", run)
        return [self._decoded("steps", data) for _, data in rows]

    def record_rows(self, run: int) -> Iterator[tuple[str, bytes]]:
        """Every record of a run as stored: what the engine loads."""
        data = self.get("runs", run_key(run))
        assert data is not None, f"run {run} is listed as live and has no record"
        yield "runs", data
        for table in ("scopes", "steps"):
            for _, data in self.scan_run(table, run):
                yield table, data

    def plan(self, hash: str) -> Plan | None:
        """A stored plan, decoded once."""
        plan = self._plans.get(hash)
        if plan is None:
            data = self.get("plans", bytes.fromhex(hash))
            if data is None:
                return None
            plan = self._plans[hash] = decode(data)
        return plan

    def keep_plan(self, hash: str, plan: Plan) -> None:
        """Spare the decoding of a plan that this process compiled itself."""
        self._plans[hash] = plan

    # Values are JSON

    def out(self, run: int, scope: int, ordinal: int) -> bytes | None:
        return self.get("values", value_key(run, scope, ordinal, OUT))

    def params(self, run: int, scope: int) -> bytes | None:
        return self.get("values", value_key(run, scope, NONE, PARAMS))

    def items(self, run: int, scope: int) -> bytes | None:
        return self.get("values", value_key(run, scope, NONE, ITEMS))

    def outputs(self, run: int) -> bytes | None:
        """Outputs of a run."""
        return self.out(run, 0, NONE)

    def history(self, run: Run, after: int = 0) -> Iterator[Happened]:
        """Batches of events of log entries beyond index `after`, oldest first."""
        for key, data in self.scan_run("events", run.no, events_key(run.no, after + 1)):
            wall, events = _decode(data)
            index = int.from_bytes(key[8:], "big")
            yield Happened(run.no, run.id, index, wall, tuple(map(tuple, events)))
