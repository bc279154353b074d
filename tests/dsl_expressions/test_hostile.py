"""Hostile text and hostile values: an error with a code, soon, and without a large allocation."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from graft.errors import BudgetExceeded, ExpressionError
from graft.expressions import Budget, compile_tree
from graft_dsl.expressions import Scope, check, parse_expression, parse_template

MAX_SECONDS = 2.0  # generous: a busy machine is not a hang
MAX_BYTES = 48 * 1024 * 1024

BIG = "a" * 1_000_000
VALUES: dict[str, Any] = {
    "big": BIG,
    "same": BIG[:-1] + "a",
    "list": list(range(100_000)),
    "words": ["a" * 100] * 10_000,
    "bomb": "[" * 100_000,
    "wide": "[" + "0," * 3_000_000 + "0]",
}


@contextmanager
def bounded() -> Iterator[None]:
    """The block takes little time and little memory."""
    tracemalloc.start()
    start = time.perf_counter()
    try:
        yield
        seconds = time.perf_counter() - start
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MAX_BYTES, f"{peak:,} bytes"
    assert seconds < MAX_SECONDS * 5, f"{seconds:.2f} s, with allocations traced"


DEEP = {
    "parentheses": "(" * 10_000 + "1" + ")" * 10_000,
    "open parentheses": "(" * 4_000,
    "lists": "[" * 4_000 + "]" * 4_000,
    "signs": "-" * 9_000 + "1",
    "negations": "not " * 2_400 + "x",
    "attributes": "x" + ".a" * 4_900,
    "items": "x" + "[0]" * 3_000,
    "slices": "x" + "[0:]" * 2_000,
    "calls": "len(" * 2_000 + "x" + ")" * 2_000,
    "methods": "x" + ".a()" * 2_000,
    "sums": "a+" * 4_900 + "a",
    "powers": "a**" * 3_000 + "1",
    "comparisons": "(" * 70 + "a" + "<a)" * 70 + "<1" * 3_000,
    "conditions": "1 if x else " * 800 + "1",
    "comprehensions": "[x for x in " * 600 + "y" + "]" * 600,
    "lambdas": "lambda:" * 1_400 + "1",
    "dicts": "{'a':" * 1_500 + "1" + "}" * 1_500,
    "f-strings": "f'{" * 3_000,
    "closed f-strings": "f'{" * 20 + "1" + "}'" * 20,
    "stars": "*" * 9_000,
    "awaits": "await " * 1_500 + "x",
    "long": "1" + " + 1" * 10_000,
    "number": "9" * 9_000,
    "bytes": "b'" + "\\x00" * 2_000 + "'",
    "nul": "\0" * 100,
    "surrogates": "\ud800" * 100,
    "names": "ａ" * 5_000,
    "backslashes": "\\" * 9_000,
    "quotes": "'" * 9_001,
    "triple quotes": "'''" * 3_001,
    "colons": "f'{x:" + ":" * 9_000 + "}'",
    "widths": "f'{1:999999999999}'",
    "width": "f'{1:10000}'",
    "precision": "f'{1.5:.99999}'",
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP.keys())
def test_hostile_text_becomes_a_problem(text: str) -> None:
    scope = Scope({"x": "any", "a": "any", "y": "any"})
    with bounded():
        parsed = parse_expression(text)
        if not parsed.problems:  # only chains that cost no depth may come through
            compile_tree(parsed.tree)
        check(parsed, scope)
    if text not in (DEEP["comparisons"],):
        assert parsed.problems
        assert all(problem.code.startswith("GR1") for problem in parsed.problems)


def test_hostile_text_needs_little_of_the_stack() -> None:
    """Python's parser recurses in C, and a thread may have a small stack: a crash there cannot be caught."""
    code = (
        "import threading; from tests.dsl_expressions.test_hostile import DEEP;"
        "from graft_dsl.expressions import parse_expression; threading.stack_size(512 * 1024);"
        "texts = [*DEEP.values(), ('-' * 400 + '(') * 20 + '1' + ')' * 20];"
        "thread = threading.Thread(target=lambda: print(len([parse_expression(text) for text in texts])));"
        "thread.start(); thread.join()"
    )
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, str(Path(root) / "dsl")])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, str(len(DEEP) + 1)), done.stderr


def test_many_f_strings_are_read_and_too_many_are_not() -> None:
    text = "[" + "f''," * 26 + "f'{1}', " * 474 + "]"
    assert parse_expression(text).tree == ("list", *[("const", "")] * 26, *[("format", ("const", 1))] * 474)
    assert parse_expression("[" + "f''," * 501 + "]").problems[0].code == "GR102"


def test_hostile_templates() -> None:
    with bounded():
        for text in (
            "${" * 10_000,
            "${x} " * 10_000,
            "${" + "{" * 5_000,
            "$${" * 10_000 + "${",
            "${'" * 3_000,
            "}" * 99_999 + "${",
        ):
            assert parse_template(text).problems, text[:20]
        assert parse_template("${x}" + "a" * 2_000_000).problems[0].code == "GR102"


