"""What is reused of an earlier run is said before it happens: interrupted runs, results that are taken, kept steps."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Graft
from tests.support.screens import golden, steady
from tests.support.terminals import Program

CHAIN = """
    graft = 1
    name = "chain"
    [nodes.a]
    {a}
    [nodes.b]
    needs = ["a"]
    run = "echo b"
    [outputs]
    text = "${{ b.out }}"
"""


def chain(a: str) -> str:
    return CHAIN.format(a=a)


SCRIPT, GROUP = 'run = "sh a.sh"', "nodes.c = { value = 1 }"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('run = "echo a"', 'run = "echo A"'),
        ('run = "echo a"', 'run = "echo a"\nenv = { X = "1" }'),
        ('run = "echo a"', 'exec = ["echo", "a"]'),
        (GROUP, "nodes.c = { value = 2 }"),
        (GROUP, GROUP + "\nnodes.d = { value = 1 }"),
        ('flow = "sub.toml"', 'flow = "other.toml"'),
    ],
)
def test_a_result_of_a_node_that_changed_is_not_taken_in_silence(
    graft: Graft, write: Any, before: str, after: str
) -> None:
    write("sub.toml", 'graft = 1\nname = "sub"\n[nodes.x]\nvalue = 1\n')
    write("other.toml", 'graft = 1\nname = "sub"\n[nodes.x]\nvalue = 2\n')
    write("flow.toml", chain(before))
    assert graft("run", "flow.toml", "--id", "first").code == 0
    write("flow.toml", chain(after))
    refused = graft("run", "flow.toml", "--from", "b")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == golden("""
        error: the definition of a changed after run first, whose results would be taken
          begin there: --from a; or take the results as they are: --accept-changed
    """)
    accepted = graft("run", "flow.toml", "--from", "b", "--accept-changed")
    assert accepted.code == 0
    assert "takes the results of a from run first, which began " in accepted.err
    assert graft("run", "flow.toml", "--from", "a").code == 0


def test_what_does_not_change_a_node_is_no_reason_to_refuse(graft: Graft, write: Any) -> None:
    write("flow.toml", chain(GROUP))
    assert graft("run", "flow.toml").code == 0
    write(
        "flow.toml",
        chain(f'doc = "words"\n{GROUP}') + "    [nodes.more]\n    needs = ['b']\n    nodes.z = { value = 1 }\n",
    )
    planned = graft("run", "flow.toml", "--from", "b", "--dry-run")
    assert planned.code == 0, planned.err


@pytest.mark.parametrize(
    ("node", "file"),
    [
        (SCRIPT, "a.sh"),
        ('exec = ["sh", "a.sh"]', "a.sh"),
        ('python = "amodule:f"', "amodule.py"),
        ('nodes.c = { run = "sh a.sh" }', "a.sh"),
    ],
)
def test_a_script_that_changed_is_named(graft: Graft, write: Any, tmp_path: Path, node: str, file: str) -> None:
    write("a.sh", "echo a")
    write("amodule.py", "def f():\n    return 1\n")
    for each in ("a.sh", "amodule.py"):
        os.utime(tmp_path / each, (1, 1))
    write("flow.toml", chain(node))
    assert graft("run", "flow.toml", "--id", "first").code == 0
    assert graft("run", "flow.toml", "--from", "b").code == 0
    later = time.time() + 60
    os.utime(tmp_path / file, (later, later))
    refused = graft("run", "flow.toml", "--from", "b")
    assert refused.code == 2
    assert refused.err.startswith(f"error: {file}, which a runs, changed after run ")
    assert graft("run", "flow.toml", "--only", "b", "--accept-changed").code == 0


def test_accepting_belongs_to_taking(graft: Graft, write: Any) -> None:
    write("flow.toml", chain(GROUP))
    assert graft("run", "flow.toml", "--accept-changed").err == "error: --accept-changed belongs to --from and --only\n"


REFUNDED = """
    graft = 1
    name = "order"
    [nodes.charge]
    run = "echo charged"
    [nodes.ship]
    needs = ["charge"]
    run = "test -e stock"
    [finally.refund]
    run = "echo refunded"
