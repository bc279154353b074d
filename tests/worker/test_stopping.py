"""Cancel, timeout, and the death of Graft: nothing of a step outlives it. Real processes, looked for in /proc."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import uuid
from pathlib import Path

import pytest
import trio

from graft.plan import RunAction
from graft.worker import WorkerSettings, open_worker
from graft.worker.guardian import KEEPS_ZOMBIES, boottime
from graft.worker.guardian_client import Process, open_guardians
from tests.support.attempts import Bench, Pending, const, everywhere
from tests.support.processes import gone, marked, until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

GRANDCHILDREN = "sleep 301 & (sleep 302 &) ; sh -c 'sleep 303; true' & wait"
IGNORES_SIGTERM = "trap '' TERM; touch ready; while :; do sleep 0.05; done"
DAEMON = """python3 -c '
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.close(1); os.close(2)
        open("ready", "w").close()
        time.sleep(304)
    os._exit(0)
' ; """


@pytest.fixture
def marker() -> str:
    return f"marker-{uuid.uuid4().hex}"


async def start(bench: Bench, command: str, marker: str, **node: object) -> Pending:
    return bench.start(bench.assign(RunAction(command, env=const({"MARKER": marker})), **node))


@everywhere
async def test_cancel_reaches_grandchildren(bench: Bench, marker: str) -> None:
    pending = await start(bench, GRANDCHILDREN, marker)
    await until(lambda: len(marked(marker)) == 5)
    began = time.monotonic()
    pending.cancel()
    outcome = await pending.wait()
    assert outcome.status == "cancelled"
    assert time.monotonic() - began < 0.9, "SIGTERM was enough: the grace need not be used up"
    assert marked(marker) == {}


@everywhere
async def test_cancel_kills_what_ignores_sigterm_after_the_grace(bench: Bench, marker: str) -> None:
    pending = await start(bench, IGNORES_SIGTERM, marker)
    await until((bench.base / "ready").exists)
    began = time.monotonic()
    pending.cancel()
    assert (await pending.wait()).status == "cancelled"
    assert 0.9 < time.monotonic() - began < 3
    assert marked(marker) == {}


@everywhere
async def test_the_grace_is_for_the_whole_group(bench: Bench, marker: str) -> None:
    """The leader ends at SIGTERM at once; its child needs 0.3 s to clean up, and gets them."""
    child = "trap 'sleep 0.3; echo cleaned; touch cleaned; exit 0' TERM; touch ready; while :; do sleep 0.02; done"
    pending = await start(bench, f'sh -c "{child}" & wait', marker)
    await until((bench.base / "ready").exists)
    pending.cancel()
    assert (await pending.wait()).status == "cancelled"
    assert (bench.base / "cleaned").exists()
    assert "out cleaned" in bench.log()


async def test_a_stopped_process_is_woken_to_be_terminated(bench: Bench, marker: str) -> None:
    pending = await start(bench, "kill -STOP $$", marker)
    await until(lambda: marked(marker))
    await trio.sleep(0.1)
    began = time.monotonic()
    pending.cancel()
    assert (await pending.wait()).status == "cancelled"
    assert time.monotonic() - began < 0.9


@everywhere
async def test_timeout(bench: Bench, marker: str) -> None:
    pending = await start(bench, "sleep 300", marker, timeout_ms=200)
    outcome = await pending.wait()
    assert outcome.status == "timed_out"
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.title) == ("timeout", "did not end within 0.2 s")
    assert marked(marker) == {}


async def test_a_grandchild_that_keeps_the_output_open_does_not_hold_up_the_step(bench: Bench, marker: str) -> None:
    began = time.monotonic()
    pending = await start(bench, "sleep 300 & echo done", marker)
    outcome = await pending.wait()
    assert json.loads(outcome.value or b"") == "done"
    assert time.monotonic() - began < 2
    assert marked(marker) == {}
    note = "graft the program ended, but something that it started holds its output open; killing that"
    assert bench.log() == ["out done", note]


@everywhere
async def test_what_is_left_in_the_group_is_killed_when_the_step_succeeds(bench: Bench, marker: str) -> None:
    pending = await start(bench, "sleep 300 >/dev/null 2>&1 & true", marker)
    assert (await pending.wait()).status == "succeeded"
    assert marked(marker) == {}


