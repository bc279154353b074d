"""grpclib's HTTP/2 with the bounds that it lacks.

A server tells the other side its own limits, counts control frames (pings, settings, resets: floods of them are how
HTTP/2 servers are attacked), survives frames and events that grpclib does not know, and speaks of gzip in its headers.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from itertools import count
from typing import Any

import trio
from grpclib.config import Configuration
from grpclib.protocol import AbstractHandler, Connection, EventsProcessor, H2Protocol, Stream
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    PingReceived,
    RemoteSettingsChanged,
    StreamReset,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from graft.transport.alerts import UNWANTED, alert_of
from graft.transport.limits import Limits
from graft.transport.sockets import SocketTransport

log = logging.getLogger(__name__)

CONTROLS = (PingReceived, RemoteSettingsChanged, StreamReset)
CONTROL_SECONDS = 10.0
MAX_FRAME_BYTES = 256 * 1024
MAX_HEADER_BYTES = 32 * 1024
SMALL_BYTES = 128  # a piece of a large message is larger

_numbers = count(1 << 62)  # none that grpclib's own pings carry

Headers = list[tuple[str, str]]
Problem = Callable[[str, str], None]  # reason, text


def configuration(limits: Limits) -> Configuration:
    return Configuration(
        _keepalive_time=limits.keepalive_seconds,
        _keepalive_timeout=limits.keepalive_timeout_seconds,
        _keepalive_permit_without_calls=True,
        _http2_max_pings_without_data=0,  # no bound
        _http2_min_sent_ping_interval_without_data=limits.keepalive_seconds / 2,
        http2_connection_window_size=limits.connection_window_bytes,
        http2_stream_window_size=limits.stream_window_bytes,
    )


def _h2_config(client_side: bool) -> H2Configuration:
    """What grpclib takes, but what arrives at a server is checked: headers of strangers are not to be trusted."""
    return H2Configuration(
        client_side=client_side,
        header_encoding="ascii",
        validate_inbound_headers=not client_side,
        validate_outbound_headers=False,
        normalize_inbound_headers=False,
        normalize_outbound_headers=False,
    )


class GraftStream(Stream):
    """`accepts_gzip`: the other side reads compressed messages. `limits`: of the connection, for whoever reads."""

    limits: Limits
    accepts_gzip = False

    async def send_headers(self, headers: Headers, end_stream: bool = False) -> None:
        if headers and headers[0][0] == ":status":
            headers = [*headers, ("grpc-accept-encoding", "identity,gzip")]
            if all(name != "content-type" for name, _ in headers):  # grpclib forgets it where it refuses
                headers.append(("content-type", "application/grpc"))
            if self.accepts_gzip:
                headers.append(("grpc-encoding", "gzip"))
        await super().send_headers(headers, end_stream)

    async def send_request(self, headers: Headers, end_stream: bool = False, **more: Any) -> Callable[[], None]:
        self.accepts_gzip = True  # every member reads it
        headers = [*headers, ("grpc-encoding", "gzip"), ("grpc-accept-encoding", "identity,gzip")]
        return await super().send_request(headers, end_stream, **more)


class GraftConnection(Connection):
    limits: Limits
    caller: Any = None  # at a server: who is at the other end

    def create_stream(self, **arguments: Any) -> GraftStream:
        stream = GraftStream(self, self._connection, self._transport, **arguments)
        stream.limits = self.limits
        return stream

    def flush(self) -> None:
        if not self.is_closing():  # grpclib forgets to ask
            super().flush()


class _Processor(EventsProcessor):
    def process(self, event: Event) -> None:
        process = getattr(self, "processors", {}).get(type(event))
        if process is not None:  # others are legal: informational headers, frames from the future
            process(event)

    def process_data_received(self, event: DataReceived) -> None:
        if event.flow_controlled_length:  # grpclib takes an empty frame for the end
            super().process_data_received(event)


class GraftProtocol(H2Protocol):
    """One connection. `problem` is told why it is closed when the other side is to blame.

    `alert`: what the other side's TLS said last (`UNKNOWN_CA`, …). `farewell`: why it does not want our certificate.
    """

    transport: SocketTransport
    processor: EventsProcessor
    connection: GraftConnection

    def __init__(self, handler: AbstractHandler, limits: Limits, *, client_side: bool, problem: Problem) -> None:
        super().__init__(handler, _configuration(limits, client_side), _h2_config(client_side))
        self.limits, self.problem = limits, problem
        self.ready = trio.Event()  # the other side has spoken HTTP/2
        self.lost = trio.Event()
        self.last_active = trio.current_time()
        self.on_writable: list[Callable[[], None]] = []
        self._asked: dict[bytes, trio.Event] = {}  # pings of `answers`, by what they carry
        self.alert = ""
        self.farewell: bytes | None = None
        self._controls, self._counting_since = 0, trio.current_time()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        limits, h2 = self.limits, H2Connection(config=self.h2_config)
        h2.local_settings = Settings(
            client=self.h2_config.client_side,
            initial_values={
                SettingCodes.HEADER_TABLE_SIZE: 4096,
                SettingCodes.MAX_CONCURRENT_STREAMS: limits.max_streams,
                SettingCodes.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
                SettingCodes.MAX_FRAME_SIZE: MAX_FRAME_BYTES,
                SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES,
                SettingCodes.ENABLE_PUSH: 0,
            },
        )
        h2.max_inbound_frame_size = MAX_FRAME_BYTES
        h2.decoder.max_header_list_size = MAX_HEADER_BYTES
        h2.initiate_connection()
        h2.increment_flow_control_window(limits.connection_window_bytes - 65535)
        self.connection = GraftConnection(h2, transport, config=self.config)
        self.connection.limits = limits
        self.connection.flush()
        self.connection.initialize()
        self.processor = _Processor(self.handler, self.connection)

    def data_received(self, data: bytes) -> None:
        if self.connection.is_closing():
            return
        self.last_active = trio.current_time()
        try:
            events = self.connection.feed(data)
        except (H2Error, ValueError, IndexError, KeyError) as error:
            return self.refuse("protocol", f"it does not speak HTTP/2: {error}")
        if any(map(self._is_farewell, events)):
            return self.processor.close("our certificate was refused")
        if events:
            self.ready.set()
        elif len(data) < SMALL_BYTES:
            self._controls += 1  # frames for streams that are over, or a few bytes at a time
        if self._announces_too_much():
            return self.refuse("protocol", f"it announced a frame of more than {MAX_FRAME_BYTES} bytes")
        self.connection.flush()
        for event in events:
            if isinstance(event, CONTROLS) or (isinstance(event, DataReceived) and not event.data):
                self._controls += 1
            if isinstance(event, PingAckReceived) and event.ping_data in self._asked:
                self._asked[event.ping_data].set()
            try:
                self.processor.process(event)
            except Exception:  # of grpclib or a peer's stream: this connection's end and nobody else's
                log.exception("connection of %s", self.transport.address)
                return self.refuse("internal", "an event of its connection could not be handled")
        self.connection.flush()
        if self._controls > self.limits.max_controls:
            if self.last_active - self._counting_since < CONTROL_SECONDS:
                return self.refuse("flood", f"more than {self.limits.max_controls} control frames in ten seconds")
            self._controls, self._counting_since = 0, self.last_active

    def _is_farewell(self, event: Event) -> bool:
        if not isinstance(event, ConnectionTerminated) or event.error_code != UNWANTED or self.ready.is_set():
            return False
        self.farewell = event.additional_data or b""
        return True

    def _announces_too_much(self) -> bool:
        """h2 looks at a frame's length when all of it is there, which may be 16 MiB."""
        waiting = self.connection._connection.incoming_buffer._data
        return len(waiting) >= 9 and int.from_bytes(waiting[:3], "big") > MAX_FRAME_BYTES

    async def answers(self, seconds: float) -> bool:
        """Whether the program at the other end lives: it answers a ping that is sent now. A kernel answers none."""
        data = next(_numbers).to_bytes(8, "big")
        answered = self._asked[data] = trio.Event()
        try:
            if self.lost.is_set() or self.connection.is_closing():
                return False
            self.connection._connection.ping(data)
            self.connection.flush()
            with trio.move_on_after(seconds):
                await answered.wait()
        except H2Error:
            pass  # it is not open any more
        finally:
            del self._asked[data]
        return answered.is_set()

    def resume_writing(self) -> None:
        super().resume_writing()
        for wake in self.on_writable:
            wake()

    def refuse(self, reason: str, text: str) -> None:
        """End the connection, and say why to `problem`."""
        self.problem(reason, text)
        self.goodbye(ErrorCodes.PROTOCOL_ERROR, text)

    def goodbye(self, code: ErrorCodes = ErrorCodes.NO_ERROR, reason: str = "closed here") -> None:
        """GOAWAY, and the end of all streams."""
        if not self.connection.is_closing():
            try:
                self.connection._connection.close_connection(code)
                self.connection.flush()
            except H2Error:
                pass  # it was not open any more
        self.processor.close(reason)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.alert = alert_of(exc)
        if self.alert:
            self.problem("tls", f"it ended the connection with the alert {self.alert.lower().replace('_', ' ')}")
        elif isinstance(exc, ssl.SSLError):
            self.problem("tls", f"what it sent was changed or repeated on the way: {exc.reason or exc}")
        if hasattr(self, "processor"):
            self.processor.close("Connection lost")
        self.lost.set()


def _configuration(limits: Limits, client_side: bool) -> Configuration:
    found = configuration(limits)
    return found.__for_client__() if client_side else found.__for_server__()


__all__ = ["GraftConnection", "GraftProtocol", "GraftStream", "Headers"]
