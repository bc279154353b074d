"""Frames between a member and its hosts: nothing is lost on the way, and what a host sends is checked."""

from __future__ import annotations

import os
import socket
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from graft.errors import AbsentValue
from graft.expressions import ProgramCache
from graft.plan import ErrorRecord, ForEach, Node, PythonAction, Retry, RunAction, Secret
from graft.plan.codec import decode_node, encode_node
from graft.plan.records import ACTIONS, TASK_KINDS, Tree
from graft.worker import Assignment, Outcome
from graft.worker import host_wire as wire
from graft.worker.guardian_client import Process
from graft.worker.host_process import Flight, HostProcess
from graft.worker.inputs import EVALUATED, names_read

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
ERRORS = st.recursive(
    st.builds(ErrorRecord, TEXTS, TEXTS, TEXTS),
    lambda inner: st.builds(ErrorRecord, TEXTS, TEXTS, TEXTS, cause=st.lists(inner, max_size=2).map(tuple)),
    max_leaves=4,
)


def assignment(lookup: Callable[[str], Any] = {}.__getitem__, **changes: Any) -> Assignment:
    whole = Assignment(
        run_id="r1",
        key=(1, 2, 3),
        token=4,
        attempt=1,
        path="pick[3]/pack",
        node=Node("pack", RunAction("true")),
        lookup=lookup,
        secrets={"A": Secret("A", "env", "TOKEN")},
        base=Path("/some/where"),
        idempotency_key="k",
        programs=ProgramCache(),
        max_result_bytes=1000,
    )
    return attrs.evolve(whole, **changes)


def read(data: bytes) -> list[Any]:
    (message,) = wire.FrameReader().feed(data)
    return message


# To a host


@given(st.dictionaries(TEXTS, VALUES, max_size=4), st.binary(max_size=12).filter(lambda each: b"\0" not in each))
def test_an_attempt_comes_over_whole(values: dict[str, Any], base: bytes) -> None:
    sent = assignment(values.__getitem__, base=Path(os.fsdecode(base)))
    message = read(wire.start_frame(9, 5, tuple(values), sent, 12.5))
    assert message[:4] == [wire.START, 9, 5, 12.5]
    got = wire.read_start(message, sent.node, sent.programs)
    assert {name: got.lookup(name) for name in values} == values
    assert attrs.evolve(got, lookup=sent.lookup).__repr__() == sent.__repr__()


@pytest.mark.parametrize("value", [2**63, 2**64, -(2**63) - 1, 2**1000, 1e308])
def test_a_number_that_fits_the_store_fits_the_wire(value: float) -> None:
    message = read(wire.start_frame(1, 1, ("a.out",), assignment({"a.out": [value]}.__getitem__), 0.0))
    assert wire.read_start(message, Node("n", ()), ProgramCache()).lookup("a.out") == [value]  # type: ignore[arg-type]


def test_a_value_that_is_absent_here_is_absent_there() -> None:
    def lookup(name: str) -> Any:
        raise AbsentValue("it was skipped", hint="use default()")

    got = wire.read_start(
        read(wire.start_frame(1, 1, ("a.out",), assignment(lookup), 0.0)), Node("n", ()), ProgramCache()
    )  # type: ignore[arg-type]
    for name, message in (("a.out", "it was skipped"), ("b.out", "b.out did not come with the step")):
        with pytest.raises(AbsentValue) as caught:
            got.lookup(name)
        assert caught.value.message == message


def test_a_node_comes_over_whole() -> None:
    node = Node(
        "pick",
        PythonAction("a:b", ("dict", (("const", "x"), ("var", "fetch.out"))), "process"),
        needs=("fetch",),
        for_each=ForEach(("var", "fetch.out"), "book"),
        retry=Retry(5, on=("http.*",)),
        timeout_ms=500,
        returns=("record", (("n", "int"), ("s", ("optional", "string")))),
    )
    assert decode_node(encode_node(node)) == node
    assert names_read(node) == ("book", "fetch.out", "index")


def test_every_tree_of_an_action_is_among_its_inputs() -> None:
    """A field that an executor evaluates, and that is not in the table, would find its values absent in a host."""
    for kind in TASK_KINDS:
        hints = typing.get_type_hints(ACTIONS[kind])
        trees = {name for name, hint in hints.items() if Tree in (hint, *typing.get_args(hint))}
        assert trees == set(EVALUATED[ACTIONS[kind]]), kind


def test_secrets_are_not_sent() -> None:
    tree = ("dict", (("const", "A"), ("var", "secrets.A")), (("const", "B"), ("var", "run")))
    assert names_read(Node("n", RunAction("true", env=tree))) == ("run",)


# From a host


@given(VALUES)
def test_a_success_comes_back_whole(value: Any) -> None:
    sent = Outcome("succeeded", msgspec.json.encode(value))
    message = read(wire.settled_frame(7, sent))
    assert message[:2] == [wire.SETTLED, 7]
    assert repr(wire.read_settled(message, assignment(max_result_bytes=1 << 20))) == repr(sent)


@given(ERRORS, st.sampled_from(["failed", "timed_out", "cancelled", "lost"]), st.none() | st.integers(0, 2**53 - 1))
def test_a_failure_comes_back_whole(error: ErrorRecord, status: Any, retry_after_ms: int | None) -> None:
    a = assignment()
    sent = Outcome(status, error=error, retry_after_ms=retry_after_ms if status == "failed" else None)
    got = wire.read_settled(read(wire.settled_frame(7, sent)), a)
    assert (got.status, got.value, got.retry_after_ms) == (sent.status, None, sent.retry_after_ms)
    assert got.error == attrs.evolve(error, node=a.path, attempt=a.attempt)


