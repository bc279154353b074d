"""What happens to one call at a server: who asks, may he, the handler under Trio, its answer or error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

import trio
from attrs import define, frozen
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1 import health_pb2
from grpclib.server import Stream

from graft.errors import GraftError
from graft.security.audit import Audit, AuditRecord
from graft.security.roles import ROLES, may_call
from graft.transport.bridge import Bridge, ToAsyncio, ToTrio, unwrap
from graft.transport.framing import send_many
from graft.transport.health import Health
from graft.transport.limits import Limits
from graft.transport.proto import graft_pb2
from graft.transport.statuses import TRAILER, encode_error, status_of

log = logging.getLogger(__name__)

PACKAGE = "graft.v1"
CARDINALITIES = {
    (False, False): Cardinality.UNARY_UNARY,
    (True, False): Cardinality.STREAM_UNARY,
    (False, True): Cardinality.UNARY_STREAM,
    (True, True): Cardinality.STREAM_STREAM,
}


@frozen
class Caller:
    """Who calls. Over plaintext and over a Unix socket: nobody in particular (""), with every role."""

    identity: str
    roles: frozenset[str]
    address: str
    cluster: str = ""
    expires_at: float = float("inf")  # of the certificate, seconds since the Unix epoch


def anybody(address: str) -> Caller:
    return Caller("", ROLES, address)


# A method that takes a stream gets an async iterator of requests in place of the request.
UnaryHandler = Callable[[Any, Caller], Awaitable[Any]]
StreamHandler = Callable[[Any, Caller], AsyncGenerator[Any, None]]
Services = Mapping[str, Mapping[str, UnaryHandler | StreamHandler]]


@define(eq=False)
class Call:
    """One that runs. `reading_since`: its request has not arrived yet; Trio's time."""

    stream: Any
    task: asyncio.Task[Any] | None
    reading_since: float | None
    is_watch: bool = False  # it has no end of its own: whoever watches goes on elsewhere


