"""The Unix socket of a held data directory: the cluster's API for other processes of the same user.

The socket is there as soon as the directory is held, and costs next to nothing until somebody connects: gRPC is loaded
then, while the first caller waits in the queue of the listening socket. Whoever may open the file may do everything,
so it is for its owner alone.

A path of a socket has at most 107 bytes. Where the directory's is longer, the kernel is given a short name for it:
`/proc/self/fd/N/socket`, N being the open directory.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from graft.errors import StorageError

if TYPE_CHECKING:
    from graft.cluster.embedded import Embedded

NAME: Final = "socket"
MAX_PATH: Final = 107  # bytes, of Linux
BACKLOG: Final = 64
SHUTDOWN_SECONDS: Final = 1.0  # that calls get which run when the directory is let go


@contextmanager
def short_path(data: Path) -> Iterator[str]:
    """A name for the socket of `data` that fits, while the block lasts. Raises StorageError where there is none."""
    path = os.path.join(data, NAME)
    if len(os.fsencode(path)) <= MAX_PATH:
        yield path
        return
    if not os.path.isdir("/proc/self/fd"):
        raise StorageError(
            f"{path} is too long for a socket: more than {MAX_PATH} bytes", hint="name a directory with a shorter path"
        )
    descriptor = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{NAME}"
    finally:
        os.close(descriptor)


def listen(data: Path) -> socket.socket:
    """The listening socket of a directory that this process holds. What stands there already is of a dead holder."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        os.fchmod(sock.fileno(), 0o600)  # before it has a name: nobody else can connect in between
        with suppress(FileNotFoundError):
            os.unlink(data / NAME)
        with short_path(data) as path:
            sock.bind(path)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


class SocketDoor:
    """What goes on at the socket. `calls`: requests being answered; `served`: how many there were."""

    def __init__(self) -> None:
        self.calls = 0
        self.served = 0

    def counted(self, handler: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        return partial(self._stream if _is_stream(handler) else self._call, handler)

    async def _call(self, handler: Callable[[Any, Any], Awaitable[Any]], request: Any, caller: Any) -> Any:
        self.calls += 1
        self.served += 1
        try:
            return await handler(request, caller)
        finally:
            self.calls -= 1

    async def _stream(
        self, handler: Callable[[Any, Any], AsyncGenerator[Any, None]], request: Any, caller: Any
    ) -> AsyncGenerator[Any, None]:
        self.calls += 1
        self.served += 1
        try:
            async with aclosing(handler(request, caller)) as replies:
                async for reply in replies:
                    yield reply  # noqa: ASYNC119 - closed by its caller
        finally:
            self.calls -= 1


def _is_stream(handler: Callable[..., Any]) -> bool:
    import inspect

    return inspect.isasyncgenfunction(handler)


@asynccontextmanager
async def open_socket(
    engine: Embedded, data: Path, failed: Callable[[str], None] = lambda text: None
) -> AsyncIterator[SocketDoor]:
    """Serve the API of `engine` at the socket of `data`, until the block is left.

    `failed` is told when the socket cannot be had or stops working: the runs of this process do not suffer for it.
    """
    door = SocketDoor()
    try:
        sock = listen(data)
    except (OSError, StorageError) as error:
        failed(f"other processes cannot reach this one: {getattr(error, 'strerror', None) or error}")
        yield door
        return
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_serve, engine, sock, door, failed)
            try:
                yield door
            finally:
                nursery.cancel_scope.cancel()
    finally:
        with suppress(OSError):
            os.unlink(data / NAME)  # before the directory is let go: it is ours
        sock.close()


async def _serve(engine: Embedded, sock: socket.socket, door: SocketDoor, failed: Callable[[str], None]) -> None:
    await trio.lowlevel.wait_readable(sock)
    try:
        serve = await trio.to_thread.run_sync(_load)
        await serve(engine, sock, door)
    except Exception as error:
        failed(f"other processes cannot reach this one any more: {type(error).__name__}: {error}")


def _load() -> Callable[[Embedded, socket.socket, SocketDoor], Awaitable[None]]:
    """The server, whose import takes a good tenth of a second. The runs go on meanwhile."""
    from graft.cluster.socket_server import serve

    return serve
