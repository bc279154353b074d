"""A cluster as users have it: three members in three processes on loopback, with fsync, mutual TLS and worker hosts.

`python -m tests.bench.bench_cluster [PART …]` measures some parts only: idle, watch, chain, fan,
commands, starts.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio
from attrs import frozen

from graft.client import Client, Start
from graft.cluster.views import SEQUENCE_BITS
from graft.plan import Block, Node, Plan, SleepAction
from tests.bench import etcd
from tests.bench.bench_engine import MODULE, chain, fan
from tests.bench.floor import commit_seconds, row
from tests.bench.loaded import BYTES
from tests.bench.members import MemberProcess, Members, open_members, round_trip_seconds


@frozen
class Sizes:
    """How much of everything; `SMALL` is for a test that only wants to know that it runs."""

    commands: int = 6000
    single: int = 200
    in_flight: int = 256
    starts: int = 4000
    length: int = 100
    width: int = 1000
    repeats: int = 3
    naps: int = 20
    idle_seconds: float = 20.0
    with_etcd: bool = True


SMALL: Final = Sizes(20, 5, 4, 10, 3, 10, 1, 2, 0.2, False)
NAP_MS: Final = 50
REST_SECONDS: Final = 2.0  # what a start or a load leaves to do is not the idle state


@frozen
class Bench:
    members: Members
    base: Path
    sizes: Sizes
    commit: float  # seconds
    round_trip: float


@contextmanager
def cpu_of(bench: Bench, count: int, what: str) -> Iterator[None]:
    """Tell what the block takes of each process for one of `count`: unlike its time, a busy machine hardly moves it."""
    members = bench.members
    followers = members.others

    def look() -> dict[str, float]:
        return {
            "leader": members.leader.cpu_seconds(),
            "followers": sum(each.cpu_seconds() for each in followers) / len(followers),
            "all worker hosts": sum(each.hosts_cpu_seconds() for each in members.processes.values()),
            "client": time.process_time(),
        }

    before = look()
    yield
    each = ", ".join(f"{who} {(seconds - before[who]) / count * 1e6:.0f}" for who, seconds in look().items())
    print(f"    CPU in us {what}: {each}", flush=True)


# Idle


async def idle(bench: Bench) -> None:
    """Each member's own process; its worker hosts sleep."""
    await trio.sleep(min(REST_SECONDS, bench.sizes.idle_seconds))
    processes = bench.members.processes.values()
    before = {process.name: process.cpu_seconds() for process in processes}
    began = time.monotonic()
    await trio.sleep(bench.sizes.idle_seconds)
    taken = time.monotonic() - began
    for process in processes:
        cpu = (process.cpu_seconds() - before[process.name]) / taken
        role = "leader" if process is bench.members.leader else "follower"
        row(f"idle, {role} {process.name}", f"{cpu:.2%} {process.resident_mib():.0f} MiB", aim="2 %, 120 MiB")


# Commands


async def commands(bench: Bench) -> None:
    sizes = bench.sizes
    at_once = single = 0.0
    for what, member in (("at the leader", bench.members.leader), ("through another", bench.members.others[0])):
        await propose(member, sizes.single, 1)
        with cpu_of(bench, sizes.commands, "a command"):
            at_once = sizes.commands / (await propose(member, sizes.commands, sizes.in_flight))[0]
        with cpu_of(bench, sizes.single, "a command"):
            single = statistics.median((await propose(member, sizes.single, 1))[1])
        row(
            f"{sizes.in_flight} in flight, {BYTES} bytes, {what}",
            f"{at_once:.0f} /s",
            f"{1 / bench.commit:.0f} commits/s",
            1 / bench.commit / at_once,
        )
        row(f"one in flight, {what}", f"{single * 1000:.2f} ms", f"{bench.commit * 1000:.2f} ms", single / bench.commit)
    if sizes.with_etcd:
        await trio.to_thread.run_sync(compare_etcd, bench, at_once, single)


async def propose(member: MemberProcess, count: int, in_flight: int) -> tuple[float, list[float]]:
    """Seconds of all, and of each."""
    measured = await member.ask(commands=count, in_flight=in_flight)
    return measured["seconds"], measured["each"]


def compare_etcd(bench: Bench, at_once: float, single: float) -> None:
    """`at_once` (a second) and `single` (seconds) went through another member: a wire lies before the leader, too."""
    if missing := etcd.missing():
        print(f"etcd is not compared: there is no {', '.join(missing)}")
        return
    sizes, base = bench.sizes, bench.base / "etcd"
    base.mkdir()
    with etcd.open_etcd(base) as address:
        etcd.put(address, base, sizes.single, 1, BYTES)  # warm
        puts, _ = etcd.put(address, base, sizes.commands * 2, sizes.in_flight, BYTES)
        _, one = etcd.put(address, base, sizes.single * 2, 1, BYTES)
    row(f"etcd, {sizes.in_flight} in flight", f"{puts:.0f} /s")
    row("etcd, one in flight, mean", f"{one * 1000:.2f} ms")
    print(f"graft to etcd: {at_once / puts:.2f} of its rate, {single / one:.2f} times its time")


