"""`run` and `exec`: real programs, real groups, real signals."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from pathlib import Path

import pytest
import trio

from graft.plan import ErrorRecord, ExecAction, RunAction
from graft.worker import Outcome
from graft.worker.guardian_client import INHERITED_FILES_LIMIT
from graft.worker.logs import MAX_BYTES
from graft.worker.shells import default_shell
from tests.support.attempts import Bench, const, everywhere


async def test_text_loses_one_final_newline(bench: Bench) -> None:
    outcome = await bench.run("printf 'a\\nb\\n\\n'")
    assert outcome.status == "succeeded"
    assert json.loads(outcome.value or b"") == "a\nb\n"


@pytest.mark.parametrize(
    ("output", "printed", "value"),
    [
        ("none", "hello", None),
        ("text", "", ""),
        ("lines", "a\\n\\nb\\n", ["a", "", "b"]),
        ("lines", "", []),
        ("json", ' {"a": [1, 2.5, null]}\\n', {"a": [1, 2.5, None]}),
    ],
)
async def test_outputs(bench: Bench, output: str, printed: str, value: object) -> None:
    outcome = await bench.run(f"printf '{printed}'", output=output)
    assert json.loads(outcome.value or b"") == value


@everywhere
async def test_environment(bench: Bench) -> None:
    command = 'echo "$A|$B|$C|$GRAFT_RUN_ID|$GRAFT_STEP|$GRAFT_ATTEMPT|$GRAFT_IDEMPOTENCY_KEY|$PWD"'
    outcome = await bench.run(command, env={"A": "x y", "B": 3, "C": {"d": [True]}})
    assert json.loads(outcome.value or b"") == f'x y|3|{{"d":[true]}}|r1|step|1|key-1|{bench.base}'


@everywhere
async def test_stdin_text_and_json(bench: Bench) -> None:
    assert json.loads((await bench.run("cat", stdin="héllo")).value or b"") == "héllo"
    assert json.loads((await bench.run("cat", stdin={"a": 1}, output="json")).value or b"") == {"a": 1}
    assert json.loads((await bench.run("cat")).value or b"") == ""


@everywhere
async def test_exec_takes_arguments_as_they_are(bench: Bench) -> None:
    outcome = await bench.do(ExecAction(const(["printf", "%s|", "a b", "$HOME", 3]), output="text"))
    assert json.loads(outcome.value or b"") == "a b|$HOME|3|"


@everywhere
async def test_file_record(bench: Bench) -> None:
    outcome = await bench.run("printf hello > out.txt", output="file", output_path="out.txt")
    digest = hashlib.sha256(b"hello").hexdigest()
    assert json.loads(outcome.value or b"") == {"path": "out.txt", "size": 5, "sha256": digest}


def error(outcome: Outcome) -> ErrorRecord:
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert (outcome.error.node, outcome.error.attempt) == ("step", 1)
    return outcome.error


@everywhere
async def test_exit_code(bench: Bench) -> None:
    record = error(await bench.run("echo fine; for i in $(seq 30); do echo line $i >&2; done; exit 3"))
    assert (record.type, record.title) == ("exit.3", "the command exited with 3")
    assert record.detail.splitlines() == [f"line {number}" for number in range(11, 31)]
    assert error(await bench.run("echo only stdout; exit 1")).detail == "only stdout"


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGTERM"])
async def test_signal(bench: Bench, name: str) -> None:
    record = error(await bench.run(f"kill -{name.removeprefix('SIG')} $$"))
    assert (record.type, record.title) == (f"signal.{name}", f"the command was killed by {name}")


def make_script(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (b"#!/bin/sh\r\n", "its first line ends with a carriage return; save it with Unix line ends"),
        (b"#!/no/such/shell -e\n", "its first line names /no/such/shell, which is not there"),
    ],
)
async def test_a_script_whose_first_line_names_no_program(bench: Bench, first: bytes, told: str) -> None:
    make_script(Path(bench.base, "script.sh"), first + b"echo hi\n")
    record = error(await bench.do(ExecAction(const(["./script.sh"]))))
    assert (record.type, record.title) == ("exit.127", f"`./script.sh`: {told}")


async def test_command_not_found(bench: Bench) -> None:
    record = error(await bench.run("no-such-command-here"))
    assert record.type == "exit.127"
    assert "no-such-command-here" in record.detail
    record = error(await bench.do(ExecAction(const(["no-such-command-here"]), env=const({"PATH": "/bin:/usr/bin"}))))
    assert (record.type, record.title) == ("exit.127", "`no-such-command-here`: command not found")
    assert record.detail == "looked for it in PATH: /bin:/usr/bin"
    record = error(await bench.do(ExecAction(const(["./nowhere"]))))
    assert (record.type, record.title) == ("exit.127", "`./nowhere`: command not found")


async def test_a_program_that_may_not_run(bench: Bench) -> None:
    (bench.base / "plain.txt").write_text("hello")
    record = error(await bench.do(ExecAction(const(["./plain.txt"]))))
    assert (record.type, record.title) == ("exit.126", "`./plain.txt`: permission denied")
    (bench.base / "plain.txt").chmod(0o755)
    record = error(await bench.do(ExecAction(const(["./plain.txt"]))))
    assert (record.type, record.title) == ("exit.126", "`./plain.txt`: Exec format error")


async def test_programs_are_found_next_to_the_flow(bench: Bench) -> None:
    tool = bench.base / "tool"
    tool.write_text("#!/bin/sh\necho mine $1\n")
    tool.chmod(0o755)
    assert json.loads((await bench.do(ExecAction(const(["./tool", "x"])))).value or b"") == "mine x"


async def test_working_directory(bench: Bench) -> None:
    (bench.base / "sub").mkdir()
    assert json.loads((await bench.run("pwd", cwd="sub")).value or b"") == str(bench.base / "sub")
    record = error(await bench.run("pwd", cwd="nowhere"))
    assert record.type == "exit.126"
    assert record.title == f"the working directory {bench.base}/nowhere cannot be used: No such file or directory"


@everywhere
async def test_computed_paths(bench: Bench) -> None:
    (bench.base / "sub").mkdir()
    bench.values["params.d"] = "sub"
    path = ("var", "params.d")
    outcome = await bench.run(
        "printf hello > out.txt", cwd=path, output="file", output_path=("format", path, ("const", "/out.txt"))
    )
    assert json.loads(outcome.value or b"")["path"] == "sub/out.txt"
    for wrong in ("..", "/", "sub/../..", "", None, {}, "a\0b"):
        bench.values["params.d"] = wrong
        assert error(await bench.run("true", cwd=path)).type == "expression"
        assert error(await bench.run("true", output="file", output_path=path)).type == "expression"


@pytest.mark.parametrize("make", ["mkfifo out", "ln -s /dev/zero out", "mkdir out", "ln -s /dev/tty out"])
async def test_what_is_not_a_regular_file_is_refused_at_once(bench: Bench, make: str) -> None:
    record = error(await bench.run(make, output="file", output_path="out"))
    assert record.type == "output_schema"
    assert "the file out cannot be read: " in record.title


async def test_a_file_that_does_not_answer_ends_with_the_step(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """… as that of a file server that is gone does."""
    hang = threading.Event()
    monkeypatch.setattr("graft.worker.files._hash_file", lambda *_: hang.wait())
    action = RunAction("touch out", output="file", output_path="out")
    assert (await bench.do(action, timeout_ms=100)).status == "timed_out"
    pending = bench.start(bench.assign(action))
    pending.cancel()
    assert (await pending.wait()).status == "cancelled"
    hang.set()


SCRIPTS = [
    ("false\necho on", "exit.1"),
    ("no-such-command-here\necho on", "exit.127"),
    ("echo $NOT_SET_ANYWHERE\necho on", None),
    ("cd /nowhere-at-all; echo on", None),
    ("x=$(false); echo on", "exit.1"),
]


@everywhere
@pytest.mark.parametrize(("script", "type"), SCRIPTS)
async def test_a_script_ends_at_its_first_error(bench: Bench, script: str, type: str | None) -> None:
    record = error(await bench.run(script))
    assert type in (None, record.type)
    assert not any(line.startswith("out") for line in bench.log())


@everywhere
async def test_a_pipe_fails_with_any_of_its_parts(bench: Bench) -> None:
    assert error(await bench.run("false | cat")).type == "exit.1"
    assert (await bench.run("false || true; ! true; if false; then :; fi; echo ${NOT_SET:-}")).status == "succeeded"


@pytest.mark.parametrize("script", ["false\necho on", "echo $NOT_SET_ANYWHERE; echo on"])
async def test_without_bash_it_is_sh_and_strict_too(bench: Bench, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    default_shell.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr("graft.worker.shells.PLACES", ())
        patch.setattr("shutil.which", lambda _: None)
        assert default_shell() == ("/bin/sh", "-eu", "-c")
    error(await bench.run(script))
    default_shell.cache_clear()


@everywhere
async def test_the_path_of_a_step_does_not_choose_its_shell(bench: Bench) -> None:
    fake = bench.base / "bash"
    fake.write_text("#!/bin/sh\necho fake\n")
    fake.chmod(0o755)
    assert json.loads((await bench.run("echo $0", env={"PATH": str(bench.base)})).value or b"") == default_shell()[0]


@everywhere
async def test_another_shell(bench: Bench) -> None:
    outcome = await bench.run("print(6 * 7, $HOME)".replace(", $HOME", ""), shell=(sys.executable, "-c"))
    assert json.loads(outcome.value or b"") == "42"
    assert json.loads((await bench.run("false; echo on", shell=("sh", "-c"))).value or b"") == "on"
    record = error(await bench.run("true", shell=("no-such-shell", "-c")))
    assert (record.type, record.title) == ("exit.127", "`no-such-shell`: command not found")


async def test_too_many_arguments(bench: Bench) -> None:
    record = error(await bench.do(ExecAction(const(["true", "x" * 3_000_000]))))
    assert (record.type, record.title) == ("exit.126", "`true`: Argument list too long")
    assert "pass large values through stdin" in record.detail
    assert (await bench.run("true")).status == "succeeded"


@pytest.mark.parametrize(
    "action",
    [
        RunAction("true", env=const({"A": "x\0y"})),
        RunAction("true", env=const({"A=B": "x"})),
        RunAction("true", env=const({"": "x"})),
        RunAction("true", env=const({"A": "\ud800"})),
        RunAction("true", env=const(["A"])),
        RunAction("true \0"),
        RunAction("true \ud800"),
        RunAction("true", cwd="a\0b"),
        RunAction("true", cwd="\ud800"),
        RunAction("true", env=const({"A": ["\ud800"]})),
        ExecAction(const(["true", "\0"])),
        ExecAction(const(["", "--version"])),
        ExecAction(const([["\ud800"]])),
        ExecAction(const([])),
        ExecAction(const("true")),
        RunAction("true", env=("dict", (("const", "A"), ("binary", "/", ("const", 1), ("var", "zero"))))),
    ],
)
async def test_inputs_that_no_program_can_get(bench: Bench, action: RunAction) -> None:
    """… fail the step alone: another one, under the same guardian, goes on."""
    bench.values["zero"] = 0
    innocent = bench.start(bench.assign(RunAction("read line < fifo; echo $line"), path="innocent", run_no=2))
    os.mkfifo(bench.base / "fifo")
    assert error(await bench.do(action)).type == "expression"
    await trio.to_thread.run_sync((bench.base / "fifo").write_text, "fine\n")
    assert json.loads((await innocent.wait()).value or b"") == "fine"


@pytest.mark.parametrize(
    ("printed", "title", "detail"),
    [
        ("", "what the command printed is empty, not JSON", ""),
        ("oh no", "… expecting value at line 1, column 1", "oh no\n^"),
        ('{"a": 1,\n "b": tru}', "… expecting value at line 2, column 7", ' "b": tru}\n      ^'),
        (
            '{"a": 1',
            "… expecting ',' delimiter at line 1, column 8",
            '{"a": 1\n       ^',
        ),
        ("{} {}", "… extra data at line 1, column 4", "{} {}\n   ^"),
    ],
)
async def test_not_json(bench: Bench, printed: str, title: str, detail: str) -> None:
    record = error(await bench.run("cat", stdin=printed, output="json"))
    assert record.type == "output_schema"
    assert record.title == title.replace("… ", "what the command printed is not JSON: ")
    assert record.detail == detail


@everywhere
async def test_bytes_that_are_not_utf8(bench: Bench) -> None:
    assert json.loads((await bench.run(r"printf 'a\377b'")).value or b"") == "a\ufffdb"
    assert bench.log()[1] == "graft the output is not UTF-8 (byte 1); such bytes became U+FFFD in the result"
    record = error(await bench.run(r"""printf '"a\377b"'""", output="json"))
    assert record.type == "output_schema"
    assert "not UTF-8" in record.title


@everywhere
async def test_returns_is_checked(bench: Bench) -> None:
    action = RunAction('echo \'{"total": "3"}\'', output="json")
    record = error(await bench.do(action, returns=("record", (("total", "int"),))))
    assert record.type == "output_schema"
    assert record.title == "the result does not fit `returns`: `total`: expected int, got string"


async def test_missing_file(bench: Bench) -> None:
    record = error(await bench.run("true", output="file", output_path="out.bin"))
    assert record.type == "output_schema"
    assert record.title == "the step did not make the file out.bin"


@everywhere
async def test_both_streams_go_to_the_log(bench: Bench) -> None:
    await bench.run("echo one; echo two >&2; printf three; printf four >&2")
    assert [line for line in bench.log() if line[0] == "o"] == ["out one", "out three"]
    assert [line for line in bench.log() if line[0] == "e"] == ["err two", "err four"]


@everywhere
async def test_the_step_gets_the_limit_of_open_files_that_graft_was_started_with(bench: Bench) -> None:
    limits = json.loads((await bench.run("ulimit -Sn; ls /proc/self/fd", output="lines")).value or b"")
    assert limits == [str(INHERITED_FILES_LIMIT), "0", "1", "2", "3"]  # 3: the directory that ls reads


async def test_many_at_once(bench: Bench) -> None:
    pending = [bench.start(bench.assign(RunAction(f"echo {number}"), path=f"step[{number}]")) for number in range(60)]
    for number, each in enumerate(pending):
        assert json.loads((await each.wait()).value or b"") == str(number)


GIBIBYTE_DRIVER = """
import resource, sys, trio
from pathlib import Path
from graft.plan import RunAction
from graft.worker import WorkerSettings, open_worker
from tests.support.attempts import Bench

