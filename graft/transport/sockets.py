"""A socket under Trio that grpclib takes for a transport of asyncio.

Rejected: trio-asyncio's own sockets. They need three turns of the scheduler for a read and go through asyncio's TLS,
which shows no refusal to anybody and cannot take another certificate for the next connection. Here one Trio task reads
and hands on what came; a write goes to the kernel at once, and only what does not fit waits.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

import trio
from attrs import frozen

from graft.transport.limits import Limits

READ_BYTES = 256 * 1024
HIGH_WATER, LOW_WATER = 1024 * 1024, 256 * 1024  # of unsent bytes: when writers wait, and when they go on
ALERT_SECONDS = 1.0  # to tell the other side why TLS failed
LAST_READS = 8  # of what somebody sends who is refused
LINGER_SECONDS = 2.0  # that a closed socket may take to send what was written before


class Tls:
    """One end of a TLS connection: bytes in, bytes out, no socket."""

    def __init__(self, context: ssl.SSLContext, server_hostname: str | None, *, server_side: bool) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(self._in, self._out, server_side=server_side, server_hostname=server_hostname)
        self.ended = False  # the other side said that nothing more comes

    def outgoing(self) -> bytes:
        return self._out.read()

    def encrypt(self, data: bytes) -> bytes:
        self.object.write(data)
        return self._out.read()

    def decrypt(self, data: bytes) -> bytes:
        """What `data` completes. Raises ssl.SSLError for bytes that were tampered with."""
        if data:
            self._in.write(data)
        found = []
        while True:
            try:
                piece = self.object.read(READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                piece = b""
            if not piece:
                self.ended = True
                break
            found.append(piece)
        return found[0] if len(found) == 1 else b"".join(found)

    async def handshake(self, sock: socket.socket) -> None:
        """Raises OSError (ssl.SSLError is one). An alert that says why is sent before."""
        failure: ssl.SSLError | None = None
        done = False
        while not done:
            try:
                self.object.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                failure = error
            with trio.move_on_after(math.inf if failure is None else ALERT_SECONDS):
                await send_all(sock, self._out.read())
            if failure is not None:
                raise failure
            if not done:
                data = await receive(sock, READ_BYTES)
                if not data:
                    raise ConnectionResetError("the other side hung up during the TLS handshake")
                self._in.write(data)


async def receive(sock: socket.socket, size: int) -> bytes:
    """What there is, up to `size` bytes; waits for the first. Raises OSError."""
    while True:
        await trio.lowlevel.wait_readable(sock)
        try:
            return sock.recv(size)
        except (BlockingIOError, InterruptedError):
            pass


async def send_all(sock: socket.socket, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[sock.send(view) :]
        except (BlockingIOError, InterruptedError):
            await trio.lowlevel.wait_writable(sock)


async def let_read(sock: socket.socket, last: bytes = b"") -> None:
    """Send `last`, and let the other side read what it was sent, for a moment, before the socket is closed.

    A close while it still sends would throw away what is on its way to it: why it was refused.
    """
    with trio.move_on_after(ALERT_SECONDS), suppress(OSError):
        await send_all(sock, last)
        sock.shutdown(socket.SHUT_WR)
        for _ in range(LAST_READS):
            if not await receive(sock, READ_BYTES):
                break


class ByteProtocol(Protocol):
    """What a transport hands its bytes to: asyncio's `Protocol`, as far as grpclib has it."""

    def connection_made(self, transport: Any) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def connection_lost(self, exc: BaseException | None) -> None: ...


