"""`graft rm` and `graft prune`, on a directory and on a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from graft.cli.commands.prune import select
from graft.cluster.views import RunSummary
from tests.support.background import background_server
from tests.support.commands import Graft

FLOW = "graft = 1\nname = 'hello'\n[nodes.a]\nrun = 'echo hello'\n"
WAITS = "graft = 1\nname = 'waits'\n[nodes.a]\nrun = 'exit 1'\nretry = { attempts = 2, then = 'pause' }\n"


@pytest.fixture(autouse=True)
def flows(write: Any) -> None:
    write("flow.toml", FLOW)
    write("waits.toml", WAITS)


def ids(graft: Graft, *place: str) -> list[str]:
    return [json.loads(line)["run"] for line in graft("runs", "--json", *place).out.splitlines()]


def test_rm(graft: Graft, tmp_path: Path) -> None:
    for run_id in ("one", "two", "three"):
        assert graft("run", "flow.toml", "--id", run_id).code == 0
    assert (tmp_path / ".graft" / "logs" / "one").is_dir()
    ended = graft("rm", "one", "last", "one")
    assert (ended.code, ended.out, ended.err) == (0, "", "removed 2 runs\n")
    assert ids(graft) == ["two"]
    assert [each.name for each in (tmp_path / ".graft" / "logs").iterdir() if each.name[0] != "."] == ["two"]
    ended = graft("show", "one")
    assert (ended.code, ended.err.splitlines()[0]) == (2, "error: there is no run one")
    # Its id is free: this is a new run, not the old one once more.
    assert "succeeded" in graft("run", "flow.toml", "--id", "one").err
    ended = graft("rm", "two", "--json")
    assert json.loads(ended.out) == {"removed": ["two"], "dry_run": False}


def test_rm_leaves_all_alone_while_one_is_in_flight(graft: Graft) -> None:
    graft("run", "flow.toml", "--id", "done")
    assert graft("run", "waits.toml", "--id", "waits").code == 3
    ended = graft("rm", "done", "waits")
    assert (ended.code, ended.err) == (2, "error: run waits is in flight: waiting\n  `graft cancel waits` ends it\n")
    ended = graft("rm", "done", "nobody")
    assert (ended.code, ended.err.splitlines()[0]) == (2, "error: there is no run nobody")
    assert ids(graft) == ["waits", "done"]
    assert graft("cancel", "waits").code == 0
    assert graft("rm", "done", "waits").err == "removed 2 runs\n"
    assert ids(graft) == []


def test_prune(graft: Graft) -> None:
    for run_id in ("one", "two", "three"):
        graft("run", "flow.toml", "--id", run_id)
    graft("run", "waits.toml", "--id", "waits")
    assert graft("prune", "--older-than", "1h").err == "removed 0 runs\n"
    ended = graft("prune", "--keep", "1", "--dry-run")
    assert (ended.code, ended.out) == (0, "one  hello  succeeded\ntwo  hello  succeeded\n")
    assert ended.err == "would remove 2 runs\n"
    assert graft("prune", "--keep", "0", "--flow", "other").err == "removed 0 runs\n"
    ended = graft("prune", "--keep", "2", "--older-than", "0s", "--json")
    assert json.loads(ended.out) == {"removed": ["one"], "dry_run": False}
    assert ids(graft) == ["waits", "three", "two"]
    assert graft("prune", "--keep", "0", "--flow", "hello").err == "removed 2 runs\n"
    assert ids(graft) == ["waits"]  # in flight


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "error: nothing says which runs are old\n  give --older-than 30d, --keep 100, or both\n"),
        (("--older-than", "30 days"), "error: --older-than: expected a duration such as 15m, 1h 30m or 500ms"),
        (("--keep", "-1"), "error: Invalid value for '--keep'"),
    ],
)
def test_prune_asks_for_what_it_needs(graft: Graft, arguments: tuple[str, ...], said: str) -> None:
    graft("run", "flow.toml")
    ended = graft("prune", *arguments)
    assert ended.code == 2
    assert ended.err.startswith(said)


@pytest.mark.parametrize("command", [("rm", "x"), ("prune", "--keep", "1")])
def test_a_directory_that_is_not_there_is_not_made(graft: Graft, tmp_path: Path, command: tuple[str, ...]) -> None:
    assert graft(*command).code != 0
    assert not (tmp_path / ".graft").exists()


def test_on_a_server(graft: Graft, tmp_path: Path) -> None:
    with background_server(tmp_path / "server") as address:
        at = ("--server", address)
        for run_id in ("one", "two", "three"):
            graft("run", "flow.toml", "--id", run_id, *at)
        assert graft("rm", "two", *at).err == "removed 1 run\n"
        assert graft("prune", "--keep", "1", *at).err == "removed 1 run\n"
        assert ids(graft, *at) == ["three"]
        graft("run", "waits.toml", "--id", "waits", *at)
        ended = graft("rm", "waits", *at)
        assert (ended.code, "is in flight" in ended.err) == (2, True)


def summary(run_id: str, ended_at: int | None, *, name: str = "f") -> RunSummary:
    status = "running" if ended_at is None else "failed"
    return RunSummary(run_id, name, status, 1, 0, ended_at, "", "")


def test_what_prune_selects() -> None:
    newest_first = [
        summary("e", None),
        summary("d", 50),
        summary("c", 30, name="g"),
        summary("b", 40),
        summary("a", 10),
    ]

    def selected(ended_before: int, keep: int = 0, flow: str | None = None) -> list[str]:
        return [run.run_id for run in select(newest_first, ended_before, keep, flow)]

    assert selected(100) == ["a", "b", "c", "d"]
    assert selected(40) == ["a", "b", "c"]
    assert selected(100, keep=2) == ["a", "b"]
    assert selected(100, keep=2, flow="f") == ["a"]
    assert selected(39, keep=1) == ["a", "c"]
    assert selected(9) == []
