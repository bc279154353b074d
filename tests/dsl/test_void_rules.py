"""Rules that another rule makes void are told, and such that take effect in some case are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from graft_dsl import compile_text

HEAD = "[params.fast]\ntype = 'bool'\n[nodes.slow]\nwhen = 'params.fast'\nvalue = 1\n[nodes.other]\nvalue = 1\n"
HEAD += "[nodes.json]\nwhen = 'params.fast'\nrun = 'true'\noutput = 'json'\n"
HANDLER = "[nodes.handler]\nrun = 'true'\n[nodes.second]\nrun = 'true'\n"


def told(text: str) -> list[str]:
    warnings = compile_text(text, base=Path(__file__).parent).warnings
    return [each.message for each in warnings if each.code == "GR212"]


@pytest.mark.parametrize(
    ("node", "void"),
    [
        ("value = '${ default(slow.out, 0) }'", True),
        ("value = '${ [default(slow.out, 0), 1] }'", True),
        ("when = 'default(slow.out, 0) > 0'\nvalue = 1", True),
        ("join = 'all_succeeded'\nneeds = ['other']\nvalue = '${ default(slow.out, 0) }'", True),
        ("needs = ['other']\nvalue = '${ default(slow.out, 0) }'", False),
        ("join = 'all_done'\nvalue = '${ default(slow.out, 0) }'", False),
        ("value = '${ default(json.out.total, 0) }'", False),
        ("value = '${ default(other.out, 0) }'", False),
    ],
)
def test_a_default_for_a_node_that_takes_its_reader_along(node: str, void: bool) -> None:
    assert len(told(f"{HEAD}[nodes.reader]\n{node}")) == void


def test_the_default_of_a_group_and_of_a_failure_that_goes_no_further() -> None:
    assert len(told(HEAD + "[nodes.g.nodes.x]\nvalue = '${ default(slow.out, 0) }'")) == 1
    failing = "[nodes.a]\nrun = 'true'\non_failure = 'continue'\n[nodes.b]\nvalue = \"${ default(a.out, '') }\""
    assert len(told(failing)) == 1


def test_defaults_in_outputs_and_finally_take_effect() -> None:
    assert told(HEAD + "[outputs]\nx = '${ default(slow.out, 0) }'") == []
    assert told(HEAD + "[finally.tidy]\nvalue = '${ default(slow.out, 0) }'") == []


@pytest.mark.parametrize(
    ("keys", "void"),
    [
        ("retry = { on = ['exit.1'], never = ['exit.*'] }", 1),
        ("retry = { on = ['exit.1', 'timeout'], never = ['*'] }", 2),
        ("retry = { on = ['exit'], never = ['exit.2'] }", 0),
        ("retry = { on = ['lost_member', 'exit'] }", 1),
        ("catch = [{ on = ['*'], to = 'handler' }, { on = ['exit.1'], to = 'second' }]", 1),
        ("catch = [{ on = ['exit'], to = 'handler' }, { on = ['exit.1', 'timeout'], to = 'second' }]", 0),
        ("catch = [{ on = ['exit.1'], to = 'handler' }, { on = ['*'], to = 'second' }]", 0),
        ("for_each = [1, 2, 3]\ntolerate = '10%'", 1),
        ("for_each = [1]\ntolerate = 1", 1),
        ("for_each = [1, 2, 3]\ntolerate = '50%'", 0),
        ("for_each = '${ range(3) }'\ntolerate = '10%'", 0),
        ("timeout = '2h'\ntotal_timeout = '1h'", 1),
        ("timeout = '30m'\ntotal_timeout = '1h'", 0),
    ],
)
def test_rules_of_one_node(keys: str, void: int) -> None:
    rest = HANDLER if "catch" in keys else ""
    assert len(told(f"[nodes.a]\nrun = 'true'\n{keys}\n{rest}")) == void


@pytest.mark.parametrize(
    ("text", "void"),
    [
        ("timeout = '1h'\n[nodes.a]\nrun = 'true'\ntimeout = '2h'", 1),
        ("timeout = '1h'\n[nodes.a]\nrun = 'true'\ntotal_timeout = '2h'", 1),
        ("timeout = '1h'\n[nodes.a]\nrun = 'true'\ntimeout = '1h'", 0),
        ("timeout = '1h'\n[nodes.a]\nvalue = 1\n[finally.b]\nrun = 'true'\ntimeout = '2h'", 0),
        ("timeout = '1h'\n[defaults]\ntimeout = '2h'\n[nodes.a]\nrun = 'true'", 0),
        ("[nodes.g]\ntimeout = '1m'\n[nodes.g.nodes.a]\nrun = 'true'\ntimeout = '5m'", 1),
        ("timeout = '1h'\n[nodes.g.nodes.h.nodes.a]\nrun = 'true'\ntimeout = '2h'", 1),
        ("timeout = '1h'\n[nodes.b]\nvalue = 1\n[finally.g.nodes.a]\nrun = 'true'\ntimeout = '2h'", 0),
    ],
)
def test_deadlines_inside_of_deadlines(text: str, void: int) -> None:
    assert len(told(text)) == void
