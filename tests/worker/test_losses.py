"""What Graft, its machine or a service manager does to an attempt is not counted as a failure of the step."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from graft.plan import RunAction
from graft.worker import Outcome
from graft.worker import guardian as program
from graft.worker.guardian_client import SpawnFailed, open_guardians
from graft.worker.shortage import AMPLE_FILES, SHORT, file_slots
from tests.support.attempts import Bench, Pending, everywhere

needs_proc = pytest.mark.skipif(not program.LINUX, reason="looks into /proc")


async def until(condition: Any) -> None:
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.005)


async def begin(bench: Bench, command: str, trap: str = "true") -> Pending:
    """An attempt whose command runs."""
    pending = bench.start(bench.assign(RunAction(f"{trap}; echo $$ > pid; mv pid runs; {command}")))
    await until((bench.base / "runs").exists)
    return pending


def pid(bench: Bench) -> int:
    return int((bench.base / "runs").read_text())


def guardian_of(bench: Bench) -> int:
    """The parent of the command, here and in a host."""
    return int(Path(f"/proc/{pid(bench)}/stat").read_text().rpartition(")")[2].split()[1])


# A guardian serves all steps: what was sent for one ends no other


@pytest.mark.parametrize(
    ("argv", "env", "cwd", "stage"),
    [
        ([""], {}, "/", "exec"),
        (["a\0b"], {}, "/", "exec"),
        (["true"], {b"A=B": b""}, "/", "exec"),
        (["true"], {b"A\0": b""}, "/", "exec"),
        (["true"], {b"A": b"x" * 9_000_000}, "/", "exec"),
        (["true"], {b"A": b"x" * 3_000_000}, "/", "exec"),
        (["true", *["x"] * 2_000_000], {}, "/", "exec"),
        (["true"], {}, "/nowhere", "cwd"),
        (["true"], {}, "/dev/null", "cwd"),
        (["true"], {}, "a\0b", "cwd"),
        (["true"], {}, "x" * 5000, "cwd"),
        (["x" * 5000], {}, "/", "exec"),
        (["/"], {}, "/", "exec"),
    ],
)
async def test_whatever_cannot_be_started_fails_alone(
    tmp_path: Path, argv: list[str], env: dict[bytes, bytes], cwd: str, stage: str
) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    async with open_guardians() as guardians:
        other = await guardians.spawn(["/bin/sh", "-c", "kill -STOP $$; exit 7"], {}, tmp_path, (null, null, null))
        with pytest.raises(SpawnFailed) as failed:
            await guardians.spawn(argv, env, Path(cwd), (null, null, null))
        assert failed.value.stage == stage
        assert failed.value.reason
        assert other.pid is not None
        os.kill(other.pid, signal.SIGCONT)
        while other.status is None:  # SIGCONT may have come before it stopped itself
            os.kill(other.pid, signal.SIGCONT)
            with trio.move_on_after(0.05):
                assert await other.wait() == 7
        await other.close()
    os.close(null)


# The guardian


@everywhere
@needs_proc
async def test_a_killed_guardian_loses_its_attempts(bench: Bench) -> None:
    pending = await begin(bench, "sleep 300")
    os.kill(guardian_of(bench), signal.SIGKILL)
    assert (await pending.wait()).status == "lost"
    assert json.loads((await bench.run("echo again")).value or b"") == "again"


# Stops


@everywhere
@needs_proc
@pytest.mark.parametrize(("trap", "guardian_first"), [("true", True), ("true", False), ("trap 'exit 3' TERM", True)])
async def test_a_stop_of_all_processes_loses_the_attempts(bench: Bench, trap: str, guardian_first: bool) -> None:
    """… whether the command ends of it or says by itself that it failed."""
    pending = await begin(bench, "while :; do sleep 0.01; done", trap)
    targets = [guardian_of(bench), pid(bench)]
    for each in targets if guardian_first else reversed(targets):
        os.kill(each, signal.SIGTERM)
    outcome = await pending.wait()
    assert outcome.status == "lost"
    assert outcome.error is not None
    assert outcome.error.type == "lost_member"
    late = await bench.run("kill -TERM $$")  # begun after it
    assert (late.status, late.error and late.error.type) == ("failed", "signal.SIGTERM")


@everywhere
async def test_a_stop_of_one_command_is_its_failure(bench: Bench) -> None:
    pending = await begin(bench, "sleep 300")
    os.kill(pid(bench), signal.SIGTERM)
    outcome = await pending.wait()
    assert (outcome.status, outcome.error and outcome.error.type) == ("failed", "signal.SIGTERM")


@needs_proc
async def test_what_ends_well_in_a_stop_has_ended_well(bench: Bench) -> None:
    pending = await begin(bench, "while :; do sleep 0.01; done", "trap 'echo saved; exit 0' TERM")
    os.kill(guardian_of(bench), signal.SIGTERM)
    os.kill(pid(bench), signal.SIGTERM)
    assert json.loads((await pending.wait()).value or b"") == "saved"


# Zombies


def zombies_of(parent: int) -> int:
    rows = {row for row in program.processes(zombies=True) if row[1] == parent}
    return len(rows) - len({row for row in program.processes() if row[1] == parent})


@needs_proc
@pytest.mark.parametrize("wipe", ["", "env -i "])
async def test_no_daemon_that_ended_stays_a_zombie(bench: Bench, wipe: str) -> None:
    for _ in range(3):
        pending = [
            bench.start(bench.assign(RunAction(f"({wipe}setsid sleep 0.05 &); sleep 0.1"), path=f"step[{index}]"))
            for index in range(10)
        ]
        assert {(await each.wait()).status for each in pending} == {"succeeded"}
    guardian = bench.worker.guardian_pid
    assert guardian is not None
    await until(lambda: zombies_of(guardian) == 0)


@needs_proc
async def test_a_daemon_that_ends_while_its_step_runs_is_reaped(bench: Bench) -> None:
    pending = await begin(bench, "sleep 300", "(setsid sh -c 'echo $$ > daemon; kill $$' &)")
    await until(lambda: (bench.base / "daemon").exists() and (bench.base / "daemon").read_text().strip())
    daemon = int((bench.base / "daemon").read_text())
    await until(lambda: not Path(f"/proc/{daemon}").exists())
    pending.cancel()
    assert (await pending.wait()).status == "cancelled"


# Shortages


async def test_few_open_files_mean_few_at_a_time(tmp_path: Path) -> None:
    """A map of 60 under `ulimit -n 64`, the hard limit, too."""
    driver = tmp_path / "driver.py"
    driver.write_text(MANY)
    command = [sys.executable, str(driver)]
    limits = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))  # noqa: E731
    done = await trio.run_process(
        command, capture_stdout=True, preexec_fn=limits, env={**os.environ, "PYTHONPATH": ROOT}
    )
    assert done.stdout.decode() == "['succeeded'] 60\n"


ROOT = str(Path(__file__).parents[2])
MANY = """
import trio
from pathlib import Path
from graft.plan import RunAction
from graft.worker import WorkerSettings, open_worker
from tests.support.attempts import Bench

