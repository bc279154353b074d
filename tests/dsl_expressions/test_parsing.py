"""Text to trees, and what is said about text that is none: code, marked text, suggestion."""

from __future__ import annotations

from typing import Any

import pytest

from graft.expressions import compile_tree
from graft.expressions.functions import FUNCTIONS
from graft_dsl.expressions import EXPRESSION_CODES, parse_bare, parse_expression, parse_template

a, b, x = ("var", "a"), ("var", "b"), ("var", "x")
PARAMS = ("var", "params")


def const(value: Any) -> Any:
    return ("const", value)


TREES: dict[str, Any] = {
    "3": const(3),
    "-3": const(-3),
    "--3": const(3),
    "- x": ("unary", "-", x),
    "+3": ("unary", "+", const(3)),
    "2.50": const(2.5),
    "1_000": const(1000),
    "0x1F": const(31),
    "'a' \"b\"": const("ab"),
    "r'\\d'": const("\\d"),
    "'''a\nb'''": const("a\nb"),
    "'\\u00e9\\n'": const("é\n"),
    "true": const(True),
    "True": const(True),
    "false": const(False),
    "null": const(None),
    "None": const(None),
    "params": PARAMS,
    "params.n": ("attr", PARAMS, "n"),
    " params.n ": ("attr", PARAMS, "n"),
    "params . n": ("attr", PARAMS, "n"),
    "fetch.out": ("var", "fetch.out"),
    "fetch.out.total": ("attr", ("var", "fetch.out"), "total"),
    "fetch.out.out": ("attr", ("var", "fetch.out"), "out"),
    "fetch.error.type": ("attr", ("var", "fetch.error"), "type"),
    "fetch.status": ("var", "fetch.status"),
    "fetch.attempts": ("var", "fetch.attempts"),
    "fetch.total": ("attr", ("var", "fetch"), "total"),
    "(fetch).out": ("var", "fetch.out"),
    "run.status": ("attr", ("var", "run"), "status"),
    "item.out": ("attr", ("var", "item"), "out"),
    "secrets.TOKEN": ("var", "secrets.TOKEN"),
    "a + b * x": ("binary", "+", a, ("binary", "*", b, x)),
    "a - b - x": ("binary", "-", ("binary", "-", a, b), x),
    "a ** b ** x": ("binary", "**", a, ("binary", "**", b, x)),
    "-a ** b": ("unary", "-", ("binary", "**", a, b)),
    "a // b % x / 2": ("binary", "/", ("binary", "%", ("binary", "//", a, b), x), const(2)),
    "a < b <= 3": ("compare", a, (("<", b), ("<=", const(3)))),
    "a not in b": ("compare", a, (("not in", b),)),
    "not a == b": ("unary", "not", ("compare", a, (("==", b),))),
    "a and b or x": ("or", ("and", a, b), x),
    "a and b and x": ("and", a, b, x),
    "a if x else b": ("if", x, a, b),
    "a[0]": ("index", a, const(0)),
    "a['k'].f": ("attr", ("index", a, const("k")), "f"),
    "a[1:]": ("slice", a, const(1), None),
    "a[:-1]": ("slice", a, None, const(-1)),
    "[]": ("list",),
    "[a, 1,]": ("list", a, const(1)),
    "(a, 1)": ("list", a, const(1)),
    "()": ("list",),
    "{}": ("dict",),
    "{'k': a}": ("dict", (const("k"), a)),
    "[i.f for i in x if i]": (
        "listcomp",
        ("attr", ("local", "i"), "f"),
        ((("i",), x, (("local", "i"),)),),
    ),
    "[i.out for i in x]": ("listcomp", ("attr", ("local", "i"), "out"), ((("i",), x, ()),)),
    "[item for item in item]": ("listcomp", ("local", "item"), ((("item",), ("var", "item"), ()),)),
    "[i + j for i in x for j in i]": (
        "listcomp",
        ("binary", "+", ("local", "i"), ("local", "j")),
        ((("i",), x, ()), (("j",), ("local", "i"), ())),
    ),
    "{k: v for k, v in x}": ("dictcomp", ("local", "k"), ("local", "v"), ((("k", "v"), x, ()),)),
    "sum(i for i in x)": ("call", "sum", (("listcomp", ("local", "i"), ((("i",), x, ()),)),), ()),
    "[[i for i in x], i.out]": (
        "list",
        ("listcomp", ("local", "i"), ((("i",), x, ()),)),
        ("var", "i.out"),
    ),
    "sorted(x, reverse=true)": ("call", "sorted", (x,), (("reverse", const(True)),)),
    "now_of_run()": ("call", "now_of_run", (), ()),
    "f'a{x}b'": ("format", const("a"), x, const("b")),
    "f'{x:>8}{a!=b}'": ("format", ("fmt", x, ">8"), ("compare", a, (("!=", b),))),
    "f'{x[\"k\"]}{{}}\\n'": ("format", ("index", x, const("k")), const("{}\n")),
    "f'{x['k']}'": ("format", ("index", x, const("k"))),
    "f'{f'{x}'}'": ("format", ("format", x)),
    "f'{ {'k': 1}['k'] }'": ("format", ("index", ("dict", (const("k"), const(1))), const("k"))),
    "f'{a if x else b}'": ("format", ("if", x, a, b)),
    "rf'\\d{x}'": ("format", const("\\d"), x),
    "f''": const(""),
    "f'ab'": const("ab"),
    "f'a{'b'}c'": const("abc"),
    "a\n  and b": ("and", a, b),
    "\n[\n1,\n2]\n": ("list", const(1), const(2)),
}


