"""An apply that fails leaves nothing: records, indexes and rows are as before, but for the pause that tells of it."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import settings

from graft.engine import Engine, invariants, steps
from graft.engine.commands import Command, Decided, Decision, UnpauseRun, decode_command
from graft.engine.engine import HASH_KEY
from graft.engine.records import NONE, Run, decode_record
from graft.plan import ErrorRecord
from tests.engine.test_properties import Random
from tests.support.engines import Driven, check_stored, flow, load, load_and_apply, store, task

Rows = dict[tuple[str, bytes], bytes]


def dispatch_and_fail(s: Any) -> None:
    dispatch(s)
    raise ZeroDivisionError("planted")


dispatch = steps.dispatch


class Failing(Random):
    """What happens to a run, in any order; then each command of the log once more, failing at its end."""

    def teardown(self) -> None:
        if not hasattr(self, "driven"):
            return
        engine, stored = Engine(strict=True), Rows()
        for index, data in enumerate(self.driven.log, start=1):
            command = decode_command(data)
            check_failure(dict(stored), index, command)
            load_and_apply(engine, stored, index, command)
            store(engine, stored)


def check_failure(stored: Rows, index: int, command: Command) -> None:
    engine, before = load(stored, index - 1), dict(stored)
    engine.strict = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "dispatch", dispatch_and_fail)
        applied = load_and_apply(engine, stored, index, command)
    store(engine, stored)
    check_stored(engine, stored)
    assert comparable(stored, before) == comparable(before, before)
    invariants.check(engine.state)
    failed = [run for run in engine.state.live_runs() if run.paused == "internal"]
    assert not failed or applied.refused == "internal"
    for run in failed:
        index += 1
        load_and_apply(engine, stored, index, UnpauseRun(run.no))
        invariants.check(engine.state)


def comparable(stored: Rows, before: Rows) -> dict[tuple[str, bytes], Any]:
    """The rows without what the pause of a run that failed, and the clocks, change."""
    rows: dict[tuple[str, bytes], Any] = {}
    for (table, key), value in stored.items():
        if table == "runs":
            rows[table, key] = str(without_pause(value, before[table, key]))
        elif table == "meta" and key != HASH_KEY and (table, key) in before:
            rows[table, key] = str(evolve(decode_record(table, value), now=0, wall=0))  # type: ignore[type-var]
        elif table not in ("events", "meta"):
            rows[table, key] = value
    return rows


def without_pause(value: bytes, before: bytes) -> Run:
    run, was = decode_record("runs", value), decode_record("runs", before)
    assert isinstance(run, Run)
    assert isinstance(was, Run)
    if run.paused != "internal":
        return evolve(run)
    assert len(run.idle) == len(was.idle) + 1
    return evolve(run, paused=was.paused, paused_at=was.paused_at, idle=was.idle, events=was.events)


Failing.TestCase.settings = settings(max_examples=15, stateful_step_count=30, deadline=None, report_multiple_bugs=False)
TestFailing = Failing.TestCase


def test_the_error_of_outputs_goes_with_the_apply_that_fails() -> None:
    driven = Driven()
    driven.register()
    driven.start(flow(task("a"), outputs=("dict",)))
    driven.settle(driven.key("a"))
    driven.drain()
    decision = Decision(0, NONE, "fail", reason="no", error=ErrorRecord("expression", "no"))
    check_failure(driven.stored, len(driven.log) + 1, Decided(1, 1, (decision,), **driven.stamp()))