@pytest.mark.parametrize("end", ["true", "sleep 300"])
async def test_daemons_of_a_step_end_with_it(bench: Bench, marker: str, end: str) -> None:
    pending = await start(bench, DAEMON + end, marker)
    await until((bench.base / "ready").exists)
    if end != "true":
        pending.cancel()
    await pending.wait()
    assert await gone(marker) == {}


async def test_a_daemon_of_one_step_does_not_end_with_another(bench: Bench, marker: str) -> None:
    pending = await start(bench, DAEMON + "sleep 300", marker)
    await until((bench.base / "ready").exists)
    assert (await bench.run("true")).status == "succeeded"
    await trio.sleep(0.3)
    assert any("ready" in command for command in marked(marker).values())
    pending.cancel()
    await pending.wait()


@everywhere
async def test_cancel_before_it_started(bench: Bench, marker: str) -> None:
    pending = await start(bench, "touch started", marker)
    pending.cancel()
    assert (await pending.wait()).status == "cancelled"
    assert not (bench.base / "started").exists()


@everywhere
async def test_cancel_of_an_old_token_is_ignored(bench: Bench, marker: str) -> None:
    pending = await start(bench, "sleep 0.2", marker)
    bench.worker.cancel(pending.assignment.key, pending.assignment.token - 1)
    assert (await pending.wait()).status == "succeeded"


async def test_leaving_the_worker_stops_everything_and_settles_nothing(tmp_path: Path, marker: str) -> None:
    async with open_worker(WorkerSettings(log_dir=tmp_path, grace_ms=300)) as worker:
        bench = Bench(worker, tmp_path)
        await start(bench, GRANDCHILDREN, marker)
        await start(bench, IGNORES_SIGTERM, marker)
        await start(bench, DAEMON + "sleep 300", marker)
        await until((tmp_path / "ready").exists)
    assert marked(marker) == {}
    assert bench.settled == []


async def test_cancelling_the_worker_from_outside_stops_everything(tmp_path: Path, marker: str) -> None:
    with trio.CancelScope() as scope:
        async with open_worker(WorkerSettings(log_dir=tmp_path, grace_ms=300)) as worker:
            bench = Bench(worker, tmp_path)
            await start(bench, GRANDCHILDREN, marker)
            await until(lambda: marked(marker))
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert marked(marker) == {}
    assert bench.settled == []


async def test_death_of_the_guardian(bench: Bench, marker: str) -> None:
    pending = await start(bench, DAEMON + GRANDCHILDREN, marker)
    await until(lambda: len(marked(marker)) == 6 and (bench.base / "ready").exists())
    guardian = bench.worker.guardian_pid
    assert guardian is not None
    os.kill(guardian, signal.SIGKILL)
    outcome = await pending.wait()
    assert outcome.status == "lost"
    assert outcome.error is not None
    assert outcome.error.type == "lost_member"
    assert await gone(marker) == {}
    assert json.loads((await bench.run("echo again")).value or b"") == "again"
    assert bench.worker.guardian_pid != guardian


async def test_the_guardian_kills_everything_when_the_lease_ends(tmp_path: Path, marker: str) -> None:
    """… and not before, nor when it was renewed or taken back; what is started later lives on."""
    environment = {b"PATH": os.environb[b"PATH"], b"MARKER": marker.encode()}
    null = os.open(os.devnull, os.O_RDWR)
    async with open_guardians() as guardians:

        async def spawn(command: str) -> Process:
            return await guardians.spawn(["sh", "-c", command], environment, tmp_path, (null, null, null))

        first = await spawn(DAEMON.replace("ready", str(tmp_path / "ready")) + "trap '' TERM; sleep 351 & wait; wait")
        await until((tmp_path / "ready").exists)
        guardians.lease(boottime() + 0.3)
        guardians.lease(boottime() + 1000)
        await trio.sleep(0.6)
        assert first.status is None
        guardians.lease(boottime() + 0.2)
        assert await first.wait() == -signal.SIGKILL
        assert marked(marker) == {}
        await first.close()
        guardians.lease(boottime() + 0.3)
        guardians.lease(None)
        second = await spawn("sleep 0.6; exit 7")
        assert await second.wait() == 7
        await second.close()
    os.close(null)