@pytest.mark.parametrize("text", TREES)
def test_text_reads_as_a_tree(text: str) -> None:
    parsed = parse_expression(text)
    assert parsed.problems == ()
    assert repr(parsed.tree) == repr(TREES[text])


PROBLEMS: dict[str, tuple[str, str, str | None]] = {
    "": ("GR110", "", None),
    "   ": ("GR110", "   ", None),
    "1 +": ("GR101", "+", None),
    "(a": ("GR101", "(", None),
    "a)": ("GR101", ")", None),
    "a) + (b": ("GR101", ")", None),
    "[a)": ("GR101", ")", None),
    "'abc": ("GR101", "'abc", None),
    "f'{x": ("GR110", "{", None),
    "f'{": ("GR110", "{", None),
    "f'a}'": ("GR101", "}", None),
    "a # why": ("GR101", "#", None),
    "a, b": ("GR101", "a, b", "write [ … ]"),
    "i for i in x": ("GR101", "i for i in x", "write [ … ]"),
    "x = 3": ("GR101", "=", "`==` compares"),
    "x === 3": ("GR101", "===", "`==`"),
    "a && b": ("GR101", "&&", "`and`"),
    "a || b": ("GR101", "||", "`or`"),
    "!a": ("GR101", "!", "`not`"),
    "a ? b : x": ("GR101", "?", "a if condition else b"),
    "a AND b": ("GR101", "AND", "`and`, `or`, `not` and `in` are written small"),
    "${a}": ("GR101", "$", "an expression is already inside `${…}`: names stand for themselves"),
    "fetch.out.from": ("GR101", "from", "write ['from']"),
    "a.class + 1": ("GR101", "class", "write ['class']"),
    "'\\d'": ("GR101", "'\\d'", "write `\\\\` for a backslash"),
    "f'\\d{x}'": ("GR101", "f'\\d{x}'", "write `\\\\` for a backslash"),
    "'é' + 'ab\\d'": ("GR101", "'ab\\d'", "write `\\\\` for a backslash"),
    "r'\\d' + ('a' '\\q')": ("GR101", "'\\q'", "write `\\\\` for a backslash"),
    "f'{ '\\d' }'": ("GR101", "'\\d'", "write `\\\\` for a backslash"),
    "'''a\nb\\d'''": ("GR101", "'''a\nb\\d'''", "write `\\\\` for a backslash"),
    "1 + '\\400'": ("GR101", "'\\400'", "write `\\\\` for a backslash"),
    "1 + '\\x1'": ("GR101", "'\\x1'", "write `\\\\` for a backslash"),
    "['a', '\\N{foo}']": ("GR101", "'\\N{foo}'", "write `\\\\` for a backslash"),
    "f'a\0'": ("GR101", "f'a\0'", None),
    "f'\ud800{x}'": ("GR101", "f'\ud800{x}'", None),
    "é": ("GR101", "é", None),
    "a.é": ("GR101", "a.é", None),
    "ｐarams.n": ("GR101", "ｐarams", None),
    "lambda: 1": ("GR103", "lambda: 1", "a comprehension: [x.a for x in items]"),
    "(y := 3)": ("GR103", "y := 3", None),
    "{1, 2}": ("GR103", "{1, 2}", "a list: [a, b]"),
    "[*a, b]": ("GR103", "*a", "lists are joined by +: a + b"),
    "{**a}": ("GR103", "{**a}", None),
    "len(*a)": ("GR103", "*a", "lists are joined by +: a + b"),
    "a[::2]": ("GR103", "a[::2]", "x[start:stop]"),
    "a[1, 2]": ("GR103", "a[1, 2]", "write x[a][b]"),
    "await x": ("GR103", "await x", None),
    "x.lower()": ("GR104", "x.lower()", "lower(x)"),
    "fetch.out.name.strip().upper()": ("GR104", "fetch.out.name.strip().upper()", "upper(fetch.out.name.strip())"),
    "', '.join(x)": ("GR104", "', '.join(x)", "join(x, ', ')"),
    "x.get('k', 1)": ("GR104", "x.get('k', 1)", "default(x['k'], 1)"),
    "x.startswith('a')": ("GR104", "x.startswith('a')", "starts_with(x, 'a')"),
    "x.wobble()": ("GR104", "x.wobble()", None),
    "lne(x)": ("GR105", "lne", "did you mean `len`?"),
    "now()": ("GR105", "now", "now_of_run() is when the run started"),
    "open('f')": ("GR105", "open", None),
    "__import__('os')": ("GR105", "__import__", None),
    "x[0]()": ("GR105", "x[0]()", None),
    "[i() for i in x]": ("GR105", "i", None),
    "len()": ("GR106", "len()", FUNCTIONS["len"].signature),
    "round(1, 2, 3)": ("GR106", "round(1, 2, 3)", FUNCTIONS["round"].signature),
    "sorted(x, key=1)": ("GR106", "sorted(x, key=1)", FUNCTIONS["sorted"].signature),
    "len(x=a)": ("GR106", "len(x=a)", FUNCTIONS["len"].signature),
    "x.__class__": ("GR107", "x.__class__", None),
    "_x": ("GR107", "_x", None),
    "b'1'": ("GR108", "b'1'", None),
    "1j": ("GR108", "1j", None),
    "...": ("GR108", "...", None),
    "1e999": ("GR108", "1e999", None),
    "'\\ud800'": ("GR108", "'\\ud800'", None),
    "x is None": ("GR109", "x is None", "write `==`"),
    "x is not null": ("GR109", "x is not null", "write `!=`"),
    "a & b": ("GR109", "a & b", "`and`"),
    "~a": ("GR109", "~a", "`not` negates"),
    "f'a' f'b'": ("GR101", "f'a' f'", "`+` joins texts"),
    "'a'f'b'": ("GR101", "'a'f'", "`+` joins texts"),
    "f'{x!r}'": ("GR111", "!", "write str(x) or json(x)"),
    "f'{x=}'": ("GR111", "x=", None),
    "f'{x:{a}}'": ("GR111", ":{a}", None),
    "f'{x:5000}'": ("GR111", ":5000", None),
    "f'{x:%Y}'": ("GR111", ":%Y", None),
    "[1 for len in x]": ("GR112", "len", None),
    "[1 for params in x]": ("GR112", "params", None),
    "[1 for i, i in x]": ("GR112", "i, i", None),
    "[1 for i.a in x]": ("GR112", "i.a", None),
    "[1 for _ in x]": ("GR112", "_", None),
}