@define
class Calls:
    """Makes grpclib's handlers of ours. `running` is what a server waits for when it stops."""

    bridge: Bridge
    loop: asyncio.AbstractEventLoop
    limits: Limits
    audit: Audit
    wall: Callable[[], float]  # seconds since the Unix epoch
    running: set[Call]

    def mapping(self, services: Services, health: Health) -> dict[str, Handler]:
        """By path."""
        found = {}
        for service, methods in services.items():
            for method, handler in methods.items():
                about = graft_pb2.DESCRIPTOR.services_by_name[service].methods_by_name[method]
                found[f"/{PACKAGE}.{service}/{method}"] = self._handler(
                    f"{service}/{method}",
                    handler,
                    CARDINALITIES[about.client_streaming, about.server_streaming],
                    getattr(graft_pb2, about.input_type.name),
                    getattr(graft_pb2, about.output_type.name),
                )
        request, reply = health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
        for method, handler, shape in (
            ("Check", health.check, Cardinality.UNARY_UNARY),
            ("Watch", health.watch, Cardinality.UNARY_STREAM),
        ):
            path = f"/grpc.health.v1.Health/{method}"
            found[path] = self._handler(f"Health/{method}", handler, shape, request, reply)
        return found

    def guard(self, method: str, handler: Handler) -> Handler:
        """A handler of grpclib's own (reflection), behind the same door."""

        async def guarded(stream: Any) -> None:
            self.authorise(method, stream._stream.connection.caller)
            await handler.func(stream)

        return handler._replace(func=guarded)

    def authorise(self, method: str, caller: Caller) -> None:
        """Raises GRPCError, after a record of it, when `caller` may not call `method`."""
        who = caller.identity or caller.address
        if self.wall() > caller.expires_at:
            text, reason, status = f"the certificate of {who} has expired", "expired", Status.UNAUTHENTICATED
        elif not may_call(method, caller.roles):
            roles = ", ".join(sorted(caller.roles))
            text, reason, status = f"{who} ({roles}) may not call {method}", "role", Status.PERMISSION_DENIED
        else:
            return
        self.audit(AuditRecord(reason, text, caller.address, caller.identity, tuple(sorted(caller.roles)), method))
        raise GRPCError(status, text)

    def _handler(
        self, method: str, function: Callable[..., Any], shape: Cardinality, request: type, reply: type
    ) -> Handler:
        serve = self._serve_stream if shape.server_streaming else self._serve_unary

        async def handle(stream: Stream[Any, Any]) -> None:
            h2_stream: Any = stream._stream
            caller = h2_stream.connection.caller
            call = Call(h2_stream, asyncio.current_task(), trio.current_time(), shape.server_streaming)
            self.running.add(call)
            try:
                self.authorise(method, caller)
                await serve(stream, call, function, caller, shape.client_streaming)
            except Exception as error:
                await self._answer_error(stream, method, unwrap(error))
            finally:
                self.running.discard(call)

        return Handler(handle, shape, request, reply)

    async def _answer_error(self, stream: Any, method: str, error: BaseException) -> None:
        if isinstance(error, GRPCError):
            raise error
        if isinstance(error, GraftError):
            return await self._fail(stream, status_of(error), error.message, {TRAILER: encode_error(error)})
        # What it was is ours to know: the log has it, the caller gets no traceback.
        log.error("%s failed", method, exc_info=error)
        await self._fail(stream, Status.INTERNAL, f"{method} failed inside; the server's log says why", {})

    async def _fail(self, stream: Any, status: Status, text: str, metadata: dict[str, Any]) -> None:
        if not stream._send_trailing_metadata_done and stream._stream.closable:
            await stream.send_trailing_metadata(status=status, status_message=text, metadata=metadata)

    async def _request(self, stream: Any, call: Call, caller: Caller, many: bool) -> tuple[Any, Any]:
        """The request, or an iterator of them and the task that reads them."""
        if many:
            call.reading_since = None
            requests: ToTrio[Any] = ToTrio(self.loop)
            return requests, self.loop.create_task(self._read(stream, caller, requests))
        request = await self._receive(stream, caller)
        call.reading_since = None
        if request is None:
            raise GRPCError(Status.INVALID_ARGUMENT, "the call ended without a request")
        return request, None

    async def _receive(self, stream: Any, caller: Caller) -> Any:
        """The next request, None at the end. One that is none leaves a record."""
        try:
            return await stream.recv_message()
        except GRPCError as error:
            method = stream._method_name.rpartition(".")[2]
            text = f"a message of {caller.identity or caller.address} to {method} was refused: {error.message}"
            roles = tuple(sorted(caller.roles))
            self.audit(AuditRecord("message", text, caller.address, caller.identity, roles, method))
            raise

    async def _read(self, stream: Any, caller: Caller, requests: ToTrio[Any]) -> None:
        try:
            while (request := await self._receive(stream, caller)) is not None:
                await requests.put(request)
        except Exception as error:
            requests.end(error)
        finally:
            requests.end()

    async def _serve_unary(
        self, stream: Any, call: Call, function: Callable[..., Any], caller: Caller, many: bool
    ) -> None:
        request, reader = await self._request(stream, call, caller, many)
        try:
            reply = await self.bridge.start(self._in_time, function, request, caller)
            await stream.send_message(reply)
        finally:
            if reader is not None:
                reader.cancel()

    async def _in_time(self, function: Callable[..., Awaitable[Any]], request: Any, caller: Caller) -> Any:
        with trio.move_on_after(self.limits.call_seconds):
            return await function(request, caller)
        raise GRPCError(Status.DEADLINE_EXCEEDED, f"no answer in {self.limits.call_seconds:g} s")

    async def _serve_stream(
        self, stream: Any, call: Call, function: Callable[..., Any], caller: Caller, many: bool
    ) -> None:
        request, reader = await self._request(stream, call, caller, many)
        replies: ToAsyncio[Any] = ToAsyncio(self.loop)
        producer = self.bridge.start(_produce, function, request, caller, replies)
        producer.add_done_callback(lambda done: replies.end())
        try:
            while batch := await replies.take():
                if not stream._send_message_done:
                    await stream.send_message(batch.pop(0))
                if batch:
                    await send_many(stream._stream, batch)
            await producer
        finally:
            producer.cancel()
            if reader is not None:
                reader.cancel()


def check_services(services: Services) -> None:
    """Raises ValueError for a service or method that graft.proto does not know."""
    for service, methods in services.items():
        descriptor = graft_pb2.DESCRIPTOR.services_by_name.get(service)
        unknown = set(methods) if descriptor is None else set(methods) - set(descriptor.methods_by_name)
        if descriptor is None or unknown:
            raise ValueError(f"graft.proto has no {service} {', '.join(sorted(unknown))}".strip())


async def _produce(function: StreamHandler, request: Any, caller: Caller, replies: ToAsyncio[Any]) -> None:
    async with aclosing(function(request, caller)) as items:
        async for item in items:
            await replies.put(item)
