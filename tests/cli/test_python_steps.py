"""What Python steps do to the process that they share with `graft run`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import Graft
from tests.support.terminals import COMMAND, Terminal, environment

FLOW = """
graft = 1
[nodes.print]
python = "steps:chatter"
[nodes.apart]
python    = "steps:chatter"
isolation = "process"
[outputs]
read = "${ print.out + apart.out }"
"""
STEPS = """
import os, subprocess, sys

def chatter():
    print("printed")
    os.write(1, b"written\\n")
    subprocess.run(["echo", "a child"], check=True)
    os.system("echo to err >&2")
    sys.stdout.buffer.write(b"bytes\\n")
    return sys.stdin.read()
"""


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_standard_output_is_the_result_alone(tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "flow.toml").write_text(FLOW)
    (tmp_path / "steps.py").write_text(STEPS)
    ran = run(tmp_path, "run", "flow.toml", "--id", "r1", *flags)
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    result = {"read": ""}
    assert lines == [result] if not flags else lines[-1]["outputs"] == result
    for step in ("print", "apart"):
        logged = run(tmp_path, "logs", "r1", step).stdout
        for words in ("printed", "written", "a child", "to err", "bytes"):
            assert words in logged, (step, logged)


def test_a_step_finds_the_terminal_empty(tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text('graft = 1\n[nodes.ask]\npython = "asking:ask"\n')
    (tmp_path / "asking.py").write_text('import os\ndef ask():\n    return input() if os.isatty(0) else "nobody"\n')
    with Terminal("run", "flow.toml", "--id", "r1", cwd=tmp_path) as terminal:
        assert terminal.end() == 0


TAKEN = ("queue", "logging", "secrets", "socket", "http", "attrs", "trio", "click", "selectors", "msgspec", "lmdb")


@pytest.mark.parametrize("command", [[COMMAND[0], "-P", *COMMAND[1:]], [COMMAND[0], "-m", "graft"]])
def test_files_beside_the_flow_hide_no_module_that_we_need(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "flow.toml").write_text(FLOW)
    (tmp_path / "steps.py").write_text(STEPS)
    for name in TAKEN:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('it is {name} of the flow')\n")
    ran = subprocess.run([*command, "run", "flow.toml"], cwd=tmp_path, env=environment(), capture_output=True)
    assert (ran.returncode, json.loads(ran.stdout or b"null")) == (0, {"read": ""}), ran.stderr.decode()


def run(directory: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *argv], cwd=directory, env=environment(), input="not for steps", capture_output=True, text=True
    )


IMPORTED = {
    "import time\ntime.sleep(60)\n": "took more than 0.5 s",
    "while True:\n    pass\n": "took more than 0.5 s",
    "import time\nwhile True:\n    try:\n        time.sleep(9)\n    except BaseException:\n        pass\n": "took",
    "import os\nos._exit(3)\n": "ended the process: exit code 3",
    "import os\nos.kill(os.getpid(), 9)\n": "ended the process: SIGKILL",
    "raise GeneratorExit\n": "failed: GeneratorExit",
}


@pytest.mark.parametrize("module", IMPORTED)
@pytest.mark.parametrize("command", ["check", "run"])
def test_a_module_that_does_not_end_its_import_is_given_up(
    graft: Graft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, module: str
) -> None:
    monkeypatch.setenv("GRAFT_IMPORT_SECONDS", "0.5")
    nodes = "".join(f'[nodes.{name}]\npython = "{name}:f"\n' for name in ("bad", "good"))
    (tmp_path / "flow.toml").write_text(f'graft = 1\n{nodes}[nodes.worse]\npython = "bad:g"\n')
    (tmp_path / "bad.py").write_text(module)
    (tmp_path / "good.py").write_text("print('imported')\ndef f():\n    pass\n")
    ended = graft(command, "flow.toml")
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.count("error[GR306]") == 2
    assert IMPORTED[module] in ended.err


def test_functions_of_a_sub_flow_stand_beside_it(graft: Graft, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "flow.toml").write_text(
        'graft = 1\n[nodes.here]\npython = "steps:f"\n[nodes.below]\nflow = "sub/flow.toml"\n'
        '[outputs]\nhere = "${ here.out }"\nbelow = "${ below.out.x }"\n'
    )
    (tmp_path / "sub" / "flow.toml").write_text(
        'graft = 1\n[nodes.a]\npython = "steps:f"\nwith = { n = 1 }\n'
        '[nodes.b]\npython = "only_below:f"\n[outputs]\nx = "${ a.out + b.out }"\n'
    )
    (tmp_path / "steps.py").write_text("def f():\n    return 'above'\n")
    (tmp_path / "sub" / "steps.py").write_text("def f(n: int) -> int:\n    return n\n")
    (tmp_path / "sub" / "only_below.py").write_text("def f() -> int:\n    return 2\n")
    assert graft("check", "flow.toml").code == 0
    ended = graft("run", "flow.toml")
    assert json.loads(ended.out) == {"here": "above", "below": 3}
