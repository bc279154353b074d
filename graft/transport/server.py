"""The gRPC server: listeners, connections and their bounds, TLS, and the way to stop.

A connection lives in one Trio task: TLS, then the HTTP/2 preface, then calls. Each phase has a deadline, and a sweep
every second ends what was idle, stalled or half-sent for too long, so that whoever connects and waits costs little.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
import stat
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from ipaddress import ip_address
from typing import Any

import grpclib.server
import trio
from attrs import frozen
from grpclib.const import Handler, Status
from grpclib.encoding.proto import ProtoCodec
from grpclib.events import _DispatchServerEvents
from grpclib.exceptions import GRPCError
from grpclib.reflection.service import ServerReflection
from h2.errors import ErrorCodes

from graft.errors import Denied, UsageError
from graft.security.audit import Audit, AuditRecord, log_refusal
from graft.security.identity import identify
from graft.security.tls import ServerSecurity
from graft.transport import framing
from graft.transport.alerts import farewell
from graft.transport.bridge import Bridge
from graft.transport.calls import PACKAGE, Caller, Calls, Services, StreamHandler, UnaryHandler, anybody, check_services
from graft.transport.health import Health
from graft.transport.http2 import GraftProtocol, Headers
from graft.transport.limits import Limits
from graft.transport.loop import enter, open_loop
from graft.transport.peers import LANES, PeerHub
from graft.transport.sockets import Address, SocketTransport, Tls, let_read, no_delay, parse_address, resolve

log = logging.getLogger(__name__)

BACKLOG = 512
SWEEP_SECONDS = 1.0
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
MAX_SOCKET_PATH = 107  # bytes, of Linux
PEER_PATHS = {f"/{PACKAGE}.Raft/{lane}": lane for lane in LANES}


@asynccontextmanager
async def open_server(
    services: Services,
    *,
    listen: Sequence[str],
    security: ServerSecurity | None = None,
    limits: Limits | None = None,
    peers: PeerHub | None = None,
    health: Health | None = None,
    adopted: Sequence[socket.socket] = (),
    audit: Audit = log_refusal,
    plaintext_anywhere: bool = False,
    wall: Callable[[], float] = time.time,
) -> AsyncIterator[Server]:
    """A server that runs until the block is left, which waits `limits.shutdown_seconds` for calls that run.

    `listen`: addresses `host:port` (port 0: any) and `unix:/path`; without `security` only loopback and Unix sockets,
    unless `plaintext_anywhere`. `peers` sends and receives the messages between members over this server and over
    connections of its own. `adopted`: Unix sockets that listen already; their files stay the caller's. Raises
    UsageError (an address or the security makes no sense), OSError (an address cannot be used), ValueError (a service
    that graft.proto does not know).
    """
    limits, health = limits or Limits(), health or Health()
    context = copy_context()
    check_services(services)
    addresses = [_address(each) for each in listen]
    _check_plaintext(addresses, security, plaintext_anywhere)
    if security is not None:
        security.contexts.current()
    listeners = await _bind_all(addresses)
    listeners += [_adopt(each) for each in adopted]
    failure: Exception | None = None  # of the body: raised as it is, not in the groups of our nurseries
    async with open_loop() as loop, trio.open_nursery() as calls_nursery:
        try:
            calls = Calls(Bridge(loop, calls_nursery, context), loop, limits, audit, wall, set())
            server = Server(loop, listeners, services, calls, security, limits, peers, health, audit)
            async with trio.open_nursery() as nursery:
                server.start(nursery)
                try:
                    yield server
                except Exception as error:
                    failure = error
                finally:
                    with trio.CancelScope(shield=True):
                        await server.stop()
                    nursery.cancel_scope.cancel()
        finally:
            _close(listeners)
            calls_nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


class Connection:
    """One that was accepted. `protocol` is None while TLS is not done."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.accepted_at = trio.current_time()
        self.scope = trio.CancelScope()
        self.protocol: GraftProtocol | None = None
        self.transport: SocketTransport | None = None
        self.caller: Caller | None = None

    @property
    def is_ready(self) -> bool:
        return self.protocol is not None and self.protocol.ready.is_set()

    @property
    def is_idle(self) -> bool:
        return self.is_ready and self.protocol is not None and not self.protocol.processor.streams


