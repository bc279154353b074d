"""What only a process of its own can show: exit codes, signals, broken pipes. Each costs most of a second."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.processes import marked
from tests.support.terminals import Program, graft_process

CTRL_C = signal.SIGINT

STEPS = """
    graft = 1
    name = "shop"
    [nodes.first]
    run = "echo once >> first.txt"
    [nodes.long]
    needs = ["first"]
    run = "sleep 300 & sleep 301 & echo started >&2; wait"
    [finally.cleanup]
    run = "echo cleaned > cleaned.txt"
"""


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def left_over(marker: str) -> dict[int, str]:
    deadline = time.monotonic() + 5
    while (found := marked(marker)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def test_outputs_on_stdout_and_all_else_on_stderr(write: Any, tmp_path: Path) -> None:
    write(
        "flow.toml",
        """
        graft = 1
        name = "two"
        [nodes.a]
        value = "${ 1 + 1 }"
        [outputs]
        two = "${ a.out }"
        """,
    )
    code, out, err = graft_process("run", "flow.toml", cwd=tmp_path)
    assert (code, json.loads(out)) == (0, {"two": 2})
    assert "✓ two succeeded" in err
    assert (tmp_path / ".graft").is_dir()


def test_ctrl_c_once_cancels_gracefully(write: Any, tmp_path: Path) -> None:
    write("flow.toml", STEPS)
    marker = f"GRAFT_TEST={os.getpid()}-once"
    with Program("run", "flow.toml", cwd=tmp_path, env=dict([marker.split("=")])) as program:
        program.see("long")
        program.send(CTRL_C)
        assert program.end() == 4
        assert "cancelling (Ctrl-C again stops now" in program.err
        assert "⊘ shop cancelled" in program.err
    assert lines(tmp_path / "cleaned.txt") == ["cleaned"]
    assert left_over(marker) == {}


def test_ctrl_c_twice_stops_at_once_and_resume_goes_on(write: Any, tmp_path: Path) -> None:
    write("flow.toml", STEPS.replace("echo cleaned", "sleep 60; echo cleaned"))
    marker = f"GRAFT_TEST={os.getpid()}-twice"
    with Program("run", "flow.toml", cwd=tmp_path, env=dict([marker.split("=")])) as program:
        program.see("long")
        program.send(CTRL_C)
        program.see("cleanup")
        time.sleep(0.05)  # sooner, it would count as the same Ctrl-C
        began = time.monotonic()
        program.send(CTRL_C)
        assert program.end() == 130
        assert time.monotonic() - began < 5
        assert "stopped; `graft resume shop-" in program.err
    assert left_over(marker) == {}
    write("flow.toml", STEPS)
    with Program("resume", cwd=tmp_path) as program:
        program.see("cleanup")  # the cancel was recorded: what is left of the run is its `finally`
        program.send(signal.SIGKILL)
    assert lines(tmp_path / "first.txt") == ["once"]


def test_sigterm_is_one_ctrl_c(write: Any, tmp_path: Path) -> None:
    write("flow.toml", STEPS)
    with Program("run", "flow.toml", cwd=tmp_path) as program:
        program.see("long")
        program.send(signal.SIGTERM)
        assert program.end() == 4


def test_kill_and_resume(write: Any, tmp_path: Path) -> None:
    write("flow.toml", STEPS.replace("sleep 300 & sleep 301 & echo started >&2; wait", "test -e go || sleep 300"))
    with Program("run", "flow.toml", "--id", "mine", cwd=tmp_path) as program:
        program.see("long")
        program.send(signal.SIGKILL)
        program.end()
    write("go", "")
    code, _, err = graft_process("resume", cwd=tmp_path)
    assert code == 0
    assert "resume mine (shop): 1 of 3 steps have ended and stay as they are\n  starts anew: long\n" in err
    assert lines(tmp_path / "first.txt") == ["once"]


PYTHON_STEP = """
    graft = 1
    name = "py"
    [nodes.a]
    python = "slow:step"