async def main():
    async with open_worker(WorkerSettings(log_dir=Path("logs").absolute())) as worker:
        bench = Bench(worker, Path.cwd())
        pending = [bench.start(bench.assign(RunAction("echo hello; sleep 0.2"), path=f"s[{i}]")) for i in range(60)]
        found = {(await each.wait()).status for each in pending}
        logs = [len(list(bench.logs.read("r1", f"s[{i}]"))) for i in range(60)]
        print(sorted(found), sum(logs))

import os, tempfile
os.chdir(tempfile.mkdtemp())
trio.run(main)
"""


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, number: int) -> Iterator[list[int]]:
    """`target.name` raises OSError `number` inside of the block. Gives the calls."""
    calls: list[int] = []

    def fail(*_: Any, **__: Any) -> Any:
        calls.append(1)
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(target, name, fail)
        yield calls


@pytest.mark.parametrize("number", sorted(SHORT))
@pytest.mark.parametrize(("target", "name"), [(os, "pipe"), (tempfile, "TemporaryFile")])
async def test_a_step_waits_for_what_is_short(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, target: Any, name: str, number: int
) -> None:
    await bench.run("true")  # the guardian is there
    with failing(monkeypatch, target, name, number) as calls:
        pending = bench.start(bench.assign(RunAction("cat", stdin=("const", "x"))))
        await until(lambda: len(calls) >= 2)
    assert json.loads((await pending.wait()).value or b"") == "x"
    assert sum(os.strerror(number) in line for line in bench.log()) == 1


async def test_without_a_process_for_the_guardian_a_step_waits(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with failing(monkeypatch, __import__("subprocess"), "Popen", errno.EAGAIN) as calls:
        pending = bench.start(bench.assign(RunAction("echo x")))
        await until(lambda: len(calls) >= 2)
    assert json.loads((await pending.wait()).value or b"") == "x"


def shortage(outcome: Outcome) -> str:
    assert outcome.status == "lost"
    assert outcome.error is not None
    assert outcome.error.type == "shortage"
    return outcome.error.title


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
async def test_a_full_directory_for_temporary_files_is_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with failing(monkeypatch, tempfile, "TemporaryFile", number):
        title = shortage(await bench.run("cat", stdin="x" * 100_000))
    assert title == f"the input of the command cannot be written to {tempfile.gettempdir()}: {os.strerror(number)}"


async def test_time_passes_only_once_the_command_runs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with failing(monkeypatch, os, "pipe", errno.EMFILE):
        outcome = await bench.do(RunAction("true"), timeout_ms=100)
    assert shortage(outcome) == f"no pipe can be made for the command: {os.strerror(errno.EMFILE)}"


@pytest.mark.parametrize(
    ("limit", "slots"), [(8, 1), (64, 8), (AMPLE_FILES - 1, 1351), (AMPLE_FILES, None), (resource.RLIM_INFINITY, None)]
)
def test_attempts_are_counted_only_where_files_are_few(
    monkeypatch: pytest.MonkeyPatch, limit: int, slots: int | None
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    found = file_slots()
    assert (found and found.total_tokens) == slots
