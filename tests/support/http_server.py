"""A small HTTP/1.1 server on Trio, whose answers a test writes down byte by byte."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio
from attrs import define, field

Answer = bytes | Callable[["Received", trio.SocketStream], Awaitable[None]]


@define
class Received:
    method: str
    target: str  # path and query
    headers: dict[str, str]  # names in lower case
    body: bytes


@define
class Server:
    """`answers` by path. `received` in order."""

    port: int
    answers: dict[str, Answer] = field(factory=dict)
    received: list[Received] = field(factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def answer(status: str = "200 OK", body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def open_server() -> AsyncIterator[Server]:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server = Server(listeners[0].socket.getsockname()[1])
        nursery.start_soon(partial(trio.serve_listeners, partial(_serve, server), listeners))
        yield server
        nursery.cancel_scope.cancel()


async def _serve(server: Server, stream: trio.SocketStream) -> None:
    buffer = b""
    try:
        while True:
            while b"\r\n\r\n" not in buffer:
                data = await stream.receive_some()
                if not data:
                    return
                buffer += data
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            while len(buffer) < int(headers.get("content-length", 0)):
                buffer += await stream.receive_some()
            length = int(headers.get("content-length", 0))
            body, buffer = buffer[:length], buffer[length:]
            method, target, _ = first.split(" ")
            request = Received(method, target, headers, body)
            server.received.append(request)
            reply = server.answers.get(target.partition("?")[0], answer("404 Not Found"))
            if isinstance(reply, bytes):
                await stream.send_all(reply)
            else:
                await reply(request, stream)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    finally:
        await trio.aclose_forcefully(stream)
