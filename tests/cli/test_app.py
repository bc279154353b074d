"""The root command: what it lists, what it says of a command that is not there, and what it costs."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from graft.cli.app import ALIASES, COMMANDS, NOT_YET
from tests.support.commands import Graft

CONTRACT = """
    run check fmt schema graph export explain diff new resume retry resolve upgrade replay runs show logs events
    artifacts signal approve reject pause unpause cancel schedule backfill serve member snapshot backup restore doctor
    sim test ui top
"""


def test_every_command_of_the_contract_is_there_or_known_to_be_missing() -> None:
    assert COMMANDS.keys() - {
        "certs",
        "completion",
        "config",
        "dev",
        "prune",
        "recover",
        "rm",
        "status",
    } | NOT_YET == set(CONTRACT.split())
    assert not COMMANDS.keys() & NOT_YET


def test_every_command_of_the_table_has_a_module() -> None:
    assert [name for name in COMMANDS if find_spec(f"graft.cli.commands.{name}") is None] == []


def test_aliases_lead_to_commands_and_hide_none() -> None:
    assert {guess.split()[0] for guess in ALIASES.values()} <= COMMANDS.keys()
    assert not ALIASES.keys() & (COMMANDS.keys() | NOT_YET)


def test_help_lists_every_command(graft: Graft) -> None:
    ended = graft("--help")
    assert ended.code == 0
    assert [name for name in COMMANDS if f"\n  {name} " not in ended.out] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(graft: Graft, name: str) -> None:
    ended = graft(name, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"Usage: graft {name} ")


def test_no_command_shows_the_help_and_is_a_usage_error(graft: Graft) -> None:
    ended = graft()
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("Usage: graft")


def test_version(graft: Graft) -> None:
    ended = graft("--version")
    assert ended.code == 0
    assert ended.out.startswith("graft 0.")


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("approve", "`graft approve` is not in this version", "`graft --help` lists the commands that are"),
        ("resum", "there is no command `resum`", "did you mean `graft resume`?"),
        ("ps", "there is no command `ps`", "did you mean `graft runs`?"),
        ("describe", "there is no command `describe`", "did you mean `graft show RUN`?"),
        ("start", "there is no command `start`", "did you mean `graft run`?"),
        ("list", "there is no command `list`", "did you mean `graft runs`?"),
        ("flow.toml", "there is no command `flow.toml`", "did you mean `graft run flow.toml`?"),
        ("xyzzy", "there is no command `xyzzy`", "`graft --help` lists the commands"),
    ],
)
def test_a_command_that_is_not_there(graft: Graft, name: str, message: str, hint: str) -> None:
    ended = graft(name, "--anything")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"error: {message}\n  {hint}\n"


def test_the_status_of_a_run_is_shown_by_another_command(graft: Graft) -> None:
    ended = graft("status", "last")
    assert (ended.code, "`graft show RUN` shows a run" in ended.err) == (2, True)


@pytest.mark.parametrize("words", [("--b", "false"), ("--b=false",), ("--b", "No"), ("--no-b=true",)])
def test_a_flag_takes_no_value(graft: Graft, words: tuple[str, ...]) -> None:
    Path("flow.toml").write_text("[params.b]\ntype = 'bool'\ndefault = true\n[nodes.a]\nvalue = '${ params.b }'")
    ended = graft("run", "flow.toml", *words)
    assert ended.code == 2
    assert "a flag takes no value: `--" in ended.err


def test_an_option_that_is_not_there(graft: Graft) -> None:
    ended = graft("fmt", "--chek", "x.toml")
    assert ended.code == 2
    assert "--check" in ended.err
    assert "see `graft fmt --help`" in ended.err


def test_help_imports_nothing_heavy() -> None:
    """The budget of 150 ms for `graft --help` holds because of what is not imported."""
    script = (
        "import sys, graft.cli; graft.cli.main(['--help']);"
        "heavy = {'trio', 'rich', 'structlog', 'attr', 'msgspec', 'lmdb', 'graft.plan', 'graft_dsl', 'httpx2'};"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
