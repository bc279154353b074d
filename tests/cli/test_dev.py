"""The parts of `graft dev`, and what its file for the shell does to the commands. docs/tutorial/three-members.md
tries the whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from graft.cli.dev import Plan, Process, leader_of, note_leader, plan_of, take_lock, write_environment
from graft.cli.serving import tell_stopped
from graft.cluster.membership import ClusterStatus
from graft.errors import UsageError
from graft.security.tls import TlsFiles
from tests.support.background import background_server
from tests.support.commands import Graft

PLAN = Plan(("a", "b"), (7001, 7002))
FILES = TlsFiles(Path("c/operator.crt"), Path("c/operator.key"), Path("c/ca.crt"))
STATUS = ClusterStatus("dev-1", "a", "leader", "a", 3, 10, 20, 19, 18, 255, 1, 2048, 1 << 34, True, "0.1", 4)
FOLLOWS = evolve(STATUS, member="b", role="follower")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with background_server(tmp_path_factory.mktemp("server")) as address:
        yield address


def test_the_members_are_the_same_the_next_time(tmp_path: Path) -> None:
    made = plan_of(tmp_path / "d", 3)
    assert made.names == ("a", "b", "c")
    assert len(set(made.ports)) == 3
    assert plan_of(tmp_path / "d", 3) == made
    with pytest.raises(UsageError, match="has a cluster of 3 members, not of 5"):
        plan_of(tmp_path / "d", 5)


def test_a_second_one_in_the_same_directory_touches_nothing(tmp_path: Path, graft: Graft) -> None:
    plan_of(tmp_path / "d", 3)
    lock = take_lock(tmp_path / "d")
    ended = graft("dev", "--data", str(tmp_path / "d"))
    lock.release(None)
    assert ended.code == 1
    assert f"{tmp_path / 'd'} is held by process {os.getpid()} (" in ended.err
    assert not (tmp_path / "d" / "certs").exists()


def test_the_file_for_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It brings the program along, when the shell would not find it: a virtual environment that is not activated."""
    program = tmp_path / "it's here" / "bin" / "graft"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$GRAFT_SERVER"\n')
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program.with_name("python")))
    path = write_environment(tmp_path, PLAN, FILES)
    shell = ["sh", "-c", f". '{path}'; graft"]
    assert subprocess.check_output(shell, text=True) == "127.0.0.1:7001,127.0.0.1:7002\n"
    assert "PATH=" in path.read_text()
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    assert "PATH=" not in write_environment(tmp_path, PLAN, FILES).read_text()


def test_the_leader_is_who_leads_in_the_latest_term() -> None:
    deposed = Process("a", "127.0.0.1:7001", 11, status=STATUS)
    leads = Process("b", "127.0.0.1:7002", 12, status=evolve(STATUS, member="b", term=4))
    assert leader_of([deposed, leads]) is leads
    assert leader_of([deposed, Process("b", "", 12, status=FOLLOWS)]) is deposed
    died = Process("b", "127.0.0.1:7002", None, status=leads.status)  # what it said last is still known
    assert leader_of([deposed, died]) is deposed
    assert leader_of([died, Process("a", "", 11)]) is None


def test_leader_pid_is_there_while_it_lives(tmp_path: Path) -> None:
    path = tmp_path / "leader.pid"
    process = Process("a", "127.0.0.1:7001", 11, status=STATUS)
    note_leader([process], tmp_path)
    assert path.read_text() == "11\n"
    process.pid = 12
    note_leader([process], tmp_path)
    assert path.read_text() == "12\n"
    process.status = None  # it did not answer in time
    note_leader([process], tmp_path)
    assert path.read_text() == "12\n"
    process.pid = None
    note_leader([process], tmp_path)
    note_leader([process], tmp_path)
    assert not path.exists()


def test_hints_do_not_repeat_what_the_environment_says(
    graft: Graft, write: Any, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GRAFT_TLS_CA", "GRAFT_TLS_CERT", "GRAFT_TLS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GRAFT_SERVER", server)
    write("bad.toml", 'graft = 1\nname = "bad"\n[nodes.a]\nrun = "exit 1"\n')
    ended = graft("run", "bad.toml", "--id", "bad-1")
    assert ended.code == 1
    assert "graft retry bad-1 " in ended.err
    assert "--server" not in ended.err
    assert f"--server {server}" in graft("run", "bad.toml", "--id", "bad-2", "--server", server).err


def test_what_it_says_is_not_held_back(tmp_path: Path) -> None:
    """Its output was in a buffer until it ended, where that is no terminal."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    child = subprocess.Popen(
        [sys.executable, "-m", "graft", "dev", "--members", "1"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("in another terminal:  . ")
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 0
    finally:
        child.kill()
        child.communicate()


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def running_dev(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "graft", "dev", "--members", "1", *arguments],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield child
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 0
    finally:
        child.kill()
        child.communicate()


def line_with(text: str, child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return next(line for line in child.stdout if text in line)


def test_a_module_of_the_current_directory_does_not_take_the_place_of_pythons(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit(3)\n")
    with running_dev(tmp_path) as child:
        assert line_with(", leader", child).startswith("a: pid ")
        leader = tmp_path / ".graft-dev" / "leader.pid"
        wait_for(leader.exists)
    assert not leader.exists()
    log = (tmp_path / ".graft-dev" / "a.log").read_text()
    assert "stopped" in log
    assert "lost" not in log


def test_a_member_that_ends_names_its_log(tmp_path: Path) -> None:
    (tmp_path / ".graft-dev" / "a").mkdir(parents=True)
    (tmp_path / ".graft-dev" / "a" / "format").mkdir()
    with running_dev(tmp_path) as child:
        line = line_with("ended", child)
        assert line.startswith("a ended (exit code 1; .graft-dev/a.log says why); it is back in ")


def test_who_is_stopped_at_once_tells_of_steps_only_if_it_had_some(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    tell_stopped(0)
    tell_stopped(2)
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert "2 steps are lost" in caplog.text