@pytest.mark.parametrize("text", PROBLEMS)
def test_wrong_text_is_told_with_its_place(text: str) -> None:
    code, marked, suggestion = PROBLEMS[text]
    parsed = parse_expression(text)
    (problem,) = parsed.problems
    assert (problem.code, text[problem.start : problem.end], problem.suggestion) == (code, marked, suggestion)
    assert problem.code in EXPRESSION_CODES


def test_all_problems_of_a_text_are_told_at_once() -> None:
    text = "lne(x) + y.lower() + _z"
    assert [text[each.start : each.end] for each in parse_expression(text).problems] == ["lne", "y.lower()", "_z"]


def test_names_of_items_are_not_nodes() -> None:
    assert parse_expression("wh.status").refs == {"wh.status"}
    parsed = parse_expression("wh.status + other.out", ["wh"])
    assert parsed.refs == {"wh", "other.out"}
    assert parsed.tree[2] == ("attr", ("var", "wh"), "status")


def test_refs_hold_what_a_function_reads() -> None:
    assert parse_expression("now_of_run()").refs == {"run"}


def test_positions_count_characters_after_text_that_is_not_ascii() -> None:
    text = "'é€😀' + lne(1)\n+ '😀' + foo.bar()"
    assert [text[each.start : each.end] for each in parse_expression(text).problems] == ["lne", "foo.bar()"]


