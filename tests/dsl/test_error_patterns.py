"""Error types in a flow file: what stands in the plan, and what is told about patterns that never match."""

from __future__ import annotations

from pathlib import Path

import pytest

from graft.errors import InvalidFlow
from graft_dsl import compile_text
from tests.support.signatures import fake_signatures

COMMAND = "[nodes.a]\nrun = 'true'\n"


def test_the_plan_holds_canonical_patterns() -> None:
    written = "retry = { on = ['exit.*', 'signal.KILL'], never = ['exit.075'] }\n"
    retry = compile_text(COMMAND + written).plan.root.nodes[0].retry
    assert retry is not None
    assert (retry.on, retry.never) == (("exit", "signal.SIGKILL"), ("exit.75",))


def test_two_spellings_give_one_plan() -> None:
    texts = [f"{COMMAND}catch = [{{ on = ['{on}'], to = 'b' }}]\n[nodes.b]\nrun = 'true'" for on in ("exit", "exit.*")]
    one, other = (compile_text(text).plan for text in texts)
    assert one == other


@pytest.mark.parametrize(
    ("node", "warned"),
    [
        ("run = 'true'\nretry = { on = ['http.503'] }", True),
        ("run = 'true'\nretry = { never = ['python.ValueError'] }", True),
        ("python = 'shop:f'\nretry = { on = ['exit'] }", True),
        ("run = 'true'\nretry = { on = ['timeot'] }", True),
        ("run = 'true'\nretry = { on = ['exit.1', 'signal', 'timeout', '*'] }", False),
        ("fail = { message = 'x', type = 'stock.none' }\ncatch = [{ on = ['stock.*'], to = 'b' }]", False),
        ("flow = 'sub.toml'\ncatch = [{ on = ['none_left', 'http.503'], to = 'b' }]", False),
        ("flow = 'sub.toml'\ncatch = [{ on = ['none_lft'], to = 'b' }]", True),
    ],
)
def test_a_pattern_that_the_node_never_fails_with_is_told(node: str, warned: bool, tmp_path: Path) -> None:
    (tmp_path / "sub.toml").write_text("[nodes.x]\nfail = { message = 'x', type = 'none_left' }")
    text = f"[nodes.a]\n{node}\n[nodes.b]\n{'needs = []' if 'catch' in node else ''}\nrun = 'true'"
    warnings = compile_text(text, base=tmp_path, python=None).warnings
    assert [each.code for each in warnings] == ["GR210"] * warned


def test_defaults_are_for_many_kinds() -> None:
    text = "[defaults]\nretry = { on = ['http.503', 'exit.1'] }\n" + COMMAND
    assert compile_text(text, python=fake_signatures).warnings == ()


@pytest.mark.parametrize("name", ["exit", "two words", "group", "*"])
def test_a_fail_type_that_no_pattern_can_name(name: str) -> None:
    with pytest.raises(InvalidFlow, match="GR027"):
        compile_text(f"[nodes.a]\nfail = {{ message = 'x', type = '{name}' }}")
