"""`graft backup` of a directory that no process holds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Graft

FLOW = """
    graft = 1
    name = "hello"
    [nodes.first]
    run = "echo first >> ran; echo 7"
    output = "json"
    [nodes.second]
    needs = ["first"]
    run = "echo second >> ran; while ! test -e go; do sleep 0.05; done"
    [outputs]
    seven = "${ first.out }"
"""


@pytest.fixture(autouse=True)
def flows(write: Any) -> None:
    write("flow.toml", FLOW)


def outputs(graft: Graft, run_id: str, data: str) -> Any:
    return json.loads(graft("show", run_id, "--json", "--data", data).out.splitlines()[0])["outputs"]


def test_an_idle_directory(graft: Graft, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    assert graft("run", "flow.toml", "--id", "kept").code == 0
    data = tmp_path / ".graft" / "store" / "data.mdb"
    before = data.read_bytes()
    ended = graft("backup", "b", "--json")
    assert (ended.code, json.loads(ended.out)) == (0, {"file": "b", "bytes": (tmp_path / "b").stat().st_size})
    assert data.read_bytes() == before
    assert graft("restore", "b", "new").err.startswith("made new: 1 run,")
    assert outputs(graft, "kept", "new") == {"seven": 7}
    ended = graft("run", "flow.toml", "--from", "second", "--data", "new")
    assert ended.code == 0


def test_the_directory_of_a_process_that_was_killed(graft: Graft, tmp_path: Path) -> None:
    """What only its log holds is in the backup, too."""
    command = [sys.executable, "-m", "graft", "run", "flow.toml", "--id", "cut"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while "second" not in (tmp_path / "ran").read_text() if (tmp_path / "ran").exists() else True:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    assert graft("backup", "b").code == 0
    assert graft("restore", "b", "new").code == 0
    (tmp_path / "go").touch()
    assert graft("resume", "cut", "--data", "new").code == 0
    assert outputs(graft, "cut", "new") == {"seven": 7}
    assert (tmp_path / "ran").read_text().split().count("first") == 1  # its result was in the backup


def test_a_directory_that_is_not_there(graft: Graft, tmp_path: Path) -> None:
    ended = graft("backup", "b")
    assert ended.code != 0
    assert ".graft" in ended.err
    assert [each.name for each in tmp_path.iterdir()] == ["flow.toml"]
