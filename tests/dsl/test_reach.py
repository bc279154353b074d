"""What is known about skips, against a small interpreter of the join rules over every course a flow can take.

Courses in which a failure ends the scope are left out: what ran before it ran in a course without it too.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from graft.engine.joins import READY, RULES
from graft.errors import InvalidFlow
from graft_dsl import Diagnostic, compile_text
from graft_dsl.compiling import _Compiler
from graft_dsl.declarations import BlockDecl
from graft_dsl.diagnostics import Report
from graft_dsl.places import TomlSource

JOINS = ("none_failed", "none_failed", "none_failed", "all_succeeded", "all_done", "any_succeeded", "any_failed")


@st.composite
def shapes(draw: st.DrawFn) -> str:
    """A few nodes with needs, joins, conditions and contained failures. Nobody reads anything."""
    lines = ["[params.x]", 'type = "int"']
    targets: set[str] = set()
    for number in range(draw(st.integers(2, 6))):
        before = [f"n{i}" for i in range(number)]
        needs = draw(st.lists(st.sampled_from(before), unique=True, max_size=3)) if before else []
        lines += [f"[nodes.n{number}]", "value = 1"]
        if f"n{number}" not in targets:
            lines.append(f"needs = {needs}")
            if needs:
                lines.append(f'join = "{draw(st.sampled_from(JOINS))}"')
        extra = draw(st.sampled_from(["", "", "when", "continue", "catch"]))
        if extra == "when":
            lines.append('when = "params.x > 1"')
        elif extra == "continue":
            lines.append('on_failure = "continue"')
        elif extra == "catch" and number < 5:
            target = f"n{draw(st.integers(number + 1, number + 2))}"
            targets.add(target)
            lines.append(f'catch = [{{ on = ["*"], to = "{target}" }}]')
    last = max(int(name[1:]) for name in [*targets, "n0"])
    known = sum(line.startswith("[nodes.") for line in lines)
    for number in range(known, last + 1):
        lines += [f"[nodes.n{number}]", "value = 1"]
    return "\n".join(lines) + "\n"


def declared(text: str) -> tuple[BlockDecl, list[Diagnostic]]:
    """The declarations of a flow, linked and checked, and what there is to say about it."""
    compiler = _Compiler(None)
    source = TomlSource("flow.toml", text)
    report = Report(source)
    compiler.opened.append(("", "flow.toml", None, None))
    flow = compiler.flow(source, report, Path(), "flow")
    assert flow is not None
    return flow.root, report.diagnostics()


Course = dict[str, str]


def courses(block: BlockDecl) -> Iterator[Course]:
    """Every way in which the nodes can end: `succeeded`, `failed` (contained), `skipped`."""
    free = []
    for node in block.order:
        contained = node.keys.get("on_failure") == "continue" or "catch" in node.keys
        ways = ["succeeded", *(["failed"] if contained else []), *(["skipped"] if "when" in node.keys else [])]
        free.append(ways)
    for choice in product(*free):
        course: Course = {}
        for node, way in zip(block.order, choice, strict=True):
            if node.caught:
                started = any(course[each.name] == "failed" for each in node.caught)
            else:
                ends = [course[name] for name in node.needs]
                counts = (ends.count("succeeded"), ends.count("failed"), ends.count("skipped"))
                started = RULES[node.keys.get("join", "none_failed")](len(ends), *counts) == READY
            course[node.name] = way if started else "skipped"
        yield course


@settings(max_examples=150)
@given(shapes())
def test_skippable_and_partial_are_exact(text: str) -> None:
    block, found = declared(text)
    assume(not any(each.severity == "error" for each in found))
    ends: dict[str, set[str]] = {}
    for course in courses(block):
        for name, end in course.items():
            ends.setdefault(name, set()).add(end)
    for node in block.order:
        if "skipped" in ends[node.name]:
            assert node.skippable, node.name
        if ends[node.name] != {"succeeded"}:
            assert node.partial, node.name


@settings(max_examples=150)
@given(shapes(), st.data())
def test_a_read_without_default_finds_its_value(text: str, data: st.DataObject) -> None:
    count = text.count("[nodes.")
    reader = data.draw(st.integers(1, count - 1), label="reader")
    source = data.draw(st.integers(0, reader - 1), label="source")
    reading = text.replace(f"[nodes.n{reader}]\nvalue = 1\n", f'[nodes.n{reader}]\nvalue = "${{ n{source}.out }}"\n')
    block, found = declared(reading)
    errors = {each.code for each in found if each.severity == "error"}
    assume(errors <= {"GR123"})
    absent = any(course[f"n{reader}"] != "skipped" and course[f"n{source}"] != "succeeded" for course in courses(block))
    if absent:
        assert "GR123" in errors


@settings(max_examples=150)
@given(shapes())
def test_a_node_that_is_called_unreachable_never_starts(text: str) -> None:
    block, found = declared(text)
    named = {each.message.split("`")[1] for each in found if each.code == "GR204"}
    for course in courses(block):
        for name in named:
            assert course[name] == "skipped"


@pytest.mark.parametrize(
    "text",
    [
        'when = "params.x > 1"\nvalue = 1\n[nodes.b]\nvalue = "${ a.out }"\n[nodes.c]\nvalue = "${ a.out + b.out }"',
        'when = "params.x > 1"\nvalue = 1\n[nodes.d]\nvalue = 2\n'
        '[nodes.b]\njoin = "all_succeeded"\nneeds = ["d"]\nvalue = "${ a.out }"',
        'on_failure = "continue"\nvalue = 1\n[nodes.d]\nvalue = 2\n[nodes.b]\nneeds = ["d"]\nvalue = "${ a.out }"',
        'when = "params.x > 1"\nvalue = 1\n[nodes.g]\nneeds = ["a"]\n[nodes.g.nodes.b]\nvalue = "${ a.out }"',
    ],
)
def test_no_default_is_asked_for_where_the_value_is_sure(text: str) -> None:
    assert compile_text(f'[params.x]\ntype = "int"\n[nodes.a]\n{text}\n')


def test_a_condition_in_the_outputs_asks_for_a_default() -> None:
    with pytest.raises(InvalidFlow, match="GR123"):
        compile_text('[nodes.a]\nwhen = false\nvalue = 1\n[outputs]\nx = "${ a.out }"\n')