AMPLIFIED = [
    "'a' * 10 ** 10",
    "10 ** 10 ** 10",
    "2 ** 5000",
    "(2 ** 1000) ** 1000",
    "9 ** 300 * 9 ** 300",
    "range(10 ** 12)",
    "range(0, 10 ** 300)",
    "range(10 ** 18, 0, -1)",
    "[0] * 10 ** 10",
    "list * 10 ** 6",
    "list + list + list + list + list * 20",
    "[[0] * 1000] * 100000 == [[0] * 1000] * 100000",
    "[[[[[0] * 100] * 100] * 100] * 100] * 100",
    "json([[[[[0] * 100] * 100] * 100] * 100] * 100)",
    "hash([['a' * 1000] * 1000] * 1000)",
    "str([['a' * 1000] * 1000] * 1000)",
    "f'{[big] * 100}'",
    "f'{big}{big}{big}{big}{big}{big}{big}{big}{big}{big}{big}{big}{big}{big}{big}{big}{big}'",
    "sorted([[0] * 1000] * 100000)",
    "max([list] * 1000)",
    "'x' * 10000000 + 'y' * 10000000",
    "replace(big, 'a', 'b' * 1000)",
    "replace(replace(replace('a' * 1000, 'a', 'a' * 100), 'a', 'a' * 100), 'a', 'a' * 100)",
    "replace(big, '', big)",
    "join(words * 100, big)",
    "join([big] * 100, '')",
    "split(big * 10, 'a')",
    "[split(big, 'b') for i in range(100)]",
    "list(big)",
    "from_json(bomb)",
    "from_json(wide)",
    "[i for i in range(1000) for j in range(1000) for k in range(1000)]",
    "[[j for j in list] for i in list]",
    "{str(i): list for i in list for j in list}",
    "{f'{i}': [i] * 1000 for i in range(20000)}",
    "[big == same for i in list]",
    "[big < same for i in list]",
    "[big in same for i in list]",
    "[big in words for i in list]",
    "[[big] == [same] for i in list]",
    "[list in [list] for i in list]",
    "[upper(big) for i in list]",
    "[lower(big) for i in range(100)]",
    "[strip(big, 'bcdefa') for i in range(100)]",
    "[replace(big, 'b', 'c') for i in range(100)]",
    "[count(big, 'ab') for i in list]",
    "[starts_with(big, same) for i in list]",
    "[sum(list) for i in list]",
    "[any(list) for i in list]",
    "[sorted(list) for i in list]",
    "[count(list, 'a') for i in list]",
    "[hash(list) for i in list]",
    "[json(words) for i in list]",
    "[list[1:] for i in list]",
    "[big[1:] for i in list]",
    "[{'a': i, 'b': i, 'c': [i, i, i, i]} for i in range(80000) for j in range(10)]",
    "[f'{i:900}' for i in list]",
    "[dict([['a', i]]) for i in list for j in range(3)]",
    "[[y, y, y, y] for y in [[x, x, x, x] for x in [list, list, list, list]]]",
    "column([{'a': list}] * 1000, 'a')",
    "[x for x in list if x in list]",
    "int('9' * 100000)",
    "float('9' * 100000)",
    "[default(i.x, list) for i in list] == 1 or [list] * 1000 == [list] * 1000",
]


@pytest.mark.parametrize("text", AMPLIFIED)
def test_amplification_is_refused(text: str) -> None:
    parsed = parse_expression(text)
    assert not parsed.problems
    program = compile_tree(parsed.tree)
    with bounded(), pytest.raises(ExpressionError) as caught:
        program(VALUES.__getitem__)
    assert caught.value.where is not None
    assert len(str(caught.value)) < 1000


def test_a_bomb_that_is_a_constant_is_not_built_when_compiling() -> None:
    with bounded():
        for text in AMPLIFIED[:12]:
            compile_tree(parse_expression(text).tree)


def test_deep_values_are_refused_before_python_recurses() -> None:
    deep: Any = 1
    other: Any = 1
    for _ in range(100_000):
        deep, other = [deep], [other]
    values = {"x": deep, "y": other}
    for text in (
        "x == y",
        "x in [y]",
        "json(x)",
        "hash(x)",
        "str(x)",
        "f'{x}'",
        "sorted([x, y])",
        "max(x, y)",
        "x < y",
    ):
        with pytest.raises(ExpressionError, match="nests deeper"):
            compile_tree(parse_expression(text).tree)(values.__getitem__)
    for _ in range(100_000):  # Python would recurse to free them at once
        deep, other = deep[0], other[0]


def test_ten_thousand_items_fit_into_the_default_budget() -> None:
    rows = [{"sku": f"s{i}", "count": i, "price": i * 1.5} for i in range(10_000)]
    element = "{'sku': r.sku, 'label': f'{upper(r.sku)}: {r.count}', 'total': r.count * r.price}"
    text = f"[{element} for r in rows if r.count > 3]"
    value = compile_tree(parse_expression(text).tree)({"rows": rows}.__getitem__)
    assert len(value) == 9_996
    assert value[-1] == {"sku": "s9999", "label": "S9999: 9999", "total": 9999 * 9999 * 1.5}


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("[i for i in range(100)]", Budget(max_operations=100)),
        ("'a' * 100", Budget(max_bytes=100)),
        ("join(['a', 'b'], 'c' * 50)", Budget(max_bytes=100)),
    ],
)
def test_a_budget_is_kept_and_named(text: str, budget: Budget) -> None:
    # `n` keeps the text from being computed when compiled, under the budget of folding.
    parsed = parse_expression(text.replace("100", "n").replace("50", "n"))
    with pytest.raises(BudgetExceeded, match=r"more than 100 (operations|bytes)"):
        compile_tree(parsed.tree)({"n": 100}.__getitem__, budget)
