"""A connection that ends while others write to it."""

from __future__ import annotations

import socket
from typing import Any

import trio

from graft.transport.limits import Limits
from graft.transport.sockets import SocketTransport

ROUNDS = 30  # Trio runs tasks that are due together in any order
MUCH = bytes(4 << 20)  # more than a socket takes at once


class Ends:
    """A socket whose other side has ended: `told` is called when it is read that it has."""

    def __init__(self, real: socket.socket, told: Any) -> None:
        self._real, self._told = real, told

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def recv(self, size: int) -> bytes:
        data = self._real.recv(size)
        self._told()
        return data


class Deaf:
    def connection_made(self, transport: Any) -> None:
        pass

    def data_received(self, data: bytes) -> None:
        raise AssertionError("nobody sent anything")

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass

    def connection_lost(self, exc: BaseException | None) -> None:
        pass


async def end_while_writing(nursery: trio.Nursery) -> None:
    ours, theirs = socket.socketpair()
    there: list[SocketTransport] = []

    async def write() -> None:
        there[0].write(MUCH)
        await trio.lowlevel.checkpoint()

    with theirs:
        ours.setblocking(False)
        theirs.shutdown(socket.SHUT_WR)
        ends: Any = Ends(ours, lambda: nursery.start_soon(write))
        there.append(SocketTransport(ends, None, Limits(), "there"))
        with trio.fail_after(30):
            await there[0].run(Deaf())


async def test_a_write_between_the_end_and_its_notice_is_lost_and_nothing_else() -> None:
    for _ in range(ROUNDS):
        async with trio.open_nursery() as nursery:
            await end_while_writing(nursery)
