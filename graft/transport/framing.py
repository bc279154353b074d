"""Messages in HTTP/2 data: a byte that says whether it is compressed, four of length, the message.

grpclib knows neither compression nor a bound on the length. Both of its modules call these functions instead of its
own; streams that are not ours (of somebody else's grpclib in this process) still get the originals.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import grpclib.client
import grpclib.server
import grpclib.stream
from google.protobuf.message import DecodeError
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from graft.transport.limits import MIB, Limits

HEADER = struct.Struct(">?I")
ALWAYS_ALLOWED_BYTES = 4 * MIB  # whatever a message was compressed to
GZIP_LEVEL = 1


def inflate(data: bytes, limits: Limits) -> bytes:
    """The content of a gzip member. Raises ValueError for what is none, and OverflowError for a bomb."""
    bound = min(limits.max_message_bytes, max(len(data) * limits.max_inflation, ALWAYS_ALLOWED_BYTES))
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        found = inflater.decompress(data, bound + 1)
    except zlib.error as error:
        raise ValueError(f"not gzip: {error}") from None
    if len(found) > bound or inflater.unconsumed_tail:
        raise OverflowError(f"{len(data)} bytes of gzip hold more than {bound} bytes")
    if not inflater.eof:
        raise ValueError("the gzip data are cut off")
    return found


def deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def frame(data: bytes, *, compress: bool = False) -> bytes:
    """One message with its header; compressed if that makes it smaller."""
    if compress and len(packed := deflate(data)) < len(data):
        return HEADER.pack(True, len(packed)) + packed
    return HEADER.pack(False, len(data)) + data


async def recv_message(stream: Any, codec: Any, message_type: Any) -> Any:
    limits: Limits | None = getattr(stream, "limits", None)
    if limits is None:
        return await _recv_message(stream, codec, message_type)
    try:
        header = await stream.recv_data(5)
        if not header:
            return None
        compressed, length = HEADER.unpack(header)
        if length > limits.max_message_bytes:
            bound = limits.max_message_bytes
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"a message of {length} bytes is larger than {bound}")
        data = await stream.recv_data(length)
    except AssertionError:  # grpclib's way to say that the stream ended inside of a message
        raise GRPCError(Status.INVALID_ARGUMENT, "the message is cut off") from None
    try:
        return codec.decode(inflate(data, limits) if compressed else data, message_type)
    except OverflowError as error:
        raise GRPCError(Status.RESOURCE_EXHAUSTED, str(error)) from None
    except (ValueError, DecodeError) as error:
        raise GRPCError(Status.INVALID_ARGUMENT, f"no {message_type.DESCRIPTOR.name}: {error}") from None


async def send_message(stream: Any, codec: Any, message: Any, message_type: Any, *, end: bool = False) -> None:
    limits: Limits | None = getattr(stream, "limits", None)
    if limits is None:
        return await _send_message(stream, codec, message, message_type, end=end)
    data = codec.encode(message, message_type)
    if len(data) > limits.max_message_bytes:
        bound = limits.max_message_bytes
        raise GRPCError(Status.RESOURCE_EXHAUSTED, f"a message of {len(data)} bytes is larger than {bound}")
    compress = stream.accepts_gzip and len(data) >= limits.compress_from_bytes
    await stream.send_data(frame(data, compress=compress), end_stream=end)


async def send_many(stream: Any, messages: Sequence[Any]) -> None:
    """Several messages of one stream in one write. Raises GRPCError for one that is too large."""
    limits: Limits = stream.limits
    frames = []
    for message in messages:
        data = message.SerializeToString()
        if len(data) > limits.max_message_bytes:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"a message of {len(data)} bytes is too large")
        frames.append(frame(data, compress=stream.accepts_gzip and len(data) >= limits.compress_from_bytes))
    await stream.send_data(b"".join(frames))


_recv_message, _send_message = grpclib.stream.recv_message, grpclib.stream.send_message
for _module in (grpclib.server, grpclib.client):
    _module.recv_message = recv_message  # type: ignore[attr-defined]
    _module.send_message = send_message  # type: ignore[attr-defined]
