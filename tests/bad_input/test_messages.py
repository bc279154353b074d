"""What a person sees for bad input: the exact text of `graft`, its exit code, and never a traceback.

Each case is a flow and a command. Paths, run ids, process ids and times are replaced by words; the rest is compared
with `messages.txt`. `GRAFT_REWRITE=1 pytest tests/bad_input` writes that file anew.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).with_name("messages.txt")
REWRITE = os.environ.get("GRAFT_REWRITE") == "1"

DEEP = "(" * 10_000 + "1" + ")" * 10_000
STEP = "graft = 1\nname = 'bad'\n[nodes.a]\n"
PARAM = "graft = 1\nname = 'bad'\n[params.n]\ntype = 'int'\n[nodes.a]\nvalue = '${ 10 / params.n }'\n"

# name -> (flow, further arguments, exit code)
CASES: dict[str, tuple[str, tuple[str, ...], int]] = {
    "toml syntax": ("graft = 1\nname = \n", (), 2),
    "unknown key": (STEP + "run = 'true'\nretrys = 3\n", (), 2),
    "two kinds": (STEP + "run = 'true'\nexec = ['true']\n", (), 2),
    "unknown need": (STEP + "run = 'true'\n[nodes.b]\nneeds = ['aa']\nrun = 'true'\n", (), 2),
    "cycle": (STEP + "needs = ['b']\nrun = 'true'\n[nodes.b]\nneeds = ['a']\nrun = 'true'\n", (), 2),
    "type mismatch between steps": (STEP + "run = 'true'\n[nodes.b]\nvalue = '${ a.out + 1 }'\n", (), 2),
    "missing param": (PARAM, (), 2),
    "param of a wrong type": (PARAM, ("--n", "many"), 2),
    "missing module": (STEP + "python = 'no_such_module:f'\n", (), 2),
    "missing function": (STEP + "python = 'json:no_such_function'\n", (), 2),
    "a script that fails": (STEP + "run = 'echo oops >&2; exit 3'\n", (), 1),
    "a script that is killed": (STEP + "run = 'kill -9 $$'\n", (), 1),
    "not json": (STEP + "run = 'echo {nope'\noutput = 'json'\n", (), 1),
    "result too large": (STEP + "run = 'head -c 3000000 /dev/zero'\n", (), 1),
    "division by zero": (PARAM, ("--n", "0"), 1),
    "nests 10,000 deep": (STEP + f"value = '${{ {DEEP} }}'\n", (), 2),
    "a huge string": (STEP + "value = \"${ 'a' * 10 ** 10 }\"\n", (), 1),
}


def graft(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "graft", *words],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100"},
    )


def told(ended: subprocess.CompletedProcess[str], cwd: Path) -> str:
    text = ended.stdout + ended.stderr
    text = text.replace(str(cwd), "DIR").replace(sys.executable, "PYTHON")
    text = re.sub(r"\bbad-[0-9a-z]{9,}\b", "RUN", text)
    text = re.sub(r"\d+(\.\d+)? ?(ms|s)\b", "TIME", text)
    text = re.sub(r"\d{4}-\d\d-\d\d[T ][\d:.]+Z?", "WHEN", text)
    text = re.sub(r"process \d+", "process PID", text)
    return "\n".join(re.sub(r" {2,}TIME", " TIME", line.rstrip())[:400] for line in text.splitlines())


def golden() -> dict[str, str]:
    parts = re.split(r"^== (.*)\n", GOLDEN.read_text() if GOLDEN.exists() else "", flags=re.MULTILINE)
    return {name: text.rstrip("\n") for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def compare(name: str, text: str) -> None:
    assert "Traceback" not in text
    assert "internal error" not in text
    known = golden()
    if REWRITE:
        known[name] = text
        GOLDEN.write_text("".join(f"== {each}\n{known[each]}\n\n" for each in sorted(known)))
    assert text == known.get(name)


@pytest.mark.parametrize("name", CASES)
def test_message(name: str, tmp_path: Path) -> None:
    flow, arguments, code = CASES[name]
    (tmp_path / "flow.toml").write_text(flow)
    ended = graft("run", "flow.toml", *arguments, cwd=tmp_path)
    compare(name, told(ended, tmp_path))
    assert ended.returncode == code


def finished(cwd: Path) -> None:
    (cwd / "flow.toml").write_text(STEP + "run = 'true'\n")
    assert graft("run", "flow.toml", "--id", "kept", cwd=cwd).returncode == 0


def holding(cwd: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A process that holds the data directory by the time it has written a line."""
    holder = subprocess.Popen([sys.executable, *arguments], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert holder.stderr is not None
    holder.stderr.readline()
    return holder


def test_a_directory_that_another_process_holds(tmp_path: Path) -> None:
    """Its holder takes the run."""
    finished(tmp_path)
    (tmp_path / "long.toml").write_text("graft = 1\nname = 'long'\n[nodes.a]\nrun = 'echo up >&2; sleep 60'\n")
    holder = holding(tmp_path, "-m", "graft", "run", "long.toml")
    try:
        ended = graft("run", "flow.toml", cwd=tmp_path)
        assert "Traceback" not in told(ended, tmp_path)
        assert ended.returncode == 0
        assert graft("show", "kept", cwd=tmp_path).returncode == 0  # reading needs nobody's leave
    finally:
        holder.kill()
        holder.communicate()


HOLD = """
import sys, time
from pathlib import Path
from graft.storage import open_store
store = open_store(Path(".graft"), command="a tool of yours")
print("held", file=sys.stderr, flush=True)
time.sleep(60)
"""


def test_a_directory_whose_holder_takes_no_runs(tmp_path: Path) -> None:
    finished(tmp_path)
    holder = holding(tmp_path, "-c", HOLD)
    try:
        ended = graft("run", "flow.toml", cwd=tmp_path)
        text = told(ended, tmp_path)
        assert str(holder.pid) in ended.stderr
        assert "a tool of yours" in text
        assert "Traceback" not in text
        assert ended.returncode == 1
        assert graft("show", "kept", cwd=tmp_path).returncode == 0  # reading needs nobody's leave
    finally:
        holder.kill()
        holder.communicate()


def test_a_store_of_a_newer_version(tmp_path: Path) -> None:
    finished(tmp_path)
    format_file = tmp_path / ".graft" / "format"
    kept = format_file.read_text()
    format_file.write_text(re.sub(r"\d+", "99", kept, count=1))
    ended = graft("run", "flow.toml", cwd=tmp_path)
    compare("written by a newer version", told(ended, tmp_path))
    assert ended.returncode == 1
    format_file.write_text(kept)
    assert graft("show", "kept", cwd=tmp_path).returncode == 0  # nothing was lost


def test_a_corrupted_page(tmp_path: Path) -> None:
    finished(tmp_path)
    data = next((tmp_path / ".graft" / "store").glob("data*"))
    damaged = bytearray(data.read_bytes())
    for page in range(2, len(damaged) // 4096):
        damaged[page * 4096 + 3900 : page * 4096 + 4096] = b"\xff" * 196  # where a leaf keeps its records
    data.write_bytes(damaged)
    (tmp_path / ".graft" / "lock").write_text("")  # as after a crash: the store is walked before it is used
    ended = graft("run", "flow.toml", cwd=tmp_path)
    text = told(ended, tmp_path)
    assert ended.returncode == 1
    assert "damaged" in text
    assert ".graft" in text
    assert "Traceback" not in text
    assert "internal error" not in text


def test_a_full_disk_loses_nothing_that_was_recorded(tmp_path: Path) -> None:
    """A small limit on file sizes stands for the full disk; when it is lifted the run goes on where it was."""
    nodes = "".join(
        f"[nodes.n{i}]\n{f'needs = [{chr(34)}n{i - 1}{chr(34)}]' if i else ''}\n"
        f"run = 'echo n{i} >> ran; head -c 200000 /dev/zero | tr \"\\\\0\" x'\n"
        for i in range(12)
    )
    (tmp_path / "flow.toml").write_text("graft = 1\nname = 'big'\n" + nodes)
    limited = subprocess.run(
        ["bash", "-c", f"ulimit -f 1500; exec {sys.executable} -m graft run flow.toml --id big"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert limited.returncode == 1, limited.stderr
    assert "error: no space left for .graft" in limited.stderr
    assert "nothing that was recorded is lost" in limited.stderr
    assert "Traceback" not in limited.stderr
    before = set((tmp_path / "ran").read_text().split())
    resumed = graft("resume", "big", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    ran = (tmp_path / "ran").read_text().split()
    again = [name for name in before if ran.count(name) > 1]
    assert len(again) <= 1  # at most the step whose success the full disk did not take
    assert set(ran) == {f"n{i}" for i in range(12)}
