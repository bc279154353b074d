"""The gRPC client: one connection to one server, dialled when it is needed and again when it broke."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any

import grpclib.client
import trio
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.metadata import Deadline
from h2.exceptions import H2Error

from graft.asyncio_bridge import trio_asyncio
from graft.errors import Denied, GraftError, Rejected, Unreachable, UsageError
from graft.interfaces import Entropy
from graft.security.tls import ClientSecurity
from graft.transport import framing
from graft.transport.alerts import alert_of, read_farewell, refusal_of
from graft.transport.breaker import Breaker
from graft.transport.bridge import Bridge, ToAsyncio, ToTrio, unwrap
from graft.transport.calls import CARDINALITIES, PACKAGE
from graft.transport.http2 import GraftProtocol
from graft.transport.limits import Limits
from graft.transport.loop import open_loop, start_in
from graft.transport.peers import check_member, first_of
from graft.transport.proto import graft_pb2
from graft.transport.sockets import SocketTransport, Tls, dial, parse_address
from graft.transport.statuses import error_of

log = logging.getLogger(__name__)

FOR_CALLS = 8
"""One in so many of the calls that a server allows at a time is kept from streams."""


@asynccontextmanager
async def open_channel(
    address: str,
    *,
    security: ClientSecurity | None = None,
    limits: Limits | None = None,
    entropy: Entropy | None = None,
) -> AsyncIterator[Channel]:
    """A channel to `host:port` or `unix:/path`; nothing is dialled before the first call.

    Without `entropy` the waits after failures have no jitter. Raises UsageError for an address that is none.
    """
    try:
        parse_address(address)
    except ValueError as error:
        raise UsageError(str(error)) from None
    failure: Exception | None = None  # of the body: raised as it is, not in the groups of our nurseries
    async with open_loop() as loop, trio.open_nursery() as nursery:
        channel = Channel(address, loop, nursery, security, limits or Limits(), entropy)
        try:
            yield channel
        except Exception as error:
            failure = error
        finally:
            channel.close()
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


class Channel:
    """Calls may be made by any number of tasks at a time.

    `peer`: the member that answers, as its certificate says; "" before a call, over plaintext and over a Unix socket.
    """

    def __init__(
        self,
        address: str,
        loop: asyncio.AbstractEventLoop,
        nursery: trio.Nursery,
        security: ClientSecurity | None,
        limits: Limits,
        entropy: Entropy | None,
    ) -> None:
        self.address = address
        self.peer = ""
        self._loop, self._nursery, self._security, self._limits = loop, nursery, security, limits
        self._entropy = entropy
        self._bridge = Bridge(loop, nursery, copy_context())
        self._breaker = Breaker(limits.breaker_failures, limits.backoff_seconds, limits.max_backoff_seconds)
        self._dialling = trio.Lock()
        self._protocol: GraftProtocol | None = None
        self._is_closed = False
        self._grpc: _GrpcChannel | None = None
        self._streams = 0  # that are open

    async def call(self, service: str, method: str, request: Any, *, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        """The reply to a unary call; `timeout` in seconds, connecting included (None: `limits.call_seconds`).

        Raises the GraftError that the server raised; Unreachable when there was no answer in time; Denied.
        """
        seconds = self._limits.call_seconds if timeout is None else timeout
        with trio.move_on_after(seconds):
            about = _method(service, method)
            await self._connect()
            return await self._in_loop(self._unary(about, request, seconds))
        raise Unreachable(f"{self.address}: no answer in {seconds:g} s", address=self.address)

    @asynccontextmanager
    async def stream(
        self,
        service: str,
        method: str,
        request: Any | AsyncIterable[Any],
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """The replies of a streaming call, as they come. A method that takes a stream gets it as an async iterable.

        There is no deadline unless `timeout` (seconds) says one: keepalive ends a stream whose server is gone.
        Raises like `call`, also from the iteration; Rejected when so many streams are open that calls would have to
        wait for one of them to end.
        """
        about = _method(service, method)
        await self.reach()
        self._check_room()
        replies: ToTrio[Any] = ToTrio(self._loop)
        task = self._loop.create_task(self._streaming(about, request, replies, timeout))
        self._streams += 1
        try:
            yield replies
        finally:
            self._streams -= 1
            task.cancel()

    def _check_room(self) -> None:
        """Beyond the server's limit HTTP/2 lets a call wait, without a word, until another one ends."""
        assert self._protocol is not None
        allowed = self._protocol.connection._connection.remote_settings.max_concurrent_streams
        if self._streams >= max(1, allowed - allowed // FOR_CALLS):
            raise Rejected(
                f"{self._streams} streams are open over one connection, and {self.address} allows {allowed} calls",
                reason="too_many_streams",
                hint="end some of them, or open another graft.Client: it has a connection of its own",
            )

    async def reach(self) -> None:
        """Have a connection. Raises Unreachable, Denied."""
        with trio.move_on_after(self._limits.call_seconds) as scope:
            await self._connect()
        if scope.cancelled_caught:
            raise Unreachable(f"{self.address}: no answer", address=self.address)

    def close(self) -> None:
        """Calls that run raise Unreachable."""
        self._is_closed = True
        if self._protocol is not None:
            self._protocol.goodbye(reason="closed here")

    # Connecting

    async def _connect(self) -> None:
        while not self._is_connected():
            async with self._dialling:
                if self._is_closed:
                    await trio.lowlevel.checkpoint_if_cancelled()
                    raise Unreachable(f"{self.address}: the channel is closed", address=self.address, sent=False)
                if self._is_connected():
                    return
                if not self._breaker.allows(trio.current_time()) and self._breaker.state == "open":
                    text = f"{self.address}: not tried again yet, it failed {self._breaker.failures} times in a row"
                    raise Unreachable(text, address=self.address, sent=False)
                try:
                    with trio.fail_after(self._limits.connect_seconds):
                        await self._dial()
                except Exception as error:
                    self._breaker.failed(trio.current_time(), self._entropy.u64() if self._entropy else 0)
                    if isinstance(error, (OSError, trio.TooSlowError)):
                        raise self._unreachable(error) from None
                    raise
                self._breaker.succeeded()

    def _is_connected(self) -> bool:
        protocol = self._protocol
        return protocol is not None and not protocol.lost.is_set() and not protocol.connection.is_closing()

    async def _dial(self) -> None:
        address = parse_address(self.address)
        sock = await dial(address)
        tls: Tls | None = None
        peer = ""
        try:
            if self._security is not None and not address.path:
                tls = Tls(self._security.current(), address.host, server_side=False)
                await tls.handshake(sock)
                peer = check_member(tls, self._security.cluster).name
        except BaseException:
            sock.close()
            raise
        problems: list[str] = []  # of the beginning: they are told by the error

        def problem(reason: str, text: str) -> None:
            if self._protocol is protocol:
                log.warning("%s: %s", self.address, text)
            else:
                problems.append(text)

        protocol = GraftProtocol(grpclib.client.Handler(), self._limits, client_side=True, problem=problem)
        transport = SocketTransport(sock, tls, self._limits, self.address)
        if self._is_closed:  # meanwhile
            sock.close()
            await trio.lowlevel.checkpoint_if_cancelled()
            raise ConnectionAbortedError("the channel is closed")
        start_in(self._loop, self._nursery, transport.run, protocol)
        with trio.fail_after(self._limits.handshake_seconds):
            await first_of(protocol.ready, protocol.lost)
        if not protocol.ready.is_set():
            raise self._sent_away(protocol, problems)
        self._protocol, self.peer = protocol, peer
        self._grpc = _GrpcChannel(protocol, tls is not None, address.host or "localhost", address.port)

    def _sent_away(self, protocol: GraftProtocol, problems: list[str]) -> Exception:
        """Why whoever is there ended the connection before it said anything."""
        file = self._shown_certificate()
        if protocol.farewell is not None:
            return read_farewell(protocol.farewell, file)
        why = problems[0] if problems else "the server closed the connection at once"
        if not file:
            why += "; does it want TLS and a certificate?"
        return refusal_of(protocol.alert, file) or ConnectionResetError(why)

    def _shown_certificate(self) -> str:
        return "" if self._security is None else str(self._security.files.certificate)

    def _unreachable(self, error: BaseException) -> GraftError:
        if isinstance(error, ssl.SSLCertVerificationError):
            text = f"{self.address}: its certificate is not to be trusted: {error.verify_message}"
            return Denied(text, reason="foreign_authority")
        refusal = refusal_of(alert_of(error), self._shown_certificate())
        if refusal is not None:
            return refusal
        if isinstance(error, trio.TooSlowError):
            why = f"no connection in {self._limits.connect_seconds:g} s"
        else:
            assert isinstance(error, OSError)
            why = error.strerror or str(error)
        return Unreachable(f"{self.address}: {why}", address=self.address, sent=False)

    # In the loop

    async def _in_loop(self, work: Any) -> Any:
        try:
            return await trio_asyncio.run_aio_future(self._loop.create_task(work))
        except Unreachable:  # perhaps because whoever is cancelled here holds the channel, too, and it is closed
            await trio.lowlevel.checkpoint_if_cancelled()  # noqa: ASYNC120 - a cancel has to win
            raise
        except asyncio.CancelledError:
            problem = Unreachable(f"{self.address}: the call was cut off", address=self.address)
            raise problem from None  # noqa: ASYNC104  # it was asyncio's, not Trio's

    async def _unary(self, about: _Method, request: Any, seconds: float) -> Any:
        assert self._grpc is not None
        stream = self._grpc.open(about, seconds)
        try:
            async with stream:
                await stream.send_message(request, end=True)
                reply = await stream.recv_message()
                await stream.recv_trailing_metadata()
        except Exception as error:
            raise self._translate(error, stream) from None
        if reply is None:
            raise Unreachable(f"{self.address}: an empty answer", address=self.address)
        return reply

    async def _streaming(self, about: _Method, request: Any, replies: ToTrio[Any], seconds: float | None) -> None:
        assert self._grpc is not None
        stream = self._grpc.open(about, seconds)
        feeding: asyncio.Future[Any] | None = None
        try:
            async with stream:
                if about.cardinality.client_streaming:
                    await stream.send_request()
                    feeding = self._loop.create_task(self._feed(request, stream, replies))
                else:
                    await stream.send_message(request, end=True)
                async for reply in stream:
                    await replies.put(reply)
                if feeding is not None:
                    stream._end_done = True  # the server has answered: what else we meant to send is of no use
        except Exception as error:
            replies.end(self._translate(error, stream))
        except asyncio.CancelledError:
            replies.end(Unreachable(f"{self.address}: the call was cut off", address=self.address))
            raise
        finally:
            replies.end()
            if feeding is not None:
                feeding.cancel()

    async def _feed(self, requests: AsyncIterable[Any], stream: Any, replies: ToTrio[Any]) -> None:
        """Send what `requests` yields, then the end. Raises nothing: nobody waits for it.

        A source that fails ends `replies`, for the server would wait for more.
        """
        waiting: ToAsyncio[Any] = ToAsyncio(self._loop)
        producer = self._bridge.start(_produce, requests, waiting)
        producer.add_done_callback(lambda done: waiting.end())
        try:
            while batch := await waiting.take():
                await framing.send_many(stream._stream, batch)
            await producer
            await stream.end()
        except (StreamTerminatedError, OSError, H2Error):
            pass  # whoever reads the replies hears of it, and of the reason
        except Exception as error:
            replies.end(self._translate(error, stream))
        finally:
            producer.cancel()

    def _translate(self, error: Exception, stream: Any) -> BaseException:
        mine = unwrap(error)
        if isinstance(mine, GRPCError):
            return error_of(mine.status, mine.message or "", stream.trailing_metadata, self.address)
        if isinstance(mine, (StreamTerminatedError, asyncio.TimeoutError, OSError, H2Error)):
            return Unreachable(f"{self.address}: {mine or 'the deadline is over'}", address=self.address)
        return mine


async def _produce(requests: AsyncIterable[Any], waiting: ToAsyncio[Any]) -> None:
    async for request in requests:
        await waiting.put(request)


class _Method:
    def __init__(self, service: str, method: str) -> None:
        about = graft_pb2.DESCRIPTOR.services_by_name[service].methods_by_name[method]
        self.path = f"/{PACKAGE}.{service}/{method}"
        self.cardinality: Cardinality = CARDINALITIES[about.client_streaming, about.server_streaming]
        self.request: type = getattr(graft_pb2, about.input_type.name)
        self.reply: type = getattr(graft_pb2, about.output_type.name)


_METHODS: dict[tuple[str, str], _Method] = {}


def _method(service: str, method: str) -> _Method:
    """Raises KeyError for what graft.proto does not know."""
    found = _METHODS.get((service, method))
    if found is None:
        found = _METHODS[service, method] = _Method(service, method)
    return found


class _GrpcChannel(grpclib.client.Channel):
    """grpclib's channel over a connection that is there already."""

    def __init__(self, protocol: GraftProtocol, is_secure: bool, host: str, port: int) -> None:
        super().__init__(host, port, ssl=None, config=protocol.config)
        self._scheme = "https" if is_secure else "http"
        self._mine = protocol

    async def __connect__(self) -> Any:
        if self._mine.connection.is_closing():
            raise StreamTerminatedError("Connection lost")
        return self._mine

    def open(self, about: _Method, seconds: float | None) -> Any:
        deadline = None if seconds is None else Deadline.from_timeout(seconds)
        return self.request(about.path, about.cardinality, about.request, about.reply, deadline=deadline)


__all__ = ["Channel", "framing", "open_channel"]