async def main():
    async with open_worker(WorkerSettings(log_dir=Path("logs"))) as worker:
        bench = Bench(worker, Path.cwd())
        await bench.run("true")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outcome = await bench.start(bench.assign(RunAction(sys.argv[1]))).wait(120)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(outcome.error.type, outcome.error.title, after - before, sep="|")

trio.run(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize("program", ["yes hello", "head -c 2000000000 /dev/zero"])
async def test_a_gibibyte_of_output(tmp_path: Path, program: str) -> None:
    """Lines, and one line without end: neither fills our memory or the disk, and the program is not held up."""
    command = f"set +o pipefail; {program} | head -c {1 << 30}; touch done"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = await trio.run_process(
        [sys.executable, "-c", GIBIBYTE_DRIVER, command], cwd=tmp_path, env=environment, capture_stdout=True
    )
    type, title, grown_kib = ended.stdout.decode().strip().split("|")
    assert type == "too_large"
    assert title == f"the result has {1 << 30} bytes; the limit is 1048576"
    assert int(grown_kib) < 16 * 1024
    assert (tmp_path / "done").exists()
    log = tmp_path / "logs" / "r1" / "step.log"
    assert log.stat().st_size <= MAX_BYTES + 200
    assert (
        log.read_bytes()
        .splitlines()[-1]
        .endswith(b"graft the log of this step has reached 67108864 bytes; what follows is not kept")
    )
