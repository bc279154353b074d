"""Three members in one process over the in-memory transport, each with its own LMDB and real fsync.

Committed 256-byte commands a second at 256 in flight, and the median time of one at one in flight.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import trio

from tests.bench.floor import commit_seconds, row
from tests.raft_driver.members import Member, open_cluster

BYTES, IN_FLIGHT, COMMANDS, SINGLE, REPEATS = 256, 256, 6000, 200, 5


def command(n: int) -> tuple[bytes, bytes]:
    """256 bytes as an entry."""
    return n.to_bytes(8, "big"), b"x" * (BYTES - 13)


async def many(leader: Member, first: int) -> float:
    """Commands a second. A client asks again as soon as it is answered."""
    numbers = iter(range(first, first + COMMANDS))
    finished = trio.Event()
    open_ = 0

    def ask(answer: object = None) -> None:
        nonlocal open_
        open_ -= answer is not None
        n = next(numbers, None)
        if n is not None:
            open_ += 1
            leader.door.propose(command(n), ask, fail)
        elif not open_:
            finished.set()

    def fail(error: Exception) -> None:
        raise error

    began = time.perf_counter()
    for _ in range(IN_FLIGHT):
        ask()
    await finished.wait()
    return COMMANDS / (time.perf_counter() - began)


async def single(leader: Member) -> float:
    taken = []
    for n in range(SINGLE):
        began = time.perf_counter()
        await leader.put(*command(n))
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


async def measure() -> None:
    with tempfile.TemporaryDirectory(dir=".") as directory:
        async with open_cluster("abc", Path(directory)) as cluster:
            leader = await cluster.leader()
            await single(leader)  # warm
            assert len(leader.machine.encode(command(1))) == BYTES
            rates, singles, floors = [], [], []
            for i in range(REPEATS):  # side by side: a shared disk has moods
                floors.append(await trio.to_thread.run_sync(commit_seconds, Path(directory)))
                rates.append(await many(leader, 1000 + i * COMMANDS))
                singles.append(await single(leader))
            commit, rate, median = map(statistics.median, (floors, rates, singles))
            print(f"floor: LMDB commit with fsync {commit * 1000:.2f} ms")
            row(
                f"{IN_FLIGHT} in flight, {BYTES} bytes",
                f"{rate:.0f} /s",
                f"{1 / commit:.0f} commits/s",
                1 / commit / rate,
                "6,000 /s",
            )
            row("one in flight, median", f"{median * 1000:.2f} ms", f"{commit * 1000:.2f} ms", median / commit, "3.00")


def main() -> None:
    trio.run(measure)


if __name__ == "__main__":
    main()
