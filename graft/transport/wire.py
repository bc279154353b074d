"""Messages and letters as bytes: a msgpack array `[tag, field, field, ...]`, fields in the order of the record.

A tag means one record for ever. Records grow at the end only, by fields with a default: an older member ignores what
it does not know, a newer one takes the default for what is missing (tests/transport/test_wire.py keeps the bytes of
every record). Bytes that are no message raise `ValueError` and nothing else, whatever they are.

Records are attrs classes, which msgspec writes as maps, with names: twice the bytes, and it cannot tell a union of them
apart. So each has a twin, a msgspec struct that is written as an array and checked in C when it is read; a twin costs
less than a microsecond a message.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from operator import attrgetter
from typing import Annotated, Any

import attrs
import msgspec

from graft.raft import messages
from graft.raft.messages import Message
from graft.raft.records import Configuration, Entry, Member, SnapshotMeta
from graft.transport.letters import Answer, Ask, Letter

TAGS: dict[type, int] = {
    messages.RequestVote: 1,
    messages.VoteReply: 2,
    messages.AppendEntries: 3,
    messages.AppendReply: 4,
    messages.Heartbeat: 5,
    messages.HeartbeatReply: 6,
    messages.StaleTerm: 7,
    messages.InstallSnapshot: 8,
    messages.SnapshotReply: 9,
    messages.TimeoutNow: 10,
    messages.ReadIndex: 11,
    messages.ReadIndexReply: 12,
    messages.RepairRequest: 13,
    messages.RepairReply: 14,
    Ask: 64,
    Answer: 65,
}
PARTS: tuple[type, ...] = (Entry, Member, Configuration, SnapshotMeta)  # records inside of records, inner ones first

# Every number is one that a member counts or draws: none is negative.
Number = Annotated[int, msgspec.Meta(ge=0)]
Convert = Callable[[Any], Any]


class _Twin:
    """A record's struct, and the way there (`pack`: what msgspec writes) and back (`unpack`)."""

    def __init__(self, record: type, tag: int | None, parts: dict[type, _Twin]) -> None:
        self.record, self.tag = record, tag
        self.names = [field.name for field in attrs.fields(record)]
        hints = typing.get_type_hints(record)
        self.fields_of = attrgetter(*self.names)
        self.nested: list[tuple[int, Convert, Convert]] = []
        defaults = {field.name: field.default for field in attrs.fields(record)}
        fields: list[Any] = []
        for index, name in enumerate(self.names):
            type_, pack, unpack = _translate(hints[name], parts)
            if pack is not None:
                assert unpack is not None
                self.nested.append((index, pack, unpack))
            if defaults[name] is attrs.NOTHING:
                fields.append((name, type_))
            else:
                # A default that is a record is one of the empty ones, which have an equal twin: () and None as well.
                fields.append((name, type_, _twin_of_default(defaults[name], parts)))
        self.struct = msgspec.defstruct(record.__name__, fields, tag=tag, array_like=True, frozen=True, gc=False)

    def pack(self, record: Any) -> tuple[Any, ...]:
        values: tuple[Any, ...] = self.fields_of(record)
        if self.nested:
            mutable = list(values)
            for index, pack, _ in self.nested:
                mutable[index] = pack(mutable[index])
            values = tuple(mutable)
        return values if self.tag is None else (self.tag, *values)

    def unpack(self, struct: Any) -> Any:
        if not self.nested:
            return self.record(*self.fields_of(struct))
        values = list(self.fields_of(struct))
        for index, _, unpack in self.nested:
            values[index] = unpack(values[index])
        return self.record(*values)


def _twin_of_default(default: Any, parts: dict[type, _Twin]) -> Any:
    twin = parts.get(type(default))
    return default if twin is None else twin.struct()


def _translate(hint: Any, parts: dict[type, _Twin]) -> tuple[Any, Convert | None, Convert | None]:
    """The type that msgspec reads for `hint`, and the conversions, None where none is needed."""
    if hint is int:
        return Number, None, None
    if hint in parts:
        twin = parts[hint]
        return twin.struct, twin.pack, twin.unpack
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        inner = [_translate(each, parts) for each in arguments if each is not Ellipsis]
        shape = tuple[inner[0][0], ...] if Ellipsis in arguments else tuple[tuple(type_ for type_, _, _ in inner)]  # type: ignore[misc]
        pack, unpack = inner[0][1:]
        if pack is None or unpack is None:
            return shape, None, None
        return shape, _each(pack), _each(unpack)
    if type(None) in arguments:
        (other,) = (each for each in arguments if each is not type(None))
        type_, pack, unpack = _translate(other, parts)
        return type_ | None, pack and _maybe(pack), unpack and _maybe(unpack)
    return hint, None, None


def _each(convert: Convert) -> Convert:
    return lambda values: tuple([convert(value) for value in values])


def _maybe(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def _twins() -> dict[type, _Twin]:
    parts: dict[type, _Twin] = {}
    for record in PARTS:
        parts[record] = _Twin(record, None, parts)
    return {record: _Twin(record, tag, parts) for record, tag in TAGS.items()}


_TWINS = _twins()
_PACKERS = {record: twin.pack for record, twin in _TWINS.items()}
_UNPACKERS = {twin.struct: twin.unpack for twin in _TWINS.values()}
_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(typing.Union[tuple(_UNPACKERS)])  # noqa: UP007


def encode(message: Message | Letter) -> bytes:
    """The bytes of a message. Raises KeyError for what is none."""
    return _ENCODER.encode(_PACKERS[type(message)](message))


def decode(data: bytes | memoryview) -> Message | Letter:
    """The message of these bytes. Raises ValueError for bytes that are none."""
    try:
        twin = _DECODER.decode(data)
    except (ValueError, RecursionError, OverflowError) as error:
        raise ValueError(f"no message between members: {error}") from None
    found: Message | Letter = _UNPACKERS[type(twin)](twin)
    return found