# Runs


async def starts(bench: Bench) -> None:
    """Runs of one step that sleeps for an hour, so that only their starts cost."""
    what = Plan("start", (Block("flow", "start", (Node("nap", SleepAction(("const", 3_600_000))),)),))
    count = bench.sizes.starts
    for where, member in (("leader", bench.members.leader), ("another", bench.members.others[0])):
        async with bench.members.client(member) as client:
            await client.start(what)
            with cpu_of(bench, count, "a start"):
                began = time.perf_counter()
                async with aclosing(client.start_many(Start(what) for _ in range(count))) as started:
                    found = [each async for each in started]
                taken = time.perf_counter() - began
        assert len(found) == count
        assert all(each.error is None for each in found), found[0]
        row(
            f"run starts, one client of the {where}",
            f"{count / taken:.0f} /s",
            f"{1 / bench.commit:.0f} commits/s",
            1 / bench.commit / (count / taken),
            "2,000 /s",
        )


async def watch(bench: Bench) -> None:
    """From when the leader begins to apply an entry, which is when it is committed, to the event at the client."""
    nodes = tuple(
        Node(f"n{i}", SleepAction(("const", NAP_MS)), (f"n{i - 1}",) if i else ()) for i in range(bench.sizes.naps)
    )
    what = Plan("naps", (Block("flow", "naps", nodes),))
    seen: list[tuple[int, float]] = []
    async with bench.members.client(bench.members.others[0]) as client:
        run_id = await client.start(what)
        async with aclosing(client.watch(run_id)) as events:
            async for event in events:
                seen.append((event.seq >> SEQUENCE_BITS, time.monotonic()))
    first = seen[0][0] if seen else 0
    seen = [(index, at) for index, at in seen if index != first]  # committed before the watch began
    known = (await bench.members.leader.ask(applied=[index for index, _ in seen]))["at"]
    late = sorted(at - committed for (_, at), committed in zip(seen, known, strict=True))
    assert late
    row(
        "watch through another member, median",
        f"{statistics.median(late) * 1000:.1f} ms",
        f"{bench.round_trip * 1e6:.0f} us",
        statistics.median(late) / bench.round_trip,
        "50 ms",
    )
    row("the same, slowest", f"{late[-1] * 1000:.1f} ms")


async def run_once(client: Client, what: Plan, base: Path) -> float:
    """Seconds from the start of a run to the news of its end."""
    began = time.perf_counter()
    view = await client.wait(await client.start(what, base=base))
    taken = time.perf_counter() - began
    assert view.status == "succeeded", view.error
    return taken


async def steps(bench: Bench, what: Plan, count: int) -> float:
    """The median of some runs of `count` steps, after one that is not counted."""
    async with bench.members.client(bench.members.leader) as client:
        await run_once(client, what, bench.base)
        with cpu_of(bench, count * bench.sizes.repeats, "a step"):
            return statistics.median([await run_once(client, what, bench.base) for _ in range(bench.sizes.repeats)])


async def chained(bench: Bench) -> None:
    length = bench.sizes.length
    link = await steps(bench, chain(length), length) / length
    aim = 2 * bench.commit * 1000 + 3
    row(
        f"chain of {length}",
        f"{link * 1000:.2f} ms/step",
        f"{bench.commit * 1000:.2f} ms",
        link / bench.commit,
        f"{aim:.2f} ms",
    )


async def fanned(bench: Bench) -> None:
    width = bench.sizes.width
    rate = width / await steps(bench, fan(width), width)
    row(
        f"fan-out of {width}",
        f"{rate:.0f} steps/s",
        f"{1 / bench.commit:.0f} commits/s",
        1 / bench.commit / rate,
        "3,000 steps/s",
    )


PARTS: Final[dict[str, Callable[[Bench], Awaitable[None]]]] = {
    "idle": idle,
    "watch": watch,
    "chain": chained,
    "fan": fanned,
    "commands": commands,
    "starts": starts,  # the last: it leaves thousands of runs
}


async def measure(sizes: Sizes, parts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        (base / "benchsteps.py").write_text(MODULE)
        commit, round_trip = commit_seconds(base), round_trip_seconds()
        print(f"floor: LMDB commit with fsync {commit * 1000:.2f} ms, loopback round trip {round_trip * 1e6:.0f} us")
        async with open_members(base / "members") as members:
            for name in parts:
                await PARTS[name](Bench(members, base, sizes, commit, round_trip))


def main(parts: list[str], sizes: Sizes | None = None) -> None:
    if unknown := set(parts) - set(PARTS):
        sys.exit(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    trio.run(partial(measure, Sizes() if sizes is None else sizes, parts or list(PARTS)))


if __name__ == "__main__":
    main(sys.argv[1:])
