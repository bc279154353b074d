"""Messages as bytes: every message comes back, every other bytes are refused, and the bytes stay what they are."""

from __future__ import annotations

import contextlib
import typing
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.raft import messages as raft_messages
from graft.raft.messages import Heartbeat, HeartbeatReply, TimeoutNow
from graft.transport import wire
from graft.transport.letters import Letter
from tests.support.messages import example, messages

GOLDEN = Path(__file__).parent / "wire.txt"


def test_every_message_and_letter_has_a_tag_of_its_own() -> None:
    kinds = {*typing.get_args(raft_messages.Message), *typing.get_args(Letter)}
    assert set(wire.TAGS) == kinds
    assert len(set(wire.TAGS.values())) == len(kinds)


@given(messages)
def test_what_is_written_is_read(message: Any) -> None:
    assert wire.decode(wire.encode(message)) == message


@given(messages, st.lists(st.none() | st.integers(-(2**63), 2**64 - 1) | st.text(), min_size=1, max_size=3))
def test_fields_of_a_newer_member_are_ignored(message: Any, more: list[Any]) -> None:
    row = msgspec.msgpack.decode(wire.encode(message))
    assert wire.decode(msgspec.msgpack.encode([*row, *more])) == message


@pytest.mark.parametrize("kind", wire.TAGS, ids=lambda kind: kind.__name__)
def test_fields_that_an_older_member_does_not_know_have_their_default(kind: type) -> None:
    row = msgspec.msgpack.decode(wire.encode(example(kind)))
    fields = attrs.fields(kind)
    required = [field for field in fields if field.default is attrs.NOTHING]
    found = wire.decode(msgspec.msgpack.encode(row[: 1 + len(required)]))
    for field in fields[len(required) :]:
        assert getattr(found, field.name) == field.default
    with pytest.raises(ValueError, match="at least length"):
        wire.decode(msgspec.msgpack.encode(row[: len(required)]))


@given(messages, st.data())
def test_truncated_and_damaged_bytes_are_refused_or_are_a_message(message: Any, data: st.DataObject) -> None:
    good = wire.encode(message)
    at = data.draw(st.integers(0, len(good) - 1))
    with pytest.raises(ValueError, match="no message between members"):
        wire.decode(good[:at])
    bad = good[:at] + bytes([data.draw(st.integers(0, 255))]) + good[at + 1 :]
    try:
        found = wire.decode(bad)
    except ValueError:
        return
    assert type(found) in wire.TAGS


@given(st.binary(max_size=100))
def test_any_bytes_raise_nothing_but_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        wire.decode(data)


@pytest.mark.parametrize(
    "row",
    [
        [10, "a", "b", -1, 2],
        [10, "a", "b", True, 2],
        [10, "a", b"b", 1, 2],
        [99, "a", "b", 1, 2],
        ["10", "a", "b", 1, 2],
        [],
        {},
        None,
    ],
)
def test_what_is_no_message(row: Any) -> None:
    with pytest.raises(ValueError, match="no message between members"):
        wire.decode(msgspec.msgpack.encode(row))


def test_deep_nesting_is_refused() -> None:
    deep = b"\x96\x0a\xa1a\xa1b\x01\x02" + b"\x91" * 200_000 + b"\x01"
    with pytest.raises(ValueError, match="no message between members"):
        wire.decode(deep)


def test_the_bytes_of_every_kind_stay_what_they_are() -> None:
    """A line that has to change is a member that no longer understands the others: add a field at the end instead."""
    lines = [f"{kind.__name__} {wire.encode(example(kind)).hex()}" for kind in wire.TAGS]
    assert GOLDEN.read_text().splitlines() == lines


def test_small_messages_are_small() -> None:
    assert len(wire.encode(Heartbeat("a", "b", 1, 2, 3, 4))) < 16
    assert len(wire.encode(HeartbeatReply("a", "b", 1, 2, 3))) < 16
    assert len(wire.encode(TimeoutNow("a", "b", 2**63, 2))) < 24