def test_positions_inside_of_f_strings_are_exact() -> None:
    text = "f'é{1 + lne(2)} {f\"{'😀'}{_x}\"}'"
    assert [text[each.start : each.end] for each in parse_expression(text).problems] == ["lne", "_x"]


@pytest.mark.parametrize("mark", ["\x1e", "\x85", "\u2028", "\x0c", "\x0b", "\r", "\r\n", "\n"])
def test_positions_behind_marks_that_end_a_line_somewhere_else(mark: str) -> None:
    text = f"'''é{mark}''' + lne(1) + é.a"
    assert [text[each.start : each.end] for each in parse_expression(text).problems] == ["lne", "é"]


def test_the_place_of_an_operator_covers_its_f_strings() -> None:
    text = "[f'{x}' + f'{x:>8}', 1]"
    parsed = parse_expression(text)
    assert [text[slice(*parsed.span(each))] for each in parsed.tree[1:]] == ["f'{x}' + f'{x:>8}'", "1"]


TEMPLATES: dict[str, Any] = {
    "": const(""),
    "plain $ {x} }": const("plain $ {x} }"),
    "${x}": x,
    "${ x }": x,
    " ${x}": ("format", const(" "), x),
    "a ${x} b": ("format", const("a "), x, const(" b")),
    "${a}${b}": ("format", a, b),
    "$${x}": const("${x}"),
    "$$${x}": const("$${x}"),
    "$${a} ${x}": ("format", const("${a} "), x),
    "${'}'}": const("}"),
    "${ {'k': x}['k'] }!": ("format", ("index", ("dict", (const("k"), x)), const("k")), const("!")),
    "a ${'b'} c": const("a b c"),
    "${\n x\n}": x,
}


@pytest.mark.parametrize("text", TEMPLATES)
def test_a_template_reads_as_a_tree(text: str) -> None:
    parsed = parse_template(text)
    assert parsed.problems == ()
    assert repr(parsed.tree) == repr(TEMPLATES[text])


@pytest.mark.parametrize(
    ("text", "code", "marked"),
    [
        ("a ${x", "GR110", "${"),
        ("a ${} b", "GR110", "}"),
        ("a ${x +} ${lne(1)}", "GR101", "+"),
        ("a ${'x}", "GR101", "'x}"),
        ("a ${x)}", "GR101", ")"),
        ("a \ud800", "GR108", "\ud800"),
    ],
)
def test_a_wrong_template_is_told_with_its_place(text: str, code: str, marked: str) -> None:
    problem = parse_template(text).problems[0]
    assert (problem.code, text[problem.start : problem.end]) == (code, marked)


def test_every_expression_of_a_template_is_read() -> None:
    assert [each.code for each in parse_template("${x +} ${lne(1)} ${y}").problems] == ["GR101", "GR105"]


@pytest.mark.parametrize("text", ["x > 3", "${ x > 3 }", "  ${x > 3}\n", "${x} > 3 or ${y}"])
def test_a_bare_expression_may_stand_in_braces(text: str) -> None:
    parsed = parse_bare(text)
    if text.endswith("${y}"):
        assert [each.code for each in parsed.problems] == ["GR110"]
        return
    assert parsed.tree == ("compare", x, ((">", const(3)),))
    start, end = parsed.span(parsed.tree)
    assert text[start:end].strip() == "x > 3"


@pytest.mark.parametrize("text", ["${ ", "\n${x", " ${lne(1)} "])
def test_a_wrong_bare_expression_is_told_with_its_place(text: str) -> None:
    parsed = parse_bare(text)
    (problem,) = parsed.problems
    assert parsed.text == text
    assert text[problem.start : problem.end] in ("${", "lne")


def test_a_broken_part_is_null_and_compiles() -> None:
    parsed = parse_expression("[1, lne(2)]")
    assert compile_tree(parsed.tree)({}.__getitem__) == [1, None]


def test_python_warns_about_nothing() -> None:
    """Tests turn warnings into errors: these would raise."""
    for text in ("1or 2", "'\\d'", "1 is 1", "(1)(2)", "[1][2, 3]", "'a' is 'a'", "0x1for x in y"):
        assert parse_expression(text).problems
