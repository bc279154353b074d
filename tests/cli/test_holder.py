"""One directory, several processes: who holds it, who asks the holder, and who takes its place."""

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

from graft.storage import read_holder
from tests.support.processes import marked
from tests.support.terminals import PATIENCE_SECONDS, Program, graft_process

STEPS = """
    graft = 1
    name = "shop"
    [params.until]
    type = "string"
    default = "go"
    [nodes.first]
    run = "echo once >> first.txt"
    [nodes.long]
    needs = ["first"]
    run = 'echo begun >> begun.txt; until test -e "$UNTIL"; do sleep 0.05; done; echo ended'
    env = { UNTIL = "${ params.until }" }
    [finally.cleanup]
    run = "echo cleaned >> cleaned.txt"
    [outputs]
    said = "${ default(long.out, 'nothing') }"
"""


@pytest.fixture(autouse=True)
def flow(write: Any) -> None:
    write("flow.toml", STEPS)


def until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def graft(cwd: Path, *args: str) -> tuple[int, str, str]:
    return graft_process(*args, cwd=cwd)


def test_a_second_run_is_given_to_the_holder_and_shown_all_the_same(tmp_path: Path) -> None:
    with Program("run", "flow.toml", "--id", "one", cwd=tmp_path) as first:
        first.see("long")
        with Program("run", "flow.toml", "--id", "two", "--until", "go2", cwd=tmp_path) as second:
            second.see("long")
            assert (tmp_path / ".graft" / "socket").stat().st_mode & 0o777 == 0o600
            holder = read_holder(tmp_path / ".graft" / "lock")
            assert holder is not None
            assert holder.pid == first.pid
            (tmp_path / "go").touch()
            first.see("other runs go on in this process until they end: two")
            (tmp_path / "go2").touch()
            assert second.end() == 0
            assert json.loads(second.out) == {"said": "ended"}
            assert "✓ shop succeeded" in second.err
        assert first.end() == 0
        assert json.loads(first.out) == {"said": "ended"}
    assert lines(tmp_path / "begun.txt") == ["begun", "begun"]  # no attempt was lost
    assert not (tmp_path / ".graft" / "socket").exists()


def test_cancel_look_and_retry_across_processes(tmp_path: Path) -> None:
    with Program("run", "flow.toml", "--id", "one", cwd=tmp_path) as first:
        first.see("long")
        assert "◌" not in graft(tmp_path, "show", "one")[1]
        with Program("events", "one", "-f", cwd=tmp_path) as events:
            code, _, err = graft(tmp_path, "cancel", "one")
            assert code == 0
            assert "⊘ shop cancelled" in err
            assert events.end() == 0
            assert "cancelled" in events.out
        assert first.end() == 4
        assert "⊘ shop cancelled" in first.err
    assert lines(tmp_path / "cleaned.txt") == ["cleaned"]
    with Program("run", "flow.toml", "--id", "two", "--until", "go2", cwd=tmp_path) as holder:
        holder.see("long")
        (tmp_path / "go").touch()
        code, out, err = graft(tmp_path, "retry", "one")
        assert (code, json.loads(out)) == (0, {"said": "ended"})
        assert "retry one (shop), generation 2" in err
        code, _, err = graft(tmp_path, "resume", "two", "--plan")
        assert code == 0
        (tmp_path / "go2").touch()
        assert holder.end() == 0


@pytest.mark.slow
def test_ctrl_c_of_the_second_cancels_its_run_and_not_the_holders(tmp_path: Path) -> None:
    with Program("run", "flow.toml", "--id", "one", cwd=tmp_path) as first:
        first.see("long")
        with Program("run", "flow.toml", "--id", "two", cwd=tmp_path) as second:
            second.see("long")
            second.send(signal.SIGINT)
            assert second.end() == 4
        (tmp_path / "go").touch()
        assert first.end() == 0


def test_a_holder_that_dies_is_replaced_by_who_waits(tmp_path: Path) -> None:
    with Program("run", "flow.toml", "--id", "one", cwd=tmp_path) as first:
        first.see("long")
        with Program("run", "flow.toml", "--id", "two", "--until", "go2", cwd=tmp_path) as second:
            second.see("long")
            first.send(signal.SIGKILL)
            first.end()
            second.see("run two was interrupted: going on with it")
            (tmp_path / "go2").touch()
            assert second.end() == 0
            assert json.loads(second.out) == {"said": "ended"}
    assert lines(tmp_path / "first.txt") == ["once", "once"]  # once for each run: what was done stays done
    (tmp_path / "go").touch()
    assert graft(tmp_path, "resume", "one")[0] == 0


