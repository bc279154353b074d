"""The static check: types, and problems with code, marked text and suggestion."""

from __future__ import annotations

import pytest

from graft.plan.types import parse_type, render_type
from graft_dsl.expressions import EXPRESSION_CODES, Scope, check, parse_expression, parse_template

SCOPE = Scope(
    types={
        "params": parse_type(
            {
                "n": "int",
                "x": "float",
                "who": "string",
                "flag": "bool",
                "day": "date",
                "wait": "duration",
                "size": "bytes",
                "note": "string?",
                "env": 'enum["dev", "prod"]',
                "xs": "list[int]",
                "rows": [{"sku": "string", "count": "int"}],
                "limits": "table[int]",
            }
        ),
        "run": parse_type({"id": "string", "name": "string", "started_at": "datetime"}),
        "fetch.out": parse_type({"total": "int", "lines": "list[record]", "at": {"day": "date"}}),
        "fetch.status": "string",
        "text.out": "string",
        "free.out": "any",
        "maybe.out": parse_type({"id": "string", "tags": "list[string]"}),
        "secrets.TOKEN": "string",
    },
    maybe_absent={"maybe.out"},
    nodes=["fetch", "text", "free", "maybe"],
    forbidden={"secrets": "secrets go only into env, headers, bearer and stdin"},
)

TYPES = {
    "null": "none",
    "1": "int",
    "params.n + 1": "int",
    "params.n / 2": "float",
    "params.n // 2": "int",
    "params.n * 0.5": "float",
    "params.n ** 2": "int",
    "params.n ** -1": "float",
    "params.n ** params.n": "float",
    "-params.n": "int",
    "params.size * 2": "int",
    "params.wait + params.wait": "float",
    "params.who + 'x'": "string",
    "params.who * 3": "string",
    "params.day + '!'": "string",
    "params.xs + [1.5]": "list[float]",
    "params.n > 3 and params.flag": "bool",
    "params.n or 'none'": "any",
    "params.note or ''": "string",
    "params.note": "string?",
    "not params.xs": "bool",
    "1 if params.flag else 2.5": "float",
    "1 if params.flag else null": "int?",
    "params.xs[0]": "int",
    "params.xs[1:]": "list[int]",
    "params.who[0]": "string",
    "params['who']": "string",
    "params.limits.cpu": "int",
    "params.limits[params.who]": "int",
    "fetch.out.lines[0].anything.at_all": "any",
    "fetch.out.at.day": "date",
    "free.out.a[3] + 1": "any",
    "[r.sku for r in params.rows]": "list[string]",
    "{r.sku: r.count for r in params.rows}": "table[int]",
    "[k for k in params.limits]": "list[string]",
    "[a + b for a, b in [[1, 2]]]": "list[int]",
    "{'a': 1, 'b': [true]}": "record[a: int, b: list[bool]]",
    "{params.who: 1}": "table[int]",
    "[]": "list[any]",
    "f'{params.n}'": "string",
    "len(params.xs)": "int",
    "sum(params.xs)": "int",
    "sum(r.count * 0.5 for r in params.rows)": "float",
    "max(params.xs)": "int",
    "max(1, 2.5)": "float",
    "max(params.xs, default=null)": "int?",
    "sorted(params.xs)": "list[int]",
    "list(params.limits)": "list[string]",
    "abs(params.x)": "float",
    "round(params.x)": "int",
    "round(params.x, 2)": "float",
    "keys(params.limits)": "list[string]",
    "values(params.limits)": "list[int]",
    "column(params.rows, 'count')": "list[int]",
    "default(maybe.out.id, '')": "string",
    "default(maybe.out, null)": "record[id: string, tags: list[string]]?",
    "default(maybe.out.tags[0], 1)": "any",
    "default(params.note, '')": "string?",
    "now_of_run()": "datetime",
    "now_of_run() > '2026-01-01'": "bool",
    "from_json(text.out).a": "any",
    "params.env == 'dev'": "bool",
    "params.day < '2026-01-01'": "bool",
    "params.n == 2.5": "bool",
    "params.note == null": "bool",
    "'a' in params.who": "bool",
    "'cpu' in params.limits": "bool",
    "3 in params.xs": "bool",
    "[[b for a in params.xs] for b in params.xs if len([params.xs][0]) for a in params.xs]": "list[list[int]]",
}


@pytest.mark.parametrize("text", TYPES)
def test_the_type_of(text: str) -> None:
    parsed = parse_expression(text)
    checked = check(parsed, SCOPE)
    assert parsed.problems + checked.problems == ()
    assert render_type(checked.type) == TYPES[text]


