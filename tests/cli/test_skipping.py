"""Steps that skip themselves: with an exit code, or with `graft.Skip`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Graft

STEPS = """
    import graft
    import trio


    class Idle(graft.Skip):
        pass


    def plain():
        raise Idle("nothing to send")


    async def coroutine():
        async with trio.open_nursery():
            raise graft.Skip("nothing to send")


    def odd(n: int) -> int:
        if n % 2 == 0:
            raise graft.Skip("even")
        return n
"""
COMMON = """
        retry = {}
        [nodes.after]
        needs = ["work"]
        run = "echo ran"
        [nodes.anyway]
        needs = ["work", "other"]
        run = "echo ran"
        [nodes.other]
        run = "true"
        [outputs]
        after = "${ default(after.out, 'skipped') }"
        anyway = "${ anyway.out }"
"""
WAYS = {
    "run": ('run = "exit 99"\nskip_on = [98, 99]', "the command exited with 99"),
    "exec": ('exec = ["sh", "-c", "exit 1"]\nskip_on = [1]', "the command exited with 1"),
    "thread": ('python = "steps:plain"', "nothing to send"),
    "process": ('python = "steps:plain"\nisolation = "process"', "nothing to send"),
    "coroutine": ('python = "steps:coroutine"', "nothing to send"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_step_that_skips_itself(graft: Graft, write: Any, way: str) -> None:
    action, why = WAYS[way]
    write("steps.py", STEPS)
    write("flow.toml", f'graft = 1\nname = "x"\n[nodes.work]\n{action}\n{COMMON}')
    ended = graft("run", "flow.toml", "--id", "r")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out) == {"after": "skipped", "anyway": "ran"}
    lines = map(json.loads, graft("show", "r", "--json").out.splitlines())
    work = next(line for line in lines if line.get("path") == "work")
    assert (work["status"], work["error"]) == ("skipped", None)
    assert work["reason"] == f"the step skipped itself: {why}"
    assert f"the step skipped itself: {why}" in graft("explain", "r").out
    assert f"the step skipped itself: {why}" in graft("events", "r").out


def test_items_that_skip_themselves_give_null(graft: Graft, write: Any) -> None:
    write("steps.py", STEPS)
    write(
        "flow.toml",
        """
        graft = 1
        name = "x"
        [nodes.numbers]
        for_each = [1, 2, 3]
        python = "steps:odd"
        with = { n = "${ item }" }
        [nodes.codes]
        for_each = [0, 7]
        exec = ["sh", "-c", "echo said; exit ${ item }"]
        skip_on = [7]
        [outputs]
        numbers = "${ numbers.out }"
        codes = "${ codes.out }"
        """,
    )
    ended = graft("run", "flow.toml")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out) == {"numbers": [1, None, 3], "codes": ["said", None]}


def test_another_code_fails_as_ever(graft: Graft, write: Any) -> None:
    write("flow.toml", 'graft = 1\nname = "x"\n[nodes.a]\nrun = "exit 98"\nskip_on = [99]\n')
    ended = graft("run", "flow.toml")
    assert ended.code == 1
    assert "exit.98" in ended.err


def test_what_may_skip_itself_may_have_no_result(graft: Graft, write: Any) -> None:
    write(
        "flow.toml",
        'graft = 1\nname = "x"\n[nodes.a]\nrun = "exit 9"\nskip_on = [9]\n[outputs]\na = "${ a.out }"\n',
    )
    ended = graft("check", "flow.toml")
    assert ended.code == 2
    assert "skip_on" in ended.err + ended.out


@pytest.mark.parametrize("codes", ["[0]", "[256]", "99", "[]", '["99"]', "[true]", '["${ params.x }"]'])
def test_codes_that_are_none(graft: Graft, write: Any, codes: str) -> None:
    write("flow.toml", f'graft = 1\nname = "x"\n[nodes.a]\nrun = "true"\nskip_on = {codes}\n')
    assert graft("check", "flow.toml").code == 2


def test_only_commands_have_exit_codes(graft: Graft, write: Any) -> None:
    write("flow.toml", 'graft = 1\nname = "x"\n[nodes.a]\nvalue = 1\nskip_on = [99]\n')
    assert graft("check", "flow.toml").code == 2


def test_a_rule_for_a_code_that_skips_is_void(graft: Graft, write: Any) -> None:
    write(
        "flow.toml",
        'graft = 1\nname = "x"\n[nodes.a]\nrun = "true"\nskip_on = [99]\nretry = { on = ["exit.99"] }\n',
    )
    ended = graft("check", "flow.toml")
    assert "GR212" in ended.err + ended.out
