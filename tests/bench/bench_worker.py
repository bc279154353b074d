"""What an attempt costs in the worker: `python -m tests.bench worker`. The machine's floor stands beside it.

- no-op: an async Python step with two arguments, from `start` to `settle` (spawn, evaluate, bind, call, encode).
- run: `true` as a shell step, one after the other and eight at once; the floor is `trio.run_process`.
- hosted: the no-op through one worker host. In turn, beside the same in this process: the difference is what the way
  there and back costs. All at once: steps a second through the socket, and the CPU time that the member spends.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import trio

from graft.plan import PythonAction, RunAction
from graft.worker import Assignment, HostSettings, Outcome, WorkerSettings, open_hosted_worker, open_worker
from tests.support.attempts import Bench, const

STEPS = "async def nothing(x, y):\n    return None\n\ndef plain(x, y):\n    return None\n"
NOOPS = 20_000
RUNS = 200
IN_TURN = 500


async def timed(
    count: int, work: Callable[[], Awaitable[None]], clock: Callable[[], float] = time.perf_counter
) -> float:
    """Microseconds for each of `count`, in the best of three rounds. `clock` may be CPU time: a busy machine lies."""
    best = float("inf")
    for _ in range(3):
        began = clock()
        await work()
        best = min(best, clock() - began)
    return best / count * 1e6


async def spawn_floor() -> None:
    async def nothing() -> None:
        with trio.CancelScope():  # noqa: ASYNC100  its cost is what is measured
            pass

    async with trio.open_nursery() as nursery:
        for _ in range(NOOPS):
            nursery.start_soon(nothing)


async def start_all(bench: Bench, action: PythonAction, count: int) -> None:
    left = count
    ended = trio.Event()

    def settle(_: Assignment, outcome: Outcome) -> None:
        nonlocal left
        assert outcome.status == "succeeded", outcome
        left -= 1
        if not left:
            ended.set()

    for _ in range(count):
        bench.worker.start(bench.assign(action), settle)
    await ended.wait()


async def assign_all(bench: Bench, action: PythonAction) -> None:
    for _ in range(NOOPS):
        bench.assign(action)


async def one_by_one(bench: Bench) -> None:
    for _ in range(RUNS):
        await bench.run("true")


async def eight_at_once(bench: Bench) -> None:
    async def some() -> None:
        for _ in range(RUNS // 8):
            await bench.do(RunAction("true"))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(some)


async def process_floor() -> None:
    for _ in range(RUNS):
        await trio.run_process(["/bin/sh", "-c", "true"], capture_stdout=True, capture_stderr=True)


async def start_same(bench: Bench, first: Assignment, count: int) -> None:
    """As a run does: every assignment names the node of the plan, so a host is sent it once."""
    left = count
    ended = trio.Event()

    def settle(_: Assignment, outcome: Outcome) -> None:
        nonlocal left
        assert outcome.status == "succeeded", outcome
        left -= 1
        if not left:
            ended.set()

    for _ in range(count):
        bench.worker.start(attrs.evolve(first, token=next(bench.tokens)), settle)
    await ended.wait()


async def in_turn(bench: Bench, first: Assignment) -> None:
    for _ in range(IN_TURN):
        await start_same(bench, first, 1)


async def hosted(base: Path, nothing: PythonAction) -> None:
    async with open_worker(WorkerSettings(log_dir=base / "logs")) as worker:
        bench = Bench(worker, base, values={"fetch.out": {"a": 1}})
        here = await timed(IN_TURN, lambda: in_turn(bench, bench.assign(nothing)))
    async with open_hosted_worker(HostSettings(WorkerSettings(log_dir=base / "logs"), hosts=1)) as worker:
        bench = Bench(worker, base, values={"fetch.out": {"a": 1}})
        first = bench.assign(nothing)
        await start_same(bench, first, 1)
        there = await timed(IN_TURN, lambda: in_turn(bench, first))
        wall = await timed(NOOPS, lambda: start_same(bench, first, NOOPS))
        cpu = await timed(NOOPS, lambda: start_same(bench, first, NOOPS), time.process_time)
    print(f"hosted, in turn{there:8.1f} us a step    floor: in this process {here:.1f} us; added {there - here:.1f} us")
    print(
        f"hosted, no-op  {wall:8.1f} us a step    {1e6 / wall:,.0f} steps/s through one host; member's CPU {cpu:.1f} us"
    )


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        (base / "bench_steps.py").write_text(STEPS)
        async with open_worker(WorkerSettings(log_dir=base / "logs")) as worker:
            bench = Bench(worker, base)
            bench.values["fetch.out"] = {"a": 1}
            tree = ("dict", (("const", "x"), ("attr", ("var", "fetch.out"), "a")), (("const", "y"), const([1, 2])))
            nothing, plain = PythonAction("bench_steps:nothing", tree), PythonAction("bench_steps:plain", tree)
            for name, clock in (("wall", time.perf_counter), ("cpu", time.process_time)):
                floor = await timed(NOOPS, spawn_floor, clock)
                assigning = await timed(NOOPS, lambda: assign_all(bench, nothing), clock)
                noop = await timed(NOOPS, lambda: start_all(bench, nothing, NOOPS), clock) - assigning
                print(f"async no-op    {noop:8.1f} us a step    floor: spawn with a scope {floor:.1f} us    ({name})")
            thread = await timed(1000, lambda: start_all(bench, plain, 1000))
            print(f"plain def      {thread:8.1f} us a step    (a thread each, 64 at once)")
            floor = await timed(RUNS, process_floor)
            await bench.run("true")
            print(f"run, in turn   {await timed(RUNS, lambda: one_by_one(bench)):8.1f} us a step", end="")
            print(f"    floor: trio.run_process {floor:.1f} us")
            print(f"run, 8 at once {await timed(RUNS, lambda: eight_at_once(bench)):8.1f} us a step")
        await hosted(base, nothing)


if __name__ == "__main__":
    trio.run(main)
