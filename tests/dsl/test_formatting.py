"""`graft fmt`: changes nothing but the layout, and nothing at all the second time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import tomli
from hypothesis import example, given

from graft.errors import InvalidFlow
from graft.plan import encode
from graft_dsl import compile_file, compile_text, format_text
from graft_dsl.toml_syntax import scan
from tests.support.flow_documents import documents, flows
from tests.support.signatures import fake_signatures

GOLDEN = Path(__file__).parent / "golden"
VALID = sorted(path.parent for path in GOLDEN.glob("*/plan.json"))
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/*.toml"))


def comments(text: str) -> list[str]:
    """Every comment of a document, in order."""
    found: list[str] = []
    stack = list(reversed(list(scan(text))))
    while stack:
        item = stack.pop()
        if hasattr(item, "text") and hasattr(item, "own_line"):
            found.append(item.text)
        value = getattr(item, "value", None)
        stack += reversed(getattr(item, "items", []) or ([value] if value is not None else []))
    return found


def readable(text: str) -> bool:
    try:
        tomli.loads(text)
    except (tomli.TOMLDecodeError, RecursionError):
        return False
    return True


@given(documents())
@example("a = [ # first\n 1, # one\n\n # own\n 2\n] # end\n")
@example("\ufeffa=1\r\nb = '''\r\nx'''\r\n")
@example("a = {\n b = 1, # c\n c = [{}, [\n]],\n}\n")
@example("#!only\n\n\n#:schema x\n")
def test_formatting_changes_only_the_layout(text: str) -> None:
    if not readable(text):
        return
    once = format_text(text)
    assert format_text(once) == once
    assert repr(tomli.loads(once)) == repr(tomli.loads(text.removeprefix("\ufeff")))
    assert comments(once) == comments(text.removeprefix("\ufeff").replace("\r\n", "\n"))
    assert all(line == line.rstrip() for line in once.split("\n") if '"""' not in once and "'''" not in once)
    assert "\n\n\n" not in once or '"""' in once or "'''" in once


@given(flows())
def test_the_plan_stays_the_same(text: str) -> None:
    try:
        plan = compile_text(text).plan
    except InvalidFlow:
        return
    assert encode(compile_text(format_text(text)).plan) == encode(plan)


@pytest.mark.parametrize("directory", VALID, ids=lambda path: path.name)
def test_golden_files_keep_their_plan(directory: Path, tmp_path: Path) -> None:
    before = compile_file(directory / "flow.toml", python=fake_signatures).plan
    for path in directory.rglob("*.toml"):
        target = tmp_path / path.relative_to(directory)
        target.parent.mkdir(exist_ok=True)
        target.write_text(format_text(path.read_text()))
    assert encode(compile_file(tmp_path / "flow.toml", python=fake_signatures).plan) == encode(before)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_examples_are_formatted(path: Path) -> None:
    text = path.read_text()
    assert format_text(text) == text.replace("\n\n\n", "\n\n")


def test_layout() -> None:
    before = (
        "a   =1 # one\nbbbb=[1,2 , {x=1}] #two\n\n\n\nc = [ # first\n 1, # in\n # own\n [2,3\n ],\n]\n"
        '  [ t . "u v" ]   # head\nk = """\n  multi\n""" # after\nlonger = {}\n'
    )
    assert format_text(before) == (
        "a    = 1                  # one\n"
        "bbbb = [1, 2, { x = 1 }]  #two\n"
        "\n"
        "c = [\n  # first\n  1,  # in\n  # own\n  [\n    2,\n    3,\n  ],\n]\n"
        '[t."u v"]  # head\n'
        'k = """\n  multi\n"""  # after\n'
        "longer = {}\n"
    )


def test_what_is_not_toml_is_refused_with_its_place() -> None:
    with pytest.raises(InvalidFlow, match=r"GR001.*\n.*x\.toml:2:5"):
        format_text("a = 1\nb = \n", filename="x.toml")


def test_deep_nesting_is_formatted_or_refused() -> None:
    depth = 300
    text = "a = " + "[" * depth + "]" * depth + "\n"
    assert format_text(text) == text
    with pytest.raises(InvalidFlow, match="GR007"):
        format_text("a = " + "[" * 5000)
    assert sys.getrecursionlimit() >= 1000