class Server:
    """`addresses`: where it really listens, as texts for `open_channel`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listeners: Sequence[Listener],
        services: Services,
        calls: Calls,
        security: ServerSecurity | None,
        limits: Limits,
        peers: PeerHub | None,
        health: Health,
        audit: Audit,
    ) -> None:
        self.addresses = list(dict.fromkeys(str(each.address) for each in listeners))
        self.connections: set[Connection] = set()
        self.is_stopping = False
        self.calls = 0  # that run
        self._loop, self._calls, self._security, self._limits = loop, calls, security, limits
        self._peers, self._health, self._audit = peers, health, audit
        self._listeners = listeners
        self._mapping = calls.mapping(services, health)
        self._mapping.update(self._reflection(services))
        self._codec, self._dispatch = ProtoCodec(), _DispatchServerEvents()

    def _reflection(self, services: Services) -> dict[str, Handler]:
        names = [*(f"{PACKAGE}.{service}" for service in services), "grpc.health.v1.Health"]
        found: dict[str, Handler] = {}
        for each in ServerReflection.extend([]):
            vars(each)["_service_names"] = names
            for path, handler in each.__mapping__().items():
                found[path] = self._calls.guard("ServerReflection/ServerReflectionInfo", handler)
        return found

    # Listening

    def start(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        for each in self._listeners:
            nursery.start_soon(self._listen, each.socket, each.address)
        nursery.start_soon(self._sweep)
        if self._peers is not None:
            nursery.start_soon(self._peers.run, self._loop)

    async def _listen(self, listener: socket.socket, address: Address) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            if self.is_stopping:
                return
            try:
                sock, peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                continue
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                self._refused("exhausted", f"no connection can be taken: {error.strerror}", "")
                await trio.sleep(0.1)
                continue
            sock.setblocking(False)
            no_delay(sock)
            name = str(address) if address.path else str(Address(peer[0], peer[1]))
            if self._make_room(name):
                connection = Connection(name)
                self.connections.add(connection)
                self._nursery.start_soon(self._serve, connection, sock, bool(address.path))
            else:
                sock.close()

    def _make_room(self, newcomer: str) -> bool:
        """Drop somebody who only waits, if there are too many. False when all of them work."""
        unready = [each for each in self.connections if not each.is_ready]
        if len(unready) >= self._limits.max_unready:
            oldest = min(unready, key=lambda each: each.accepted_at)
            self._drop(oldest, "crowded", f"{oldest.address} said nothing while others wanted to connect")
        if len(self.connections) < self._limits.max_connections:
            return True
        idle = [each for each in self.connections if each.is_idle]
        if not idle:
            self._refused("crowded", f"{newcomer} is one connection too many", newcomer)
            return False
        oldest = min(idle, key=lambda each: each.protocol.last_active if each.protocol else 0.0)
        self._drop(oldest, "crowded", f"{oldest.address} was idle while others wanted to connect")
        return True

    def _drop(self, connection: Connection, reason: str, text: str) -> None:
        self._refused(reason, text, connection.address, connection.caller)
        self.connections.discard(connection)
        if connection.protocol is not None and hasattr(connection.protocol, "connection"):
            connection.protocol.goodbye(ErrorCodes.ENHANCE_YOUR_CALM, text)
        connection.scope.cancel()

    def _refused(self, reason: str, text: str, address: str, caller: Caller | None = None) -> None:
        who = caller or Caller("", frozenset(), address)
        self._audit(AuditRecord(reason, text, address, who.identity, tuple(sorted(who.roles)) if who.identity else ()))

    # One connection

    async def _serve(self, connection: Connection, sock: socket.socket, is_local: bool) -> None:
        try:
            with connection.scope:
                await self._serve_socket(connection, sock, is_local)
        except Exception:
            log.exception("connection of %s", connection.address)
        finally:
            sock.close()
            self.connections.discard(connection)

    async def _serve_socket(self, connection: Connection, sock: socket.socket, is_local: bool) -> None:
        tls = None
        if self._security is not None and not is_local:
            tls = await self._secure(connection, sock)
            if tls is None:
                return
        else:
            connection.caller = anybody(connection.address)
        enter(self._loop)
        caller = connection.caller
        assert caller is not None

        def problem(reason: str, text: str) -> None:
            self._refused(reason, f"{caller.identity or connection.address}: {text}", connection.address, caller)

        handler = _Handler(self, self._mapping, self._codec, None, self._dispatch)
        protocol = GraftProtocol(handler, self._limits, client_side=False, problem=problem)
        handler.protocol, handler.caller = protocol, caller
        transport = SocketTransport(sock, tls, self._limits, connection.address)
        connection.protocol, connection.transport = protocol, transport
        connection.accepted_at = trio.current_time()  # the preface has a time of its own
        await transport.run(protocol)

    async def _secure(self, connection: Connection, sock: socket.socket) -> Tls | None:
        """TLS and who it is; None when it was refused."""
        assert self._security is not None
        tls = Tls(self._security.contexts.current(), None, server_side=True)
        try:
            with trio.fail_after(self._limits.handshake_seconds):
                await tls.handshake(sock)
            identity = identify(tls.object.getpeercert(), self._security.cluster)
        except trio.TooSlowError:
            self._refused("slow", f"{connection.address} did not finish the TLS handshake", connection.address)
        except ssl.SSLError as error:
            reason = _tls_reason(error)
            text = f"{connection.address} was refused by TLS: {_tls_text(error)}"
            self._refused(reason, text, connection.address)
            await let_read(sock)
        except OSError:
            pass  # it hung up: a probe of a port, or a client that refused us
        except Denied as error:
            self._refused(error.reason, f"{connection.address}: {error.message}", connection.address)
            await let_read(sock, tls.encrypt(farewell(error)))
        else:
            address, of = connection.address, identity
            connection.caller = Caller(of.name, of.roles, address, of.cluster, of.expires_at)
            return tls
        return None

    async def _sweep(self) -> None:
        limits = self._limits
        while True:
            await trio.sleep(SWEEP_SECONDS)
            now = trio.current_time()
            for each in list(self.connections):
                if not each.is_ready:
                    if each.protocol is not None and now - each.accepted_at > limits.handshake_seconds:
                        self._drop(each, "slow", f"{each.address} did not say what HTTP/2 begins with")
                    continue
                assert each.protocol is not None
                assert each.transport is not None
                since = each.transport.unsent_since
                if since is not None and now - since > limits.stall_seconds:
                    self._drop(each, "stalled", f"{each.address} did not read what it was sent")
                    each.transport.abort()
                elif each.is_idle and now - each.protocol.last_active > limits.idle_seconds:
                    each.protocol.goodbye(reason="idle")  # nobody is refused
            for call in list(self._calls.running):
                if call.reading_since is not None and now - call.reading_since > limits.request_seconds:
                    self._end_slow(call)

    def _end_slow(self, call: Any) -> None:
        caller = call.stream.connection.caller
        self._refused("slow", f"{caller.identity or caller.address} did not finish its request", caller.address, caller)
        if call.task is not None:
            call.task.cancel()
        if call.stream.closable:
            call.stream.reset_nowait(ErrorCodes.CANCEL)

    # The end

    async def stop(self) -> None:
        """No new connections and calls; those that run get their time; then every connection is closed."""
        self.is_stopping = True
        self._health.set(False)
        with trio.move_on_after(self._limits.shutdown_seconds):
            while any(not call.is_watch for call in self._calls.running):  # noqa: ASYNC110
                await trio.sleep(0.01)
        for call in list(self._calls.running):
            if call.task is not None:
                call.task.cancel()
        for each in list(self.connections):
            if each.protocol is not None and hasattr(each.protocol, "connection"):
                each.protocol.goodbye(reason="the server stops")
            else:
                each.scope.cancel()
        with trio.move_on_after(1):
            while self.connections:  # noqa: ASYNC110
                await trio.sleep(0.005)


class _Handler(grpclib.server.Handler):
    """Takes the streams of one connection: those between members to the hub, the others to grpclib."""

    protocol: GraftProtocol
    caller: Caller

    def __init__(self, server: Server, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._server = server

    def accept(self, stream: Any, headers: Headers, release_stream: Callable[[], Any]) -> None:
        server = self._server
        values = dict(headers)
        stream.accepts_gzip = "gzip" in values.get("grpc-accept-encoding", "")
        stream.connection.caller = self.caller
        path = values.get(":path", "")
        if server.is_stopping:
            return _turn_away(stream, Status.UNAVAILABLE, "the server stops", release_stream)
        if server.calls >= server._limits.max_calls:
            who = self.caller.identity or self.caller.address
            server._refused("crowded", f"{who}: too many calls at a time", self.caller.address, self.caller)
            return _turn_away(stream, Status.RESOURCE_EXHAUSTED, "too many calls", release_stream)
        lane = PEER_PATHS.get(path)
        if lane is None or server._peers is None:
            return self._call(stream, headers, release_stream)
        try:
            server._calls.authorise(f"Raft/{lane}", stream.connection.caller)
        except GRPCError as error:
            return _turn_away(stream, error.status, error.message or "", release_stream)
        server._peers.accept(lane, self.protocol, stream, release_stream, stream.connection.caller)

    def _call(self, stream: Any, headers: Headers, release_stream: Callable[[], Any]) -> None:
        super().accept(stream, headers, release_stream)
        self._server.calls += 1

        def ended(task: asyncio.Task[None]) -> None:
            self._server.calls -= 1
            if stream.id in self.protocol.processor.streams:  # it was cancelled before it began
                release_stream()

        self._tasks[stream].add_done_callback(ended)

    def cancel(self, stream: Any) -> None:
        task = self._tasks.pop(stream, None)
        if task is not None:
            task.cancel()
            self._cancelled.add(task)


def _turn_away(stream: Any, status: Status, text: str, release_stream: Callable[[], Any]) -> None:
    """A reply of trailers only."""
    h2 = stream._h2_connection
    headers = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", str(status.value))]
    h2.send_headers(stream.id, [*headers, ("grpc-message", text)], end_stream=True)
    release_stream()
    stream.connection.flush()


# ---- listening sockets ---------------------------------------------------------------------------------------------


@frozen
class Listener:
    """`address`: as it was asked for, with the port that it got. `has_file`: a socket file of ours, to be removed."""

    socket: socket.socket
    address: Address
    has_file: bool = False


async def _bind_all(addresses: Sequence[Address]) -> list[Listener]:
    """Raises OSError, UsageError; then none is left open."""
    found: list[Listener] = []
    try:
        for address in addresses:
            if address.path:
                found.append(Listener(_bind_path(address.path), address, has_file=True))
                continue
            port = address.port
            for family, _, proto, _, target in await resolve(address, passive=True):
                sock = _bind(family, proto, (target[0], port, *target[2:]))
                port = sock.getsockname()[1]  # `localhost` may be two addresses: the same port for both
                found.append(Listener(sock, Address(address.host, port)))
    except BaseException:
        _close(found)
        raise
    return found


def _adopt(sock: socket.socket) -> Listener:
    mine = sock.dup()
    mine.setblocking(False)
    return Listener(mine, Address("", 0, sock.getsockname()))


def _close(listeners: Sequence[Listener]) -> None:
    for each in listeners:
        each.socket.close()
        if each.has_file:
            with suppress(FileNotFoundError):
                os.unlink(each.address.path)


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_plaintext(addresses: Sequence[Address], security: ServerSecurity | None, anywhere: bool) -> None:
    if security is not None:
        return
    far = [str(each) for each in addresses if not each.path and not _is_loopback(each.host)]
    if far and not anywhere:
        raise UsageError(
            f"{', '.join(far)}: without TLS anybody who reaches this address may do everything",
            hint="give it certificates (`graft certs dev` makes some), listen on loopback, or insist on plaintext",
        )
    if any(not each.path for each in addresses):
        log.warning("no TLS: whoever reaches %s may do everything", ", ".join(far) or "this machine's loopback")


def _bind(family: int, proto: int, target: tuple[Any, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(target)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {Address(target[0], target[1])}: {error.strerror}") from None
    return sock


def _bind_path(path: str) -> socket.socket:
    """For this user only. A socket file that nobody listens on any more is replaced."""
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise UsageError(f"{path}: the path of a Unix socket may have {MAX_SOCKET_PATH} bytes")
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        mask = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(mask)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {path}: {error.strerror}") from None
    return sock


def _remove_stale(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            pass  # somebody listens, and is busy: `bind` says that it is in use


def _tls_reason(error: ssl.SSLError) -> str:
    if error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "no_certificate"
    if isinstance(error, ssl.SSLCertVerificationError):
        return {10: "expired", 9: "expired"}.get(error.verify_code, "foreign_authority")
    return "tls"


def _tls_text(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return (error.reason or str(error)).lower().replace("_", " ")


__all__ = [
    "Caller",
    "Health",
    "Limits",
    "Server",
    "Services",
    "StreamHandler",
    "UnaryHandler",
    "framing",
    "open_server",
]
