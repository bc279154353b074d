"""Programs: what is looked up, what is folded, where errors say they are, which trees are refused."""

from __future__ import annotations

from typing import Any

import pytest

from graft.errors import AbsentValue, BudgetExceeded, ExpressionError
from graft.expressions import MAX_DEPTH, Budget, Program, ProgramCache, compile_tree, evaluate, free_vars, render, walk

N = ("var", "n")
ABSENT = ("var", "gone.out")


def const(value: Any) -> Any:
    return ("const", value)


def lookup(name: str) -> Any:
    if name == "gone.out":
        raise AbsentValue("`gone` was skipped")
    return {"n": 0, "xs": [1, 2], "r": {"a": None, "f": {"g": 1}}, "fetch.out": {"total": 3}}[name]


ERRORS: list[tuple[Any, type[ExpressionError], str, str]] = [
    (
        ("binary", "/", ("attr", ("var", "fetch.out"), "total"), N),
        ExpressionError,
        "division by zero in `fetch.out.total / n`",
        "fetch.out.total / n",
    ),
    (("list", ("binary", "+", N, const("a"))), ExpressionError, "cannot add int and string in `n + 'a'`", "n + 'a'"),
    (ABSENT, AbsentValue, "`gone` was skipped in `gone.out`", "gone.out"),
    (("attr", ABSENT, "x"), AbsentValue, "`gone` was skipped in `gone.out`", "gone.out"),
    (("attr", ("var", "r"), "x"), AbsentValue, "there is no field `x` in `r.x`", "r.x"),
    (
        ("attr", ("attr", ("var", "r"), "a"), "x"),
        AbsentValue,
        "this is null: it has no field `x` in `r.a.x`",
        "r.a.x",
    ),
    (("attr", N, "x"), ExpressionError, "int has no fields: `x` cannot be read in `n.x`", "n.x"),
    (("attr", ("var", "xs"), "x"), ExpressionError, "list has no fields: `x` cannot be read in `xs.x`", "xs.x"),
    (("index", ("var", "xs"), const(2)), AbsentValue, "there is no item 2: it has 2 in `xs[2]`", "xs[2]"),
    (
        ("index", ("var", "xs"), const("a")),
        ExpressionError,
        "the index of a list is an int, not string in `xs['a']`",
        "xs['a']",
    ),
    (("slice", N, None, None), ExpressionError, "int cannot be sliced in `n[:]`", "n[:]"),
    (("unary", "-", const("a")), ExpressionError, "cannot negate string in `-'a'`", "-'a'"),
    (("compare", N, (("<", const("a")),)), ExpressionError, "cannot compare int and string in `n < 'a'`", "n < 'a'"),
    (("compare", N, (("in", N),)), ExpressionError, "cannot look into int in `n in n`", "n in n"),
    (("dict", (N, N)), ExpressionError, "the keys of a table are text in `{n: n}`", "{n: n}"),
    (
        ("listcomp", const(1), ((("i",), N, ()),)),
        ExpressionError,
        "expected a list, got int in `n`",
        "n",
    ),
    (
        ("listcomp", const(1), ((("i", "j"), ("var", "xs"), ()),)),
        ExpressionError,
        "an item is not a list of 2, but int in `xs`",
        "xs",
    ),
    (
        ("dictcomp", ("local", "i"), const(1), ((("i",), ("var", "xs"), ()),)),
        ExpressionError,
        "the keys of a table are text, not int in `i`",
        "i",
    ),
    (("format", ("fmt", ("var", "xs"), "d")), ExpressionError, "cannot format this with `d`", "f'{xs:d}'"),
    (("binary", "**", const(0), const(-1)), ExpressionError, "division by zero in `0 ** -1`", "0 ** -1"),
    (("binary", "*", const(1e308), const(10)), ExpressionError, "the result is not a finite number", "1e+308 * 10"),
]


