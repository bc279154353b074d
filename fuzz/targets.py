"""What the fuzzers run: one function for each kind of input that Graft reads from strangers.

A target takes any bytes and raises only when something is wrong with Graft. The tests run all targets with random input
too, without atheris.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from graft.errors import AbsentValue, ExpressionError, InvalidFlow, PlanError
from graft.expressions import Budget, compile_tree, free_vars, render
from graft.plan import decode, encode
from graft.plan.error_types import WrongErrorType, canonical_pattern, matches
from graft.plan.patterns import PatternError, TooMuchWork, compile_pattern
from graft.plan.types import assignable, parse_type, problems, render_type
from graft.transport import wire
from graft_dsl import compile_text, format_text, render_graph
from graft_dsl import render as render_diagnostics
from graft_dsl.diagnostics import Diagnostic
from graft_dsl.expressions import Parsed, Scope, check, parse_bare, parse_expression, parse_template

SCOPE = Scope(
    types={
        "params": parse_type({"n": "int", "who": "string?", "xs": "list[int]", "rows": [{"sku": "string"}]}),
        "run": parse_type({"id": "string", "started_at": "datetime"}),
        "a.out": parse_type({"total": "int", "at": "date"}),
        "b.out": "any",
        "item": "any",
        "secrets.T": "string",
    },
    maybe_absent={"a.out"},
    nodes=["a", "b"],
    forbidden={"secrets": "they go only into env"},
)
VALUES: dict[str, Any] = {
    "params": {"n": 3, "who": None, "xs": [1, 2, 3], "rows": [{"sku": "x"}, {"sku": "y"}]},
    "run": {"id": "r", "started_at": "2026-03-01T00:00:00Z"},
    "b.out": {"a": [1, {"b": "é"}], "n": 0.5},
    "item": "text",
}
BUDGET = Budget(max_operations=20_000, max_bytes=256 * 1024)


def expression(data: bytes) -> None:
    """Parse, check, render, compile and evaluate an expression."""
    text = data.decode("utf-8", "replace")
    for parse in (parse_expression, parse_bare):
        _use(parse(text, ["item"]))


def template(data: bytes) -> None:
    _use(parse_template(data.decode("utf-8", "replace"), ["item"]))


def plan(data: bytes) -> None:
    """A stored plan is refused, or it is one: with one canonical form, and trees that compile or are refused."""
    try:
        found = decode(data)
    except PlanError:
        return
    canonical = encode(found)
    assert encode(decode(canonical)) == canonical
    for node in (node for block in found.blocks for node in (*block.nodes, *block.finals)):
        for tree in (node.when, node.for_each and node.for_each.items, getattr(node.action, "value", None)):
            if tree is not None:
                _evaluate(tree)


def type_text(data: bytes) -> None:
    """A type is refused with a text, or it is one: then it has a text that reads as the same type."""
    try:
        found = parse_type(data.decode("utf-8", "replace"))
    except ValueError:
        return
    assert repr(parse_type(render_type(found))) == repr(found)
    assert assignable(found, found)
    problems(found, VALUES)


def flow_file(data: bytes) -> None:
    """A flow file is refused with diagnostics that point into it, or it has a plan that formatting does not change."""
    text = data.decode("utf-8", "replace")
    try:
        found = compile_text(text).plan
    except InvalidFlow as error:
        _check_places(error, text)
        return
    assert encode(compile_text(format_text(text)).plan) == encode(found)
    for form in ("text", "mermaid", "dot", "svg", "json"):
        render_graph(found, form)


def _check_places(error: InvalidFlow, text: str) -> None:
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    found = [each for each in error.diagnostics if isinstance(each, Diagnostic)]
    assert found
    for each in found:
        assert 1 <= each.line <= len(lines), each
        assert 1 <= each.column <= len(lines[each.line - 1]) + 1, each
        assert each.end_column > each.column, each
    assert render_diagnostics(found, color=True)


def message(data: bytes) -> None:
    """Bytes between members are refused with a ValueError, or they are a message that has the same bytes again."""
    try:
        found = wire.decode(data)
    except ValueError:
        return
    again = wire.encode(found)
    assert wire.encode(wire.decode(again)) == again


def pattern(data: bytes) -> None:
    """A pattern is refused, or it is one: then it matches or not, and what it takes is bounded."""
    text, _, value = data.decode("utf-8", "replace").partition("\0")
    with suppress(PatternError, TooMuchWork):
        found = compile_pattern(text)
        assert found.matches(value) == found.matches(value)


def error_type(data: bytes) -> None:
    """A pattern of error types is refused, or it has one canonical spelling."""
    try:
        found = canonical_pattern(data.decode("utf-8", "replace"))
    except WrongErrorType:
        return
    assert canonical_pattern(found) == found
    assert matches(found, found)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "error_type": error_type,
    "expression": expression,
    "pattern": pattern,
    "flow_file": flow_file,
    "template": template,
    "message": message,
    "plan": plan,
    "type_text": type_text,
}


def _use(parsed: Parsed) -> None:
    checked = check(parsed, SCOPE)
    for problem in parsed.problems + checked.problems + check(parsed, SCOPE, "bool").problems:
        assert 0 <= problem.start < problem.end <= max(1, len(parsed.text)), problem
    if parsed.problems:
        return
    assert parsed.refs == free_vars(parsed.tree)
    again = parse_expression(render(parsed.tree), ["item"])
    assert not again.problems, again
    assert repr(again.tree) == repr(parsed.tree), render(parsed.tree)
    result = _evaluate(parsed.tree)
    if result and not checked.problems:
        assert not problems(checked.type, result[0]), (checked.type, result)


def _evaluate(tree: Any) -> tuple[Any] | None:
    """The value of `tree` in a tuple, None when evaluating it is refused."""

    def lookup(name: str) -> Any:
        if name not in VALUES:
            raise AbsentValue(f"there is no {name}")
        return VALUES[name]

    try:
        return (compile_tree(tree)(lookup, BUDGET),)
    except ExpressionError:
        return None
