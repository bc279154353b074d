"""`python`: coroutines, threads; arguments, results, errors."""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from typing import Any

import pytest
import trio
import trio.testing

from graft.plan import ErrorRecord, PythonAction, Secret
from graft.worker import Assignment, Outcome
from tests.support.attempts import Bench, Pending, const, everywhere
from tests.support.processes import gone, marked, until

STEPS = """
import datetime, sys, time
from typing import Literal, TypedDict
import attrs, trio

async def nothing():
    pass

async def add(a: int, b: int = 2) -> int:
    await trio.sleep(0)
    return a + b

def plain(a):
    return a * 2

def first(a, /, b):
    return [a, b]

def rest(**arguments):
    return arguments

@attrs.frozen
class Order:
    id: str
    total: float
    day: datetime.date = datetime.date(2024, 2, 29)

async def double(order: Order) -> Order:
    return attrs.evolve(order, total=order.total * 2)

def context(ctx, x):
    ctx.log("x is", x)
    return [ctx.run_id, ctx.step, ctx.attempt, ctx.idempotency_key, ctx.item, ctx.index]

def change(items):
    items.append(4)
    return len(items)

class Declined(Exception):
    pass

def decline():
    secret = 1
    raise Declined("no funds\\nask the bank")

def chained():
    try:
        {}["x"]
    except KeyError as error:
        raise Declined("sorry") from error

async def grouped():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_later, "one")
        nursery.start_soon(fail_later, "two")

async def grouped_once():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_later, "one")

async def fail_later(text):
    await trio.lowlevel.cancel_shielded_checkpoint()
    raise Declined(text)

def leave():
    sys.exit(3)

async def interrupt():
    raise KeyboardInterrupt

def raise_in_thread(name):
    raise make(name)

async def raise_in_loop(name):
    raise make(name)

async def raise_in_nursery(name):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raise_in_loop, name)

def make(name):
    import builtins
    return trio.Cancelled._create() if name == "Cancelled" else getattr(builtins, name)("own")

def odd():
    return {"lines": [1, {"price": object()}]}

def nan():
    return {"a": None, "b": [1.0, float("nan")]}

def cyclic():
    a = []
    a.append(a)
    return a

def big():
    return "x" * 2_000_000

async def uses_asyncio():
    import asyncio
    await asyncio.sleep(1)

def talk():
    print("hello", "there")
    print("oh", file=sys.stderr)

async def talk_async():
    print("from a task")
    await trio.sleep(0)

def print_past_python():
    import ctypes, os, subprocess
    print("one")
    os.write(1, b"two\\n")
    subprocess.run(["echo", "three"], check=True)
    os.system("echo four")
    libc = ctypes.CDLL(None)
    libc.puts(b"five")
    libc.fflush(None)
    sys.stdout.buffer.write(b"six\\n")
    os.write(2, b"to err\\n")

async def print_past_python_async():
    print_past_python()

def change_the_process():
    import gc, locale, logging, os, socket, tempfile, warnings
    os.environ["STRAY"] = "1"
    os.environ.pop("HOME", None)
    os.chdir(tempfile.gettempdir())
    os.umask(0o777)
    logging.basicConfig(level=1, force=True)
    warnings.simplefilter("error")
    sys.setrecursionlimit(5000)
    socket.setdefaulttimeout(7)
    gc.disable()
    sys.stdout = None

async def change_the_process_async():
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    change_the_process()

def the_process():
    import gc, logging, os, signal, socket, warnings
    print("seen")
    mask = os.umask(0o22)
    os.umask(mask)
    return [
        dict(os.environ), os.getcwd(), mask, logging.root.level, len(logging.root.handlers), len(warnings.filters),
        sys.getrecursionlimit(), socket.getdefaulttimeout(), gc.isenabled(), str(signal.getsignal(signal.SIGTERM)),
    ]

def echo(text):
    import subprocess
    for _ in range(3):
        subprocess.run(["sh", "-c", "sleep 0.05; echo " + text], stdout=sys.stdout, check=True)

def read_all():
    import os
    return [sys.stdin.read(), os.read(0, 10).decode()]

def use_streams():
    import io, os, subprocess
    for stream, name in ((sys.stdout, "out"), (sys.stderr, "err")):
        with stream:  # which closes a file
            stream.writelines([name, " lines\\n"])
        stream.reconfigure(encoding="latin-1", line_buffering=True)
        stream.close()
        assert stream.writable() and not stream.readable() and not stream.isatty() and not stream.closed
        assert (stream.mode, stream.name) == ("w", "<std" + name + ">") and stream.line_buffering
        stream.buffer.write(bytearray(b"bytes "))
        stream.buffer.raw.write(memoryview("✓\\n".encode()))
        stream.buffer.flush()
        subprocess.run(["echo", "for " + name], stdout=stream, check=True)
        print(stream.encoding, stream.errors, file=stream, flush=True)
        for broken in (lambda: stream.write(b"bytes"), lambda: stream.detach(), stream.tell):
            try:
                broken()
            except (TypeError, io.UnsupportedOperation):
                pass
            else:
                raise AssertionError("it was taken")

not_callable = 3

def spin(base):
    import pathlib
    print("spinning", flush=True)
    pathlib.Path(base, "spinning").touch()
    while True:
        pass

def children(base, seconds):
    import pathlib, subprocess
    subprocess.Popen(["sleep", str(seconds)])
    child = subprocess.Popen(["sh", "-c", f"sleep {seconds}; true"])
    pathlib.Path(base, "ready").touch()
    child.wait()

def pid(ctx=None):
    import os
    if ctx:
        ctx.log("logged")
    print("printed")
    print("to stderr", file=sys.stderr)
    os.write(1, b"raw")
    return os.getpid()

def crash():
    import os, signal
    os.kill(os.getpid(), signal.SIGSEGV)

def hidden(f):
    return lambda **arguments: f(**arguments)

wrapped = hidden(add)

def quit(code):
    import os
    os._exit(code)

def reveal():
    import os
    print("it is", os.environ["TEST_SECRET"])
    raise ValueError(os.environ["TEST_SECRET"])

def slow(seconds):
    time.sleep(seconds)
    return "late"

async def stubborn():
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        raise ValueError("while stopping")

async def tidy(base):
    import pathlib
    try:
        await trio.sleep_forever()
    finally:
        pathlib.Path(base, "tidied").touch()
"""