"""


def test_a_retry_says_that_a_finally_has_run_and_that_the_file_changed(
    graft: Graft, write: Any, tmp_path: Path
) -> None:
    write("flow.toml", REFUNDED)
    assert graft("run", "flow.toml", "--id", "mine").code == 1
    assert steady(graft("retry", "mine", "--plan").err) == golden("""
        retry mine (order), generation 2
          runs again: ship, refund
          keeps: charge
          `finally` has run in between: refund
            if that took back what a kept step did, begin there: --from NODE
    """)
    assert "finally" not in graft("retry", "mine", "--from", "charge", "--plan").err
    write("flow.toml", REFUNDED.replace("test -e stock", "test -e shelf"))
    assert steady(graft("retry", "mine", "--from", "charge", "--plan").err) == golden("""
        retry mine (order), generation 2
          runs again: charge, ship, refund
          flow.toml has changed since; a retry goes on with the plan that the run began with
            to run the file as it is now: graft run flow.toml --from charge
    """)
    (tmp_path / "stock").touch()
    retried = graft("retry", "mine")
    assert retried.code == 0
    assert "flow.toml has changed since" in retried.err


def test_a_finally_that_touches_nothing_took_nothing_back(graft: Graft, write: Any) -> None:
    write("flow.toml", REFUNDED.replace('run = "echo refunded"', "value = 1"))
    assert graft("run", "flow.toml", "--id", "mine").code == 1
    assert "finally" not in graft("retry", "mine", "--plan").err


WAITS = """
    graft = 1
    name = "charge"
    [nodes.charge]
    run = "echo charged >> charged.txt; until test -e go; do sleep 0.02; done"
"""


@pytest.mark.slow
def test_a_new_run_of_an_interrupted_flow_says_so_and_an_id_goes_on_with_it(
    graft: Graft, write: Any, tmp_path: Path
) -> None:
    write("flow.toml", WAITS)
    with Program("run", "flow.toml", "--id", "night-1", cwd=tmp_path) as first:
        first.see("charge")
        first.send(signal.SIGKILL)
        first.end()
    (tmp_path / "go").touch()
    again = graft("run", "flow.toml", "--id", "night-1")
    assert again.code == 0
    assert "run night-1 was interrupted: going on with it" in again.err
    assert "is a new run" not in again.err

    (tmp_path / "go").unlink()
    with Program("run", "flow.toml", "--id", "night-2", cwd=tmp_path) as second:
        second.see("charge")
        second.send(signal.SIGKILL)
        second.end()
    (tmp_path / "go").touch()
    fresh = graft("run", "flow.toml")
    assert fresh.code == 0
    assert "run night-2 of this flow was interrupted; this is a new run\n  `graft resume night-2`" in fresh.err


@pytest.mark.parametrize("option", ["--data", "--params-file", "--id", "--from", "--only", "--flag"])
@pytest.mark.parametrize("value", ["--help", "-h"])
def test_an_option_s_value_is_never_taken_for_a_question(graft: Graft, write: Any, option: str, value: str) -> None:
    write("flow.toml", 'graft = 1\nname = "f"\n[params.flag]\ntype = "string"\ndefault = ""\n[nodes.a]\nvalue = 1\n')
    ended = graft("run", "flow.toml", option, value)
    assert ended.code in (0, 2)
    assert "Usage" not in ended.out
    assert "internal" not in ended.err
    assert "Usage: graft run" in graft("run", "flow.toml", option, value, "--help").out


GATE = """
    graft = 1
    name = "ci"
    [nodes.tests]
    for_each = [0, 1]
    tolerate = 1
    run = 'exit "$N"'
    env = { N = "${ item }" }
    [nodes.gate]
    when = "${ any([error != null for error in tests.errors]) }"
    fail = "some failed"
"""


def test_errors_that_are_not_taken_over_turn_no_gate_green(graft: Graft, write: Any) -> None:
    write("flow.toml", GATE.replace("null", "None"))
    assert graft("run", "flow.toml", "--id", "red").code == 1
    refused = graft("run", "flow.toml", "--from", "gate")
    assert (refused.code, refused.err) == (
        2,
        "error: items of tests failed in run red, and their errors are not taken over\n"
        "  begin there: --from tests; `graft retry red --from NODE` keeps them\n",
    )
    assert graft("run", "flow.toml", "--from", "tests").code == 1


def test_what_has_no_result_to_take_is_named(graft: Graft, write: Any) -> None:
    write("flow.toml", chain('run = "exit 3"\non_failure = "continue"').replace("needs", "join = 'all_done'\nneeds"))
    graft("run", "flow.toml")
    assert "has results of a (failed)\n" in graft("run", "flow.toml", "--from", "b").err


def test_a_retry_from_a_node_says_that_other_failures_run_again_too(graft: Graft, write: Any) -> None:
    write(
        "flow.toml",
        """
        graft = 1
        name = "soft"
        [nodes.soft]
        run = "exit 3"
        on_failure = "continue"
        [nodes.kept]
        run = "true"
        [nodes.last]
        run = "true"
        """,
    )
    assert graft("run", "flow.toml", "--id", "mine").code == 0
    assert steady(graft("retry", "mine", "--from", "last", "--plan").err) == golden("""
        retry mine (soft), generation 2
          runs again: soft, last
          keeps: kept
    """)
