"""Worker hosts: what one step does to its host does nothing to the member, nor to the steps in other hosts.

What a `HostedWorker` does as a `Worker` does is in the other files, in the tests that are marked `everywhere`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from graft.errors import AbsentValue
from graft.plan import ForEach, HttpAction, PythonAction, RunAction, Secret
from graft.worker import HostedWorker, HostSettings, Outcome, WorkerSettings, open_hosted_worker
from graft.worker.guardian import boottime
from graft.worker.host_process import MAX_UNSENT
from tests.support.attempts import Bench, Pending, const
from tests.support.http_server import open_server
from tests.support.processes import gone, marked, until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

STEPS = """
import ctypes, os, pathlib, socket, stat, subprocess, sys, time
import trio

async def pid():
    return os.getpid()

async def add(a, b):
    return a + b

def count(path):
    with open(path, "a") as file:
        file.write("x")
    return len(pathlib.Path(path).read_text())

async def size(of):
    return len(of)

def leave(code):
    os._exit(code)

async def hold(seconds, touch):
    '''Hold the GIL: nothing else of the process runs, no thread either.'''
    pathlib.Path(touch).touch()
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    return "held"

async def nap(touch, tidied=None):
    pathlib.Path(touch).touch()
    try:
        await trio.sleep_forever()
    finally:
        if tidied is not None:
            pathlib.Path(tidied).touch()

def doze(touch, seconds):
    pathlib.Path(touch).touch()
    time.sleep(seconds)

def spin(touch):
    pathlib.Path(touch).touch()
    while True:
        pass

def environment():
    return dict(os.environ)

def environment_of(pid):
    return pathlib.Path(f"/proc/{pid}/environ").read_text()

def sockets_of(pid):
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:  # the one that lists
            continue
        if target.startswith("socket:"):
            found.append(int(name))
    return found

def garble(data):
    '''Write to every socket that is there to be written to.'''
    for fd in sockets_of("self"):
        try:
            os.write(fd, data.encode("latin-1"))
        except OSError:
            pass
    time.sleep(30)

def sockets_of_a_child():
    child = subprocess.Popen(["sleep", "30"])
    try:
        time.sleep(0.2)
        return sockets_of(child.pid)
    finally:
        child.kill()
        child.wait()

def here(ctx):
    return [ctx.item, ctx.index]
"""


@asynccontextmanager
async def hosts(tmp_path: Path, count: int = 2, **settings: Any) -> AsyncIterator[Bench]:
    base = tmp_path / "flow"
    base.mkdir(exist_ok=True)
    (base / "hosted_steps.py").write_text(STEPS)
    grace_ms = settings.pop("grace_ms", 1000)
    worker = WorkerSettings(log_dir=tmp_path / "logs", grace_ms=grace_ms)
    async with open_hosted_worker(HostSettings(worker, hosts=count, **settings)) as hosted:
        bench = Bench(hosted, base)
        await until(lambda: len(hosted.host_pids) == count, 30)
        yield bench


def hosted(bench: Bench) -> HostedWorker:
    assert isinstance(bench.worker, HostedWorker)
    return bench.worker


def begin(bench: Bench, name: str, /, *, isolation: Any = "thread", run_no: int = 1, **arguments: Any) -> Pending:
    """The step `name`; `node_…` arguments are the node's."""
    node = {key.removeprefix("node_"): arguments.pop(key) for key in list(arguments) if key.startswith("node_")}
    action = PythonAction(f"hosted_steps:{name}", const(arguments), isolation)
    return bench.start(bench.assign(action, run_no=run_no, **node))


async def value(pending: Pending) -> Any:
    outcome = await pending.wait()
    assert outcome.status == "succeeded", outcome
    return json.loads(outcome.value or b"")


async def begun(bench: Bench, name: str, file: str = "begun", **arguments: Any) -> Pending:
    """Started, and seen to run."""
    (bench.base / file).unlink(missing_ok=True)
    pending = begin(bench, name, touch=str(bench.base / file), **arguments)
    await until((bench.base / file).exists, 20)
    return pending


def reason(outcome: Outcome) -> str:
    assert outcome.error is not None
    return outcome.error.detail


