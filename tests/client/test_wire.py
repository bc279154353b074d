"""What is sent is what arrives: every field of every record that the services carry."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from graft import errors
from graft.cluster import wire
from graft.cluster.inputs import Inputs
from graft.cluster.membership import ClusterStatus, MemberView
from graft.cluster.views import EventView, MapView, RunSummary, RunView, StepResult, StepView
from graft.plan import ErrorRecord, plan_hash
from graft.worker.logs import LogLine
from tests.support.servers import plan_of

PLAN = plan_of('graft = 1\nname = "x"\n[nodes.a]\nvalue = 1\n')
CAUSE = ErrorRecord("exit.2", "it ended with 2", "detail", "pick[0]/b", 3)
ERROR = ErrorRecord("python.Boom", "boom", "it went wrong", "pick", 2, (CAUSE,))
LEAF = StepView(
    "pick[0]", "pick", "run", "failed", 2, 1_000, 2_000, ERROR, "because", True, member="n1", due_at=9, item="x"
)
MAP = StepView(
    "pick", "pick", "run", "failed", 1, 1_000, 2_000, CAUSE, "one failed", False, (LEAF,), 3, 2, "n1", 9, "y"
)
RUN = RunView(
    run_id="x-1",
    name="x",
    status="failed",
    reason="because",
    generation=2,
    params={"a": [1, None, "ü"], "b": {"c": 1.5}},
    started_at=1_000,
    ended_at=2_000,
    paused="interrupted",
    outputs={"out": [1]},
    error=ERROR,
    plan=PLAN,
    plan_hash=plan_hash(PLAN),
    flow_base="/srv",
    steps=(MAP,),
    counts={"failed": 2},
    waiting="pick: parked",
    idle=((1_100, 1_200), (1_300, 0)),
)
SUMMARY = RunSummary("x-1", "x", "failed", 2, 1_000, 2_000, "interrupted", "because", ((1_100, 0),), "pick: parked")
EVENT = EventView((1 << 40) + 7, "x-1", 1_000, "pick[0]", "failed", "because", 2)
LINE = LogLine("2026-01-01T00:00:00.000Z", "pick[0]", 2, "err", "text", True, "n1")
RESULT = StepResult(
    "succeeded", b"null", MapView(2, ("a", "b")), Inputs({"env": {"A": "ü"}}, {"cwd": "it is not there"})
)
MEMBER = MemberView(
    "n1", (1 << 63) - 1, "voter", "h:1", True, True, {"a": "b"}, ("python:x",), "z", {"*": 4}, {"*": 1}, 9, 2, True, 1.5
)
STATUS = ClusterStatus(
    "c", "n1", "leader", "n1", 3, 1, 9, 8, 7, (1 << 64) - 1, 2, 10, 20, True, "0.1", 4, ("it is full",)
)

BOTH_WAYS: list[tuple[Any, Any, Any]] = [
    (wire.run_message, wire.read_run, RUN),
    (wire.summary_message, wire.read_summary, SUMMARY),
    (wire.event_message, wire.read_event, EVENT),
    (wire.member_message, wire.read_member, MEMBER),
    (wire.status_message, wire.read_status, STATUS),
    (wire.result_message, wire.read_result, RESULT),
    (lambda line: wire.log_message(line, "n1"), wire.read_log, LINE),
]


@pytest.mark.parametrize(("write", "read", "record"), BOTH_WAYS, ids=lambda each: type(each).__name__)
def test_every_field_arrives(write: Any, read: Any, record: Any) -> None:
    message = write(record)
    assert read(type(message).FromString(message.SerializeToString())) == record


@pytest.mark.parametrize(
    "record", [RUN, SUMMARY, EVENT, MEMBER, STATUS, LINE, MAP, RESULT], ids=lambda each: type(each).__name__
)
def test_the_records_above_leave_no_field_at_its_default(record: Any) -> None:
    """So that a field which is added and forgotten in `wire` fails the test before this one."""
    for field in attrs.fields(type(record)):
        if field.default is not attrs.NOTHING and not (record is MAP and field.name in ("has_out", "attempt")):
            value = getattr(record, field.name)
            default = field.default.factory() if hasattr(field.default, "factory") else field.default
            assert value != default, field.name


def test_what_is_not_there_stays_away() -> None:
    bare = attrs.evolve(RUN, ended_at=None, outputs=None, error=None, waiting=None, params={}, steps=(), counts={})
    assert wire.read_run(wire.run_message(bare)) == bare
    pending = StepView("a", "a", "value", "pending")
    assert wire.read_step(wire.step_message(pending)) == pending


def test_a_wait_without_words_is_a_wait() -> None:
    assert wire.read_run(wire.run_message(attrs.evolve(RUN, waiting=""))).waiting == ""


@pytest.mark.parametrize(
    "error",
    [
        errors.UsageError("no", hint="yes"),
        errors.InvalidParams("no"),
        errors.RunConflict("no"),
        errors.Rejected("no", reason="overloaded"),
    ],
)
def test_a_problem_is_the_error_again(error: errors.GraftError) -> None:
    found = wire.read_problem(wire.problem_message(error))
    assert type(found) is type(error)
    assert (found.message, found.hint) == (error.message, error.hint)
    assert getattr(found, "reason", "") == getattr(error, "reason", "")


def test_a_problem_of_a_class_that_is_not_known_is_a_graft_error() -> None:
    message = wire.problem_message(errors.GraftError("odd"))
    for name in ("NewError", "annotations", "GraftErro", ""):
        message.type = name
        assert type(wire.read_problem(message)) is errors.GraftError
