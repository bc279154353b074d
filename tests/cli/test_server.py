"""`--server` on every command that takes it, the commands for operators, and what is said when nobody answers."""

from __future__ import annotations

import fcntl
import json
import re
import socket
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio.testing
from attrs import evolve

from graft.cli.commands.member import lacking, wait_for
from graft.cli.sources import There
from graft.cluster.identity import Identity, save_identity
from graft.cluster.membership import Change, ClusterStatus, MemberView
from graft.cluster.recovering import Outlook
from graft.errors import NoQuorum, RunConflict
from graft.security.certs import make_dev
from graft.security.tls import ServerSecurity
from tests.support.background import background_server
from tests.support.commands import Graft
from tests.support.screens import golden

FLOW = """
    graft = 1
    name = "shop"
    [params.order]
    type = "int"
    [nodes.fetch]
    run = "echo $N; echo fetched >&2"
    env = { N = "${ params.order }" }
    output = "json"
    [nodes.price]
    value = "${ fetch.out * 2 }"
    [outputs]
    price = "${ price.out }"
"""
BAD = 'graft = 1\nname = "bad"\n[nodes.a]\nrun = "echo no luck >&2; test -e ok"\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with background_server(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture(autouse=True)
def flows(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GRAFT_SERVER", "GRAFT_TLS_CA", "GRAFT_TLS_CERT", "GRAFT_TLS_KEY"):
        monkeypatch.delenv(name, raising=False)
    write("shop.toml", FLOW)
    write("bad.toml", BAD)


def test_run_shows_the_run_and_prints_its_outputs(graft: Graft, server: str, tmp_path: Path) -> None:
    ended = graft("run", "shop.toml", "--order", "7", "--server", server)
    assert (ended.code, json.loads(ended.out)) == (0, {"price": 14})
    assert "fetch" in ended.err
    assert "✓ shop succeeded" in ended.err
    assert not (tmp_path / ".graft").exists()


def test_run_json(graft: Graft, server: str) -> None:
    ended = graft("run", "shop.toml", "--order", "7", "--id", "json-1", "--json", "--server", server)
    records = [json.loads(line) for line in ended.out.splitlines()]
    assert {record["type"] for record in records[:-1]} == {"event"}
    assert records[-1]["type"] == "result"
    assert (records[-1]["run"], records[-1]["status"], records[-1]["outputs"]) == ("json-1", "succeeded", {"price": 14})


def test_the_same_id_again_is_the_same_run(graft: Graft, server: str) -> None:
    for _ in range(2):
        assert graft("run", "shop.toml", "--order", "1", "--id", "same", "--server", server).code == 0
    ended = graft("run", "shop.toml", "--order", "2", "--id", "same", "--server", server)
    assert ended.code == 2
    assert ended.err.startswith("error: there is a run same already")


def test_detach_leaves_it_there(graft: Graft, server: str) -> None:
    ended = graft("run", "shop.toml", "--order", "3", "--id", "left", "--detach", "--server", server)
    assert (ended.code, ended.out) == (0, "left\n")
    assert graft("events", "left", "-f", "--server", server).code == 0
    assert "succeeded" in graft("show", "left", "--server", server).out


def test_from_takes_over_results_of_a_run_on_the_server(graft: Graft, server: str) -> None:
    graft("run", "shop.toml", "--order", "11", "--server", server)
    ended = graft("run", "shop.toml", "--order", "11", "--from", "price", "--server", server)
    assert (ended.code, json.loads(ended.out)) == (0, {"price": 22})


def test_looking_at_a_run(graft: Graft, server: str) -> None:
    graft("run", "shop.toml", "--order", "5", "--id", "look-1", "--server", server)
    at = ("--server", server)
    assert "look-1" in graft("runs", *at).out
    assert json.loads(graft("runs", "--where", "id == 'look-1'", "--json", *at).out)["run"] == "look-1"
    assert "order = 5" in graft("show", "look-", *at).out
    assert json.loads(graft("show", "look-1", "--json", *at).out.splitlines()[0])["outputs"] == {"price": 10}
    assert sorted(graft("logs", "look-1", "fetch", *at).out.splitlines()) == ["5", "fetched"]
    assert sorted(graft("logs", "look-1", "-f", *at).out.splitlines()) == ["fetch | 5", "fetch | fetched"]
    assert graft("logs", "look-1", "price", *at).err == "it wrote nothing\n"
    events = [json.loads(line) for line in graft("events", "look-1", "--json", *at).out.splitlines()]
    assert [event["what"] for event in events if not event["path"]] == ["running", "succeeded"]
    followed = graft("events", "look-1", "-f", "--json", "--after", str(events[0]["seq"]), *at).out
    assert [json.loads(line) for line in followed.splitlines()] == events[1:]
    assert "succeeded" in graft("explain", "look-1", "price", *at).out
    assert "fetch" in graft("graph", "--run", "look-1", *at).out
    ended = graft("show", "lok-1", *at)
    assert (ended.code, ended.err) == (2, "error: there is no run lok-1\n  did you mean look-1?\n")


def test_retry_and_its_plan(graft: Graft, server: str, tmp_path: Path) -> None:
    at = ("--server", server)
    ended = graft("run", "bad.toml", "--id", "retry-1", *at)
    assert ended.code == 1
    assert "│ no luck" in ended.err  # the end of its log came over the wire
    assert f"graft retry retry-1 --server {server}" in ended.err
    assert "runs again: a" in graft("retry", "retry-1", "--plan", *at).err
    (tmp_path / "ok").touch()
    ended = graft("retry", "retry-1", *at)
    assert ended.code == 0
    assert "retry retry-1 (bad), generation 2" in ended.err


TWO = """
graft = 1
name = "two"
[nodes.b]
run = "test -e ok2"
[nodes.c]
needs = ["b"]
run = "true"
"""


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_retry_shows_all_that_it_runs_and_counts_no_idle_time(
    graft: Graft, server: str, tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    """A step that ended before the first look at the run was left out, and the pause counted as work."""
    write("two.toml", TWO)
    at = ("--server", server) if elsewhere else ("--data", str(tmp_path / "own"))
    run_id = f"two-{elsewhere}"
    assert graft("run", "two.toml", "--id", run_id, *at).code == 1
    time.sleep(2)
    (tmp_path / "ok2").touch()
    retry = There.retry

    async def slowly(self: There, run_id: str, path: str | None = None) -> None:
        await retry(self, run_id, path)
        await self._client.wait(run_id)

    monkeypatch.setattr(There, "retry", slowly)
    ended = graft("retry", run_id, *at)
    assert ended.code == 0
    shown = [line.split()[1:3] for line in ended.err.splitlines() if re.match(r" +\d+\.\d+s  ", line)]
    assert [each for each in shown if each[1] == "succeeded"] == [["b", "succeeded"], ["c", "succeeded"]]
    assert ["b", "running"] in shown
    took = re.search(r"two succeeded in (\S+)  ", ended.err)
    assert took is not None
    assert took[1].endswith("ms") or float(took[1].removesuffix("s")) < 2
    assert "after its first start" in graft("show", run_id, *at).out


def test_cancel_and_resume_of_what_has_ended(graft: Graft, server: str) -> None:
    at = ("--server", server)
    graft("run", "shop.toml", "--order", "5", "--id", "done-1", *at)
    ended = graft("cancel", "done-1", *at)
    assert (ended.code, ended.err) == (2, "error: run done-1 has ended: succeeded\n")
    assert graft("resume", "done-1", *at).err == "error: run done-1 has ended: succeeded\n"
    assert graft("resume", "done-1", "--plan", *at).code == 2


def test_cancel_what_runs(graft: Graft, server: str, write: Any) -> None:
    write("long.toml", 'graft = 1\nname = "long"\n[nodes.a]\nrun = "sleep 100"\n[nodes.b]\nrun = "sleep 100"\n')
    at = ("--server", server)
    graft("run", "long.toml", "--id", "long-1", "--detach", *at)
    assert graft("cancel", "long-1/a", *at).err == "cancelled a of run long-1\n"
    ended = graft("cancel", "long-1", *at)
    assert ended.code in (0, 2)  # 2: its failure had ended the run before
    assert graft("show", "long-1", "--json", *at).out.splitlines()[0].count('"status":"cancelled"') == 1


def test_the_environment_names_the_server_and_data_wins_over_it(
    graft: Graft, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_SERVER", f"127.0.0.1:1,{server}")
    assert graft("run", "shop.toml", "--order", "1", "--id", "env-1").code == 0
    assert "env-1" in graft("runs").out
    assert graft("runs", "--data", "nowhere").err.startswith("error: there is no data directory nowhere")


# What makes no sense


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("runs", "--server", "host"), "'host' is no address of a server: it names no port\n  an address is HOST:PORT"),
        (("runs", "--server", "http://h:1"), "'http://h:1' is no address of a server"),
        (("runs", "--server", ""), "--server is empty\n  write --server HOST:PORT"),
        (("runs", "--server", "h:1", "--data", "d"), "--data and --server exclude each other"),
        (("runs", "--server", "10.0.0.1:1"), "10.0.0.1:1 is not on this machine, and no certificate is given\n  give"),
        (("runs", "--server", "localhost:1", "--tls-ca", "x"), "--tls-ca, --tls-cert and --tls-key belong together"),
        (
            ("runs", "--server", "localhost:1", "--tls-ca", "x", "--tls-cert", "y", "--tls-key", "z"),
            "TLS: y: No such file or directory",
        ),
        (("run", "shop.toml", "--order", "1", "--ephemeral", "--server", "h:1"), "--ephemeral and --server exclude"),
        (("run", "shop.toml", "--order", "1", "--ephemeral", "--detach"), "--ephemeral and --detach exclude"),
        (("backup", "."), ". is a directory\n  name the file to write"),
        (("member", "add", "n4", "nowhere"), "'nowhere' is no address of a server"),
    ],
)
def test_what_makes_no_sense(graft: Graft, arguments: tuple[str, ...], error: str) -> None:
    ended = graft(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {error}")


# Nobody answers


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graft.cli.place.PATIENCE_SECONDS", 0.2)


@pytest.fixture
def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"127.0.0.1:{listening.getsockname()[1]}"


ASKING = [
    ("run", "shop.toml", "--order", "1"),
    ("run", "shop.toml", "--order", "1", "--detach"),
    ("resume",),
    ("retry", "x"),
    ("cancel", "x"),
    ("runs",),
    ("show", "x"),
    ("logs", "x"),
    ("events", "x", "-f"),
    ("status",),
    ("member", "ls"),
    ("member", "drain", "x"),
    ("snapshot",),
    ("backup", "file"),
]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("arguments", ASKING, ids=" ".join)
def test_nobody_listens(graft: Graft, closed_port: str, arguments: tuple[str, ...], tmp_path: Path) -> None:
    ended = graft(*arguments, "--server", closed_port)
    assert (ended.code, ended.out) == (6, "")
    assert ended.err.startswith(f"error: {closed_port}: ")
    assert len(ended.err.splitlines()) == 1
    assert not (tmp_path / "file.new").exists()


@pytest.mark.usefixtures("impatient")
def test_no_quorum(graft: Graft, tmp_path: Path) -> None:
    def wrap(name: str, handler: Any) -> Any:
        async def refuse(request: Any, caller: Any) -> Any:  # noqa: ASYNC124 - the other side awaits it
            raise NoQuorum("there is no leader", hint="wait")

        return refuse if name in ("Get", "List", "Start") else handler

    with background_server(tmp_path / "server", wrap=wrap) as address:
        for arguments in ("runs",), ("show", "x"), ("run", "shop.toml", "--order", "1"):
            ended = graft(*arguments, "--server", address)
            assert (ended.code, ended.out) == (6, "")
            assert ended.err.startswith("error: there is no leader\n  wait\n")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("arguments", [("status",), ("member", "ls"), ("snapshot",)], ids=" ".join)
def test_nobody_holds_the_directory(graft: Graft, arguments: tuple[str, ...]) -> None:
    ended = graft(*arguments)
    assert (ended.code, ended.out) == (6, "")
    assert ended.err.startswith("error: no process holds the data directory .graft\n")


# TLS


@pytest.mark.usefixtures("impatient")
def test_tls(graft: Graft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_dev(tmp_path / "certs", "dev", ["n1"])
    strange = make_dev(tmp_path / "strange", "dev", ["n1"])

    def flags(files: Any, authority: Path) -> list[str]:
        named = (("--tls-ca", authority), ("--tls-cert", files.certificate), ("--tls-key", files.key))
        return [text for flag, path in named for text in (flag, str(path))]

    with background_server(tmp_path / "server", security=ServerSecurity(made.members["n1"], "dev")) as address:
        at = ("--server", address)
        author, viewer = (flags(made.clients[role], made.authority) for role in ("author", "viewer"))
        assert graft("run", "shop.toml", "--order", "4", "--id", "tls-1", *at, *author).code == 0
        assert "tls-1" in graft("runs", *at, *viewer).out
        for name, value in zip(("CA", "CERT", "KEY"), author[1::2], strict=True):
            monkeypatch.setenv(f"GRAFT_TLS_{name}", value)
        assert "tls-1" in graft("runs", *at).out
        for name in ("CA", "CERT", "KEY"):
            monkeypatch.delenv(f"GRAFT_TLS_{name}")
        # The wrong role is known, and may not.
        ended = graft("run", "shop.toml", "--order", "4", *at, *viewer)
        assert (ended.code, ended.out) == (1, "")
        assert "viewer" in ended.err
        assert "may not call Workflows/Start" in ended.err
        # No certificate, one of a stranger, and a server that the client does not trust.
        for wrong in (
            [],
            flags(strange.clients["author"], made.authority),
            flags(made.clients["author"], strange.authority),
        ):
            ended = graft("runs", *at, *wrong)
            assert (ended.code, ended.out) == (6, ""), ended.err
            is_foreign = str(strange.clients["author"].certificate) in wrong
            assert ended.err.startswith("error: the members do not trust" if is_foreign else f"error: {address}: ")
            assert "Traceback" not in ended.err
            assert "internal error" not in ended.err


# Operators


class Cluster:
    """A membership that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.has_quorum = True

    async def status(self) -> ClusterStatus:
        return ClusterStatus(
            "dev-1", "n1", "leader", "n1", 3, 10, 20, 19, 18, 255, 1, 2048, 1 << 34, self.has_quorum, "0.1", 4
        )

    async def members(self, *, stale: bool = False) -> tuple[MemberView, ...]:
        self.asked.append(("members", stale))
        return (
            MemberView("n1", 1, "voter", "h:1", True, slots={"*": 8}, used={"*": 2}, match=20),
            MemberView("n2", 2, "voter", "h:2", False),
            MemberView("n3", 3, "learner", "h:3", True, True),
        )

    def __getattr__(self, name: str) -> Any:
        async def change(*arguments: Any, **more: Any) -> Change:  # noqa: ASYNC124 - the other side awaits it
            if "missing" in arguments:
                raise RunConflict("there is no member missing", hint="see `graft member ls`")
            self.asked.append((name, *arguments, *more.items()))
            return Change(21, "" if name == "drain" else f"{name} is done")

        return change

    async def backup(self) -> AsyncGenerator[bytes, None]:
        yield b"all state"


def test_operators(graft: Graft, tmp_path: Path) -> None:
    cluster = Cluster()
    with background_server(tmp_path / "server", membership=cluster) as address:
        at = ("--server", address)
        ended = graft("status", *at)
        assert ended.code == 0
        assert "leader       n1\n" in ended.out
        assert "10 to 20, commit 19, applied 18" in ended.out
        assert "2.0 KiB of 16 GiB" in ended.out
        assert [line.split()[:4] for line in ended.out.splitlines()[-3:]] == [
            ["n1", "voter,", "leads", "live"],
            ["n2", "voter", "down", "h:2"],
            ["n3", "learner", "draining", "h:3"],
        ]
        record = json.loads(graft("status", "--json", *at).out)
        assert (record["leader"], record["state_hash"], len(record["members"])) == ("n1", "00000000000000ff", 3)
        listed = [json.loads(line) for line in graft("member", "ls", "--json", *at).out.splitlines()]
        assert [each["member"] for each in listed] == ["n1", "n2", "n3"]
        cluster.asked.clear()
        assert graft("member", "ls", "--stale", *at).out.splitlines()[0].split() == [
            "MEMBER", "ROLE", "STATE", "ADDRESS", "RUNNING", "LOG",
        ]  # fmt: skip
        assert graft("member", "add", "n4", "h:4", "--role", "executor", *at).out == "add is done\n"
        assert graft("member", "rm", "n4", *at).out == "remove is done\n"
        assert graft("member", "promote", "n3", *at).code == 0
        assert graft("member", "demote", "n2", *at).code == 0
        assert graft("member", "transfer", *at).code == 0
        assert graft("member", "transfer", "n2", *at).code == 0
        assert graft("member", "drain", "n2", *at).out == "n2 gets no new work\n"
        assert json.loads(graft("member", "drain", "n2", "--undo", "--json", *at).out) == {
            "index": 21,
            "text": "n2 takes work again",
        }
        assert graft("snapshot", *at).out == "take_snapshot is done\n"
        assert cluster.asked == [
            ("members", True),
            ("add", "n4", "h:4", "executor"),
            ("remove", "n4"),
            ("set_role", "n3", "voter"),
            ("set_role", "n2", "executor"),
            ("transfer", ""),
            ("transfer", "n2"),
            ("drain", "n2", ("undo", False)),
            ("drain", "n2", ("undo", True)),
            ("take_snapshot",),
        ]
        ended = graft("member", "rm", "missing", *at)
        assert (ended.code, ended.err) == (2, "error: there is no member missing\n  see `graft member ls`\n")
        assert graft("backup", "b", *at).err == "wrote b: 9 B\n"
        assert (tmp_path / "b").read_bytes() == b"all state"
        assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600
        assert graft("backup", "no/where", *at).err.startswith("error: no/where.new cannot be written")
        cluster.has_quorum = False
        ended = graft("status", *at)
        assert ended.code == 6
        assert "no quorum" in ended.out


def test_two_backups_never_write_one_file(graft: Graft, tmp_path: Path) -> None:
    """What another one writes is left alone; what one that was killed left is not in the way."""
    unfinished = tmp_path / "b.new"
    with background_server(tmp_path / "server") as address:
        with open(unfinished, "wb") as other:
            other.write(b"half of it")
            other.flush()
            fcntl.flock(other, fcntl.LOCK_EX)
            ended = graft("backup", str(tmp_path / "b"), "--server", address)
            assert ended.code == 2
            assert f"another backup writes {unfinished}" in ended.err
            assert unfinished.read_bytes() == b"half of it"
        assert graft("backup", str(tmp_path / "b"), "--server", address).code == 0
    assert not unfinished.exists()
    assert (tmp_path / "b").read_bytes().startswith(b"GRAFT-BACKUP 1 ")


def test_a_recovery_says_first_what_it_would_keep(
    graft: Graft, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ended = graft("recover", "nosuch", "--yes")
    assert (ended.code, ended.err.splitlines()[0]) == (2, "error: there is no directory nosuch")
    outlook = Outlook("orders-1", "n1", ("n2", "n3"), 7, 812, 12, 3)
    monkeypatch.setattr("graft.cluster.recovering.look", lambda directory: outlook)
    ended = graft("recover", str(tmp_path))
    assert ended.code == 0
    for text in ("n1 of orders-1 would be", "to 812, the last entry of term 7", "12, of which 3 have not", "n2, n3"):
        assert text in ended.out
    assert "say --yes" in ended.err
    assert json.loads(graft("recover", str(tmp_path), "--json").out)["log_index"] == 812


MEMBER = MemberView("n1", 1, "voter", "h:1", live=True, match=20, heard_seconds=0.1)
MEMBERS_AWAY = (
    (MEMBER, ""),
    (evolve(MEMBER, live=False), "it is down"),
    (evolve(MEMBER, draining=True), "it is draining"),
    (evolve(MEMBER, heard_seconds=3.0), "it is silent"),
    (evolve(MEMBER, unknown=True), "it is unknown"),
    (evolve(MEMBER, role="learner"), "it is a learner, and becomes a voter when it has the log"),
    (evolve(MEMBER, heard_seconds=None), "no leader tells how far it is"),
    (evolve(MEMBER, match=19), "it has the log to 19, not to 20"),
)


def test_wait_for_a_member(graft: Graft, tmp_path: Path) -> None:
    """A cluster of one has nobody to wait for; of one that does not take part it says what is missing."""
    with background_server(tmp_path / "server") as address:
        assert graft("member", "wait", "local", "--server", address).out.startswith(
            "local takes part, with the log to "
        )
        assert json.loads(graft("member", "wait", "local", "--json", "--server", address).out)["live"] is True
        nobody = graft("member", "wait", "nobody", "--timeout", "0.5", "--server", address)
        assert (nobody.code, nobody.out) == (1, "")
        assert nobody.err == golden("""
            there is no member nobody yet: waiting for it to join
            error: nobody does not take part after 0.5 s: there is no such member
              see `graft member ls`
        """)


class Joining:
    """A client of a cluster that a member joins while somebody waits for it."""

    def __init__(self) -> None:
        self.asked = 0

    async def members(self) -> list[MemberView]:
        self.asked += 1
        late = evolve(MEMBER, id="n2", match=20 if self.asked > 3 else 1)
        return [MEMBER, late] if self.asked > 1 else [MEMBER]


async def test_wait_for_a_member_that_is_yet_to_join(autojump_clock: trio.testing.MockClock) -> None:
    client: Any = Joining()
    assert (await wait_for(client, "n2", 60)).id == "n2"
    assert client.asked == 4


@pytest.mark.parametrize(("member", "why"), MEMBERS_AWAY)
def test_what_a_member_lacks_that_is_waited_for(member: MemberView, why: str) -> None:
    assert lacking(member, 20) == why


def test_a_restore_does_not_replace_the_current_directory(
    graft: Graft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for place in (".", "../here", str(tmp_path / "here")):
        ended = graft("restore", "../b", place)
        assert ended.code == 2
        assert "is the current directory, which cannot be replaced" in ended.err


def test_a_backup_restored_has_the_runs(graft: Graft, tmp_path: Path) -> None:
    with background_server(tmp_path / "server") as address:
        graft("run", "shop.toml", "--order", "4", "--id", "kept", "--server", address)
        assert graft("backup", "b", "--server", address).code == 0
    ended = graft("restore", "b", "new")
    assert ended.code == 0
    assert ended.err.startswith("made new: 1 run,")
    assert json.loads(graft("show", "kept", "--json", "--data", "new").out.splitlines()[0])["outputs"] == {"price": 8}
    ended = graft("run", "shop.toml", "--order", "4", "--from", "price", "--data", "new")
    assert (ended.code, json.loads(ended.out)) == (0, {"price": 8})
    history = [json.loads(line)["seq"] for line in graft("events", "--json", "--data", "new").out.splitlines()]
    assert history == sorted(history)
    assert (
        graft("restore", "b", "new").err
        == "error: new is there already\n  name a directory that is empty, or not there\n"
    )
    data = bytearray((tmp_path / "b").read_bytes())
    for damaged in (data[:-1], data[:90] + b"x" + data[91:], data[:20]):
        (tmp_path / "damaged").write_bytes(damaged)
        ended = graft("restore", "damaged", "other")
        assert ended.code == 1
        assert ended.err.startswith("error: damaged: ")
        assert not (tmp_path / "other").exists()
    assert graft("restore", "shop.toml", "other").err.startswith("error: shop.toml is no backup of Graft")
    assert graft("restore", "gone", "other").err.startswith("error: gone cannot be read: No such file")


def test_doctor_says_what_a_member_wrote_down_about_its_directory(graft: Graft, tmp_path: Path) -> None:
    graft("run", "shop.toml", "--order", "4")
    save_identity(tmp_path / ".graft", Identity("a", 1, "c-1"))
    assert graft("doctor").code == 0
    save_identity(tmp_path / ".graft", Identity("a", 1, "c-1", forgot="a acknowledged up to 9 and has 4"))
    ended = graft("doctor")
    assert ended.code == 1
    assert "member.json: a acknowledged up to 9 and has 4" in ended.out
    assert "starts again with an empty directory" in ended.err
    (tmp_path / ".graft" / "member.json").write_text("{")
    assert "member.json" in graft("doctor").out


def test_doctor(graft: Graft, tmp_path: Path) -> None:
    graft("run", "shop.toml", "--order", "4")
    ended = graft("doctor")
    assert ended.code == 0
    assert ended.err.startswith(".graft: nothing is wrong (")
    assert "accepted: the next start trusts it" in graft("doctor", ".graft", "--accept").err
    data = tmp_path / ".graft" / "store" / "data.mdb"
    whole = data.read_bytes()
    data.write_bytes(whole.replace(b"shop-", b"shop_"))
    ended = graft("doctor", "--json", "--accept")
    assert ended.code == 1
    record = json.loads(ended.out)
    assert record["damages"]
    assert record["accepted"] is False
    assert "restore a backup" in graft("doctor").err
    assert graft("doctor", "nowhere").code == 2


def test_certificates_for_trying(graft: Graft, tmp_path: Path) -> None:
    ended = graft("certs", "dev", "c", "--member", "a", "--member", "b")
    assert ended.code == 0
    assert "members a, b, clients operator, author, viewer" in ended.err
    assert {path.name for path in (tmp_path / "c").iterdir()} >= {"ca.crt", "ca.key", "a.crt", "b.key", "author.crt"}
    record = json.loads(graft("certs", "dev", "c", "--member", "a", "--json").out)
    assert record["certificates"]["a"] == {"certificate": "c/a.crt", "key": "c/a.key"}
    assert graft("certs", "dev", "c", "--member", "operator").err.startswith(
        "error: a member cannot be called operator"
    )