PROBLEMS = {
    # names
    "fetch.total": ("GR122", "fetch.total", "`fetch.out.total`"),
    "fetch.stauts": ("GR122", "fetch.stauts", "did you mean `fetch.status`?"),
    "fetch": ("GR122", "fetch", "`fetch.out`"),
    "fetsh.out.total": ("GR120", "fetsh.out", "did you mean `fetch.out`?"),
    "nowhere.out": ("GR120", "nowhere.out", None),
    "paramz.n": ("GR120", "paramz", "did you mean `params`?"),
    "who": ("GR120", "who", "did you mean `params.who`?"),
    "wha": ("GR120", "wha", None),
    "item.x": ("GR120", "item", None),
    "len": ("GR120", "len", "call it: len(x: string or list or record) -> int"),
    "maybe.error": ("GR120", "maybe.error", None),
    "fetch.out.totl": ("GR121", "totl", "did you mean `fetch.out.total`?"),
    "params.wo": ("GR121", "wo", "did you mean `params.who`?"),
    "params['wo']": ("GR121", "'wo'", "did you mean `params.who`?"),
    "run.started": ("GR121", "started", "did you mean `run.started_at`?"),
    "[r.cuont for r in params.rows]": ("GR121", "cuont", "did you mean `r.count`?"),
    "column(params.rows, 'cuont')": ("GR121", "'cuont'", "did you mean `params.rows[0].count`?"),
    "params.rows.sku": (
        "GR121",
        "sku",
        "`column(params.rows, 'sku')` for the field of every item, or `params.rows[0].sku`",
    ),
    "text.out.name": (
        "GR121",
        "name",
        '`from_json(text.out).name` if it is JSON; a `run` node with `output = "json"` reads it itself',
    ),
    # absent, forbidden, null
    "maybe.out.id": ("GR123", "maybe.out.id", "`default(maybe.out.id, …)`"),
    "'x' + maybe.out.tags[0]": ("GR123", "maybe.out.tags[0]", "`default(maybe.out.tags[0], …)`"),
    "default(1, maybe.out.id)": ("GR123", "maybe.out.id", "`default(maybe.out.id, …)`"),
    "secrets.TOKEN": ("GR124", "secrets.TOKEN", None),
    "params.note + '!'": ("GR125", "params.note", "`params.note or …`, or test it first"),
    "params.note == null and len(params.note)": ("GR125", "params.note", "`params.note or …`, or test it first"),
    # operators
    "params.n + params.who": (
        "GR130",
        "params.n + params.who",
        "`str(…)` makes text of a value, f'{a}{b}' writes several",
    ),
    "params.who - 1": ("GR130", "params.who - 1", "`int(…)` or `float(…)` makes a number of text"),
    "params.flag + 1": ("GR130", "params.flag + 1", "`int(…)` makes a number of a bool"),
    "params.rows * 'a'": ("GR130", "params.rows * 'a'", "`int(…)` or `float(…)` makes a number of text"),
    "params.xs + 1": ("GR130", "params.xs + 1", None),
    "params.n / 0": ("GR130", "params.n / 0", None),
    "-params.who": ("GR130", "params.who", None),
    "params.n < params.who": ("GR130", "params.n < params.who", "`int(…)` or `float(…)` makes a number of text"),
    "params.rows[0] < free.out": ("GR130", "params.rows[0] < free.out", None),
    "3 in params.who": ("GR130", "3 in params.who", None),
    "1 in params.n": ("GR130", "1 in params.n", None),
    "params.xs['a']": ("GR130", "'a'", None),
    "params.limits[0]": ("GR130", "0", None),
    "params.n[0]": ("GR130", "params.n[0]", None),
    "params.n[1:]": ("GR130", "params.n[1:]", None),
    "params.xs['a':]": ("GR130", "'a'", None),
    "[i for i in params.n]": ("GR130", "params.n", None),
    "[a for a, b in params.xs]": ("GR130", "params.xs", None),
    "{params.n: 1}": ("GR130", "params.n", "`str(params.n)`"),
    "f'{params.who:.2f}'": ("GR130", "params.who", None),
    "f'{params.x:d}'": ("GR130", "params.x", None),
    "f'{params.n:s}'": ("GR130", "params.n", None),
    # functions
    "lower(params.n)": ("GR131", "params.n", None),
    "sum(params.rows)": ("GR131", "params.rows", "column(items, 'name') takes one field of every record"),
    "sum([params.who])": ("GR131", "[params.who]", None),
    "sorted(params.rows)": ("GR131", "params.rows", "column(items, 'name') takes one field of every record"),
    "sorted(params.xs, reverse='yes')": ("GR131", "'yes'", None),
    "join(params.who, ',')": ("GR131", "params.who", None),
    # equality
    "params.n == '3'": ("GR133", "params.n == '3'", None),
    "params.who == 3": ("GR133", "params.who == 3", "'3'"),
    "params.who != 3": ("GR133", "params.who != 3", "'3'"),
    "params.env == 'prdo'": ("GR133", "params.env == 'prdo'", "did you mean 'prod'?"),
    "params.day == 'tomorrow'": ("GR133", "params.day == 'tomorrow'", None),
    "'a' in params.xs": ("GR133", "'a' in params.xs", None),
    "params.rows == params.n": ("GR133", "params.rows == params.n", None),
}