def test_a_huge_error_is_cut() -> None:
    deep = ErrorRecord("a", "b", "c" * 4000, cause=tuple(ErrorRecord("x", "y", "z" * 4000) for _ in range(100)))
    sent = wire.settled_frame(1, Outcome("failed", error=deep))
    assert len(sent) < 10_000
    raw = wire.frame(
        wire.SETTLED, 1, "failed", None, attrs.evolve(deep, title="t" * 100_000, detail="d" * 100_000), None
    )
    got = wire.read_settled(read(raw), assignment()).error
    assert got is not None
    assert len(msgspec.msgpack.encode(got)) < 20_000


@pytest.mark.parametrize(
    "fields",
    [
        ["succeeded", None, None, None],
        ["succeeded", b"1", {"type": "a", "title": "b"}, None],
        ["succeeded", b"", None, None],
        ["succeeded", b"nul", None, None],
        ["succeeded", b"1 2", None, None],
        ["succeeded", b'"\xff"', None, None],
        ["succeeded", b"[" * 50_000 + b"]" * 50_000, None, None],
        ["succeeded", b'"' + b"x" * 1000 + b'"', None, None],
        ["succeeded", "1", None, None],
        ["succeeded", b"1", None, 5],
        ["failed", None, None, None],
        ["failed", b"1", {"type": "a", "title": "b"}, None],
        ["failed", None, {"type": "a"}, None],
        ["failed", None, {"type": 1, "title": "b"}, None],
        ["failed", None, {"type": "a", "title": "b"}, -1],
        ["failed", None, {"type": "a", "title": "b"}, True],
        ["failed", None, {"type": "a", "title": "b"}, 1.5],
        ["failed", None, {"type": "a", "title": "b"}, 2**53],
        ["done", None, None, None],
        [None, None, None, None],
        [["failed"], None, {"type": "a", "title": "b"}, None],
        ["cancelled", None, None],
        ["cancelled", None, None, None, None],
    ],
)
def test_outcomes_that_are_none(fields: list[Any]) -> None:
    with pytest.raises(wire.HostileFrame):
        wire.read_settled(
            [wire.SETTLED, 1, *fields], assignment(max_result_bytes=1000 if len(str(fields)) < 5000 else 1 << 20)
        )


@given(st.lists(st.binary(max_size=40) | st.binary(max_size=8).map(lambda data: len(data).to_bytes(4, "big") + data)))
def test_the_reader_gives_messages_or_says_no(chunks: list[bytes]) -> None:
    frames = wire.FrameReader(64)
    try:
        for chunk in chunks:
            for message in frames.feed(chunk):
                assert type(message[0]) is int
    except wire.HostileFrame:
        pass


@given(st.lists(st.lists(VALUES, max_size=4), max_size=5), st.data())
def test_frames_may_come_in_any_pieces(messages: list[list[Any]], data: st.DataObject) -> None:
    messages = [[number, *message] for number, message in enumerate(messages)]
    whole = b"".join(wire.frame(*message) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    frames = wire.FrameReader()
    got = [
        each
        for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)
        for each in frames.feed(whole[start:end])
    ]
    assert got == messages


SAID = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([wire.TAKEN, wire.LATE]), st.lists(st.integers(0, 4), max_size=3)),
        st.tuples(st.just(wire.SETTLED), st.integers(0, 4), st.just("cancelled"), st.none(), st.none(), st.none()),
        st.tuples(st.sampled_from([wire.READY, wire.PONG, 5, -1])),
        st.tuples(st.just(wire.PONG), st.integers(0, 2)),
        st.lists(VALUES, max_size=4).map(tuple),
    ),
    max_size=12,
)


@given(SAID)
def test_whatever_a_host_says_each_attempt_ends_once_or_is_given_back(said: list[tuple[Any, ...]]) -> None:
    """Three attempts; a host that says anything in any order. It is believed or given up, and breaks nothing."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        host = HostProcess(ours, Process(None, 1, "tag"))  # type: ignore[arg-type]
        ended: list[Flight] = []
        host.on_settled = lambda flight, _: ended.append(flight)
        host.on_returned = ended.extend
        flights = [Flight(assignment(), lambda _, __: None) for _ in range(3)]
        for flight in flights:
            host.start(flight)
        for message in said:
            host._take(wire.frame(*message))
        assert len({id(flight) for flight in ended}) == len(ended)
        assert {*map(id, ended), *map(id, host.flights.values())} == set(map(id, flights))


async def test_a_recall_keeps_what_is_read_in_its_order() -> None:
    """The task that reads may have taken something out of the socket that it has not dealt with."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        host = HostProcess(ours, Process(None, 1, "tag"))  # type: ignore[arg-type]
        ended: list[Flight] = []
        host.on_settled = lambda flight, _: ended.append(flight)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host._read)
            host.start(Flight(assignment(), lambda _, __: None))  # never taken, so there is something to recall
            for number in range(2, 2002):
                host.start(Flight(assignment(), lambda _, __: None))
                data = wire.frame(wire.TAKEN, [number]) + wire.settled_frame(number, Outcome("succeeded", b"1"))
                cut = number % len(data)
                for piece in (data[:cut], data[cut:]):
                    theirs.send(piece)
                    await trio.lowlevel.checkpoint()
                    host.recall()
                    assert host.down is None
            while len(ended) < 2000:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