# What a step does to its own host


async def test_a_killed_host_loses_its_attempts_and_only_those(tmp_path: Path) -> None:
    async with hosts(tmp_path) as bench:
        first, second = await begun(bench, "nap", "a"), await begun(bench, "nap", "b")
        before = set(hosted(bench).host_pids)
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        with trio.fail_after(20):
            while not bench.settled:  # noqa: ASYNC110
                await trio.sleep(0.01)
        ((assignment, outcome),) = bench.settled
        assert (outcome.status, reason(outcome)) == ("lost", "it was killed by signal 9")
        await until(lambda: len(hosted(bench).host_pids) == 2, 20)
        assert victim not in hosted(bench).host_pids
        other = second if assignment is first.assignment else first
        assert other.outcome is None
        other.cancel()
        assert (await other.wait()).status == "cancelled"


async def test_a_step_that_leaves_the_process(tmp_path: Path) -> None:
    async with hosts(tmp_path, 1) as bench:
        outcome = await begin(bench, "leave", code=3).wait()
        assert (outcome.status, reason(outcome)) == ("lost", "it exited with 3")
        assert await value(begin(bench, "add", a=1, b=2)) == 3


async def test_what_a_dead_host_ran_is_gone_before_its_attempts_are_lost(tmp_path: Path) -> None:
    marker = f"marker-{uuid.uuid4().hex}"
    async with hosts(tmp_path, 1) as bench:
        command = RunAction("(setsid sleep 341 &) ; sleep 342", env=const({"MARKER": marker}))
        pending = bench.start(bench.assign(command))
        await until(lambda: len(marked(marker)) >= 2, 20)
        os.kill(hosted(bench).host_pids[0], signal.SIGKILL)
        assert (await pending.wait()).status == "lost"
        assert marked(marker) == {}