@pytest.mark.slow
def test_ctrl_c_of_a_holder_that_waits_for_others_hands_over(tmp_path: Path) -> None:
    with Program("run", "flow.toml", "--id", "one", cwd=tmp_path) as first:
        first.see("long")
        with Program("run", "flow.toml", "--id", "two", "--until", "go2", cwd=tmp_path) as second:
            second.see("long")
            (tmp_path / "go").touch()
            first.see("other runs go on")
            first.send(signal.SIGINT)
            assert first.end() == 0  # its own run had succeeded
            second.see("going on with it")
            (tmp_path / "go2").touch()
            assert second.end() == 0


@pytest.mark.slow
def test_detach_leaves_a_holder_that_ends_when_idle(tmp_path: Path) -> None:
    marker = f"GRAFT_TEST=detach-{os.getpid()}"
    env = dict([marker.split("=")])
    code, out, err = graft_process("run", "flow.toml", "--detach", cwd=tmp_path, env=env)
    assert code == 0
    run_id = out.strip()
    assert run_id.startswith("shop-")
    assert f"`graft show {run_id}`" in err
    until(lambda: (tmp_path / "begun.txt").exists())
    holder = read_holder(tmp_path / ".graft" / "lock")
    assert holder is not None
    assert holder.command == "graft run --detach"
    code, out, _ = graft_process("run", "flow.toml", "--detach", "--json", "--id", "more", cwd=tmp_path, env=env)
    assert (code, json.loads(out)) == (0, {"type": "started", "run": "more"})
    (tmp_path / "go").touch()
    code, out, _ = graft_process("resume", "more", cwd=tmp_path, env=env)  # it goes on already: this shows it
    assert code in (0, 2)
    until(lambda: not marked(marker))
    assert [json.loads(each)["status"] for each in graft(tmp_path, "runs", "--json")[1].splitlines()] == [
        "succeeded",
        "succeeded",
    ]
    assert not (tmp_path / ".graft" / "socket").exists()


def test_detach_says_why_no_holder_could_begin(tmp_path: Path) -> None:
    (tmp_path / ".graft").mkdir()
    (tmp_path / ".graft" / "something").touch()
    code, out, err = graft(tmp_path, "run", "flow.toml", "--detach")
    assert (code, out) == (1, "")
    assert err.startswith("error: no process could be left behind to hold .graft\n") or (
        "is not empty and holds no Graft data" in err
    )


def test_a_directory_with_a_long_path(tmp_path: Path) -> None:
    data = str(tmp_path / ("d" * 100))
    with Program("run", "flow.toml", "--id", "one", "--data", data, cwd=tmp_path) as first:
        first.see("long")
        code, _, err = graft(tmp_path, "cancel", "one", "--data", data)
        assert (code, first.end()) == (0, 4), err


@pytest.mark.slow
def test_a_holder_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with Program("run", "flow.toml", "--id", "one", cwd=tmp_path) as first:
        first.see("long")
        (tmp_path / ".graft" / "socket").unlink()  # as a holder has it that could make none
        code, out, err = graft(tmp_path, "cancel", "one")
        assert (code, out) == (1, "")
        assert err.startswith(f"error: .graft is held by process {first.pid} (")
        assert "which does not answer" in err
        (tmp_path / "go").touch()
        assert first.end() == 0


def test_a_plain_run_loads_no_grpc(tmp_path: Path) -> None:
    script = (
        "import sys; from graft.cli import main\n"
        "code = main(['run', 'flow.toml'])\n"
        "heavy = {'grpclib', 'google.protobuf', 'trio_asyncio', 'h2', 'cryptography', 'graft.client'}\n"
        "print(code, sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    (tmp_path / "go").touch()
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "0 []"


@pytest.mark.slow
def test_of_many_detached_runs_at_once_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    marker = f"GRAFT_TEST=detached-at-once-{os.getpid()}"
    environment = os.environ | dict([marker.split("=")])
    command = [sys.executable, "-m", "graft", "run", "flow.toml", "--detach"]
    started = [
        subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(12)
    ]
    said = [process.communicate()[1].decode() for process in started]
    assert [process.returncode for process in started] == [0] * 12, said
    until(lambda: not marked(marker))
    ended = [json.loads(each)["status"] for each in graft(tmp_path, "runs", "--json")[1].splitlines()]
    assert ended == ["succeeded"] * 12
