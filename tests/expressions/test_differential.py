"""Expressions are a part of Python: on what both know, Python itself says what is right.

The trees have no formats (an f-string writes values as JSON, not as Python does) and no loops over records or texts.
"""

from __future__ import annotations

import warnings
from typing import Any

from hypothesis import assume, given, settings

from graft.errors import BudgetExceeded, ExpressionError
from graft.expressions import Tree, compile_tree, render, walk
from tests.support.trees import as_json, environments, trees

OURS = frozenset({"str", "json", "hash", "default", "column", "count", "join", "dict", "format", "fmt"})
"""Functions and forms that Python has not, or that mean something else there."""

LIMITS = (
    "not a finite number",
    "not a real number",
    "more than",
    "expected a list, got",
    "is null",
    "keys of a",
    "a `default=",
)


class Record(dict[str, Any]):
    def __getattr__(self, name: str) -> Any:
        return self[name]


def python_value(value: Any) -> Any:
    if isinstance(value, dict):
        return Record({name: python_value(each) for name, each in value.items()})
    return [python_value(each) for each in value] if isinstance(value, list) else value


def python_names(environment: dict[str, Any]) -> dict[str, Any]:
    names: dict[str, Any] = {"null": None, "true": True, "false": False, "__builtins__": {}}
    for name, value in environment.items():
        first, _, field = name.partition(".")
        if field:
            names.setdefault(first, Record())[field] = python_value(value)
            names.setdefault("nodes", Record())[first] = names[first]
        else:
            names[name] = python_value(value)
    functions = (len, min, max, sum, sorted, abs, round, any, all, int, float, bool, list)
    names |= {each.__name__: each for each in functions}
    return names | {
        "range": lambda *bounds: list(range(*bounds)),
        "lower": str.lower,
        "upper": str.upper,
        "strip": str.strip,
        "replace": str.replace,
        "split": str.split,
        "keys": lambda record: list(record.keys()),
        "values": lambda record: list(record.values()),
    }


@settings(max_examples=600)
@given(trees(), environments())
def test_values_are_those_of_python(tree: Tree, environment: dict[str, Any]) -> None:
    used = {each[1] if each[0] == "call" else each[0] for each in walk(tree)}
    reads = {each[1] for each in walk(tree) if each[0] == "var"}
    assume(not used & OURS and "gone.out" not in reads)
    text = render(tree)
    expected: str | Exception
    value: str | ExpressionError
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about `2.5[0]`, which may stand where it is never reached
            expected = as_json(eval(text, python_names(environment)))
    except Exception as error:
        expected = error
    try:
        value = as_json(compile_tree(tree)(environment.__getitem__))
    except BudgetExceeded:
        raise
    except ExpressionError as error:
        value = error
    if isinstance(value, ExpressionError):
        limited = any(limit in value.message for limit in LIMITS)
        assert isinstance(expected, Exception) or limited, (text, expected, value)
    else:
        assert value == expected, text