@pytest.fixture
async def bench(bench: Bench) -> Bench:
    (bench.base / "steps.py").write_text(STEPS)
    return bench


def value(outcome: Outcome) -> Any:
    assert outcome.status == "succeeded", outcome.error
    return json.loads(outcome.value or b"")


def error(outcome: Outcome) -> ErrorRecord:
    assert outcome.status == "failed"
    assert outcome.error is not None
    return outcome.error


@everywhere
async def test_coroutine_and_plain_function(bench: Bench) -> None:
    assert value(await bench.call("steps:add", a=1)) == 3
    assert value(await bench.call("steps:plain", a=4)) == 8
    assert value(await bench.call("steps:first", a=1, b=2)) == [1, 2]
    assert value(await bench.call("steps:rest", a=1, zz=[2])) == {"a": 1, "zz": [2]}
    assert value(await bench.call("steps:wrapped", a=1)) == 3


@everywhere
async def test_annotated_arguments_are_structured(bench: Bench) -> None:
    outcome = await bench.call("steps:double", order={"id": "o1", "total": 2})
    assert value(outcome) == {"id": "o1", "total": 4.0, "day": "2024-02-29"}


@everywhere
async def test_context(bench: Bench) -> None:
    assert value(await bench.call("steps:context", x=5)) == ["r1", "step", 1, "key-1", None, None]
    assert bench.log() == ["log x is 5"]


@everywhere
async def test_a_function_cannot_change_what_others_see(bench: Bench) -> None:
    bench.values["fetch.out"] = [1, 2, 3]
    action = PythonAction("steps:change", ("dict", (("const", "items"), ("var", "fetch.out"))))
    assert value(await bench.do(action)) == 4
    assert bench.values["fetch.out"] == [1, 2, 3]