"""


def test_ctrl_c_while_user_code_is_imported(write: Any, tmp_path: Path) -> None:
    write("flow.toml", PYTHON_STEP)
    write("slow.py", "import os, time\nos.write(2, b'importing\\n')\ntime.sleep(60)\n")
    with Program("run", "flow.toml", cwd=tmp_path) as program:
        program.see("importing")
        program.send(CTRL_C)
        assert program.end() == 130
    assert program.err == "importing\ninterrupted\n"
    assert not (tmp_path / ".graft").exists()


def test_ctrl_c_while_a_module_swallows_it(write: Any, tmp_path: Path) -> None:
    write("flow.toml", PYTHON_STEP)
    write(
        "slow.py",
        """
        import os, time
        try:
            os.write(2, b"importing\\n")
            time.sleep(60)
        except BaseException:
            os.write(2, b"no\\n")
            time.sleep(60)
        """,
    )
    with Program("run", "flow.toml", cwd=tmp_path) as program:
        program.see("importing")
        program.send(CTRL_C)  # it is imported by a process of its own, which cannot hold this one up
        assert program.end() == 130


def test_ctrl_c_twice_while_a_step_blocks_the_loop(write: Any, tmp_path: Path) -> None:
    write("flow.toml", PYTHON_STEP)
    write(
        "slow.py",
        """
        import time
        async def step():
            open("blocking", "w").close()
            time.sleep(60)
        """,
    )
    os.mkfifo(tmp_path / "blocking")
    with Program("run", "flow.toml", "--id", "mine", cwd=tmp_path) as program:
        (tmp_path / "blocking").read_bytes()  # once the step opens it
        program.send(CTRL_C)
        time.sleep(0.05)
        program.send(CTRL_C)
        assert program.end() == 130
        assert "stopped; `graft resume mine` goes on" in program.err


def test_a_run_whose_reader_went_away_goes_on(write: Any, tmp_path: Path) -> None:
    write(
        "flow.toml",
        """
        graft = 1
        name = "seen"
        [nodes.a]
        run = "while [ ! -e go ]; do sleep 0.02; done"
        [nodes.b]
        needs = ["a"]
        run = "touch done; exit 1"
        [finally.c]
        value = 1
        """,
    )
    with Program("run", "flow.toml", "--json", cwd=tmp_path) as program:
        program.stop_reading()
        write("go", "")
        assert program.end() == 1
        assert program.err == ""
    assert (tmp_path / "done").exists()


def test_a_run_that_was_killed_is_shown_as_interrupted(write: Any, tmp_path: Path) -> None:
    write("flow.toml", STEPS)
    with Program("run", "flow.toml", "--id", "mine", cwd=tmp_path) as program:
        program.see("long")
        assert "● running" in graft_process("runs", cwd=tmp_path)[1]
        program.send(signal.SIGKILL)
        program.end()
    assert "◌ interrupted" in graft_process("runs", cwd=tmp_path)[1]
    shown = graft_process("show", cwd=tmp_path)[1]
    assert re.match(r"◌ shop interrupted after [\d.]+m?s  mine\n", shown)
    assert "  ● long     interrupted\n" in shown
    started = datetime.fromisoformat(json.loads(graft_process("runs", "--json", cwd=tmp_path)[1])["started_at"])
    os.utime(tmp_path / ".graft" / "lock", (started.timestamp() + 7.5,) * 2)  # when its process was last alive
    assert graft_process("show", cwd=tmp_path)[1].startswith("◌ shop interrupted after 7.5s  mine\n")
    code, out, _ = graft_process("events", "-f", "--json", cwd=tmp_path)  # nobody will add an event: it ends
    assert (code, json.loads(out.splitlines()[-1])["path"]) == (0, "long")


def test_a_reader_that_had_enough_is_no_error(write: Any, tmp_path: Path) -> None:
    write("flow.toml", 'graft = 1\nname = "many"\n[nodes.a]\nfor_each = "${ range(300) }"\nvalue = 1\n')
    assert graft_process("run", "flow.toml", cwd=tmp_path)[0] == 0
    with Program("events", "--json", cwd=tmp_path) as program:
        program.stop_reading()
        assert program.end() == 0
        assert program.err == ""