@pytest.mark.parametrize("text", PROBLEMS)
def test_a_mistake_is_told_with_its_place(text: str) -> None:
    code, marked, suggestion = PROBLEMS[text]
    parsed = parse_expression(text)
    assert parsed.problems == ()
    (problem,) = check(parsed, SCOPE).problems
    assert (problem.code, text[problem.start : problem.end], problem.suggestion) == (code, marked, suggestion)
    assert problem.code in EXPRESSION_CODES


EXPECTED = {
    ("params.n", "float"): None,
    ("params.n", "any"): None,
    ("params.n", "string"): ("GR132", "params.n", "`str(params.n)`"),
    ("params.x", "int"): ("GR132", "params.x", "`round(params.x)` or `int(params.x)`"),
    ("params.who", "int"): ("GR132", "params.who", "`int(params.who)`"),
    ("params.n", "bool"): ("GR132", "params.n", "`bool(params.n)`, or a comparison"),
    ("params.n", "list[int]"): ("GR132", "params.n", "`[params.n]`"),
    ("params.note", "string"): ("GR125", "params.note", "`params.note or …`, or `… if params.note != null else …`"),
    ("params.note", "string?"): None,
    ("params.who", "date"): None,  # it can only be known when it is there
    ("'2026-02-30'", "date"): ("GR132", "'2026-02-30'", None),
    ("'2026-02-03'", "date"): None,
    ("'dev'", 'enum["dev", "prod"]'): None,
    ("'test'", 'enum["dev", "prod"]'): ("GR132", "'test'", None),
    ("[1, 'a']", "list[int]"): ("GR132", "'a'", "`int('a')`"),
    ("{'a': 'x', 'b': 2}", "record[a: string, b: string]"): ("GR132", "2", "`str(2)`"),
    ("{'a': 'x'}", "record[a: string, b: string]"): ("GR132", "{'a': 'x'}", None),
    ("{'a': 'x'}", "record[a: string, b: string?]"): None,
    ("1 if params.flag else 'a'", "int"): ("GR132", "'a'", "`int('a')`"),
    ("fetch.out", "record[total: int, more: string]"): ("GR132", "fetch.out", None),
    ("fetch.out", "record[total: float]"): None,
    ("maybe.out.id", "string"): ("GR123", "maybe.out.id", "`default(maybe.out.id, …)`"),
}


@pytest.mark.parametrize(("text", "expected"), EXPECTED)
def test_what_a_place_wants(text: str, expected: str) -> None:
    problem = EXPECTED[text, expected]
    found = check(parse_expression(text), SCOPE, parse_type(expected)).problems
    assert [(each.code, text[each.start : each.end], each.suggestion) for each in found] == (
        [problem] if problem else []
    )


def test_wanted_and_got_are_types() -> None:
    (problem,) = check(parse_expression("params.xs"), SCOPE, ("list", "string")).problems
    assert (problem.message, problem.wanted, problem.got) == (
        "expected list[string], got list[int]",
        "list[string]",
        "list[int]",
    )


def test_one_mistake_is_one_problem() -> None:
    text = "lower(params.wo) + fetsh.out.a.b - [r.x.y for r in params.rows][0] + lne(1)"
    parsed = parse_expression(text)
    found = sorted((*parsed.problems, *check(parsed, SCOPE).problems), key=lambda each: each.start)
    assert [text[each.start : each.end] for each in found] == ["wo", "fetsh.out", "x", "lne"]


def test_places_in_a_template_are_those_of_the_whole_text() -> None:
    text = "é ${ params.n } and ${ params.wo }"
    (problem,) = check(parse_template(text), SCOPE).problems
    assert text[problem.start : problem.end] == "wo"


def test_a_secret_may_be_read_where_it_is_not_forbidden() -> None:
    scope = Scope(SCOPE.types)
    assert check(parse_template("Bearer ${ secrets.TOKEN }"), scope).problems == ()
    (problem,) = check(parse_expression("secrets.TOKN"), scope).problems
    assert (problem.code, problem.suggestion) == ("GR120", "did you mean `secrets.TOKEN`?")


def test_a_reason_of_one_variable_wins_over_its_type() -> None:
    scope = Scope(SCOPE.types, forbidden={"fetch.out": "it runs later"})
    (problem,) = check(parse_expression("fetch.out.total + 1"), scope).problems
    assert problem.message == "`fetch.out` may not be read here: it runs later"
    assert check(parse_expression("fetch.status"), scope).problems == ()


def test_every_code_is_explained() -> None:
    for title, text in EXPRESSION_CODES.values():
        assert title
        assert text.endswith(".")
        assert all(len(line) <= 110 for line in text.splitlines())


def test_maybe_absent_is_known_to_the_evaluator_by_the_same_name() -> None:
    """`default` silences the check for its first argument only."""
    assert check(parse_expression("default(maybe.out.id, default(maybe.out.tags[0], ''))"), SCOPE).problems == ()
    assert len(check(parse_expression("default(maybe.out.id, '') + maybe.out.id"), SCOPE).problems) == 1