@pytest.mark.parametrize(
    ("target", "arguments", "type", "title"),
    [
        ("steps:add", {}, "python.TypeError", "steps:add needs `a`, not given in `with`"),
        (
            "steps:add",
            {"a": 1, "bb": 1},
            "python.TypeError",
            "steps:add has no parameter `bb` (it takes a, b); did you mean `b`?",
        ),
        ("steps:add", {"a": "x"}, "python.TypeError", "argument `a` of steps:add: Expected `int`, got `str`"),
        (
            "steps:double",
            {"order": {"id": "x"}},
            "python.TypeError",
            "argument `order` of steps:double: Object missing required field `total`",
        ),
        ("stepz:add", {}, "python.ModuleNotFoundError", "there is no module `stepz` (wanted by `stepz:add`)"),
        ("steps:ad", {}, "python.AttributeError", "module `steps` has no `ad` (wanted by `steps:ad`)"),
        ("steps:not_callable", {}, "python.TypeError", "`steps:not_callable` is a int, not a function"),
        ("steps:decline", {}, "python.Declined", "Declined: no funds"),
        ("steps:leave", {}, "python.SystemExit", "SystemExit: 3"),
        ("steps:interrupt", {}, "python.KeyboardInterrupt", "KeyboardInterrupt"),
        ("steps:odd", {}, "output_schema", "the result.lines[1].price is a object that has no JSON form"),
        ("steps:nan", {}, "output_schema", "the result.b[1] is not a finite number, which JSON cannot hold"),
        ("steps:cyclic", {}, "output_schema", "the result contains itself or nests too deep"),
        ("steps:big", {}, "too_large", "the result has 2000002 bytes; the limit is 1048576"),
        ("steps:grouped_once", {}, "python.Declined", "Declined: one"),
    ],
)
async def test_what_goes_wrong(bench: Bench, target: str, arguments: dict[str, Any], type: str, title: str) -> None:
    record = error(await bench.call(target, **arguments))
    assert (record.type, record.title) == (type, title)
    assert (record.node, record.attempt) == ("step", 1)


NAMES = ["StopIteration", "StopAsyncIteration", "GeneratorExit", "SystemExit", "KeyboardInterrupt", "RuntimeError"]


@everywhere
async def test_a_cancelled_of_elsewhere_arrives_under_its_own_name(bench: Bench) -> None:
    for how in ("thread", "loop"):  # a nursery takes any Cancelled for its own
        outcome = await bench.call(f"steps:raise_in_{how}", name="Cancelled")
        assert outcome.status == "failed"
        assert outcome.error is not None
        assert outcome.error.type == "python.Cancelled", how


@everywhere
@pytest.mark.parametrize("name", NAMES)
async def test_an_error_arrives_under_its_own_name(bench: Bench, name: str) -> None:
    for how in ("thread", "loop", "nursery"):
        outcome = await bench.call(f"steps:raise_in_{how}", name=name)
        assert outcome.error is not None
        assert (outcome.error.type, outcome.error.title) == (f"python.{name}", f"{name}: own"), how
        assert outcome.error.cause == ()


@pytest.mark.parametrize("name", NAMES)
async def test_an_error_of_a_process_arrives_under_its_own_name(bench: Bench, name: str) -> None:
    outcome = await bench.call("steps:raise_in_thread", isolation="process", name=name)
    assert outcome.error is not None
    assert outcome.error.type == f"python.{name}"


@everywhere
async def test_detail_has_the_users_frames_only(bench: Bench) -> None:
    record = error(await bench.call("steps:decline"))
    line = STEPS.splitlines().index('    raise Declined("no funds\\nask the bank")') + 1
    assert record.detail == f'ask the bank\nsteps.py:{line} in decline\n    raise Declined("no funds\\nask the bank")'


@everywhere
async def test_causes(bench: Bench) -> None:
    record = error(await bench.call("steps:chained"))
    assert [(each.type, each.title) for each in record.cause] == [("python.KeyError", "KeyError: no key 'x'")]
    record = error(await bench.call("steps:grouped"))
    assert record.type == "python.ExceptionGroup"
    assert sorted(each.title for each in record.cause) == ["Declined: one", "Declined: two"]


@everywhere
async def test_asyncio_gets_a_hint(bench: Bench) -> None:
    record = error(await bench.call("steps:uses_asyncio"))
    assert record.type == "python.RuntimeError"
    assert "steps run on Trio" in record.detail or "async steps run on Trio" in record.detail