async def longest_delay(work: Callable[[], Any]) -> float:
    """The longest time for which this loop did not turn while `work` went on, in seconds."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.monotonic()
            await trio.sleep(0.01)
            longest = max(longest, time.monotonic() - began - 0.01)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await work()
        nursery.cancel_scope.cancel()
    return longest


async def test_a_step_that_holds_the_gil_disturbs_neither_the_member_nor_other_hosts(tmp_path: Path) -> None:
    async with hosts(tmp_path) as bench:
        holder = await begun(bench, "hold", seconds=2)

        async def work() -> None:
            for number in range(20):
                assert await value(begin(bench, "add", a=number, b=1)) == number + 1
            free = await value(begin(bench, "pid"))
            while holder.outcome is None:
                pid = await value(begin(bench, "pid"))
                assert pid == free or holder.outcome is not None
                await trio.sleep(0.05)

        assert await longest_delay(work) < 1.5
        assert await value(holder) == "held"


async def test_a_host_that_hangs_gets_no_new_attempts_until_it_answers_again(tmp_path: Path) -> None:
    async with hosts(tmp_path, 1) as bench:
        holder = await begun(bench, "hold", seconds=2)
        (host,) = hosted(bench)._hosts
        await until(lambda: not host.is_answering(trio.current_time(), 0.5), 10)
        later = [begin(bench, "add", a=1, b=1) for _ in range(5)]
        assert list(host.flights.values()) == [hosted(bench)._flights[holder.assignment.key, holder.assignment.token]]
        assert [await value(each) for each in later] == [2] * 5
        assert await value(holder) == "held"


async def test_another_host_stands_in_for_one_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graft.worker.hosted.REPLACE_SECONDS", 0.7)
    async with hosts(tmp_path, 1) as bench:
        (pid,) = hosted(bench).host_pids
        holder = await begun(bench, "hold", seconds=5)
        assert await value(begin(bench, "pid")) != pid
        assert holder.outcome is None
        assert await value(holder) == "held"
        await until(lambda: hosted(bench).host_pids == [pid], 20)
        assert await value(begin(bench, "pid")) == pid


async def test_what_a_hung_host_has_not_begun_is_run_elsewhere_and_once(tmp_path: Path) -> None:
    """Half of the attempts go to the host that hangs from the first of them on; nobody there reads the others."""
    async with hosts(tmp_path, hang_seconds=1.0) as bench:
        holder = begin(bench, "hold", seconds=4, touch=str(bench.base / "holding"))
        names = [f"once-{number}" for number in range(10)]
        await until((bench.base / "holding").exists, 20)
        (hung,) = (host for host in hosted(bench)._hosts if host.flights)
        pendings = [begin(bench, "count", path=str(bench.base / name)) for name in names]
        with trio.fail_after(20):
            while len(hung.flights) < 5:  # the first may be through before the others are handed out
                await trio.lowlevel.checkpoint()
        for pending in pendings:
            assert await value(pending) == 1
        assert holder.outcome is None
        assert await value(holder) == "held"
        await trio.sleep(0.2)  # the host that hung finds them in its socket now
        assert {(bench.base / name).read_text() for name in names} == {"x"}
        assert len(hosted(bench).host_pids) == 2
        assert await value(begin(bench, "add", a=1, b=2)) == 3


@pytest.mark.parametrize("how", ["cancel", "timeout"])
async def test_a_hung_host_is_killed_for_an_attempt_that_has_to_stop(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graft.worker.hosted.STOP_SLACK_SECONDS", 0.5)
    async with hosts(tmp_path, 1, grace_ms=100) as bench:
        other = await begun(bench, "nap", "other")
        node = {"node_timeout_ms": 500} if how == "timeout" else {}
        stuck = await begun(bench, "hold", seconds=300, **node)
        if how == "cancel":
            stuck.cancel()
        outcome = await stuck.wait()
        if how == "cancel":
            assert (outcome.status, outcome.error) == ("cancelled", None)
        else:
            assert outcome.status == "timed_out"
            assert outcome.error is not None
            assert (outcome.error.type, outcome.error.title) == ("timeout", "did not end within 0.5 s")
        assert (await other.wait()).status == "lost"
        assert await value(begin(bench, "add", a=1, b=2)) == 3


@pytest.mark.parametrize("data", ["garbage", "\x00\x00\x00\x01\xc1", "\xff\xff\xff\xff", "\x00\x00\x00\x02\x91\x00"])
async def test_garbage_on_the_socket_costs_that_host_only(tmp_path: Path, data: str) -> None:
    async with hosts(tmp_path) as bench:
        other = await begun(bench, "nap", "other")
        outcome = await begin(bench, "garble", data=data).wait()
        assert outcome.status == "lost"
        assert reason(outcome).startswith("it sent ")
        assert other.outcome is None
        assert await value(begin(bench, "add", a=1, b=2)) == 3


async def test_the_socket_is_not_inherited(tmp_path: Path) -> None:
    async with hosts(tmp_path, 1) as bench:
        listing = await bench.run("ls -l /proc/self/fd")
        assert "socket:" not in json.loads(listing.value or b"")
        assert await value(begin(bench, "sockets_of_a_child")) == []
        assert await value(begin(bench, "sockets_of_a_child", isolation="process")) == []


async def test_signals_for_a_whole_service_are_left_to_the_member(tmp_path: Path) -> None:
    async with hosts(tmp_path, 1) as bench:
        (pid,) = hosted(bench).host_pids
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
        assert await value(begin(bench, "pid")) == pid
        outcome = await bench.run("kill -TERM $$")
        assert outcome.error is not None
        assert outcome.error.type == "signal.SIGTERM", "the programs of steps do obey them"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
async def test_hosts_of_a_user(tmp_path: Path) -> None:
    async with hosts(tmp_path, 1, user="root", group="1") as bench:
        assert json.loads((await bench.run("id -u; id -g")).value or b"") == "0\n1"
        assert bench.log() == ["out 0", "out 1"]
    assert (tmp_path / "logs").stat().st_gid == 1


def _nobody_can_run_us() -> bool:
    command = [sys.executable, "-P", "-c", "import graft, tests.support.attempts"]
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        return subprocess.run(command, user="nobody", env=environment, cwd="/", capture_output=True).returncode == 0
    except OSError:
        return False


async def test_a_user_of_its_own_keeps_the_members_key_from_steps(tmp_path: Path) -> None:
    if os.geteuid() != 0 or not _nobody_can_run_us():
        pytest.skip("needs root, and a Python that nobody can read")
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.geteuid() and directory.name.startswith(("pytest-", "test_")):
            directory.chmod(0o755)
    key = tmp_path / "member.key"
    key.write_text("the key")
    key.chmod(0o600)
    async with hosts(tmp_path, 1, user="nobody") as bench:
        outcome = await bench.run(f"id -un; cat {key}")
        assert outcome.error is not None
        assert outcome.error.detail.endswith("Permission denied")
        assert bench.log()[0] == "out nobody"
        assert (await begin(bench, "environment_of", pid=os.getpid()).wait()).status == "failed"


async def test_death_of_the_guardian(tmp_path: Path) -> None:
    async with hosts(tmp_path, 1) as bench:
        pending = await begun(bench, "nap")
        guardian, (host,) = hosted(bench).guardian_pid, hosted(bench).host_pids
        assert guardian is not None
        os.kill(guardian, signal.SIGKILL)
        assert (await pending.wait()).status == "lost"
        assert await value(begin(bench, "add", a=1, b=2)) == 3
        assert hosted(bench).host_pids != [host]


async def test_whatever_happens_every_attempt_settles_once(tmp_path: Path) -> None:
    """Hosts are killed, hang, and are told to leave, while attempts come, are cancelled and run out of time."""
    dice = random.Random(4)
    async with hosts(tmp_path, 3, grace_ms=100, attempts_per_host=8, hang_seconds=0.2) as bench:
        pendings = []
        for number in range(240):
            match dice.randrange(40):
                case 0:
                    pendings.append(begin(bench, "leave", code=1))
                case 1:
                    pendings.append(begin(bench, "hold", seconds=0.6, touch=str(bench.base / "held")))
                case 2 | 3:
                    pendings.append(begin(bench, "nap", touch=str(bench.base / "napped"), node_timeout_ms=200))
                case 4 | 5:
                    pendings.append(begin(bench, "nap", touch=str(bench.base / "napped"), run_no=2))
                    pendings[-1].cancel()
                case 6 if hosted(bench).host_pids:
                    os.kill(dice.choice(hosted(bench).host_pids), signal.SIGKILL)
                case 7:
                    bench.worker.drop_run(dice.choice([1, 2]))
                case _:
                    pendings.append(begin(bench, "add", a=number, b=0))
            await trio.sleep(dice.choice([0, 0, 0.02]))
        outcomes = [await pending.wait(60) for pending in pendings]
        statuses = Counter(outcome.status for outcome in outcomes)
        assert len(bench.settled) == len(pendings)
        assert bench.worker.running() == 0
        assert statuses["succeeded"] > 100
        assert statuses["lost"] > 2
        assert statuses["failed"] == 0
        assert all((outcome.value is not None) == (outcome.status == "succeeded") for outcome in outcomes)


# Cancel


async def test_cancel_of_every_kind(tmp_path: Path) -> None:
    async with hosts(tmp_path, 1) as bench, open_server() as server:

        async def hang(*_: object) -> None:
            await trio.sleep_forever()

        server.answers["/x"] = hang
        tidied = bench.base / "tidied"
        marker = f"marker-{uuid.uuid4().hex}"
        command = RunAction("sleep 343", env=const({"MARKER": marker}))
        pendings = [
            await begun(bench, "nap", "a", tidied=str(tidied)),
            await begun(bench, "doze", "b", seconds=3),
            await begun(bench, "spin", "c", isolation="process"),
            bench.start(bench.assign(command)),
            bench.start(bench.assign(HttpAction(const(f"{server.url}/x")))),
        ]
        await until(lambda: marked(marker) and server.received, 20)
        for pending in pendings:
            pending.cancel()
        assert [(await pending.wait()).status for pending in pendings] == ["cancelled"] * 5
        assert tidied.exists()
        assert marked(marker) == {}
        assert bench.worker.running() == 0


async def test_cancel_of_an_attempt_that_waits_for_room(tmp_path: Path) -> None:
    async with hosts(tmp_path, 1, attempts_per_host=1) as bench:
        running = await begun(bench, "nap")
        waiting = [begin(bench, "add", a=1, b=number) for number in range(3)]
        waiting[1].cancel()
        assert waiting[1].outcome is None, "it settles in a later turn, not inside of the call"
        assert (await waiting[1].wait()).status == "cancelled"
        running.cancel()
        assert [await value(waiting[0]), await value(waiting[2])] == [1, 3]
        assert len(bench.settled) == 4


async def test_a_host_has_no_more_attempts_in_flight_than_it_may(tmp_path: Path) -> None:
    async with hosts(tmp_path, attempts_per_host=3) as bench:
        pendings = [begin(bench, "add", a=0, b=number) for number in range(60)]
        seen = []
        while pendings[-1].outcome is None:
            seen.append([len(host.flights) for host in hosted(bench)._hosts])
            await trio.lowlevel.checkpoint()
        assert [3, 3] in seen
        assert max(map(max, seen)) == 3
        assert [await value(pending) for pending in pendings] == list(range(60))


async def test_a_host_that_does_not_read_is_not_sent_more_and_more(tmp_path: Path) -> None:
    async with hosts(tmp_path, 1, hang_seconds=60.0) as bench:
        (host,) = hosted(bench)._hosts
        holder = await begun(bench, "hold", seconds=1.5)
        bench.values["big.out"] = "x" * 1_000_000
        size = PythonAction("hosted_steps:size", ("dict", (("const", "of"), ("var", "big.out"))))
        pendings = [bench.start(bench.assign(size)) for _ in range(30)]
        while holder.outcome is None:
            assert len(host.flights) < 10
            assert len(host._out) + host._sending < MAX_UNSENT + 2_000_000
            await trio.sleep(0.05)
        assert [await value(pending) for pending in pendings] == [1_000_000] * 30


async def test_handing_out_many_attempts_leaves_the_loop_its_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hosts(tmp_path, 1) as bench:
        monkeypatch.setattr("graft.worker.hosted.TURN_SECONDS", 0.0)
        (host,) = hosted(bench)._hosts
        pendings = [begin(bench, "add", a=number, b=0) for number in range(30)]
        assert host._count == 1, "the first goes at once"
        before = 1
        for _ in range(20):
            await trio.lowlevel.checkpoint()
            assert host._count <= before + 1, "one in a turn, for there is no time for a second"
            before = host._count
        assert [await value(pending) for pending in pendings] == list(range(30))


# What goes to a host


async def test_the_environment_is_scrubbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_SECURITY__KEY_FILE", "/etc/graft/member.key")
    monkeypatch.setenv("PASSPHRASE_OF_THE_MEMBER", "hush")
    monkeypatch.setenv("STEP_TOKEN", "for steps")
    monkeypatch.setenv("LC_TIME", "C")
    passed = {"pass_environment": ("STEP_*", "GRAFT_*"), "environment": {"COLOUR": "green"}}
    async with hosts(tmp_path, 1, **passed) as bench:
        found = await value(begin(bench, "environment"))
        listing = json.loads((await bench.run("env")).value or b"")
    assert (found["STEP_TOKEN"], found["COLOUR"], found["LC_TIME"]) == ("for steps", "green", "C")
    for names in (found.keys(), {line.partition("=")[0] for line in listing.splitlines()}):
        assert "PASSPHRASE_OF_THE_MEMBER" not in names
        assert "GRAFT_SECURITY__KEY_FILE" not in names


async def test_secrets_are_resolved_in_the_host(tmp_path: Path) -> None:
    async with hosts(tmp_path, 1, environment={"TEST_A": "alpha-secret"}) as bench:
        bench.secrets["A"] = Secret("A", "env", "TEST_A")
        env = ("dict", (("const", "X"), ("var", "secrets.A")))
        outcome = await bench.do(RunAction('echo "it is $X"; echo "$X" >&2; exit 1', env=env))
        assert outcome.error is not None
        assert outcome.error.detail == "***"
        assert sorted(bench.log()) == ["err ***", "out it is ***"]


async def test_values_go_along_and_absent_ones_as_absent(tmp_path: Path) -> None:
    def look(name: str) -> Any:
        if name == "b.out":
            raise AbsentValue("it was skipped, so it has no result")
        return {"a.out": {"n": 20}, "item": "x", "index": 7}[name]

    def add(b: Any) -> PythonAction:
        return PythonAction("hosted_steps:add", ("dict", (("const", "a"), total), (("const", "b"), b)))

    total, absent = ("attr", ("var", "a.out"), "n"), ("var", "b.out")
    async with hosts(tmp_path, 1) as bench:
        bench.values = type("Values", (dict,), {"__getitem__": lambda _, name: look(name)})()
        assert await value(bench.start(bench.assign(add(("call", "default", (absent, ("const", 1)), ()))))) == 21
        outcome = await bench.do(add(absent))
        assert outcome.error is not None
        assert outcome.error.type == "expression"
        assert "it was skipped, so it has no result" in outcome.error.title
        assert await value(begin(bench, "here", node_for_each=ForEach(("list",), "item"))) == ["x", 7]


async def test_inputs_that_cannot_be_sent_fail_the_step(tmp_path: Path) -> None:
    async with hosts(tmp_path, 1) as bench:
        bench.values["a.out"] = object()  # nothing that came out of JSON
        outcome = await bench.do(PythonAction("hosted_steps:add", ("dict", (("const", "a"), ("var", "a.out")))))
        assert outcome.status == "failed"
        assert outcome.error is not None
        assert outcome.error.type == "expression"
        bench.values["a.out"] = 1
        assert await value(begin(bench, "add", a=1, b=2)) == 3


# Ends


async def test_leaving_stops_everything_and_settles_nothing(tmp_path: Path) -> None:
    marker = f"marker-{uuid.uuid4().hex}"
    async with hosts(tmp_path, environment={"MARKER": marker}) as bench:
        tidied = bench.base / "tidied"
        await begun(bench, "nap", tidied=str(tidied))
        bench.start(bench.assign(RunAction("sleep 344")))
        await until(lambda: any("sleep 344" in line for line in marked(marker).values()), 20)
    assert marked(marker) == {}
    assert bench.settled == []
    assert tidied.exists(), "the step could clean up"


async def test_a_host_that_holds_the_gil_does_not_hold_up_the_end(tmp_path: Path) -> None:
    worker = WorkerSettings(grace_ms=100, stop_seconds=0.5)
    marker = f"marker-{uuid.uuid4().hex}"
    (tmp_path / "hosted_steps.py").write_text(STEPS)
    async with open_hosted_worker(HostSettings(worker, hosts=1, environment={"MARKER": marker})) as hosted:
        await begun(Bench(hosted, tmp_path), "hold", seconds=300)
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert marked(marker) == {}


async def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_hosted_worker(HostSettings(hosts=1)):
            raise ZeroDivisionError


async def test_hosts_that_cannot_start_are_tried_again_with_pauses(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = HostSettings(WorkerSettings(), hosts=1, environment={"PYTHONHOME": "/nowhere"})
    async with open_hosted_worker(settings) as hosted:
        bench = Bench(hosted, tmp_path)
        pending = bench.start(bench.assign(RunAction("true")))
        await until(lambda: "exited with 1" in (hosted.problem or ""), 20)
        await trio.sleep(1)
        pending.cancel()
        assert (await pending.wait()).status == "cancelled"
    assert 1 <= capfd.readouterr().err.count("PYTHONHOME = '/nowhere'") < 12


# The member's own end: real processes

DRIVER = """
import sys, trio
from pathlib import Path
from graft.plan import PythonAction, RunAction
from graft.worker import HostSettings, WorkerSettings, open_hosted_worker
from graft.worker.guardian import boottime
from tests.support.attempts import Bench, const
from tests.support.processes import until

