"""What is logged and stored is read again as it was, and nothing else is taken for it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from attrs import evolve

from graft.engine.commands import (
    VERSION,
    AttemptSettled,
    Command,
    Decided,
    Decision,
    DropPlans,
    RegisterMember,
    RemoveRuns,
    SetClusterConfig,
    StartRun,
    SweepRun,
    TimersDue,
    decode_command,
    encode_command,
)
from graft.engine.defaults import with_defaults
from graft.engine.engine import request_digest
from graft.engine.records import (
    ClusterConfig,
    Member,
    Meta,
    Record,
    Run,
    Scope,
    Step,
    closed_idle,
    config_from,
    decode_record,
    digest,
    encode_record,
    error_from,
    record_hash,
)
from graft.plan import ErrorRecord, Node, SleepAction
from tests.support.engines import task

ERROR = ErrorRecord(
    "group", "t", cause=(ErrorRecord("exit.1", "a", cause=(ErrorRecord("x", "y"),)), ErrorRecord("z", "w"))
)
CONFIG = ClusterConfig(total=3, kinds=(("run", 1), ("http", 2)), max_runs=4)

RECORDS: list[Record] = [
    Run(no=3, id="r", error=ERROR, near="a", idle=((1, 2), (3, 0))),
    Run(no=3, id="r"),
    Scope(run=3, no=2, errors=(ERROR, ERROR), todo=(1, 2)),
    Scope(run=3, no=2, todo=()),
    Scope(run=3, no=2),
    Step(run=3, scope=2, ordinal=1, error=ERROR, ran_on="b"),
    Step(run=3, scope=2, ordinal=1),
    Member(id="m", slots=(("*", 1), ("run", 2)), labels=(("gpu", "a"),), node_types=("run",), past=(4, 3)),
    Meta(next_run=3, now=4, wall=5, config=CONFIG, clock_offset=-7, rules=1),
    Meta(),
]
COMMANDS: list[Command] = [
    StartRun("r", "ab", b"{}", given=((0, b"1"), (2, b"2")), excluded=(1, 3), now=1, wall=2),
    RegisterMember("m", 4, (("*", 1),), labels=(("gpu", ""),), node_types=("run",), rules=1),
    AttemptSettled(1, 0, 2, token=3, status="failed", error=ERROR),
    Decided(1, 1, (Decision(0, 1, "fail", error=ERROR), Decision(0, 2, "go"))),
    SetClusterConfig(CONFIG),
    RemoveRuns(((1, 2), (3, 1))),
    SweepRun(1, 100),
    DropPlans(("ab", "cd"), 4),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_is_read_as_it_was(record: Record) -> None:
    data = encode_record(record)
    read = decode_record(record.table, data)
    assert type(read).fields_of(read) == type(record).fields_of(record)
    assert [type(value) for value in type(read).fields_of(read)] == [
        type(value) for value in type(record).fields_of(record)
    ]
    assert encode_record(read) == data
    assert record_hash(read, data) != record_hash(read, data + b"\0")


def test_a_record_of_a_later_version_is_not_read() -> None:
    version, *values = msgspec.msgpack.decode(encode_record(Run()))
    with pytest.raises(AssertionError, match="a record of runs has version 2"):
        decode_record("runs", msgspec.msgpack.encode((version + 1, *values)))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_a_command_is_read_as_it_was(command: Command) -> None:
    read = decode_command(encode_command(command))
    assert read == command
    assert hash(read) == hash(command)  # no list is left in it


@pytest.mark.parametrize(
    "data",
    [
        (VERSION + 1, TimersDue.tag, 1, 2),
        (VERSION, 99, 1, 2),
        (VERSION,),
        (VERSION, SetClusterConfig.tag, 1, 2, 3),
        (VERSION, SweepRun.tag),
    ],
)
def test_what_is_not_a_command_is_not_read(data: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="not a command: "):
        decode_command(msgspec.msgpack.encode(data))


def test_a_command_of_a_later_program_says_so() -> None:
    with pytest.raises(ValueError, match="command version 1 tag 99 is unknown to this version of Graft"):
        decode_command(msgspec.msgpack.encode((VERSION, 99)))


def test_a_configuration_is_a_table_and_what_is_not_known_of_it_is_left_out() -> None:
    assert config_from(None) is None
    assert config_from(CONFIG) is CONFIG
    assert config_from({"total": 3, "kinds": [["run", 1]], "later": 9}) == ClusterConfig(total=3, kinds=(("run", 1),))
    with pytest.raises(TypeError, match="a cluster configuration is a table, got list"):
        config_from([1])


def test_an_error_is_read_with_its_causes() -> None:
    assert error_from(None) is None
    assert error_from(ERROR) is ERROR
    table = {"type": "exit.1", "title": "a", "cause": [{"type": "x", "title": "y"}, None]}
    assert error_from(table) == ErrorRecord("exit.1", "a", cause=(ErrorRecord("x", "y"),))


def test_nothing_has_a_digest_of_its_own() -> None:
    assert digest(b"") != 0
    assert digest(b"a") != digest(b"b")


def test_the_last_pause_is_closed_once() -> None:
    assert closed_idle((), 5) == ()
    assert closed_idle(((1, 2),), 5) == ((1, 2),)
    assert closed_idle(((1, 2), (3, 0)), 5) == ((1, 2), (3, 5))
    assert closed_idle(((3, 0),), 2) == ((3, 3),)  # the clock went back


def test_another_request_has_another_digest() -> None:
    start = StartRun("r", "ab", b"{}", given=((0, b"1"),), excluded=(1,))
    assert request_digest(evolve(start, run_id="other", base="/b", now=5)) == request_digest(start)
    for changed in ({"plan": "cd"}, {"params": b"{1}"}, {"given": ()}, {"excluded": ()}):
        assert request_digest(evolve(start, **changed)) != request_digest(start)


def test_a_task_without_a_timeout_has_that_of_the_cluster() -> None:
    config = ClusterConfig(attempt_timeout_ms=500)
    assert with_defaults(task("a"), config) == task("a", timeout_ms=500)
    nap = Node("nap", SleepAction(("const", 5)))
    for node, given in [
        (task("a"), None),
        (task("a"), ClusterConfig()),
        (task("a", timeout_ms=7), config),
        (nap, config),
    ]:
        assert with_defaults(node, given) is node
