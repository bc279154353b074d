"""Messages between two members and calls of a client, with mutual TLS, in two processes on loopback.

The floor is what sockets alone do: frames of the same size through one TLS connection under Trio, and one byte there
and back.
"""

from __future__ import annotations

import argparse
import multiprocessing
import ssl
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import trio
import trio.lowlevel

from graft.raft.messages import AppendEntries, HeartbeatReply
from graft.raft.records import Entry
from graft.security.certs import DevCertificates, make_dev
from graft.security.tls import ClientSecurity, ServerSecurity
from graft.transport import Limits
from graft.transport.channel import open_channel
from graft.transport.peers import Hello, PeerHub
from graft.transport.proto import graft_pb2
from graft.transport.server import open_server
from tests.bench.floor import row
from tests.support.network import Dice
from tests.support.services import make_services

MESSAGES, WINDOW, CALLS, ROUNDS = 20_000, 256, 500, 3
SMALL = HeartbeatReply("a", "b", 1 << 60, 5, 1000)
APPEND = AppendEntries("a", "b", 1 << 60, 5, 1000, 5, (Entry(1001, 5, 1, b"x" * 256),), 999)
BACK = HeartbeatReply("b", "a", 1 << 60, 5, 1000)


def make_hub(me: str, certificates: DevCertificates, receive: Any) -> PeerHub:
    security = ClientSecurity(certificates.members[me], "demo")
    return PeerHub(me, receive, hello=lambda: Hello("c", me, 1, "", 1), entropy=Dice(), security=security)


def other(certificates: DevCertificates, pipe: Connection) -> None:
    """Member b: answers every message of a window with one, and every call. Tells how much CPU it took."""

    async def serve() -> None:
        seen = 0

        def receive(*messages: Any) -> None:
            nonlocal seen
            seen += len(messages)
            hub.send(*[BACK] * len(messages))

        hub = make_hub("b", certificates, receive)
        security = ServerSecurity(certificates.members["b"], "demo")
        async with open_server(make_services(), listen=["127.0.0.1:0"], security=security, peers=hub) as server:
            echo = await trio.open_tcp_listeners(0, host="127.0.0.1")
            async with trio.open_nursery() as nursery:
                context = certificates.members["b"].context(ssl.Purpose.CLIENT_AUTH)
                nursery.start_soon(trio.serve_listeners, lambda raw: echo_tls(raw, context), echo)
                pipe.send((server.addresses[0], echo[0].socket.getsockname()[1]))
                await trio.to_thread.run_sync(pipe.recv)
                nursery.cancel_scope.cancel()

    trio.run(serve)


async def echo_tls(raw: trio.SocketStream, context: ssl.SSLContext) -> None:
    raw.setsockopt(6, 1, 1)
    stream = trio.SSLStream(raw, context, server_side=True, https_compatible=True)
    try:
        async for data in stream:
            await stream.send_all(data)
    except trio.BrokenResourceError:
        pass


async def exchange(hub: PeerHub, received: list[int], message: Any, count: int, window: int) -> tuple[float, float]:
    """Messages a second with `window` of them unanswered, and this end's CPU seconds for each."""
    began, cpu, first = time.perf_counter(), time.process_time(), received[0]
    sent = 0
    while received[0] - first < count:
        room = min(window - (sent - (received[0] - first)), count - sent)
        hub.send(*[message] * room)
        sent += room
        await trio.lowlevel.checkpoint()
    return count / (time.perf_counter() - began), (time.process_time() - cpu) / count


async def ping(stream: Any, count: int, size: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        await stream.send_all(b"x" * size)
        got = 0
        while got < size:
            got += len(await stream.receive_some(65536))
    return count / (time.perf_counter() - began)


async def measure(certificates: DevCertificates, address: str, echo_port: int) -> None:
    received = [0]

    def receive(*messages: Any) -> None:
        received[0] += len(messages)

    hub = make_hub("a", certificates, receive)
    security = ServerSecurity(certificates.members["a"], "demo")
    client = ClientSecurity(certificates.clients["author"], "demo")
    context = certificates.members["a"].context(ssl.Purpose.SERVER_AUTH)
    async with (
        open_server({}, listen=["127.0.0.1:0"], security=security, peers=hub),
        open_channel(address, security=client, limits=Limits()) as channel,
    ):
        hub.set_address("b", address)
        while not hub.statuses()[0].connected:  # noqa: ASYNC110
            await trio.sleep(0.01)
        raw = await trio.open_ssl_over_tcp_stream("127.0.0.1", echo_port, ssl_context=context, https_compatible=True)
        found: dict[str, list[float]] = {}

        def note(name: str, value: float) -> None:
            found.setdefault(name, []).append(value)

        for _ in range(ROUNDS):
            note("floor", await ping(raw, 300, 64))
            for name, message in (("small", SMALL), ("append", APPEND)):
                rate, cpu = await exchange(hub, received, message, MESSAGES, WINDOW)
                note(name, rate)
                note(f"{name} cpu", cpu)
            note("single", (await exchange(hub, received, SMALL, 300, 1))[0])
            began, cpu = time.perf_counter(), time.process_time()
            for _ in range(CALLS):
                await channel.call("Workflows", "Get", graft_pb2.GetRequest(run_id="r"))
            note("unary", CALLS / (time.perf_counter() - began))
            note("unary cpu", (time.process_time() - cpu) / CALLS)
            cpu = time.process_time()
            note("many", await starts(channel, 4 * CALLS))
            note("many cpu", (time.process_time() - cpu) / (4 * CALLS))
        await trio.aclose_forcefully(raw)
    report({name: statistics.median(values) for name, values in found.items()})


async def starts(channel: Any, count: int) -> float:
    async def requests() -> Any:
        for n in range(count):
            yield graft_pb2.StartRequest(run_id=str(n))

    began = time.perf_counter()
    async with channel.stream("Workflows", "StartMany", requests()) as replies:
        async for _ in replies:
            pass
    return count / (time.perf_counter() - began)


def report(found: dict[str, float]) -> None:
    floor = found["floor"]
    print(f"floor: {floor:.0f} times 64 bytes there and back through TLS under Trio, a second")
    for name, what in (("small", "small messages"), ("append", "appends of 256 bytes")):
        row(f"{what}, {WINDOW} unanswered", f"{found[name]:.0f} /s", aim="20,000 /s")
        row("  CPU of the sender for one and its answer", f"{found[f'{name} cpu'] * 1e6:.1f} us")
    row("one message there and one back", f"{found['single']:.0f} /s", f"{floor:.0f} /s", floor / found["single"])
    row("unary calls, one at a time", f"{found['unary']:.0f} /s", f"{floor:.0f} /s", floor / found["unary"], "900 /s")
    row("  CPU of the caller for one", f"{found['unary cpu'] * 1e6:.0f} us")
    row("starts through one stream", f"{found['many']:.0f} /s", aim="2,000 /s")
    row("  CPU of the caller for one", f"{found['many cpu'] * 1e6:.0f} us")


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as directory:
        certificates = make_dev(Path(directory), "demo", ["a", "b"])
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        process = context.Process(target=other, args=(certificates, theirs))
        process.start()
        try:
            trio.run(measure, certificates, *mine.recv())
        finally:
            mine.send(None)
            process.join(20)


if __name__ == "__main__":
    main()
