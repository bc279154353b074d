"""The front end as a whole: whatever the file says, it gives a plan or diagnostics that point into it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graft_dsl
from graft.errors import InvalidFlow
from graft.plan import FlowAction, Plan, decode, encode, plan_hash
from graft_dsl import Diagnostic, compile_file, compile_text
from tests.support.flow_documents import documents, flows
from tests.support.signatures import fake_signatures


def refused(text: str, **more: object) -> list[Diagnostic]:
    with pytest.raises(InvalidFlow) as caught:
        compile_text(text, **more)  # type: ignore[arg-type]
    return [each for each in caught.value.diagnostics if isinstance(each, Diagnostic)]


def codes(text: str) -> list[str]:
    return [each.code for each in refused(text)]


def check_places(error: InvalidFlow, lines: list[str]) -> None:
    assert error.diagnostics
    for each in error.diagnostics:
        assert isinstance(each, Diagnostic)
        assert 1 <= each.line <= len(lines)
        assert 1 <= each.column <= len(lines[each.line - 1]) + 1
        assert each.end_column > each.column
        assert each.source_line == lines[each.line - 1]


def check_any(text: str) -> Plan | None:
    try:
        plan = compile_text(text, python=fake_signatures).plan
    except InvalidFlow as error:
        check_places(error, text.split("\n"))
        return None
    assert encode(decode(encode(plan))) == encode(plan)
    return plan


@settings(max_examples=300)
@given(flows())
def test_any_flow_compiles_or_is_refused_with_places(text: str) -> None:
    check_any(text)


@given(documents())
def test_any_document_compiles_or_is_refused_with_places(text: str) -> None:
    check_any(text)


@settings(max_examples=300)
@given(flows())
def test_edges_of_a_plan_are_sorted_disjoint_and_acyclic(text: str) -> None:
    plan = check_any(text)
    for block in plan.blocks if plan else ():
        for nodes in (block.nodes, block.finals):
            before = {node.name: {*node.needs, *node.after} for node in nodes}
            for node in nodes:
                assert list(node.needs) == sorted(set(node.needs))
                assert list(node.after) == sorted(set(node.after))
                assert not {*node.needs} & {*node.after}
                assert before[node.name] <= set(before)
                for catch in node.catch:
                    before[catch.to] = before[catch.to] | {node.name}
            while before:
                free = [name for name, sources in before.items() if not sources & set(before)]
                assert free, "a cycle"
                for name in free:
                    del before[name]


GOLDEN = sorted((Path(__file__).parent / "golden").glob("*/flow.toml"))
TOKENS = ['"', "'", "[", "]", "{", "}", "=", ".", ",", "\n", "${", '"""', "#", "\\", "nodes", "a", "out", "é"]


@settings(max_examples=200)
@given(st.sampled_from(GOLDEN), st.lists(st.tuples(st.integers(0, 3000), st.sampled_from(TOKENS), st.integers(0, 20))))
def test_damaged_golden_files_are_refused_with_places(path: Path, damages: list[tuple[int, str, int]]) -> None:
    text = path.read_text()
    for at, token, removed in damages[:4]:
        at %= len(text) + 1
        text = text[:at] + token + text[at + removed :]
    check_any(text)


