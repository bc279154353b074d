"""The table of functions: every entry by examples, every failure by its message."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from graft.errors import AbsentValue, ExpressionError
from graft.expressions import FUNCTIONS, compile_tree, evaluate
from tests.support.trees import as_json


def call(name: str, *arguments: Any, **keywords: Any) -> Any:
    trees = tuple(("var", f"_{index}") for index in range(len(arguments)))
    named = tuple((key, ("const", value)) for key, value in keywords.items())
    return evaluate(("call", name, trees, named), lambda variable: arguments[int(variable[1:])])


ROWS = [{"a": 1, "b": None}, {"a": 2}]
EXAMPLES: list[tuple[str, tuple[Any, ...], dict[str, Any], Any]] = [
    ("len", ("é€",), {}, 2),
    ("len", ([1, 2],), {}, 2),
    ("len", ({"a": 1},), {}, 1),
    ("min", ([3, 1, 2],), {}, 1),
    ("min", (3, 1.5, True), {}, True),
    ("max", (["a", "b"],), {}, "b"),
    ("max", ([],), {"default": None}, None),
    ("max", ({"a": 1, "c": 0},), {}, "c"),
    ("sum", ([1, 2.5, True],), {}, 4.5),
    ("sum", ([],), {}, 0),
    ("sorted", ([3, 1, 2],), {}, [1, 2, 3]),
    ("sorted", ([3, 1, 2],), {"reverse": True}, [3, 2, 1]),
    ("sorted", ({"b": 1, "a": 2},), {}, ["a", "b"]),
    ("abs", (-2.5,), {}, 2.5),
    ("round", (2.5,), {}, 2),
    ("round", (2.567, 1), {}, 2.6),
    ("round", (1234, -2), {}, 1200),
    ("range", (3,), {}, [0, 1, 2]),
    ("range", (1, 8, 3), {}, [1, 4, 7]),
    ("range", (3, 0, -1), {}, [3, 2, 1]),
    ("range", (3, 0), {}, []),
    ("any", ([0, "", 1],), {}, True),
    ("any", ([],), {}, False),
    ("all", ([1, []],), {}, False),
    ("all", ([],), {}, True),
    ("int", (" 12 ",), {}, 12),
    ("int", (-2.9,), {}, -2),
    ("int", (True,), {}, 1),
    ("float", ("1e3",), {}, 1000.0),
    ("float", (2,), {}, 2.0),
    ("str", ("a",), {}, "a"),
    ("str", (None,), {}, "null"),
    ("str", (True,), {}, "true"),
    ("str", (1.0,), {}, "1.0"),
    ("str", (10**40,), {}, "1" + "0" * 40),
    ("str", ([1, "é", {"a": None}],), {}, '[1,"é",{"a":null}]'),
    ("bool", ("",), {}, False),
    ("bool", ([0],), {}, True),
    ("list", ("ab",), {}, ["a", "b"]),
    ("list", ({"x": 1},), {}, ["x"]),
    ("list", ([1],), {}, [1]),
    ("dict", ([["a", 1], ["b", 2], ["a", 3]],), {}, {"a": 3, "b": 2}),
    ("dict", ({"a": 1},), {}, {"a": 1}),
    ("default", (None, 3), {}, None),
    ("default", (0, 3), {}, 0),
    ("join", (["a", 1, True, None], ", "), {}, "a, 1, true, null"),
    ("split", ("a,b,,c", ","), {}, ["a", "b", "", "c"]),
    ("split", (" a  b ",), {}, ["a", "b"]),
    ("lower", ("ÉA",), {}, "éa"),
    ("upper", ("ß",), {}, "SS"),
    ("strip", (" a ",), {}, "a"),
    ("strip", ("--a-", "-"), {}, "a"),
    ("replace", ("banana", "an", "AN"), {}, "bANANa"),
    ("replace", ("ab", "", "-"), {}, "-a-b-"),
    ("starts_with", ("abc", "ab"), {}, True),
    ("ends_with", ("abc", "ab"), {}, False),
    ("json", ({"b": [1, "é\n"], "a": 0.1},), {}, '{"b":[1,"é\\n"],"a":0.1}'),
    ("from_json", ('{"a": [1, 2.5, null, true]}',), {}, {"a": [1, 2.5, None, True]}),
    ("count", (["a", "b", "a"], "a"), {}, 2),
    ("count", ([1, 1.0, True, "1"], 1), {}, 3),
    ("count", ([0, 1, ""],), {}, 1),
    ("count", ("banana", "an"), {}, 2),
    ("keys", ({"b": 1, "a": 2},), {}, ["b", "a"]),
    ("values", ({"b": 1, "a": 2},), {}, [1, 2]),
    ("column", (ROWS, "a"), {}, [1, 2]),
]


@pytest.mark.parametrize(("name", "arguments", "keywords", "value"), EXAMPLES)
def test_example(name: str, arguments: tuple[Any, ...], keywords: dict[str, Any], value: Any) -> None:
    assert as_json(call(name, *arguments, **keywords)) == as_json(value)


FAILURES: list[tuple[str, tuple[Any, ...], str]] = [
    ("len", (3,), "int has no length"),
    ("min", ([],), "min() of an empty list; give it a `default=…`"),
    ("min", (["a", 1],), "the items cannot be compared: int, string"),
    ("max", ([{}, {}],), "the items cannot be compared: record"),
    ("sum", (["a"],), "expected a number, got string"),
    ("sum", ([1e308, 1e308],), "the result is not a finite number"),
    ("sorted", ([1, None],), "the items cannot be compared: int, none"),
    ("sorted", ("abc",), "expected a list, got string"),
    ("abs", ("1",), "expected a number, got string"),
    ("round", (1.5, 5000), "round() takes at most 400 digits"),
    ("range", (1, 2, 0), "the step of range() is 0"),
    ("range", (1.5,), "expected an int, got float"),
    ("any", (3,), "expected a list, got int"),
    ("int", ("12x",), "'12x' is not an int"),
    ("int", (None,), "expected a number, got none"),
    ("float", ("nan",), "'nan' is not a finite number"),
    ("float", ("1e999",), "'1e999' is not a finite number"),
    ("list", (3,), "expected a list, got int"),
    ("dict", ([["a"]],), "dict() takes a list of [name, value] pairs, got an item that is list"),
    ("dict", ([[1, 2]],), "dict() takes a list of [name, value] pairs, got an item that is list"),
    ("join", ("abc", ","), "expected a list, got string"),
    ("join", (["a"], 1), "expected text, got int"),
    ("split", ("abc", ""), "split() takes no empty separator"),
    ("lower", (1,), "expected text, got int"),
    ("from_json", ("nope",), "not JSON: JSON is malformed: invalid character (byte 4)"),
    ("from_json", ("NaN",), "not JSON: JSON is malformed: invalid character (byte 0)"),
    ("from_json", ("[" * 2000 + "]" * 2000,), "the value nests deeper than 100 levels"),
    ("from_json", ("[" * 101,), "the value nests deeper than 100 levels"),
    ("from_json", ('{"[":' * 101,), "the value nests deeper than 100 levels"),
    ("count", ("banana",), "count() of a text needs to know what to count"),
    ("keys", ([],), "expected a record, got list"),
    ("column", ([{"a": 1}, 3], "a"), "int has no fields: `a` cannot be read"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), FAILURES)
def test_failure(name: str, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        call(name, *arguments)
    shown = ", ".join(f"_{index}" for index in range(len(arguments)))
    assert caught.value.message == f"{message} in `{name}({shown})`"
    assert caught.value.where == f"{name}({shown})"


def test_a_missing_column_is_absent() -> None:
    with pytest.raises(AbsentValue, match="item 1: there is no field `b`"):
        call("column", ROWS, "b")


def test_a_hash_is_the_same_everywhere() -> None:
    """The bytes are part of what is promised: keys of caches and of concurrency depend on them."""
    value = {"b": [1, 2.5, None, True], "a": "é"}
    assert call("hash", value) == hashlib.sha256('{"a":"é","b":[1,2.5,null,true]}'.encode()).hexdigest()
    assert call("hash", {"a": "é", "b": [1, 2.5, None, True]}) == call("hash", value)
    assert call("hash", 1) != call("hash", 1.0)
    assert call("hash", 1) != call("hash", "1")


def test_every_function_of_the_language_is_there_and_documented() -> None:
    names = (
        "len min max sum sorted abs round range any all int float str bool list dict default join split lower upper "
        "strip replace starts_with ends_with json from_json hash count keys values column now_of_run"
    )
    assert list(FUNCTIONS) == names.split()
    for name, function in FUNCTIONS.items():
        assert function.name == name
        assert function.doc.endswith(".")
        assert function.signature.startswith(f"{name}(")
        assert not function.signature.endswith("-> "), "a rule says what it gives"
        assert name in ("hash", "now_of_run") or any(name == example[0] for example in EXAMPLES)


def test_signatures_are_readable() -> None:
    assert FUNCTIONS["sorted"].signature == "sorted(items: list or record, *, reverse: bool = …) -> list"
    assert FUNCTIONS["max"].signature == "max(values: any, *more: any, default: any = …) -> any"
    assert FUNCTIONS["split"].signature == "split(text: string, separator: string = …) -> list[string]"


def test_the_time_of_the_run_is_read_from_the_run() -> None:
    program = compile_tree(("call", "now_of_run", (), ()))
    assert program.variables == {"run"}
    assert program({"run": {"started_at": "2026-03-01T00:00:00Z"}}.__getitem__) == "2026-03-01T00:00:00Z"
