"""One stream between two members, at either end, without asyncio: bytes in by a call, bytes out by a Trio task.

grpclib's own streams cost several turns of the loop for every message; between members that would be most of what a
replicated command costs. So the parts that grpclib fills (`buffer`, `window_updated`, `headers_received`, `wrapper`)
are replaced by this object: what arrives is cut into messages and handed on while the socket is being read.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import trio
from grpclib.const import Status
from h2.errors import ErrorCodes
from h2.exceptions import H2Error

from graft.transport.framing import HEADER, inflate
from graft.transport.http2 import GraftProtocol, GraftStream, Headers

Take = Callable[[bytes], None]


class Ended(Exception):
    """The stream is over; the text says why."""


class _Signal:
    """What grpclib takes for an asyncio.Event: only ever set."""

    def __init__(self, then: Callable[[], None]) -> None:
        self.set = then


class PeerStream:
    """`ended` is set at the end, `why` says the reason. The first message is read with `first`, the others go on to
    what `deliver_to` names, from within the reading of the socket."""

    def __init__(self, protocol: GraftProtocol, stream: GraftStream, release: Callable[[], Any]) -> None:
        self.ended = trio.Event()
        self.why = ""
        self.on_end: Callable[[], None] = lambda: None
        self._protocol, self._stream, self._release = protocol, stream, release
        assert stream.id is not None
        self._id = stream.id
        self._limits = protocol.limits
        self._incoming = bytearray()
        self._early: list[bytes] = []
        self._take: Take | None = None
        self._woken = trio.Event()
        self._arrived = trio.Event()
        replaced: Any = stream
        replaced.buffer = replaced.wrapper = self
        replaced.window_updated = _Signal(self._wake)
        replaced.headers_received = _Signal(self._headers)
        replaced.trailers_received = _Signal(self._headers)
        protocol.on_writable.append(self._wake)

    @classmethod
    def open(cls, protocol: GraftProtocol, method: str) -> PeerStream:
        """The calling end. Raises H2Error when the connection takes no more streams, Ended when it is closed."""
        connection = protocol.connection
        if connection.is_closing():  # grpclib has forgotten its transport
            raise Ended("the connection is closed")
        stream = connection.create_stream()
        h2 = stream._h2_connection
        id = h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "https"),
            (":path", f"/graft.v1.{method}"),
            (":authority", "graft"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        h2.send_headers(id, headers)
        stream.init_stream(id, connection)
        found = cls(protocol, stream, protocol.processor.register(stream))
        connection.flush()
        return found

    # What grpclib calls

    def add(self, data: bytes, ack_size: int) -> None:
        """Data arrived. The window is given back at once: whoever is delivered to only queues."""
        if self._protocol.connection.is_closing():
            return
        self._stream._h2_connection.acknowledge_received_data(ack_size, self._id)
        buffer = self._incoming
        buffer += data
        while len(buffer) >= HEADER.size:
            compressed, length = HEADER.unpack_from(buffer)
            if length > self._limits.max_message_bytes:
                return self._protocol.refuse("message", f"a message of {length} bytes between members")
            end = HEADER.size + length
            if len(buffer) < end:
                break
            payload = bytes(memoryview(buffer)[HEADER.size : end])
            del buffer[:end]
            if compressed:
                try:
                    payload = inflate(payload, self._limits)
                except (ValueError, OverflowError) as error:
                    return self._protocol.refuse("message", str(error))
            self._hand_on(payload)

    def _hand_on(self, payload: bytes) -> None:
        if self.ended.is_set():
            return
        if self._take is not None:
            self._take(payload)
        else:
            self._early.append(payload)
            self._arrived.set()

    def eof(self) -> None:
        if self._incoming:
            self._protocol.problem("message", "a message between members is cut off")
        self._end(self._refusal() or "the other side ended the stream")

    def cancel(self, error: Exception) -> None:
        """The stream was reset, or the connection is lost."""
        self._end(self._refusal() or str(error))

    def unacked_size(self) -> int:
        return 0

    def _headers(self) -> None:
        if self._refusal():
            self._end(self._refusal())

    def _said(self) -> dict[str, str]:
        return dict([*(self._stream.headers or ()), *(self._stream.trailers or ())])

    def was_refused_with(self, status: Status) -> bool:
        return self._said().get("grpc-status") == str(status.value)

    def _refusal(self) -> str:
        """What the other side said in place of an answer."""
        values = self._said()
        status = values.get("grpc-status", "0")
        if status != "0":
            return f"{values.get('grpc-message', 'refused')} (status {status})"
        if values.get(":status", "200") != "200":
            return f"HTTP status {values[':status']}"
        return ""

    def _end(self, why: str) -> None:
        if not self.ended.is_set():
            self.why = why
            self.ended.set()
            self._arrived.set()
            self._wake()
            self.on_end()

    def _wake(self) -> None:
        self._woken.set()

    # What members call

    async def first(self) -> bytes:
        """The first message. Raises Ended."""
        await self._arrived.wait()
        if not self._early:
            raise Ended(self.why)
        return self._early.pop(0)

    def deliver_to(self, take: Take) -> None:
        self._take = take
        for payload in self._early:
            take(payload)
        self._early.clear()

    def answer(self) -> None:
        """The called end's headers: the stream is accepted. Raises Ended."""
        headers = [(":status", "200"), ("content-type", "application/grpc")]
        try:
            self._stream._h2_connection.send_headers(self._id, headers)
        except H2Error as error:  # the connection was closed meanwhile
            raise Ended(str(error)) from None

    def refuse(self, status: Status, text: str) -> None:
        """The called end's refusal, in place of `answer`."""
        headers: Headers = [(":status", "200"), ("content-type", "application/grpc")]
        headers += [("grpc-status", str(status.value)), ("grpc-message", _printable(text))]
        self._quietly(lambda: self._stream._h2_connection.send_headers(self._id, headers, end_stream=True))
        self.close()

    async def send(self, data: bytes) -> None:
        """Data that are framed. Waits for the other side's window and for our socket. Raises Ended."""
        while data := self.write(data):
            self._woken = trio.Event()
            await self._woken.wait()

    def write(self, data: bytes) -> bytes:
        """Data that are framed leave now, as far as the other side's window and our socket have room; the rest is
        returned. Raises Ended."""
        connection, h2, id = self._protocol.connection, self._stream._h2_connection, self._id
        while data:
            if self.ended.is_set() or connection.is_closing():
                raise Ended(self.why or "the connection is closed")
            try:
                room = min(h2.local_flow_control_window(id), h2.max_outbound_frame_size, len(data))
                if room <= 0 or not connection.write_ready.is_set():
                    break
                h2.send_data(id, data[:room])
            except H2Error as error:
                raise Ended(str(error)) from None
            connection.data_send_process()
            connection.flush()
            data = data[room:]
        return data

    async def is_carried_by_the_living(self, seconds: float) -> bool:
        """Whether the program at the other end answers now. Otherwise the connection is given up."""
        if not self.ended.is_set() and await self._protocol.answers(seconds):
            return True
        if not self.ended.is_set():
            self._protocol.goodbye(reason="another process has taken its place")
        return False

    def close(self) -> None:
        """Give the stream up; the connection stays."""
        self._end("closed here")
        if self._wake in self._protocol.on_writable:
            self._protocol.on_writable.remove(self._wake)
        if self._id in self._protocol.processor.streams:
            if self._stream.closable:
                self._quietly(lambda: self._stream._h2_connection.reset_stream(self._id, error_code=ErrorCodes.CANCEL))
            self._release()
        self._protocol.connection.flush()

    def _quietly(self, act: Callable[[], None]) -> None:
        with suppress(H2Error):  # it was over already
            act()


def _printable(text: str) -> str:
    return text.encode("ascii", "replace").decode().replace("\n", " ").replace("%", "%25")
