"""A member without a quorum: reads say so and name `--stale`, which answers with what the member knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from graft.cluster.membership import MemberView
from graft.errors import NoQuorum
from tests.cli.test_server import Cluster
from tests.support.background import background_server
from tests.support.commands import Graft

FLOW = 'graft = 1\nname = "say"\n[nodes.a]\nrun = "echo hello"\n'
WRITES = ("Start", "Cancel", "Retry", "Resume")
READS = ("Get", "List", "Events", "Members")
STREAMS = ("Watch", "Logs")

READING = [("runs",), ("show", "r"), ("events", "r"), ("events", "r", "-f"), ("logs", "r"), ("logs", "r", "-f")]


def in_a_minority(name: str, handler: Any) -> Any:
    """A handler that needs a quorum, where there is none since the run was made."""

    async def unary(request: Any, caller: Any) -> Any:
        if name != "Start" and not getattr(request, "stale", False):
            raise NoQuorum("there is no quorum", hint="a majority has to be up")
        return await handler(request, caller)

    async def stream(request: Any, caller: Any) -> Any:
        if not request.stale:
            raise NoQuorum("there is no quorum", hint="a majority has to be up")
        async for each in handler(request, caller):
            yield each

    return stream if name in STREAMS else unary if name in (*WRITES, *READS) else handler


class Alone(Cluster):
    async def members(self, *, stale: bool = False) -> tuple[MemberView, ...]:
        return (MemberView("n1", 1, "voter", "h:1", True),)


@pytest.fixture(scope="module")
def minority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("minority")
    with background_server(directory, wrap=in_a_minority, membership=Alone()) as address:
        yield address


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, write: Any) -> None:
    monkeypatch.setattr("graft.cli.place.PATIENCE_SECONDS", 0.1)
    write("say.toml", FLOW)


@pytest.fixture
def at(graft: Graft, minority: str) -> tuple[str, str]:
    """Where there is a run `r`, ended, and no quorum any more."""
    graft("run", "say.toml", "--id", "r", "--detach", "--server", minority)
    graft("events", "r", "-f", "--stale", "--server", minority)
    return ("--server", minority)


@pytest.mark.parametrize("arguments", [*READING, ("member", "ls")], ids=" ".join)
def test_the_default_says_that_there_is_no_quorum_and_names_stale(
    graft: Graft, at: tuple[str, str], arguments: tuple[str, ...]
) -> None:
    ended = graft(*arguments, *at)
    assert (ended.code, ended.out) == (6, "")
    assert ended.err == (
        "error: there is no quorum\n  a majority has to be up\n"
        "  `--stale` shows what the member that answers knows, which may be old\n"
    )


def test_what_cannot_be_stale_does_not_name_it(graft: Graft, at: tuple[str, str]) -> None:
    ended = graft("cancel", "r", *at)
    assert ended.code == 6
    assert "there is no quorum" in ended.err
    assert "--stale" not in ended.err


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (each, word)
        for each, word in zip(READING, ("r  ", "✓ say", "succeeded", "succeeded", "hello", "hello"), strict=True)
    ]
    + [(("member", "ls"), "n1")],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_stale_answers_and_says_that_it_may_be_old(
    graft: Graft, at: tuple[str, str], arguments: tuple[str, ...], shown: str
) -> None:
    ended = graft(*arguments, "--stale", *at)
    assert ended.code == 0
    assert shown in ended.out
    assert ended.err == f"as the member at {at[1]} knows it, which may be old (--stale)\n"


@pytest.mark.parametrize("arguments", [*READING, ("member", "ls")], ids=" ".join)
def test_stale_is_a_field_for_programs(graft: Graft, at: tuple[str, str], arguments: tuple[str, ...]) -> None:
    ended = graft(*arguments, "--stale", "--json", *at)
    assert (ended.code, ended.err) == (0, "")
    records = [json.loads(line) for line in ended.out.splitlines()]
    assert records
    assert {record["stale"] for record in records} == {True}


def test_what_was_asked_of_a_majority_is_not_stale(graft: Graft, tmp_path: Any) -> None:
    with background_server(tmp_path / "server") as address:
        at = ("--server", address)
        graft("run", "say.toml", "--id", "r", *at)
        for arguments in READING:
            ended = graft(*arguments, "--json", *at)
            assert {json.loads(line)["stale"] for line in ended.out.splitlines()} == {False}, arguments
            assert "may be old" not in graft(*arguments, *at).err


def test_a_data_directory_is_read_as_it_is(graft: Graft) -> None:
    graft("run", "say.toml", "--id", "r")
    for arguments in READING:
        ended = graft(*arguments, "--stale")
        assert (ended.code, ended.out) == (2, "")
        assert ended.err == ("error: --stale is for --server\n  a data directory is read as it is: leave --stale out\n")
    assert json.loads(graft("runs", "--json").out)["stale"] is False