class SocketTransport(asyncio.Transport):
    """`run` owns the socket: it reads until the end, an error, `close` or its cancellation, and then closes it."""

    def __init__(self, sock: socket.socket, tls: Tls | None, limits: Limits, address: str) -> None:
        super().__init__()
        self.address = address
        self.unsent_since: float | None = None  # when the oldest unsent byte was written, in Trio's time
        self._socket, self._tls, self._limits = sock, tls, limits
        self._unsent = bytearray()
        self._nursery: trio.Nursery | None = None
        self._protocol: ByteProtocol | None = None
        self._closing = self._paused = False
        self._error: BaseException | None = None

    async def run(self, protocol: ByteProtocol) -> None:
        self._protocol = protocol
        try:
            async with trio.open_nursery() as self._nursery:
                protocol.connection_made(self)
                # What came in one piece with the end of the handshake waits in the TLS object.
                if self._tls is not None:
                    self._take(b"")
                try:
                    await self._read()
                finally:
                    self._closing = True  # before the nursery is closed: somebody may write between that and our turn
                self._nursery.cancel_scope.cancel()
        except* OSError as group:  # the connection broke: nothing that the owner could do about it
            self._error = group.exceptions[0]
        finally:
            self._closing = True
            self._socket.close()
            protocol.connection_lost(self._error)

    async def _read(self) -> None:
        """Until the end of what comes."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                data = self._socket.recv(READ_BYTES)
            except (BlockingIOError, InterruptedError):
                continue
            if not data or not self._take(data):
                return

    def _take(self, data: bytes) -> bool:
        """False when nothing more comes."""
        assert self._protocol is not None
        if self._tls is None:
            self._protocol.data_received(data)
            return True
        plain = self._tls.decrypt(data)
        answer = self._tls.outgoing()
        if answer:
            self._send(answer)
        if plain:
            self._protocol.data_received(plain)
        return not self._tls.ended

    # What grpclib calls

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing and data:
            self._send(bytes(data) if self._tls is None else self._tls.encrypt(bytes(data)))

    def _send(self, data: bytes) -> None:
        if not self._unsent:
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                return self._abort(error)
            if sent == len(data):
                return
            data = data[sent:]
            self.unsent_since = trio.current_time()
            assert self._nursery is not None
            self._nursery.start_soon(self._drain)
        self._unsent += data
        if len(self._unsent) > self._limits.max_unsent_bytes:
            return self._abort(ConnectionError("the other side does not read"))
        if len(self._unsent) > HIGH_WATER and not self._paused:
            self._paused = True
            assert self._protocol is not None
            self._protocol.pause_writing()

    async def _drain(self) -> None:
        while self._unsent:
            await trio.lowlevel.wait_writable(self._socket)
            try:
                sent = self._socket.send(memoryview(self._unsent)[:READ_BYTES])
            except (BlockingIOError, InterruptedError):
                continue
            del self._unsent[:sent]
            self.unsent_since = trio.current_time() if self._unsent else None
            if self._paused and len(self._unsent) < LOW_WATER:
                self._paused = False
                assert self._protocol is not None
                self._protocol.resume_writing()
        if self._closing:
            self._stop()

    def close(self) -> None:
        """Sends what was written, for a while, and reads nothing more."""
        if self._closing:
            return
        self._closing = True
        if self._tls is not None and not self._tls.ended:
            with suppress(ssl.SSLError):  # it waits for the other side's goodbye; ours is written
                self._tls.object.unwrap()
            self._send(self._tls.outgoing())
        if not self._unsent:
            self._stop()
        elif self._nursery is not None:
            self._nursery.cancel_scope.deadline = trio.current_time() + LINGER_SECONDS

    def abort(self) -> None:
        self._abort(ConnectionAbortedError("closed here"))

    def _abort(self, error: BaseException) -> None:
        self._error = self._error or error
        self._closing = True
        self._stop()

    def _stop(self) -> None:
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def is_closing(self) -> bool:
        return self._closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "ssl_object" and self._tls is not None:
            return self._tls.object
        return self.address if name == "peername" else default


# ---- addresses -----------------------------------------------------------------------------------------------------


@frozen
class Address:
    """`unix:/path`, or `host:port`, `[v6]:port`."""

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Raises ValueError."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path:
            raise ValueError("no path behind `unix:`")
        return Address("", 0, path)
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"`{text}` is no address: expected HOST:PORT or unix:/PATH")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


async def resolve(address: Address, *, passive: bool = False) -> Sequence[tuple[Any, ...]]:
    """What `getaddrinfo` knows. Raises OSError."""
    flags = socket.AI_PASSIVE if passive else 0
    return await trio.socket.getaddrinfo(
        address.host or None, address.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=flags
    )


async def dial(address: Address) -> socket.socket:
    """A connected socket that does not block and does not delay. Raises OSError: that of the last address tried."""
    if address.path:
        return await _connect(socket.AF_UNIX, 0, address.path)
    error: OSError = OSError(f"{address} has no address")
    for family, _, proto, _, target in await resolve(address):
        try:
            return await _connect(family, proto, target)
        except OSError as problem:
            error = problem
    raise error


async def _connect(family: int, proto: int, target: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM, proto)
    try:
        sock.setblocking(False)
        no_delay(sock)
        with suppress(BlockingIOError):
            sock.connect(target)
        await trio.lowlevel.wait_writable(sock)
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, f"cannot connect: {os.strerror(number).lower()}")
    except BaseException:
        sock.close()
        raise
    return sock


def no_delay(sock: socket.socket) -> None:
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