@pytest.mark.parametrize(("tree", "error", "message", "where"), ERRORS)
def test_an_error_says_which_part_failed(tree: Any, error: type[ExpressionError], message: str, where: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(tree, lookup)
    assert type(caught.value) is error
    assert caught.value.message.startswith(message)
    assert caught.value.where == where


def test_a_long_part_is_shortened_in_messages() -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(("binary", "+", N, const("a" * 5000)), lookup)
    assert len(caught.value.message) < 200


DEFAULTS: list[tuple[Any, Any]] = [
    (ABSENT, "other"),
    (("attr", ABSENT, "x"), "other"),
    (("attr", ("var", "r"), "x"), "other"),
    (("attr", ("attr", ("var", "r"), "a"), "x"), "other"),
    (("index", ("var", "xs"), const(9)), "other"),
    (("binary", "+", ("attr", ("var", "r"), "x"), N), "other"),
    (("attr", ("var", "r"), "a"), None),  # a null that is there is a value
    (N, 0),
]


@pytest.mark.parametrize(("tree", "value"), DEFAULTS)
def test_default_stands_in_for_what_is_absent_only(tree: Any, value: Any) -> None:
    assert evaluate(("call", "default", (tree, const("other")), ()), lookup) == value


def test_default_hides_no_mistake() -> None:
    with pytest.raises(ExpressionError, match="division by zero"):
        evaluate(("call", "default", (("binary", "/", N, N), const(1)), ()), lookup)
    with pytest.raises(BudgetExceeded):
        evaluate(("call", "default", (("call", "range", (const(10**12),), ()), const(1)), ()), lookup)


def test_the_second_argument_of_default_is_evaluated_only_when_it_is_needed() -> None:
    assert evaluate(("call", "default", (N, ABSENT), ()), lookup) == 0


def test_operators_and_conditions_are_lazy() -> None:
    assert evaluate(("and", N, ABSENT), lookup) == 0
    assert evaluate(("or", const(1), ABSENT), lookup) == 1
    assert evaluate(("if", N, ABSENT, const(2)), lookup) == 2
    assert evaluate(("compare", const(2), (("<", const(1)), ("<", ABSENT))), lookup) is False


def test_a_variable_is_looked_up_once_and_only_when_needed() -> None:
    asked: list[str] = []

    def ask(name: str) -> Any:
        asked.append(name)
        return [1, 2]

    tree = ("listcomp", ("binary", "+", ("var", "xs"), ("var", "xs")), ((("i",), ("var", "xs"), ()),))
    evaluate(("if", const(True), tree, ("var", "other")), ask)
    assert asked == ["xs"]


def test_constant_parts_are_computed_when_compiling() -> None:
    ones = ("listcomp", const(1), ((("i",), ("call", "range", (const(100),), ()), ()),))
    program = compile_tree(("binary", "+", ("call", "len", (ones,), ()), N))
    assert program(lookup, Budget(max_operations=5)) == 100


def test_a_constant_part_that_fails_fails_when_it_is_reached() -> None:
    program = compile_tree(("if", N, ("binary", "/", const(1), const(0)), const("fine")))
    assert program(lookup) == "fine"


def test_comprehension_variables_do_not_leak_or_clash() -> None:
    inner = ("listcomp", ("local", "i"), ((("i",), ("list", ("local", "i"), ("local", "i")), ()),))
    tree = ("listcomp", ("list", ("local", "i"), inner, ("local", "i")), ((("i",), ("var", "xs"), ()),))
    assert evaluate(tree, lookup) == [[1, [1, 1], 1], [2, [2, 2], 2]]


def test_programs_run_again_and_in_between() -> None:
    """A program holds no state: an evaluation may start another one of the same program."""
    tree = ("listcomp", ("binary", "+", ("local", "i"), N), ((("i",), ("var", "xs"), ()),))
    program = compile_tree(tree)

    def nested(name: str) -> Any:
        return sum(program(lookup)) if name == "n" else lookup(name)

    assert program(nested) == [4, 5]


def test_a_cache_compiles_a_tree_once_and_keeps_it() -> None:
    cache = ProgramCache()
    tree = ("list", const(1))
    assert cache[tree] is cache[tree]
    assert cache[tree].tree is tree
    assert isinstance(cache[("list", const(1))], Program)
    assert cache[("list", const(True))](lookup) == [True], "equal trees are not the same tree: 1 == True"
    assert len(cache) == 3


MALFORMED: list[Any] = [
    (),
    ("nothing",),
    ("const",),
    ("const", [1]),
    ("const", float("inf")),
    ("const", 1 << 5000),
    ("var",),
    ("var", ["x"]),
    ("local", "unbound"),
    ("attr", N),
    ("attr", N, 3),
    ("binary", "<<", N, N),
    ("binary", "+", N),
    ("unary", "~", N),
    ("compare", N, ()),
    ("compare", N, (("is", N),)),
    ("and",),
    ("if", N, N),
    ("dict", (N,)),
    ("listcomp", N, ()),
    ("listcomp", N, (((), N, ()),)),
    ("listcomp", N, ((("i",), N),)),
    ("format", ("fmt", N, "{}")),
    ("fmt", N, 3),
    ("call", "eval", (N,), ()),
    ("call", "len", (), ()),
    ("call", "len", (N,), (("x", N),)),
    ("call", ["len"], (N,), ()),
    ("call", "default", (N,), ()),
    "text",
    None,
    3,
]


@pytest.mark.parametrize("tree", MALFORMED, ids=repr)
def test_what_is_no_tree_is_refused(tree: Any) -> None:
    with pytest.raises(ExpressionError, match=r"not an expression|bits|finite"):
        compile_tree(tree)


def test_a_tree_that_nests_too_deep_is_refused_and_still_rendered() -> None:
    tree: Any = N
    for _ in range(100_000):
        tree = ("unary", "-", tree)
    for use in (compile_tree, free_vars, lambda each: list(walk(each))):
        with pytest.raises(ExpressionError, match=f"deeper than {MAX_DEPTH} levels"):
            use(tree)
    assert render(tree).endswith("…")
    while tree is not N:  # Python would recurse to free it at once
        tree = tree[2]


def test_the_deepest_tree_compiles_and_runs_far_up_the_stack() -> None:
    tree: Any = N
    for _ in range(MAX_DEPTH - 1):
        tree = ("format", tree)

    def at(depth: int) -> Any:
        return at(depth - 1) if depth else compile_tree(tree)(lookup)

    assert at(200) == "0"
