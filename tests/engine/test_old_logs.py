"""Promise 10: a log from before there were clusters is read, and gives the state that it always gave."""

from __future__ import annotations

from pathlib import Path

import pytest

from graft.engine import Engine
from graft.engine.commands import (
    AttemptSettled,
    CancelRun,
    Command,
    Decided,
    Decision,
    PauseRun,
    RegisterMember,
    RegisterPlan,
    RetryRun,
    StartRun,
    TimersDue,
    UnpauseRun,
    decode_command,
)
from graft.engine.records import NONE, Member, Meta, Run, decode_record, encode_record
from graft.plan import ErrorRecord
from tests.support.engines import load_and_apply, store

AT = {"now": 5, "wall": 7}
ERROR = ErrorRecord("exit.1", "t", cause=(ErrorRecord("x", "y"),))
ERROR_BYTES = (
    "86a7617474656d707400a563617573659186a7617474656d707400a5636175736590a664657461696ca0a46e6f6465a0a57469746c65a179"
    "a474797065a178a664657461696ca0a46e6f6465a0a57469746c65a174a474797065a6657869742e31"
)
HASH = "ab" * 32

# The bytes that version 0.1 wrote for every command it had.
OLD: list[tuple[str, Command]] = [
    ("9501010507c4027b7d", RegisterPlan(b"{}", **AT)),
    (
        f"9a01020507a172d940{HASH.encode().hex()}c4027b7da22f62919200c401319101",
        StartRun("r", HASH, b"{}", base="/b", given=((0, b"1"),), excluded=(1,), **AT),
    ),
    ("9701030507a16d099292a12a0492a372756e02", RegisterMember("m", 9, (("*", 4), ("run", 2)), **AT)),
    (
        f"9d0104050701020304a66661696c656405c40131{ERROR_BYTES}06",
        AttemptSettled(1, 2, 3, token=4, status="failed", dice=5, value=b"1", error=ERROR, retry_after_ms=6, **AT),
    ),
    (
        "97010505070101"
        "92970001a2676fc000a0c09700ceffffffffa46661696cc4016402a377687986a7617474656d707400a5636175736590"
        "a664657461696ca0a46e6f6465a0a57469746c65a162a474797065a161",
        Decided(1, 1, (Decision(0, 1, "go"), Decision(0, NONE, "fail", b"d", 2, "why", ErrorRecord("a", "b"))), **AT),
    ),
    ("9401060507", TimersDue(**AT)),
    ("980107050701ceffffffffceffffffffa178", CancelRun(1, NONE, NONE, "x", **AT)),
    ("960108050701a6706572736f6e", PauseRun(1, "person", **AT)),
    ("950109050701", UnpauseRun(1, **AT)),
    ("97010a0507010002", RetryRun(1, 0, 2, **AT)),
]


@pytest.mark.parametrize(("data", "command"), OLD, ids=lambda value: type(value).__name__)
def test_a_command_of_the_first_version_is_read(data: str, command: Command) -> None:
    assert decode_command(bytes.fromhex(data)) == command


def test_an_old_log_gives_the_state_that_it_always_gave() -> None:
    text = (Path(__file__).parent / "golden" / "before_clusters.txt").read_text()
    log = [bytes.fromhex(line) for line in text.splitlines() if not line.startswith("#")]
    engine, stored = Engine(strict=True), dict[tuple[str, bytes], bytes]()
    for index, data in enumerate(log, start=1):
        load_and_apply(engine, stored, index, decode_command(data))
        store(engine, stored)
    assert len(log) == 22
    assert f"{engine.state_hash():016x}" == "32ad09fb29cd1496"


def test_records_keep_their_old_bytes_while_nothing_new_is_in_them() -> None:
    member = Member(id="m", incarnation=9, slots=(("*", 4),))
    old = bytes.fromhex("9501a16d099192a12a04c3")  # version, id, incarnation, slots, live
    assert encode_record(member) == old
    read = decode_record("members", old)
    assert isinstance(read, Member)
    assert (read.labels, read.draining, read.past) == ((), False, ())
    member.draining = True
    again = decode_record("members", encode_record(member))
    assert isinstance(again, Member)
    assert (again.id, again.draining, again.stopping) == ("m", True, False)


def test_a_new_field_of_every_record_is_kept() -> None:
    run, meta = Run(no=1, near="b"), Meta(config=None)
    assert decode_record("runs", encode_record(run)).near == "b"  # type: ignore[attr-defined]
    assert len(encode_record(meta)) == 7
