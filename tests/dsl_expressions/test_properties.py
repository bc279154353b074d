"""Properties that hold for every expression: text and tree, checker and evaluator belong together."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from graft.errors import ExpressionError
from graft.expressions import Budget, Tree, compile_tree, free_vars, render, walk
from graft.plan.types import head, problems, required
from graft_dsl.expressions import Parsed, Scope, check, parse_bare, parse_expression, parse_template
from tests.support.trees import NODES, TYPES, absent, as_json, environments, trees

SCOPE = Scope(TYPES, {"gone.out"}, NODES)
NAMES = frozenset({"item"})


def lookup_in(environment: dict[str, Any]) -> Any:
    return lambda name: environment[name] if name in environment else absent(name)


@settings(max_examples=200)
@given(trees())
def test_the_canonical_text_reads_as_the_same_tree(tree: Tree) -> None:
    text = render(tree)
    parsed = parse_expression(text)
    assert not parsed.problems, (text, parsed.problems)
    assert repr(parsed.tree) == repr(tree), text
    assert render(parsed.tree) == text


@settings(max_examples=60)
@given(trees(), st.text(st.sampled_from("a $}{'\n"), max_size=5), st.text(st.sampled_from('b $}{"'), max_size=5))
def test_a_template_around_an_expression_holds_its_tree(tree: Tree, before: str, after: str) -> None:
    assume("${" not in before + "$" and "${" not in after and not before.endswith("$"))
    parsed = parse_template(f"{before}${{{render(tree)}}}{after}")
    assert not parsed.problems
    if not before and not after:
        assert repr(parsed.tree) == repr(tree)
    elif tree[0] != "const" or not isinstance(tree[1], str):
        parts = [("const", before)] if before else []
        parts += [tree] + ([("const", after)] if after else [])
        assert repr(parsed.tree) == repr(("format", *parts))


@settings(max_examples=80)
@given(trees(), environments())
def test_the_variables_of_a_tree_are_those_that_it_reads(tree: Tree, environment: dict[str, Any]) -> None:
    parsed = parse_expression(render(tree))
    assert parsed.refs == free_vars(tree) == {each[1] for each in walk(tree) if each[0] == "var"}
    read: list[str] = []

    def lookup(name: str) -> Any:
        read.append(name)
        return lookup_in(environment)(name)

    with suppress(ExpressionError):
        compile_tree(tree)(lookup)
    assert set(read) <= parsed.refs
    assert len(read) - read.count("gone.out") == len(set(read) - {"gone.out"}), "each at most once"


@settings(max_examples=300)
@given(trees(), environments())
def test_a_value_has_the_type_that_the_checker_found(tree: Tree, environment: dict[str, Any]) -> None:
    parsed = parse_expression(render(tree))
    checked = check(parsed, SCOPE)
    try:
        value = compile_tree(tree)(lookup_in(environment))
    except ExpressionError:
        return
    if not checked.problems:
        assert problems(checked.type, value) == [], (render(tree), checked.type, value)


@settings(max_examples=100)
@given(trees(), environments(), st.integers(1, 400), st.integers(1, 4000))
def test_an_evaluation_stays_within_its_budget(
    tree: Tree, environment: dict[str, Any], operations: int, size: int
) -> None:
    program = compile_tree(tree)
    try:
        value = program(lookup_in(environment), Budget(operations, size))
    except ExpressionError:
        return
    given_size = len(json.dumps(environment)) * 16 + len(render(tree))
    assert len(json.dumps(value)) <= size + given_size


@settings(max_examples=50)
@given(trees(), environments())
def test_evaluating_twice_gives_the_same_and_changes_nothing(tree: Tree, environment: dict[str, Any]) -> None:
    before = as_json(environment)
    program = compile_tree(tree)
    results = []
    for _ in range(2):
        try:
            results.append(as_json(program(lookup_in(environment))))
        except ExpressionError as error:
            results.append(str(error))
    assert results[0] == results[1]
    assert as_json(environment) == before


FRAGMENTS = st.sampled_from(
    [
        *"()[]{}'\"\\,.:=!<>+-*/%&|^~@$# \n\t0123456789abxf_é\0",
        *(
            "${",
            "f'",
            "'''",
            "fetch.out",
            "params.n",
            "item",
            " for ",
            " in ",
            " if ",
            " else ",
            " and ",
            "lambda",
            "not ",
        ),
        *("len(", "default(", "**", "//", "==", ":=", "async ", "await ", "True", "null", "1e9", "0x", "...", "\ud800"),
    ]
)
hostile_texts = st.lists(FRAGMENTS, max_size=25).map("".join) | st.text(max_size=30)


def hold_together(parsed: Parsed) -> None:
    length = max(1, len(parsed.text))
    for problem in parsed.problems + check(parsed, SCOPE).problems + check(parsed, SCOPE, "bool").problems:
        assert 0 <= problem.start < problem.end <= length, problem
    if not parsed.problems:
        compile_tree(parsed.tree)
        text = render(parsed.tree)
        again = parse_expression(text)
        assert not again.problems
        assert repr(again.tree) == repr(parsed.tree), text


@settings(max_examples=400)
@given(hostile_texts)
def test_no_text_makes_the_front_end_raise(text: str) -> None:
    for parse in (parse_expression, parse_template, parse_bare):
        parsed = parse(text)
        assert parsed.text == text
        hold_together(parsed)


@settings(max_examples=150)
@given(trees(), st.integers(0, 500), st.sampled_from("()[]{}'\".,:=+-* 1a_$\\\n"), st.booleans())
def test_a_changed_text_never_makes_the_front_end_raise(tree: Tree, at: int, mark: str, insert: bool) -> None:
    text = render(tree)
    at %= len(text)
    hold_together(parse_expression(text[:at] + mark + text[at + (not insert) :]))


@settings(max_examples=60)
@given(trees())
def test_the_place_of_a_part_holds_its_text(tree: Tree) -> None:
    parsed = parse_expression(render(tree))
    for each in walk(parsed.tree):
        start, end = parsed.span(each)
        piece = parsed.text[start:end]
        if each[0] == "var":
            assert piece == render(each)
        elif each[0] in ("listcomp", "call", "attr", "index", "binary", "compare", "if"):
            again = parse_expression(piece, NAMES)
            assert not again.problems, piece


def test_optional_types_are_dealt_with() -> None:
    """The strategies above reach the flow typing of nulls: here it is in the open."""
    for text, fine in (
        ("params.maybe + 1", False),
        ("params.maybe + 1 if params.maybe != null else 0", True),
        ("params.maybe + 1 if params.maybe == null else 0", False),
        ("params.maybe != null and params.maybe > 3", True),
        ("params.maybe == null or params.maybe > 3", True),
        ("not (params.maybe == null) and params.maybe > 3", True),
        ("params.maybe or 0", True),
        ("(params.maybe or 0) + 1", True),
        ("[r.note + '!' for r in params.rows]", False),
        ("[r.note + '!' for r in params.rows if r.note]", True),
        ("[lower(r.note) for r in params.rows if r.note != null]", True),
    ):
        checked = check(parse_expression(text), SCOPE)
        assert (not checked.problems) is fine, (text, checked)
        assert head(required(checked.type)) in ("int", "list", "bool", "string"), (text, checked.type)
