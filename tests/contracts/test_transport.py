"""What every transport between members must do: one body of tests over gRPC, with and without TLS, and the memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
from attrs import Factory, define

from graft.raft.messages import Heartbeat, InstallSnapshot, TimeoutNow
from graft.raft.records import Configuration, SnapshotMeta
from graft.security.certs import make_dev
from graft.transport import MemoryNetwork
from graft.transport.letters import Answer, Ask
from graft.transport.wire import TAGS
from tests.support.messages import example
from tests.support.network import make_node, serving, until

QUEUE = 1024  # messages for one member that may wait


@define
class Stand:
    """Members "a" and "b". `leave` and `come_back` are those of "b"; `hold` keeps what "a" sends from leaving it."""

    send: dict[str, Callable[[Any], None]]
    received: dict[str, list[Any]] = Factory(dict)
    hold: Callable[[], None] = lambda: None
    release: Callable[[], None] = lambda: None
    leave: Callable[[], Any] = lambda: None
    come_back: Callable[[], Any] = lambda: None

    async def wait(self, member: str, count: int) -> list[Any]:
        await until(lambda: len(self.received[member]) >= count)
        return self.received[member]


@asynccontextmanager
async def memory(directory: Path) -> AsyncIterator[Stand]:
    network = MemoryNetwork()
    received: dict[str, list[Any]] = {"a": [], "b": []}
    for id in received:
        network.join(id, received[id].append)
    stand = Stand({id: network.transport(id).send for id in received}, received)
    stand.hold, stand.release = lambda: network.hold("b"), network.heal

    async def leave() -> None:
        network.leave("b")

    async def come_back() -> None:
        network.join("b", received["b"].append)

    stand.leave, stand.come_back = leave, come_back
    yield stand


@asynccontextmanager
async def grpc(directory: Path, secure: bool = False) -> AsyncIterator[Stand]:
    certificates = make_dev(directory, "demo", ["a", "b"]) if secure else None
    async with trio.open_nursery() as nursery, serving(make_node("a", certificates), certificates) as a:
        b, stop, stopped = make_node("b", certificates), trio.Event(), trio.Event()

        async def run(port: int, *, task_status: trio.TaskStatus[None]) -> None:
            nonlocal stop, stopped
            stop, stopped = trio.Event(), trio.Event()
            async with serving(b, certificates, port=port):
                task_status.started()
                await stop.wait()
            stopped.set()

        async def come_back() -> None:
            await nursery.start(run, int(b.address.rpartition(":")[2] or 0))
            a.hub.set_address("b", b.address)
            b.hub.set_address("a", a.address)
            await until(lambda: a.is_connected("b") and b.is_connected("a"))

        async def leave() -> None:
            stop.set()
            await stopped.wait()
            await until(lambda: not a.is_connected("b"))

        await come_back()

        def stream() -> Any:
            return a.hub._peers["b"].lanes["Exchange"].stream

        def release() -> None:
            stream()._protocol.connection.write_ready.set()
            stream()._wake()

        yield Stand(
            {"a": a.hub.send, "b": b.hub.send},
            {"a": a.received, "b": b.received},
            hold=lambda: stream()._protocol.connection.write_ready.clear(),  # as when the socket takes no more
            release=release,
            leave=leave,
            come_back=come_back,
        )
        stop.set()


def tls(directory: Path) -> AbstractAsyncContextManager[Stand]:
    return grpc(directory, secure=True)


@pytest.fixture(params=[memory, grpc, tls], ids=["memory", "grpc", "tls"])
async def stand(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stand]:
    async with request.param(tmp_path) as found:
        yield found


def numbered(n: int, source: str = "a", target: str = "b") -> Heartbeat:
    return Heartbeat(source, target, 1, 2, n, n)


async def test_every_kind_of_message_and_letter_arrives(stand: Stand) -> None:
    for kind in TAGS:
        message = example(kind)
        message.source, message.target = "a", "b"
        stand.send["a"](message)
        await until(lambda message=message: message in stand.received["b"])
    assert len(stand.received["b"]) == len(TAGS)
    assert stand.received["a"] == []


async def test_messages_arrive_in_order_and_once(stand: Stand) -> None:
    for n in range(500):
        stand.send["a"](numbered(n))
        if n % 50 == 0:
            await trio.lowlevel.checkpoint()
    assert [message.commit for message in await stand.wait("b", 500)] == list(range(500))


async def test_both_ways_at_once(stand: Stand) -> None:
    for n in range(200):
        stand.send["a"](numbered(n))
        stand.send["b"](numbered(n, "b", "a"))
    assert [message.commit for message in await stand.wait("b", 200)] == list(range(200))
    assert [message.commit for message in await stand.wait("a", 200)] == list(range(200))


async def test_a_letter_and_its_answer(stand: Stand) -> None:
    stand.send["a"](Ask("a", "b", 7, 1, "propose", b"\x00\xff"))
    (ask,) = await stand.wait("b", 1)
    stand.send["b"](Answer("b", "a", ask.incarnation, ask.number, b"done"))
    assert await stand.wait("a", 1) == [Answer("b", "a", 7, 1, b"done")]


async def test_a_large_message(stand: Stand) -> None:
    meta = SnapshotMeta("s", 1, 1, Configuration(), 0, 1 << 21)
    chunk = InstallSnapshot("a", "b", 1, 2, meta, 0, bytes(range(256)) * 8192, 3)
    stand.send["a"](chunk)
    assert await stand.wait("b", 1) == [chunk]


async def test_what_is_for_nobody_is_lost_in_silence(stand: Stand) -> None:
    stand.send["a"](numbered(1, "a", "nobody"))
    stand.send["a"](numbered(2))
    assert await stand.wait("b", 1) == [numbered(2)]


async def test_a_full_queue_drops_its_oldest_message(stand: Stand) -> None:
    stand.hold()
    for n in range(QUEUE + 100):
        stand.send["a"](numbered(n))
    stand.release()
    await until(lambda: bool(stand.received["b"]) and stand.received["b"][-1].commit == QUEUE + 99)
    found = [message.commit for message in stand.received["b"]]
    assert found[-QUEUE:] == list(range(100, QUEUE + 100))
    assert found[:-QUEUE] in ([], [0])  # one more may have been on its way out


async def test_a_member_that_was_away_is_reached_again(stand: Stand) -> None:
    stand.send["a"](numbered(1))
    await stand.wait("b", 1)
    await stand.leave()
    stand.send["a"](numbered(2))
    await trio.sleep(0.05)
    await stand.come_back()
    stand.send["a"](TimeoutNow("a", "b", 1, 9))
    await until(lambda: TimeoutNow("a", "b", 1, 9) in stand.received["b"])