def test_importing_the_package_loads_nothing() -> None:
    loaded = "[name for name in sys.modules if name.startswith(('graft_dsl.', 'tomli', 'attr'))]"
    code = f"import sys, graft_dsl; print({loaded})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert set(graft_dsl.__all__) <= set(dir(graft_dsl))
    assert all(getattr(graft_dsl, name) for name in graft_dsl.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        graft_dsl.nothing  # noqa: B018


# What the plan depends on


def test_layout_and_comments_do_not_change_the_plan() -> None:
    one = compile_text('[nodes.a]\nrun = "true"\n[nodes.b]\nneeds = ["a"]\nrun = "x"\n').plan
    two = compile_text('nodes.a.run = "true" # c\nnodes.b = { run = "x", needs = [ "a" ] }\n').plan
    assert plan_hash(one) == plan_hash(two)


def test_the_name_is_that_of_the_file_when_it_says_none(tmp_path: Path) -> None:
    (tmp_path / "my flow.toml").write_text("[nodes.a]\nvalue = 1\n")
    assert compile_file(tmp_path / "my flow.toml").plan.name == "my-flow"


def test_warnings_do_not_refuse() -> None:
    compiled = compile_text('[nodes.a]\nvalue = 1\n[nodes.b]\nneeds = ["a", "a"]\nvalue = 2\n')
    assert [each.code for each in compiled.warnings] == ["GR208"]
    assert compiled.warnings[0].severity == "warning"


def test_a_file_that_is_included_twice_has_one_block(tmp_path: Path) -> None:
    (tmp_path / "leaf.toml").write_text("[nodes.x]\nvalue = 1\n")
    (tmp_path / "flow.toml").write_text('[nodes.a]\nflow = "leaf.toml"\n[nodes.b]\nflow = "./leaf.toml"\n')
    plan = compile_file(tmp_path / "flow.toml").plan
    assert len(plan.blocks) == 2
    assert {node.action for node in plan.root.nodes} == {FlowAction(1)}


def test_includes_that_double_at_each_level_stay_small(tmp_path: Path) -> None:
    for level in range(15):
        text = "".join(f'[nodes.n{i}]\nflow = "f{level + 1}.toml"\n' for i in range(3))
        (tmp_path / f"f{level}.toml").write_text(text)
    (tmp_path / "f15.toml").write_text("[nodes.x]\nvalue = 1\n")
    plan = compile_file(tmp_path / "f0.toml").plan
    assert len(plan.blocks) == 16
    for number, block in enumerate(plan.blocks):
        assert all(node.action.block > number for node in block.nodes if isinstance(node.action, FlowAction))


def test_block_numbers_grow_when_a_flow_is_reached_on_two_ways(tmp_path: Path) -> None:
    (tmp_path / "leaf.toml").write_text("[nodes.x]\nvalue = 1\n")
    (tmp_path / "mid.toml").write_text('[nodes.m]\nflow = "leaf.toml"\n')
    (tmp_path / "flow.toml").write_text('[nodes.a]\nflow = "leaf.toml"\n[nodes.b]\nflow = "mid.toml"\n')
    plan = compile_file(tmp_path / "flow.toml").plan
    for number, block in enumerate(plan.blocks):
        assert all(node.action.block > number for node in block.nodes if isinstance(node.action, FlowAction))


# Hostile files


def test_values_nested_deep_are_refused() -> None:
    for depth in (40, 399, 401, 100_000):
        assert codes(f"[nodes.a]\nvalue = {'[' * depth}{']' * depth}\n") == ["GR007"]
    assert codes(f"[nodes.a]\nvalue = {'{a=' * 300}1{'}' * 300}\n") == ["GR007"]


def test_keys_nested_deep_are_refused() -> None:
    assert "GR007" in codes("[nodes.a]\nvalue." + ".".join(["x"] * 900) + " = 1\n")
    assert "GR007" in codes("nodes." + ".".join(["x"] * 2000) + " = 1\n")
    assert "GR007" in codes("[nodes." + ".nodes.".join(f"g{i}" for i in range(100)) + "]\nrun = 'x'\n")
    assert refused("a." * 900 + "b = 1\n")


def test_expressions_nested_deep_are_refused() -> None:
    for text in ("(" * 10_000, "[" * 10_000, "-" * 9_000 + "1", "not " * 2_000 + "true", "x." * 5_000 + "y"):
        assert refused(f"[nodes.a]\nvalue = '${{ {text} }}'\n")


def test_a_megabyte_of_text_compiles() -> None:
    plan = compile_text(f'[nodes.a]\nrun = "{"x" * 1_000_000}"\n[nodes.b]\nvalue = """{"y " * 500_000}"""\n').plan
    assert len(encode(plan)) > 2_000_000


def test_a_megabyte_in_the_wrong_place_is_refused_shortly() -> None:
    for text in (
        f'timeout = "{"x" * 1_000_000}"\n',
        f"{'k' * 1_000_000} = 1\n",
        f'[nodes."{"n" * 1_000_000}"]\nrun = "x"\n',
    ):
        with pytest.raises(InvalidFlow) as caught:
            compile_text(text)
        assert len(caught.value.message) < 5_000


def test_a_hundred_thousand_keys_compile_in_seconds() -> None:
    start = time.process_time()
    compile_text("[nodes.a.value]\n" + "".join(f"k{i} = {i}\n" for i in range(100_000)))
    assert codes("[nodes.a]\nrun = 'x'\n" + "".join(f"k{i} = {i}\n" for i in range(2_000))) == ["GR010"] * 100 + [
        "GR008"
    ]
    assert time.process_time() - start < 20


def test_of_ten_thousand_errors_the_first_are_shown_and_all_are_counted() -> None:
    text = "".join(f'[nodes.n{i}]\nneeds = ["m{i}"]\nrun = "x"\n' for i in range(5_000))
    with pytest.raises(InvalidFlow) as caught:
        compile_text(text)
    assert len(caught.value.diagnostics) == 101
    assert "and 4,900 more problems" in caught.value.message
    assert caught.value.message.endswith("100 errors of many; `graft explain GR201` says more")


def test_a_long_cycle_and_what_hangs_on_it() -> None:
    ring = "".join(f'[nodes.n{i}]\nneeds = ["n{(i + 1) % 3000}"]\nvalue = 1\n' for i in range(3_000))
    tail = "".join(f'[nodes.t{i}]\nneeds = ["{f"t{i - 1}" if i else "n0"}"]\nvalue = 1\n' for i in range(3_000))
    start = time.process_time()
    (found,) = refused(ring + tail)
    assert found.code == "GR203"
    assert "more)" in found.message
    assert time.process_time() - start < 10


def test_files_that_cannot_be_flows(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9\n[nodes.a]\n")
    (tmp_path / "huge.toml").write_bytes(b"#" * (16 * 1024 * 1024 + 1))
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "flow.toml").write_text("")
    os.mkfifo(tmp_path / "pipe.toml")
    cases = {
        "missing.toml": ("GR003", "there is no file"),
        "there": ("GR003", "is a directory, not a flow file; did you mean"),
        "pipe.toml": ("GR003", "is not a regular file"),
        "huge.toml": ("GR005", "is too large"),
        "latin.toml": ("GR004", "not UTF-8: byte 0xe9"),
        "latin.toml/x": ("GR003", "there is no file"),
        "a\0b": ("GR003", "cannot be read"),
    }
    for name, (code, text) in cases.items():
        with pytest.raises(InvalidFlow) as caught:
            compile_file(tmp_path / name)
        (found,) = caught.value.diagnostics
        assert isinstance(found, Diagnostic)
        assert (found.code, text in found.message) == (code, True), found


def test_the_place_of_a_byte_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "flow.toml"
    path.write_bytes("# über\r\nname = '".encode() + b"\xff'\n")
    with pytest.raises(InvalidFlow, match=r"GR004.*\n.*:2:9"):
        compile_file(path)


def test_the_same_files_as_sub_flows(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    (tmp_path / "dir").mkdir()
    text = "".join(
        f'[nodes.n{i}]\nflow = "{name}"\n' for i, name in enumerate(["latin.toml", "dir", "none.toml", "a\\u0000b"])
    )
    (tmp_path / "flow.toml").write_text(text)
    with pytest.raises(InvalidFlow) as caught:
        compile_file(tmp_path / "flow.toml")
    assert sorted(each.code for each in caught.value.diagnostics if isinstance(each, Diagnostic)) == [
        "GR004",
        "GR401",
        "GR401",
        "GR401",
    ]


def test_includes_nest_to_a_limit(tmp_path: Path) -> None:
    for level in range(30):
        (tmp_path / f"f{level}.toml").write_text(f'[nodes.n]\nflow = "f{level + 1}.toml"\n')
    with pytest.raises(InvalidFlow) as caught:
        compile_file(tmp_path / "f0.toml")
    (found,) = caught.value.diagnostics
    assert isinstance(found, Diagnostic)
    assert (found.code, Path(found.file).name) == ("GR403", "f16.toml")


def test_a_link_to_itself_is_a_circle_too(tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text('[nodes.n]\nflow = "other.toml"\n')
    (tmp_path / "other.toml").symlink_to(tmp_path / "flow.toml")
    with pytest.raises(InvalidFlow, match="GR402"):
        compile_file(tmp_path / "flow.toml")


def test_names_cannot_paint_the_terminal() -> None:
    (found, *_) = refused('[nodes."\\u001b[31mred\\u0007"]\nrun = "x"\n')
    assert "\x1b" not in found.message
    assert "\\x1b" in found.message
    assert "\x1b" not in caught_text('["\\u001b[2J"]\nx = 1\n')


def test_keys_that_are_called_like_our_own_marks() -> None:
    for key in ("broken", "later"):
        assert set(codes(f"[nodes.a]\n{key} = 1\n[nodes.b.{key}]\nx = 1\n")) <= {"GR010", "GR021"}


def test_source_lines_cannot_paint_the_terminal() -> None:
    text = caught_text('[nodes.a]\nneeds = ["\x9b31m", "\u202e"]\nrun = "x"\n')
    assert "\x9b" not in text
    assert "\u202e" not in text
    assert 'needs = ["\ufffd31m", "\ufffd"]' in text


def test_patterns_that_will_mean_something_else_are_refused() -> None:
    assert codes("[params.x]\ntype = 'string'\npattern = '[[a]'\n[nodes.a]\nvalue = 1\n") == ["GR502"]


def caught_text(text: str) -> str:
    with pytest.raises(InvalidFlow) as caught:
        compile_text(text)
    return caught.value.message
