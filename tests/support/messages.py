"""Messages and letters of every kind, drawn by Hypothesis from the records themselves."""

from __future__ import annotations

import typing
from typing import Any

import attrs
from hypothesis import strategies as st

from graft.raft.records import Configuration, Entry, Member, SnapshotMeta
from graft.transport.wire import TAGS

numbers = st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1))


def _of(hint: Any) -> st.SearchStrategy[Any]:
    if attrs.has(hint):
        return records(hint)
    if typing.get_origin(hint) is typing.Literal:
        return st.sampled_from(typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        inner = [_of(each) for each in typing.get_args(hint) if each is not Ellipsis]
        if Ellipsis in typing.get_args(hint):
            return st.lists(inner[0], max_size=3).map(tuple)
        return st.tuples(*inner)
    if type(None) in typing.get_args(hint):
        return st.one_of(*(st.none() if each is type(None) else _of(each) for each in typing.get_args(hint)))
    return {int: numbers, str: st.text(max_size=20), bytes: st.binary(max_size=50), bool: st.booleans()}[hint]


def records(kind: type) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{field.name: _of(hints[field.name]) for field in attrs.fields(kind)})


messages = st.one_of([records(kind) for kind in TAGS])


def example(kind: type) -> Any:
    """One message of a kind whose fields are all different from their defaults and from each other."""
    counter = iter(range(1, 100))

    def value(hint: Any) -> Any:
        number = next(counter)
        if hint is Configuration:
            return Configuration((Member("a", number), Member("b", 2, "learner")), (Member("a", 1),), (("c", 3),))
        if hint is SnapshotMeta:
            return SnapshotMeta("s", number, 2, value(Configuration), 3, 4, "crc", 5, 6)
        if hint in (Entry, Entry | None):
            return Entry(number, 2, 1, b"data")
        if typing.get_origin(hint) is tuple:
            return (Entry(number, 2, 1, b"data"), Entry(number + 1, 2, 0, b""))
        if hint is bool:
            return True
        return {str: f"text{number}", bytes: b"bytes%d" % number}.get(hint, number)

    hints = typing.get_type_hints(kind)
    return kind(*(value(hints[field.name]) for field in attrs.fields(kind)))
