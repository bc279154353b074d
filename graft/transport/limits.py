"""How much a stranger, a client or a peer may cost. One record, so that a test or an operator can turn any of it."""

from __future__ import annotations

from attrs import frozen

KIB, MIB = 1024, 1024 * 1024


@frozen
class Limits:
    """Sizes in bytes, times in seconds. Each bound is per connection unless it says otherwise."""

    max_message_bytes: int = 16 * MIB  # of one message, after decompression too
    max_inflation: int = 100  # a gzip message may be at most so many times its size (beyond 4 MiB): no bombs
    compress_from_bytes: int = 16 * KIB  # larger messages of calls go compressed, when the other side takes gzip
    max_connections: int = 2048  # of a server
    max_unready: int = 256  # connections of a server that have not shown who they are; a newer one ends the oldest
    max_streams: int = 256  # calls at a time
    max_calls: int = 4096  # calls at a time on a server
    max_unsent_bytes: int = 32 * MIB  # a connection that does not read what it is sent ends here
    max_controls: int = 2000  # control frames (pings, settings, resets) in ten seconds
    handshake_seconds: float = 10.0  # from connect to the end of TLS, and then to the HTTP/2 preface
    request_seconds: float = 30.0  # until a request has arrived in whole
    call_seconds: float = 60.0  # a unary call at most, whatever deadline it names; a client's default
    stall_seconds: float = 60.0  # bytes that wait to be taken by the other side
    idle_seconds: float = 600.0  # without a call, for others than members
    keepalive_seconds: float = 5.0  # a ping when there was none for so long
    keepalive_timeout_seconds: float = 5.0  # for its answer
    shutdown_seconds: float = 5.0  # that running calls get when the server stops
    connect_seconds: float = 5.0  # to dial, TLS included
    stream_window_bytes: int = 1 * MIB
    connection_window_bytes: int = 4 * MIB

    # Between members
    max_queued_messages: int = 1024  # for one peer; the oldest is dropped for a newer one
    max_queued_bytes: int = 32 * MIB
    max_batch_bytes: int = 256 * KIB  # messages that go in one write, though never less than one
    max_batch_messages: int = 512
    backoff_seconds: float = 0.05  # before the second attempt to dial; doubles
    max_backoff_seconds: float = 2.0
    breaker_failures: int = 3  # failed attempts in a row after which messages are dropped and not queued
