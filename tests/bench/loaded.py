"""A member as `graft serve` starts it, which also measures inside of itself when it is told to.

Takes the arguments of `graft`. A bench asks over the Unix socket of `BENCH_SOCKET`, one JSON object a line each way::

    {"commands": N, "in_flight": K}   propose N commands of 256 bytes, K at once: seconds of all, and of each
    {"applied": [INDEX, …]}           when (CLOCK_MONOTONIC) this member applied these log entries

The commands are outcomes of attempts that do not exist: what a step costs most of, refused by the state, and so
harmless. They go the way of every command of a member (`ClusterSubmitter`): at the leader into its log, elsewhere over
the wire to the leader, and they count when they are applied here.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import OrderedDict
from typing import Any, Final

import trio

from graft.cli import main
from graft.cluster.host import Host
from graft.cluster.member import ClusterMember
from graft.engine import Applied
from graft.engine.commands import AttemptSettled, Command, encode_command

BYTES: Final = 256
SOCKET: Final = "BENCH_SOCKET"
KEPT: Final = 100_000
NO_RUN: Final = (1 << 62, 0, 0)

applied_at: OrderedDict[int, float] = OrderedDict()


def command(n: int) -> AttemptSettled:
    """256 bytes as a log entry, with the times that a leader stamps."""
    wall = time.time_ns() // 1_000_000
    bare = AttemptSettled(*NO_RUN, token=n, status="succeeded", value=b"", now=wall, wall=wall)
    size = BYTES - len(encode_command(bare))
    return AttemptSettled(*NO_RUN, token=n, status="succeeded", value=b"x" * size, now=wall, wall=wall)


async def propose(member: ClusterMember, count: int, in_flight: int) -> dict[str, Any]:
    commands = [command(1_000_000 + n) for n in range(count)]
    assert abs(len(encode_command(commands[0])) - BYTES) <= 2
    waiting, each = iter(commands), []

    async def client() -> None:
        for one in waiting:
            began = time.perf_counter()
            await member.submitter.request(one)
            each.append(time.perf_counter() - began)

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(in_flight):
            nursery.start_soon(client)
    return {"seconds": time.perf_counter() - began, "each": each}


async def answer(member: ClusterMember, stream: trio.SocketStream) -> None:
    buffer = b""
    async for data in stream:
        buffer += data
        while b"\n" in buffer:
            line, _, buffer = buffer.partition(b"\n")
            asked = json.loads(line)
            if "commands" in asked:
                reply = await propose(member, asked["commands"], asked["in_flight"])
            else:
                reply = {"at": [applied_at.get(index) for index in asked["applied"]]}
            await stream.send_all(json.dumps(reply).encode() + b"\n")


async def listen(member: ClusterMember, path: str) -> None:
    sock = trio.socket.socket(trio.socket.AF_UNIX)
    await sock.bind(path)
    sock.listen()
    await trio.serve_listeners(lambda stream: answer(member, stream), [trio.SocketListener(sock)])


def measure_inside(path: str) -> None:
    run, apply = ClusterMember.run, Host.apply

    async def run_and_listen(self: ClusterMember, *arguments: Any, **keywords: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, self, path)
            await run(self, *arguments, **keywords)

    def note_and_apply(self: Host, index: int, one: Command) -> Applied:
        if len(applied_at) == KEPT:
            applied_at.popitem(last=False)
        applied_at[index] = time.monotonic()
        return apply(self, index, one)

    ClusterMember.run = run_and_listen  # type: ignore[method-assign]
    Host.apply = note_and_apply  # type: ignore[method-assign]


if __name__ == "__main__":
    measure_inside(os.environ[SOCKET])
    sys.exit(main())
