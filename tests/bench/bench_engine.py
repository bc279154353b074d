"""The engine end to end: embedded, durable, real fsync. Steps a second, milliseconds a step, runs a second."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import trio

from graft.cluster.embedded import Embedded, open_embedded
from graft.plan import Block, ForEach, Node, Plan, PythonAction
from tests.bench.floor import commit_seconds, row, trio_task_seconds

MODULE = "async def nothing():\n    return 1\n\nasync def same(x):\n    return x\n"
WIDTH, LENGTH, RUNS, REPEATS = 1000, 100, 200, 5


def step(name: str, *needs: str, for_each: ForEach | None = None) -> Node:
    if for_each is None:
        return Node(name, PythonAction("benchsteps:nothing"), tuple(sorted(needs)))
    return Node(
        name, PythonAction("benchsteps:same", ("dict", (("const", "x"), ("var", "item")))), needs, for_each=for_each
    )


def plan(name: str, *nodes: Node) -> Plan:
    return Plan(name, (Block("flow", name, nodes),))


def chain(length: int) -> Plan:
    return plan(f"chain{length}", *(step(f"n{i}", *([f"n{i - 1}"] if i else [])) for i in range(length)))


def fan(width: int) -> Plan:
    return plan("fan", step("each", for_each=ForEach(("call", "range", (("const", width),), ()))))


FAN = fan(WIDTH)


async def once(graft: Embedded, what: Plan, base: Path) -> float:
    """Seconds from the start of a run to its durable end."""
    began = time.perf_counter()
    run_id = await graft.start_run(what, {}, base=base)
    await graft.wait_end(run_id)
    taken = time.perf_counter() - began
    assert graft.status(run_id) == "succeeded"
    return taken


async def many(graft: Embedded, base: Path) -> float:
    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(RUNS):
            nursery.start_soon(once, graft, chain(5), base)
    return time.perf_counter() - began


async def measure(commit: float, spawn: float) -> None:
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        (base / "benchsteps.py").write_text(MODULE)
        sys.path.insert(0, directory)
        print(f"floor: LMDB commit with fsync {commit * 1000:.2f} ms, Trio task {spawn * 1e6:.1f} us")
        async with open_embedded(base / "data") as graft:
            await once(graft, chain(5), base)  # warm
            fan = statistics.median([await once(graft, FAN, base) for _ in range(REPEATS)])
            row(
                f"fan-out of {WIDTH}",
                f"{WIDTH / fan:.0f} steps/s",
                f"{1 / spawn:.0f} tasks/s",
                1 / spawn / (WIDTH / fan),
                "10,000 steps/s",
            )
            link = statistics.median([await once(graft, chain(LENGTH), base) for _ in range(REPEATS)]) / LENGTH
            aim = 2 * commit * 1000 + 0.5
            row(
                f"chain of {LENGTH}",
                f"{link * 1000:.2f} ms/step",
                f"{commit * 1000:.2f} ms",
                link / commit,
                f"{aim:.2f} ms",
            )
            both = statistics.median([await many(graft, base) for _ in range(REPEATS)])
            row(
                f"{RUNS} runs of 5 steps",
                f"{RUNS * 5 / both:.0f} steps/s",
                f"{1 / spawn:.0f} tasks/s",
                both / (RUNS * 5) / spawn,
                "8,000 steps/s",
            )


def main() -> None:
    trio.run(measure, commit_seconds(), trio_task_seconds())


if __name__ == "__main__":
    main()