async def main():
    marker, lease = sys.argv[1:]
    settings = WorkerSettings(log_dir=Path("logs"))
    async with open_hosted_worker(HostSettings(settings, environment={"MARKER": marker})) as worker:
        bench = Bench(worker, Path.cwd())
        pendings = [bench.start(bench.assign(action)) for action in (
            PythonAction("hosted_steps:spin", const({"touch": "spinning"}), "process"),
            RunAction("trap '' TERM; (setsid sleep 345 &) ; touch running; sleep 346; sleep 347"),
        )]
        await until(lambda: Path("running").exists() and Path("spinning").exists(), 60)
        held = PythonAction("hosted_steps:hold", const({"seconds": 300, "touch": "holding"}))
        pendings.append(bench.start(bench.assign(held)))
        if lease != "none":
            worker.lease(boottime() + float(lease))
        await until(Path("holding").exists, 60)
        Path("all").touch()
        for pending in pendings:
            await pending.wait(600)
        Path("outcomes").write_text(" ".join(pending.outcome.status for pending in pendings))

if __name__ == "__main__":
    trio.run(main)
"""


@asynccontextmanager
async def driver(tmp_path: Path, marker: str, lease: str) -> AsyncIterator[trio.Process]:
    """A member of its own: with a step that holds the GIL, one that spins in a process, a command with a daemon."""
    (tmp_path / "hosted_steps.py").write_text(STEPS)
    (tmp_path / "driver.py").write_text(DRIVER)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "driver.py", marker, lease]
    process = await trio.lowlevel.open_process(command, cwd=tmp_path, env=environment)
    try:
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await until(lambda: not of_hosts(marker), 20)


def of_hosts(marker: str) -> dict[int, str]:
    return {pid: line for pid, line in marked(marker).items() if "driver.py" not in line}


async def test_sigkill_of_the_member_ends_everything(tmp_path: Path) -> None:
    marker = f"marker-{uuid.uuid4().hex}"
    async with driver(tmp_path, marker, "none") as process:
        await until((tmp_path / "all").exists, 60)
        assert any("sleep 345" in line for line in of_hosts(marker).values())
        process.kill()
        await process.wait()
        assert await gone(marker, 2.0) == {}


async def test_a_stopped_member_loses_everything_when_its_lease_ends(tmp_path: Path) -> None:
    """SIGSTOP: the member cannot act, one host holds the GIL; the guardian ends them all, in time."""
    marker = f"marker-{uuid.uuid4().hex}"
    lease_seconds = 2.0
    async with driver(tmp_path, marker, str(lease_seconds)) as process:
        await until((tmp_path / "all").exists, 60)
        began = time.monotonic()
        process.send_signal(signal.SIGSTOP)
        assert len(of_hosts(marker)) >= 5
        await until(lambda: not of_hosts(marker), lease_seconds + 5)
        assert time.monotonic() - began < lease_seconds + 2
        process.send_signal(signal.SIGCONT)
        await until((tmp_path / "outcomes").exists, 20)
        assert (tmp_path / "outcomes").read_text() == "lost lost lost"


async def test_attempts_are_lost_when_the_lease_ends_and_go_on_when_it_is_renewed(tmp_path: Path) -> None:
    async with hosts(tmp_path, 1, lease_grace_ms=10_000) as bench:
        pids = hosted(bench).host_pids
        hosted(bench).lease(boottime() + 60)
        pending = await begun(bench, "nap", tidied=str(bench.base / "tidied"))
        hosted(bench).lease(boottime() + 120)
        assert await value(begin(bench, "add", a=1, b=2)) == 3
        hosted(bench).lease(boottime() + 0.3)
        outcome = await pending.wait()
        assert outcome.status == "lost"
        assert (bench.base / "tidied").exists(), "there was time to clean up"
        late = await begin(bench, "add", a=1, b=2).wait()
        assert late.status == "lost"
        hosted(bench).lease(None)
        assert await value(begin(bench, "add", a=1, b=2)) == 3
        assert hosted(bench).host_pids == pids, "the lease came back before the guardian's deadline"


async def test_hosts_come_back_with_the_lease(tmp_path: Path) -> None:
    async with hosts(tmp_path, 1, lease_grace_ms=100) as bench:
        (pid,) = hosted(bench).host_pids
        hosted(bench).lease(boottime())
        await until(lambda: not hosted(bench).host_pids, 20)
        await trio.sleep(0.5)
        assert hosted(bench).host_pids == [], "without a lease none is needed"
        hosted(bench).lease(boottime() + 60)
        assert await value(begin(bench, "pid")) != pid
