"""What steps print is shown while the run goes on, or at its end, as it is asked for."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from graft.cli.verbosity import choose
from tests.support.commands import Graft
from tests.support.terminals import Program, Terminal

FLOW = """
    graft = 1
    name = "shop"
    [nodes.fetch]
    run = "echo fetching"
    [nodes.pick]
    needs = ["fetch"]
    for_each = ["red", "blue"]
    run = "echo picking $X"
    env = { X = "${ item }" }
    [nodes.ship]
    needs = ["pick"]
    run = "echo loading; test -e van || { echo no van >&2; exit 3; }"
    [outputs]
    n = "${ len(pick.out) }"
"""
PREFIXED = ["fetch | fetching", "pick[0] red | picking red", "pick[1] blue | picking blue"]
TAIL = ["    │ loading", "    │ no van"]


@pytest.fixture
def shop(write: Any, tmp_path: Path) -> Path:
    write("flow.toml", FLOW)
    return tmp_path


def lines_of(text: str) -> list[str]:
    return text.splitlines()


def ending(text: str) -> int:
    return next(at for at, line in enumerate(lines_of(text)) if line.startswith("✗ shop failed"))


@pytest.mark.parametrize(
    ("asked", "environment", "on_terminal", "more", "shown"),
    [
        (None, {}, True, {}, "all"),
        (None, {}, False, {}, "failed"),
        (None, {"CI": "true"}, True, {}, "failed"),
        (None, {"CI": ""}, True, {}, "all"),
        (None, {"CI": "false"}, True, {}, "all"),
        (None, {}, True, {"quiet": True}, "failed"),
        (None, {}, True, {"as_json": True}, "failed"),
        ("all", {"CI": "1"}, False, {"quiet": True, "as_json": True}, "all"),
        ("none", {}, True, {}, "none"),
    ],
)
def test_what_is_shown(
    asked: str | None, environment: Mapping[str, str], on_terminal: bool, more: dict[str, bool], shown: str
) -> None:
    assert choose(asked, environment, on_terminal=on_terminal, **more) == shown


@pytest.mark.parametrize("kept", [[], ["--ephemeral"]])
def test_only_what_failed_is_told_by_itself(graft: Graft, shop: Path, kept: list[str]) -> None:
    ended = graft("run", "flow.toml", *kept)
    assert ended.code == 1
    said = lines_of(ended.err)
    assert sorted(line for line in said if line.startswith("    │")) == TAIL  # of two streams
    assert not any(" | " in line for line in said)
    assert sorted(each.name for each in shop.iterdir() if each.name != ".graft") == ["flow.toml"]


@pytest.mark.parametrize("kept", [[], ["--ephemeral"]])
def test_all_lines_as_they_come(graft: Graft, shop: Path, kept: list[str]) -> None:
    ended = graft("run", "flow.toml", "--logs", "all", *kept)
    said = lines_of(ended.err)
    shown = [line for line in said if " | " in line]
    assert sorted(shown) == sorted([*PREFIXED, "ship | loading", "ship | no van"])
    assert all(said.index(line) < ending(ended.err) for line in shown)


def test_none(graft: Graft, shop: Path) -> None:
    ended = graft("run", "flow.toml", "--logs", "none")
    assert "ship  exit.3: the command exited with 3" in ended.err
    assert not any(word in ended.err for word in ("loading", "no van", "picking"))


def test_quiet_and_verbose(graft: Graft, shop: Path) -> None:
    quiet = graft("run", "flow.toml", "-q")
    assert lines_of(quiet.err)[0].startswith("✗ shop failed")
    (shop / "van").touch()
    quiet = graft("run", "flow.toml", "-q")
    assert (len(lines_of(quiet.err)), quiet.out) == (1, '{"n": 2}\n')
    plain, verbose = graft("run", "flow.toml"), graft("run", "flow.toml", "-v")
    assert set(PREFIXED) <= set(lines_of(verbose.err))
    assert verbose.out == plain.out
    running = re.compile(r"pick\[0\] +running")
    assert running.search(verbose.err)
    assert not running.search(plain.err)
    assert graft("run", "flow.toml", "-q", "-v").code == 2


def test_lines_as_json(graft: Graft, shop: Path) -> None:
    (shop / "van").touch()
    plain = [json.loads(line) for line in graft("run", "flow.toml", "--json").out.splitlines()]
    assert {each["type"] for each in plain} == {"event", "result"}
    told = [json.loads(line) for line in graft("run", "flow.toml", "--json", "--logs", "all").out.splitlines()]
    logs = {(each["path"], each["text"]) for each in told if each["type"] == "log"}
    assert ("pick[1]", "picking blue") in logs
    assert len(logs) == 4
    assert told[-1]["type"] == "result"


def groups(text: str) -> dict[str, list[str]]:
    """The lines of each group, without what makes the runner take none of them for a command."""
    found: dict[str, list[str]] = {}
    name = token = ""
    for line in text.splitlines():
        if line.startswith("::group::"):
            name = line.removeprefix("::group::")
            assert name not in found
            found[name] = []
        elif line.startswith("::stop-commands::"):
            token = line.removeprefix("::stop-commands::")
        elif line == f"::{token}::":
            token = ""
        elif line == "::endgroup::":
            assert not token
            name = ""
        elif name:
            found[name].append(line)
    return found


def test_groups(graft: Graft, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    failed = graft("run", "flow.toml").err
    assert {name: sorted(said) for name, said in groups(failed).items()} == {"ship": ["loading", "no van"]}
    assert "::error title=ship::exit.3: the command exited with 3" in lines_of(failed)
    every = graft("run", "flow.toml", "--logs", "all").err
    names = ["fetch", "pick[0] red", "pick[1] blue", "ship"]
    assert sorted(groups(every)) == names
    assert every.count("no van") == 1
    none = graft("run", "flow.toml", "--logs", "none").err
    assert groups(none) == {}
    assert "::error title=ship::" in none


def test_a_step_gives_the_runner_no_commands(graft: Graft, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    write("flow.toml", 'graft = 1\nname = "bad"\n[nodes.a]\nrun = "echo ::endgroup::; echo ::add-path::x; exit 1"\n')
    said = lines_of(graft("run", "flow.toml").err)
    begin = next(at for at, line in enumerate(said) if line.startswith("::stop-commands::"))
    end = said.index(f"::{said[begin].removeprefix('::stop-commands::')}::")
    assert said[begin + 1 : end] == ["::endgroup::", "::add-path::x"]


def test_a_retry_shows_only_what_is_printed_anew(graft: Graft, shop: Path) -> None:
    graft("run", "flow.toml", "--id", "mine")
    (shop / "van").touch()
    ended = graft("retry", "mine", "--logs", "all")
    assert [line for line in lines_of(ended.err) if " | " in line] == ["ship | loading"]


def test_lines_of_a_run_that_only_waits(graft: Graft, write: Any) -> None:
    write(
        "flow.toml",
        """
        graft = 1
        name = "parked"
        [nodes.a]
        run = "echo trying; exit 1"
        retry = { attempts = 1, then = "pause" }
        """,
    )
    ended = graft("run", "flow.toml", "--logs", "all")
    assert ended.code == 3
    assert "a | trying" in lines_of(ended.err)


def test_what_would_steer_a_terminal_is_made_visible(graft: Graft, write: Any) -> None:
    write("flow.toml", 'graft = 1\nname = "odd"\n[nodes.a]\nrun = "printf \'\\\\033[2Jgone\\\\n\'"\n')
    ended = graft("run", "flow.toml", "--logs", "all")
    assert ended.code == 0
    assert "a | \\x1b[2Jgone" in ended.err
    assert "\x1b" not in ended.err


def test_lines_stand_above_the_tree(shop: Path) -> None:
    (shop / "van").touch()
    with Terminal("run", "flow.toml", cwd=shop) as terminal:
        assert terminal.end() == 0
    at = [terminal.text.index(line) for line in (*PREFIXED, "ship | loading", "✓ shop succeeded")]
    assert max(at) == at[-1]
    assert "\x1b[36mfetch | \x1b[0m" in terminal.seen
    with Terminal("run", "flow.toml", cwd=shop, env={"CI": "true"}) as terminal:
        assert terminal.end() == 0
    assert "fetch | " not in terminal.text


def test_who_reads_slowly_holds_up_no_step(write: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "done")
    write("flow.toml", 'graft = 1\nname = "loud"\n[nodes.a]\nrun = "seq 100000; echo > done; echo last"\n')
    with Program("run", "flow.toml", "--logs", "all", cwd=tmp_path) as program:
        (tmp_path / "done").read_bytes()  # nobody has read a line until then
        assert program.end() == 0
    said = program.err.splitlines()
    assert [line for line in said if line.startswith("a | ")] == [f"a | {n + 1}" for n in range(100_000)] + ["a | last"]