DRIVER = """
import sys, trio
from pathlib import Path
from graft.plan import RunAction
from graft.worker import WorkerSettings, open_worker
from tests.support.attempts import Bench, const

async def main():
    async with open_worker(WorkerSettings(log_dir=Path("logs"))) as worker:
        bench = Bench(worker, Path.cwd())
        for command in sys.argv[1:]:
            bench.start(bench.assign(RunAction(command)))
        await trio.sleep_forever()

trio.run(main)
"""


async def drive(tmp_path: Path, marker: str, *commands: str, script: str = DRIVER) -> trio.Process:
    """Graft's worker in a process of its own, that can be killed."""
    environment = os.environ | {"MARKER": marker, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return await trio.lowlevel.open_process([sys.executable, "-c", script, *commands], cwd=tmp_path, env=environment)


async def test_sigkill_of_graft_leaves_nothing(tmp_path: Path, marker: str) -> None:
    hidden = f"env -i PATH=$PATH setsid -f sh -c 'sleep 307; : {marker}' >/dev/null 2>&1; sleep 308"
    driver = await drive(tmp_path, marker, GRANDCHILDREN, IGNORES_SIGTERM, DAEMON + "sleep 305", hidden)
    try:
        wanted = ("sleep 307", "sleep 301", "sleep 302", "sleep 303", "sleep 0.05", "sleep 305", "time.sleep(304)")
        await until(lambda: all(any(each in line for line in marked(marker).values()) for each in wanted), 15)
    finally:
        driver.kill()
        await driver.wait()
    assert await gone(marker) == {}


FORKING_DRIVER = DRIVER.replace(
    "        await trio.sleep_forever()",
    """
        import os, time
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
        await trio.sleep_forever()
""",
)


async def test_a_fork_of_graft_does_not_keep_the_guardian_waiting(tmp_path: Path, marker: str) -> None:
    """A fork of Graft, made by a step's own Python code, holds the guardian's socket open after Graft's death."""
    driver = await drive(tmp_path, marker, "sleep 306", script=FORKING_DRIVER)
    try:
        await until(lambda: any("sleep 306" in line for line in marked(marker).values()), 15)
    finally:
        driver.kill()
        await driver.wait()
    try:
        await until(lambda: not any("sleep 306" in line for line in marked(marker).values()), 2)
    finally:
        for pid in marked(marker):
            os.kill(pid, signal.SIGKILL)


async def test_terminal_signals_do_not_reach_the_steps(tmp_path: Path, marker: str) -> None:
    """Ctrl-C goes to the foreground group: to Graft alone, not to the guardian nor to any step."""
    async with open_worker(WorkerSettings(log_dir=tmp_path)) as worker:
        bench = Bench(worker, tmp_path)
        pending = await start(bench, "ps -o pid=,pgid=,sid= -p $$,$PPID", marker)
        outcome = await pending.wait()
    assert outcome.status == "succeeded"
    rows = [list(map(int, line.split())) for line in json.loads(outcome.value or b"").splitlines()]
    assert all(group == session != os.getpgid(0) for _, group, session in rows)
    assert len({group for _, group, _ in rows}) == 2


@pytest.mark.skipif(not KEEPS_ZOMBIES, reason="the number may be used again there")
async def test_the_guardian_starts_programs_with_default_signals(tmp_path: Path) -> None:
    """Whatever who started us had us ignore: a shell does so with SIGQUIT for what runs in its background."""
    numbers = (signal.SIGQUIT, signal.SIGHUP, signal.SIGTTOU, signal.SIGUSR2)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        async with open_worker(WorkerSettings(log_dir=tmp_path / "logs")) as worker:
            outcome = await Bench(worker, tmp_path).run("grep -E 'Sig(Blk|Ign)' /proc/self/status")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for line in json.loads(outcome.value or b"").splitlines():
        assert int(line.split()[1], 16) & ~(3 << 31) == 0, line  # glibc keeps 32 and 33 for itself
