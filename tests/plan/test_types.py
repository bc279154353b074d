"""Types: their text, what they accept, how they relate."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graft.plan.types import (
    Type,
    assignable,
    convert,
    element_type,
    field_type,
    infer,
    join,
    parse_duration,
    parse_size,
    parse_type,
    problems,
    render_type,
)
from tests.support.trees import json_values, short_texts, values_of

scalars = st.sampled_from(["string", "int", "float", "bool", "date", "datetime", "duration", "bytes", "none"])
enum_values = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([0.5, -2.0]) | short_texts


def _distinct(values: list[Any]) -> tuple[Any, ...]:
    return tuple({(type(value), value): value for value in values}.values())


types: st.SearchStrategy[Type] = st.recursive(
    scalars
    | st.sampled_from(["record", "any"])
    | st.lists(enum_values, min_size=1, max_size=3).map(lambda v: ("enum", _distinct(v))),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["list", "table"]), inner),
        inner.map(lambda type_: type_ if type_ in ("any", "none") or type_[0] == "optional" else ("optional", type_)),
        st.dictionaries(st.sampled_from(["a", "b-c", "d e", "'"]), inner, max_size=3).map(
            lambda f: ("record", tuple(f.items()))
        ),
    ),
    max_leaves=5,
)


@given(types)
def test_the_text_of_a_type_reads_as_the_type(type_: Type) -> None:
    assert repr(parse_type(render_type(type_))) == repr(type_)


@settings(max_examples=200)
@given(st.data(), types)
def test_a_value_of_a_type_has_no_problems(data: st.DataObject, type_: Type) -> None:
    value = data.draw(values_of(type_))
    assert problems(type_, value) == []
    assert convert(type_, value) == value or isinstance(value, str)


@settings(max_examples=300)
@given(st.data(), types, types)
def test_what_is_assignable_fits(data: st.DataObject, source: Type, target: Type) -> None:
    """Where nothing is left to run time, that is: `any`, `record`, and text for a date."""
    value = data.draw(values_of(source))
    unknown = any(word in repr((source, target)) for word in ("any", "'record'", "date"))
    if assignable(source, target) and not unknown:
        assert problems(target, value) == []


@given(types)
def test_a_type_is_assignable_to_itself_and_to_any(type_: Type) -> None:
    assert assignable(type_, type_)
    assert assignable(type_, "any")
    assert assignable("any", type_)
    assert assignable(type_, ("optional", type_))


@settings(max_examples=300)
@given(st.data(), types, types)
def test_a_join_takes_the_values_of_both(data: st.DataObject, left: Type, right: Type) -> None:
    joined = join(left, right)
    for side in (left, right):
        assert problems(joined, data.draw(values_of(side))) == [], joined


@given(json_values)
def test_a_value_has_its_inferred_type(value: Any) -> None:
    assert problems(infer(value), value) == []


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        ("list", ("list", "any")),
        ("list[int]", ("list", "int")),
        (" table[ list[string?] ] ", ("table", ("list", ("optional", "string")))),
        ("optional[int]", ("optional", "int")),
        ("int??", ("optional", "int")),
        ("any?", "any"),
        ("record", "record"),
        ("record[]", ("record", ())),
        ("record[a: int, 'b c': float?,]", ("record", (("a", "int"), ("b c", ("optional", "float"))))),
        ('enum["a", 1, 2.5, true, null]', ("enum", ("a", 1, 2.5, True, None))),
        (
            {"total": "int", "at": {"day": "date"}},
            ("record", (("total", "int"), ("at", ("record", (("day", "date"),))))),
        ),
        ([{"sku": "string"}], ("list", ("record", (("sku", "string"),)))),
        ({}, ("record", ())),
    ],
)
def test_types_are_written_so(value: Any, type_: Type) -> None:
    assert parse_type(value) == type_


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("str", "unknown type `str`; did you mean `string`? in the type `str`"),
        ("lst[int]", "unknown type `lst`; did you mean `list`? in the type `lst[int]`"),
        ("", "the type ends too early in the type ``"),
        ("list[", "the type ends too early in the type `list[`"),
        ("list[int", "expected `]`, got the end in the type `list[int`"),
        ("int]", "unexpected `]` in the type `int]`"),
        ("int[3]", "`int` takes no `[…]` in the type `int[3]`"),
        ("list[int] x", "unexpected `x` in the type `list[int] x`"),
        ("optional", "`optional` needs to say of what: `optional[string]` in the type `optional`"),
        ("enum", '`enum` needs its values: `enum["dev", "prod"]` in the type `enum`'),
        ("enum[]", "an `enum` has at least one value in the type `enum[]`"),
        ("enum[a]", "expected a text, a number, true, false or null, got `a` in the type `enum[a]`"),
        ("record[a: int, a: int]", "two fields `a` in the type `record[a: int, a: int]`"),
        ("int & string", "unexpected '&' in the type `int & string`"),
        (3, 'expected a type such as "int" or "list[string]", got int'),
        ([], 'a list of something is written with one element: `["int"]`'),
        ({"a": {"b": "strin"}}, "`a`: `b`: unknown type `strin`; did you mean `string`? in the type `strin`"),
        ("list[" * 100 + "int" + "]" * 100, "the type nests too deep"),
        ("x" * 5000, "the type is longer than 4096 characters"),
    ],
)
def test_a_wrong_type_is_told(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse_type(value)


ROW = parse_type({"total": "int", "lines": [{"sku": "string"}], "note": "string?", "more": "any"})


@pytest.mark.parametrize(
    ("type_", "value", "found"),
    [
        (ROW, {"total": 1, "lines": []}, []),
        (ROW, {"total": 1, "lines": [], "note": None, "extra": 1}, []),
        (
            ROW,
            {"total": "x", "lines": [{"sku": 1}, 2]},
            [
                "`out.total`: expected int, got string",
                "`out.lines[0].sku`: expected string, got int",
                "`out.lines[1]`: expected record, got int",
            ],
        ),
        (ROW, {}, ["`out.total`: missing; expected int", "`out.lines`: missing; expected list"]),
        (ROW, [], ["`out`: expected record, got list"]),
        ("int", True, ["`out`: expected int, got bool"]),
        ("int", 1.0, ["`out`: expected int, got float"]),
        ("float", 1, []),
        ("float", float("nan"), ["`out`: expected float, got nan"]),
        ("bool", 1, ["`out`: expected bool, got int"]),
        ("string", None, ["`out`: expected string, got none"]),
        ("date", "2026-02-30", ["`out`: expected date (ISO 8601 text), got '2026-02-30'"]),
        ("datetime", "2026-02-03T10:00:00Z", []),
        (("enum", ("a", 1)), "b", ["`out`: expected one of 'a', 1, got 'b'"]),
        (("enum", (1,)), True, ["`out`: expected one of 1, got true"]),
        (("table", "int"), {"a b": "x"}, ["`out['a b']`: expected int, got string"]),
        (("list", "int"), ["x"] * 100, [f"`out[{index}]`: expected int, got string" for index in range(20)]),
    ],
)
def test_problems_have_places(type_: Type, value: Any, found: list[str]) -> None:
    assert problems(type_, value, "out") == found


def test_problems_of_the_value_itself_need_no_name() -> None:
    assert problems("int", "x") == ["expected int, got string"]
    assert problems(("list", "int"), ["x"]) == ["`[0]`: expected int, got string"]


NEVER = [
    ("int", "string"),
    ("string", "int"),
    ("float", "int"),
    ("bool", "int"),
    ("int", "bool"),
    ("none", "string"),
    (("optional", "string"), "string"),
    (("list", "string"), ("list", "int")),
    ("string", ("enum", ("a", "b"))),
    (("enum", ("a", "c")), ("enum", ("a", "b"))),
    (("record", (("a", "int"),)), ("record", (("a", "int"), ("b", "int")))),
    (("record", (("a", "int"),)), ("record", (("a", "string"),))),
    (("record", (("a", "int"),)), ("table", "string")),
    (("table", "int"), ("record", (("a", "int"),))),
    ("record", ("list", "any")),
    (("list", "any"), "record"),
    ("duration", "int"),
]
ALWAYS = [
    ("int", "float"),
    ("bytes", "int"),
    ("int", "bytes"),
    ("float", "duration"),
    ("date", "string"),
    ("date", "datetime"),
    ("string", "date"),
    ("none", ("optional", "string")),
    (("optional", "int"), ("optional", "float")),
    (("enum", ("a",)), "string"),
    (("enum", ("a", "b")), ("enum", ("b", "a", "c"))),
    ("record", ("record", (("a", "int"),))),
    (("record", (("a", "int"),)), "record"),
    (("record", (("a", "int"), ("b", "int"))), ("record", (("a", "float"),))),
    (("record", (("a", "int"),)), ("record", (("b", ("optional", "int")),))),
    (("table", "int"), ("record", (("b", ("optional", "int")),))),
    ("record", ("table", "int")),
]


@pytest.mark.parametrize(("source", "target"), NEVER, ids=repr)
def test_never_assignable(source: Type, target: Type) -> None:
    assert not assignable(source, target)


@pytest.mark.parametrize(("source", "target"), ALWAYS, ids=repr)
def test_assignable(source: Type, target: Type) -> None:
    assert assignable(source, target)


def test_fields_and_elements() -> None:
    assert field_type(ROW, "total") == "int"
    assert field_type(ROW, "note") == ("optional", "string")
    assert field_type(ROW, "nope") is None
    assert field_type(("optional", ROW), "total") == "int"
    assert field_type("record", "x") == field_type("any", "x") == "any"
    assert field_type(("table", "int"), "x") == "int"
    assert field_type("string", "x") is None
    assert element_type(("list", "int")) == element_type(("table", "int")) == "int"
    assert element_type("record") == element_type(ROW) == element_type("any") == "any"
    assert element_type("string") is None


UTC = timezone.utc  # noqa: UP017  the same name in every version


@pytest.mark.parametrize(
    ("type_", "value", "made"),
    [
        ("string", "x", "x"),
        ("string", "3", "3"),
        ("int", "12", 12),
        ("int", "-1_000", -1000),
        ("int", 3, 3),
        ("float", "1e3", 1000.0),
        ("bool", "yes", True),
        ("bool", "False", False),
        ("date", "2026-03-01", "2026-03-01"),
        ("date", date(2026, 3, 1), "2026-03-01"),
        ("datetime", datetime(2026, 3, 1, 12, tzinfo=UTC), "2026-03-01T12:00:00+00:00"),
        ("datetime", "2026-03-01 12:00", "2026-03-01T12:00:00"),
        ("duration", "15m", 900.0),
        ("duration", "1h 30m", 5400.0),
        ("duration", 5, 5),
        ("duration", timedelta(minutes=1), 60.0),
        ("bytes", "10MiB", 10 * 1024 * 1024),
        ("bytes", "64 kB", 64_000),
        ("bytes", 7, 7),
        (("list", "int"), "1, 2,3", [1, 2, 3]),
        (("list", "string"), '["a", "b,c"]', ["a", "b,c"]),
        (("list", "string"), "", []),
        (("list", "duration"), ["1m", 2], [60.0, 2]),
        (("table", "int"), '{"a": 1}', {"a": 1}),
        (("record", (("a", "date"),)), {"a": date(2026, 3, 1), "b": "15m"}, {"a": "2026-03-01", "b": "15m"}),
        (("optional", "int"), None, None),
        (("optional", "int"), "3", 3),
        (("enum", ("a", 1)), "1", 1),
        (("enum", ("a", 1)), "a", "a"),
        ("any", "[1]", "[1]"),
        ("any", time(12, 30), "12:30:00"),
        ("none", "null", None),
    ],
)
def test_what_a_person_types_becomes_a_value(type_: Type, value: Any, made: Any) -> None:
    assert repr(convert(type_, value)) == repr(made)


def test_text_for_any_is_json_when_text_is_all_there_is() -> None:
    assert convert("any", '{"a": [1]}', from_text=True) == {"a": [1]}
    assert convert("any", "plain", from_text=True) == "plain"
    assert convert(("optional", "int"), "null", from_text=True) is None


@pytest.mark.parametrize(
    ("type_", "value", "message"),
    [
        ("int", "12x", "expected int, got '12x'"),
        ("int", "9" * 1000, "expected int, got '999999"),
        ("int", 1.5, "expected int, got float"),
        ("int", True, "expected int, got bool"),
        ("string", 3, "expected string, got int"),
        ("float", "nan", "expected float, got 'nan'"),
        ("bool", "maybe", "expected bool (true or false), got 'maybe'"),
        ("date", "tomorrow", "expected date such as 2026-03-01, got 'tomorrow'"),
        ("datetime", "2026-13-01", "expected datetime such as 2026-03-01T12:00:00Z, got '2026-13-01'"),
        ("duration", "15 parsecs", "expected a duration such as 15m, 1h 30m or 500ms, got '15 parsecs'"),
        ("duration", "", "expected a duration such as 15m, 1h 30m or 500ms, got ''"),
        ("bytes", "10 miles", "expected a size such as 10MiB, 64kB or 512, got '10 miles'"),
        (("list", "int"), "1,x", "expected int, got 'x'"),
        (("list", "int"), "[1", "expected a list as JSON: "),
        (("table", "int"), "a=1", "expected a table as JSON, got 'a=1'"),
        (("enum", ("a", "b")), "c", "expected one of 'a', 'b', got 'c'"),
        (("list", "int"), [1, "x"], "expected int, got 'x'"),
        ("record", "[" * 100_000, "expected a record as JSON: the JSON nests too deep"),
        ("any", float("inf"), None),
    ],
)
def test_what_does_not_fit_is_told(type_: Type, value: Any, message: str | None) -> None:
    if message is None:
        assert convert(type_, value) == value  # `any` takes what it gets; encoding refuses it
        return
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        convert(type_, value)


def test_durations_and_sizes() -> None:
    assert [parse_duration(text) for text in ("500ms", "90s", "1d", "1w", "2.5", "1h30m")] == [
        0.5,
        90,
        86400,
        604800,
        2.5,
        5400,
    ]
    assert [parse_size(text) for text in ("512", "1k", "1.5KiB", "2 GB")] == [512, 1000, 1536, 2_000_000_000]


def test_enums_tell_numbers_and_bools_apart() -> None:
    ones, trues = ("enum", (0, 1)), ("enum", (False, True))
    assert ones == trues, "as Python compares"
    assert not assignable(ones, trues)
    assert repr(join(ones, trues)) == repr(("enum", (0, 1, False, True)))
    assert repr(join(("list", ones), ("list", trues))) == repr(("list", ("enum", (0, 1, False, True))))
