"""Annotations as type trees: what a type means as JSON, in both directions."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict, Union

import attrs
import msgspec
import pytest

from graft.plan.types import problems
from graft.registry.annotations import type_tree
from graft.registry.functions import converter
from graft.worker.results import encode_result


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


class Shape(enum.Enum):
    ROUND = (1, 2)


@attrs.frozen
class Line:
    sku: str
    count: int = 1


@dataclass
class Order:
    lines: list[Line]
    day: dt.date
    notes: dict[str, str] = field(default_factory=dict)


class Partial(TypedDict):
    a: int
    b: NotRequired[str]


class Point(msgspec.Struct):
    x: float
    y: float = 0.0


class Pair(NamedTuple):
    a: int
    b: str


@attrs.frozen
class Tree:
    children: list[Tree]


UserId = NewType("UserId", str)


@pytest.mark.parametrize(
    ("annotation", "tree"),
    [
        (str, "string"),
        (int, "int"),
        (float, "float"),
        (bool, "bool"),
        (None, "none"),
        (Any, "any"),
        (object, "any"),
        (dt.date, "date"),
        (dt.datetime, "datetime"),
        (dt.timedelta, "duration"),
        (bytes, "string"),
        (uuid.UUID, "string"),
        (decimal.Decimal, "string"),
        (Path, "string"),
        (UserId, "string"),
        (dict, "record"),
        (list, ("list", "any")),
        (list[int], ("list", "int")),
        (Sequence[str], ("list", "string")),
        (set[int], ("list", "int")),
        (tuple[int, ...], ("list", "int")),
        (tuple[int, int], ("list", "int")),
        (tuple[int, str], ("list", "any")),
        (dict[str, list[int]], ("table", ("list", "int"))),
        (Mapping[str, Any], ("table", "any")),
        (dict[int, str], "record"),
        (Optional[int], ("optional", "int")),  # noqa: UP045
        (int | None, ("optional", "int")),
        (Union[int, str], "any"),  # noqa: UP007
        (Any | None, "any"),
        (Literal["a", "b"], ("enum", ("a", "b"))),
        (Literal[1, 2], ("enum", (1, 2))),
        (Annotated[int, "positive"], "int"),
        (Colour, ("enum", ("red", "blue"))),
        (Level, ("enum", (1,))),
        (Shape, "any"),
        (Partial, ("record", (("a", "int"), ("b", ("optional", "string"))))),
        (Pair, ("list", "any")),
    ],
)
def test_both_directions(annotation: Any, tree: Any) -> None:
    assert type_tree(annotation, argument=True) == tree
    assert type_tree(annotation, argument=False) == tree


def test_a_field_with_a_default_may_be_left_out_of_an_argument() -> None:
    assert type_tree(Line, argument=True) == ("record", (("sku", "string"), ("count", ("optional", "int"))))
    assert type_tree(Line, argument=False) == ("record", (("sku", "string"), ("count", "int")))
    assert type_tree(Point, argument=True) == ("record", (("x", "float"), ("y", ("optional", "float"))))
    assert type_tree(Order, argument=False) == (
        "record",
        (
            ("lines", ("list", ("record", (("sku", "string"), ("count", "int"))))),
            ("day", "date"),
            ("notes", ("table", "string")),
        ),
    )


def test_a_class_that_contains_itself() -> None:
    assert type_tree(Tree, argument=False) == ("record", (("children", ("list", "record")),))


VALUES: list[tuple[Any, Any]] = [
    (str, "x"),
    (int, 3),
    (float, 1.5),
    (bool, True),
    (dt.date, dt.date(2024, 2, 29)),
    (dt.datetime, dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC)),
    (dt.timedelta, dt.timedelta(minutes=90)),
    (bytes, b"\0\1"),
    (decimal.Decimal, decimal.Decimal("1.20")),
    (Path, Path("a/b")),
    (list[int], [1]),
    (set[int], {1}),
    (dict[str, int], {"a": 1}),
    (Colour, Colour.RED),
    (Line, Line("x")),
    (Order, Order([Line("x", 2)], dt.date(2024, 2, 29))),
    (Point, Point(1.0)),
    (Partial, {"a": 1}),
    (Literal["a"], "a"),
    (int | None, None),
]


@pytest.mark.parametrize(("annotation", "value"), VALUES)
def test_result_and_argument_agree(annotation: Any, value: Any) -> None:
    """What one step returns, another of the same annotation takes; and the type tree says the truth about the JSON."""
    data = encode_result(value, type_tree(annotation, argument=False), 10_000)
    plain = msgspec.json.decode(data)
    assert problems(type_tree(annotation, argument=True), plain) == []
    assert converter(annotation)(plain) == value


@attrs.define
class Nap:
    after: dt.timedelta
    next: Nap | None = None


SECONDS, MADE = {"after": 90, "next": {"after": 1.5}}, Nap(dt.timedelta(seconds=90), Nap(dt.timedelta(seconds=1.5)))


@pytest.mark.parametrize(
    ("annotation", "plain", "made"),
    [
        (Nap, SECONDS, MADE),
        (list[Nap], [SECONDS], [MADE]),
        (dict[str, tuple[Nap, int]], {"a": [SECONDS, 3]}, {"a": (MADE, 3)}),
        (dt.timedelta | None, 90, MADE.after),
    ],
)
def test_durations_are_seconds_wherever_they_stand(
    annotation: Any, plain: Any, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """msgspec refuses a number for a timedelta first. Its words, which a release may change, decide nothing."""
    real = msgspec.convert

    def convert(*arguments: Any, **options: Any) -> Any:
        try:
            return real(*arguments, **options)
        except msgspec.ValidationError:
            raise msgspec.ValidationError("in other words") from None

    monkeypatch.setattr(msgspec, "convert", convert)
    assert converter(annotation)(plain) == made
    with pytest.raises(msgspec.ValidationError):
        converter(annotation)("an hour")
