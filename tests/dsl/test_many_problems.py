"""A file of very many mistakes: the first hundred are told and the others counted, in work that grows with the file.

Work is counted in calls of functions, which are the same in every run and on every machine; the time of a run is not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from graft.errors import InvalidFlow
from graft_dsl import Diagnostic, compile_text
from graft_dsl.diagnostics import MAX_TOLD, MORE

B = "[nodes.b]\nvalue = 1\n"
A = B + "[nodes.a]\nvalue = 1\n"


def listed(text: str, count: int) -> str:
    return f"[{','.join(text.format(i) for i in range(count))}]"


FILES: dict[str, Callable[[int], str]] = {
    "unknown keys": lambda n: "".join(f"key{i} = 1\n" for i in range(n)) + B,
    "unknown keys of a node": lambda n: A + "".join(f"key{i} = 1\n" for i in range(n)),
    "one need, many times": lambda n: A + "needs = " + listed("'b'", n) + "\nretrys = 1",
    "unknown needs": lambda n: A + "needs = " + listed("'x{}'", n),
    "no kind": lambda n: "".join(f"[nodes.n{i}]\n" for i in range(n)),
    "a table many times": lambda n: B * n,
    "a key many times": lambda n: "[nodes.b]\n" + "value = 1\n" * n,
    "unknown nodes": lambda n: A.replace("1\n", listed("'${{ c.out }}'", n) + "\n"),
    "one text": lambda n: B + "[nodes.a]\nrun = '''" + "${ b.out } " * n + "'''",
    "error types": lambda n: "[nodes.a]\nrun = 'true'\nretry = { on = " + listed("'exit.x'", n) + " }",
    "names": lambda n: "".join(f"[nodes.'a {i}']\nvalue = 1\n" for i in range(n)),
    "params": lambda n: "".join(f"[params.p{i}]\n" for i in range(n)) + B,
    "self needs": lambda n: "".join(f"[nodes.n{i}]\nvalue = 1\nneeds = ['n{i}']\n" for i in range(n)),
    "integers": lambda n: f"[nodes.a]\nvalue = {listed('99999999999999999999', n)}",
    "arguments": lambda n: (
        "[nodes.a]\npython = 'm:f'\nwith = {" + ",".join(f"k{i} = '${{ z }}'" for i in range(n)) + "}"
    ),
    "outputs": lambda n: B + "[outputs]\n" + "".join(f"o{i} = '${{ b.oot }}'\n" for i in range(n)),
    "values": lambda n: "[params.p]\nvalues = " + listed("'{}'", n) + f"\n{B}retrys = 1",
    "comments": lambda n: "[nodes.a]\nretrys = 1\nvalue = [\n" + "1, # x\n" * n + "]",
}


def told(text: str) -> list[Diagnostic]:
    with pytest.raises(InvalidFlow) as caught:
        compile_text(text)
    return [each for each in caught.value.diagnostics if isinstance(each, Diagnostic)]


def calls(text: str) -> int:
    """How many functions are called to tell what is wrong with `text`, those written in C too."""
    counted = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        told(text)
    finally:
        sys.setprofile(None)
    return counted


@pytest.mark.parametrize("name", FILES)
def test_work_grows_with_the_file(name: str) -> None:
    made = FILES[name]
    few, many, more = calls(made(500)), calls(made(2000)), calls(made(4000))
    assert more - many <= 2000 * 1.2 * max((many - few) / 1500, 20)


@pytest.mark.parametrize("name", FILES)
def test_at_most_a_hundred_are_told(name: str) -> None:
    assert len(told(FILES[name](3000))) <= MAX_TOLD + 1


def test_the_others_are_counted() -> None:
    found = told("".join(f"key{i} = 1\n" for i in range(20_000)) + B)
    assert [each.line for each in found[:MAX_TOLD]] == list(range(1, MAX_TOLD + 1))
    last = found[-1]
    assert (last.code, last.line) == (MORE, MAX_TOLD + 1)
    assert last.message == "and 19,900 more problems; the next one is here"


def test_a_hundred_are_told_without_a_word_about_more() -> None:
    assert MORE not in {each.code for each in told("".join(f"key{i} = 1\n" for i in range(MAX_TOLD)) + B)}


def test_problems_on_one_line_share_its_text() -> None:
    """A line of a megabyte with a thousand problems would be a gigabyte otherwise."""
    found = told(FILES["unknown needs"](5000))
    assert len({id(each.source_line) for each in found}) == 1


def test_warnings_are_bounded_too() -> None:
    warnings = compile_text(A + "needs = " + listed("'b'", 5000)).warnings
    assert len(warnings) == MAX_TOLD + 1
    assert warnings[-1].severity == "warning"