async def test_what_settling_prints_is_not_the_steps(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    ended = trio.Event()

    def settle(_: Assignment, outcome: Outcome) -> None:
        print("settled", outcome.status)
        ended.set()

    bench.worker.start(bench.assign(PythonAction("steps:talk_async")), settle)
    await ended.wait()
    assert capsys.readouterr().out == "settled succeeded\n"
    assert bench.log() == ["out from a task"]


async def test_print_goes_to_the_log(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    await bench.call("steps:talk")
    await bench.call("steps:talk_async")
    print("outside")
    assert bench.log() == ["out hello there", "err oh", "out from a task"]
    assert capsys.readouterr().out == "outside\n"


@everywhere
@pytest.mark.parametrize(
    ("target", "isolation"),
    [
        ("steps:print_past_python", "thread"),
        ("steps:print_past_python_async", "thread"),
        ("steps:print_past_python", "process"),
    ],
)
async def test_what_is_printed_past_python_goes_to_the_log(
    bench: Bench, target: str, isolation: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        value(await bench.call(target, isolation=isolation))
    lines = [f"out {word}" for word in ("one", "two", "three", "four", "five", "six")]
    assert sorted(bench.log()) == sorted([*lines, "err to err"] * 2)
    assert capfd.readouterr() == ("", "")


@everywhere
@pytest.mark.parametrize("isolation", ["thread", "process"])
async def test_a_step_finds_its_standard_input_empty(bench: Bench, isolation: str) -> None:
    assert value(await bench.call("steps:read_all", isolation=isolation)) == ["", ""]


@everywhere
async def test_the_streams_of_a_step_are_whole(bench: Bench) -> None:
    for _ in range(2):
        value(await bench.call("steps:use_streams"))
    lines = [f"{name} {text}" for name in ("out", "err") for text in (f"{name} lines", "bytes ✓", f"for {name}")]
    assert sorted(bench.log()) == sorted([*lines, "out utf-8 replace", "err utf-8 replace"] * 2)


@everywhere
@pytest.mark.parametrize(
    ("change", "isolation"), [("", "thread"), ("_async", "thread"), ("", "process")], ids=["thread", "async", "process"]
)
async def test_the_next_step_finds_the_process_as_it_was(bench: Bench, change: str, isolation: Any) -> None:
    before = value(await bench.call("steps:the_process", isolation=isolation))
    value(await bench.call(f"steps:change_the_process{change}", isolation=isolation))
    assert value(await bench.call("steps:the_process", isolation=isolation)) == before
    assert bench.log()[0] == bench.log()[-1] == "out seen"
    (note,) = [line for line in bench.log() if line.startswith("graft ")]
    assert "environment variables, working directory, umask" in note


async def test_what_others_change_between_two_steps_stays(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    value(await bench.call("steps:the_process"))
    monkeypatch.setenv("OF_OTHERS", "x")
    assert value(await bench.call("steps:the_process"))[0]["OF_OTHERS"] == "x"
    assert os.environ["OF_OTHERS"] == "x"


async def test_what_a_module_sets_when_it_is_imported_stays(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_A_MODULE", "")
    (bench.base / "sets.py").write_text(
        "import os\nos.environ['OF_A_MODULE'] = 'x'\ndef f():\n    return os.environ['OF_A_MODULE']\n"
    )
    for _ in range(2):
        assert value(await bench.call("sets:f")) == "x"


async def test_programs_of_steps_that_run_at_once_print_to_their_own_logs(bench: Bench) -> None:
    async with trio.open_nursery() as nursery:
        for path in "abcd":
            begun = bench.start(bench.assign(PythonAction("steps:echo", const({"text": path})), path=path))
            nursery.start_soon(begun.wait)
    for path in "abcd":
        assert bench.log(path) == [f"out {path}"] * 3, path


def begin(
    bench: Bench, target: str, *, isolation: Any = "thread", timeout_ms: int | None = None, **arguments: Any
) -> Pending:
    return bench.start(bench.assign(PythonAction(target, const(arguments), isolation), timeout_ms=timeout_ms))


async def test_cancel_of_a_coroutine(bench: Bench) -> None:
    pending = begin(bench, "steps:tidy", base=str(bench.base))
    await trio.testing.wait_all_tasks_blocked()
    pending.cancel()
    outcome = await pending.wait()
    assert (outcome.status, outcome.error) == ("cancelled", None)
    assert (bench.base / "tidied").exists()


async def test_what_a_coroutine_says_when_it_is_stopped(bench: Bench) -> None:
    pending = begin(bench, "steps:stubborn")
    await trio.testing.wait_all_tasks_blocked()
    pending.cancel()
    outcome = await pending.wait()
    assert outcome.status == "cancelled"
    assert outcome.error is not None
    assert outcome.error.title == "ValueError: while stopping"
    outcome = await begin(bench, "steps:stubborn", timeout_ms=50).wait()
    assert outcome.status == "timed_out"
    assert outcome.error is not None
    assert [each.title for each in outcome.error.cause] == ["ValueError: while stopping"]


async def test_a_success_that_beats_the_cancel_is_a_success(bench: Bench) -> None:
    pending = begin(bench, "steps:add", a=1)
    await trio.lowlevel.checkpoint()
    bench.worker.cancel(pending.assignment.key, pending.assignment.token)
    outcome = await pending.wait()
    assert outcome.status in ("succeeded", "cancelled")  # but never anything else


async def test_a_thread_is_left_behind(bench: Bench) -> None:
    began = time.monotonic()
    outcome = await begin(bench, "steps:slow", seconds=0.6, timeout_ms=100).wait()
    assert outcome.status == "timed_out"
    assert time.monotonic() - began < 0.5
    assert bench.log() == ["graft the step was stopped; its thread cannot be, and may go on until the function returns"]


# isolation = "process"


@everywhere
async def test_isolated(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    first = value(await bench.call("steps:pid", isolation="process"))
    assert first != os.getpid()
    assert value(await bench.call("steps:pid", isolation="process")) == first, "processes are used again"
    assert sorted(bench.log()) == sorted(["log logged", "out printed", "err to stderr", "out raw"] * 2)
    assert capfd.readouterr() == ("", "")
    assert value(await bench.call("steps:context", isolation="process", x=5))[:2] == ["r1", "step"]


@pytest.mark.parametrize(
    ("target", "arguments", "type", "title"),
    [
        ("steps:decline", {}, "python.Declined", "Declined: no funds"),
        ("steps:leave", {}, "python.SystemExit", "SystemExit: 3"),
        ("steps:plain", {}, "python.TypeError", "steps:plain needs `a`, not given in `with`"),
        ("steps:odd", {}, "output_schema", "the result.lines[1].price is a object that has no JSON form"),
        ("steps:big", {}, "too_large", "the result has 2000002 bytes; the limit is 1048576"),
        ("steps:crash", {}, "signal.SIGSEGV", "the step's process was killed by SIGSEGV"),
        ("steps:quit", {"code": 7}, "exit.7", "the step's process exited with 7 before the function returned"),
    ],
)
async def test_isolated_failures(bench: Bench, target: str, arguments: dict[str, Any], type: str, title: str) -> None:
    record = error(await bench.call(target, isolation="process", **arguments))
    assert (record.type, record.title, record.node) == (type, title, "step")


async def test_isolated_secrets_are_redacted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_SECRET", "pssst-1234")
    bench.secrets["S"] = Secret("S", "env", "TEST_SECRET")
    record = error(await bench.call("steps:reveal", isolation="process"))
    assert record.title == "ValueError: ***"
    assert bench.log() == ["out it is ***"]


async def test_cancel_kills_an_endless_loop_and_its_children(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = f"marker-{uuid.uuid4().hex}"
    monkeypatch.setenv("MARKER", marker)
    pending = begin(bench, "steps:spin", isolation="process", base=str(bench.base))
    other = begin(bench, "steps:children", isolation="process", base=str(bench.base), seconds=321)
    await until(lambda: bench.log() == ["out spinning"] and (bench.base / "ready").exists(), 20)
    assert any("sleep 321" in each for each in marked(marker).values())
    pending.cancel()
    other.cancel()
    assert (await pending.wait()).status == "cancelled"
    assert (await other.wait()).status == "cancelled"
    assert await gone(marker, 1.0) == {}


DRIVER = """
import trio
from pathlib import Path
from graft.plan import PythonAction
from graft.worker import open_worker
from tests.support.attempts import Bench, const

async def main():
    async with open_worker() as worker:
        bench = Bench(worker, Path.cwd())
        bench.start(bench.assign(PythonAction("steps:spin", const({"base": "."}), "process")))
        bench.start(bench.assign(PythonAction("steps:children", const({"base": ".", "seconds": 322}), "process")))
        await trio.sleep_forever()

if __name__ == "__main__":
    trio.run(main)
"""


async def test_sigkill_of_graft_ends_isolated_functions(bench: Bench) -> None:
    marker = f"marker-{uuid.uuid4().hex}"
    (bench.base / "driver.py").write_text(DRIVER)
    environment = os.environ | {"MARKER": marker, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    driver = await trio.lowlevel.open_process([sys.executable, "driver.py"], cwd=bench.base, env=environment)
    try:
        await until(lambda: all((bench.base / name).exists() for name in ("ready", "spinning")), 20)
    finally:
        driver.kill()
        await driver.wait()
    assert await gone(marker) == {}
