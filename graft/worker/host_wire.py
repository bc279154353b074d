"""What a member and its worker hosts say to each other, over one socket pair for each host.

A frame is four bytes of length (big-endian) and one msgpack array, whose first element is a tag. The member's frames
are trusted. Those of a host are not: a step shares the host's process and may write to its socket. So a host says only
five things, each is checked field by field, and a frame that is not exactly one of them is the end of that host.

Member to host::

    [HELLO, settings]                             once, first
    [NODE, number, node]                          a node, as JSON; later frames name it by its number
    [FORGET, number]                              that node is not named again
    [START, attempt, node, fields…]               see `start_frame`
    [CANCEL, attempt]
    [DROP, run_no]                                the run ended
    [PING, number]
    [LEASE, seconds of CLOCK_BOOTTIME or nil]
    [STOP, grace_ms or nil]                       stop all attempts, settle none of them, and end

Host to member::

    [READY]                                       once, first
    [SETTLED, attempt, status, value, error, retry_after_ms]
    [PONG, number]
    [TAKEN, attempts]                             they are about to begin
    [LATE, attempts]                              they were not begun, for their START was read too late

A host whose loop does not turn has frames in its socket that nobody reads; the attempts in them should run elsewhere,
once. So START says until when it may be begun (CLOCK_MONOTONIC, one for the machine). A host puts TAKEN into the socket
first, looks at the clock then, and begins only when it is not late. So an attempt of which the member, after that time,
finds no TAKEN in the socket will never begin there, and can be handed out again.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast, get_args

import attrs
import msgspec
from attrs import frozen

from graft.errors import AbsentValue, ExpressionError
from graft.expressions import ProgramCache
from graft.plan import ErrorRecord, Node, Secret
from graft.plan.nesting import MAX_JSON_DEPTH, nests_deeper
from graft.worker.assignment import Assignment, Outcome, OutcomeStatus
from graft.worker.failures import DETAIL_CHARS, TITLE_CHARS, shorten

HELLO, NODE, FORGET, START, CANCEL, DROP, PING, LEASE, STOP = range(9)
READY, SETTLED, PONG, TAKEN, LATE = range(5)

STATUSES: Final = frozenset(get_args(OutcomeStatus))
MAX_ERROR_BYTES = 256 * 1024  # of an error with all its causes; with more, the causes are left out
FRAME_MARGIN = 4 * 1024 * 1024  # a frame of a host: the largest result, and this for all else
MAX_RETRY_AFTER_MS = 1 << 53

_HEAD = struct.Struct("!I")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_encode_json = msgspec.json.Encoder().encode
_json = msgspec.json.Decoder().decode


class HostileFrame(ValueError):
    """The other side does not speak this protocol."""


def frame(*message: Any) -> bytes:
    """Raises OverflowError, ValueError (UnicodeEncodeError), TypeError when a value has no msgpack form."""
    data = _encode(message)
    return _HEAD.pack(len(data)) + data


class FrameReader:
    """Bytes as they come, to messages. `limit` (bytes) may be changed between calls."""

    def __init__(self, limit: int = 0xFFFFFFFF) -> None:
        self.limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[list[Any]]:
        """The messages that are whole now. Raises HostileFrame."""
        buffer = self._buffer
        buffer += data
        messages = []
        at = 0
        while len(buffer) - at >= 4:
            (length,) = _HEAD.unpack_from(buffer, at)
            if length > self.limit:
                raise HostileFrame(f"a frame of {length} bytes; the limit is {self.limit}")
            end = at + 4 + length
            if end > len(buffer):
                break
            messages.append(_message(buffer[at + 4 : end]))
            at = end
        del buffer[:at]
        return messages


def _message(data: bytearray) -> list[Any]:
    try:
        message = _decode(data)
    except (ValueError, RecursionError) as error:
        raise HostileFrame(f"a frame that is not msgpack: {error}") from None
    if type(message) is not list or not message or type(message[0]) is not int:
        raise HostileFrame("a frame without a tag")
    return message


# An attempt on its way to a host


def start_frame(number: int, node: int, names: tuple[str, ...], a: Assignment, begin_by: float) -> bytes:
    """Looks up what the attempt reads. Raises what `frame` raises, and whatever a look-up raises by mistake."""
    values, absent = {}, {}
    for name in names:
        try:
            values[name] = a.lookup(name)
        except ExpressionError as error:  # only a matter when the value is asked for: `default()` may stand in
            absent[name] = (error.message, error.hint)
    secrets = [(each.name, each.source, each.ref) for each in a.secrets.values()]
    return frame(
        START,
        number,
        node,
        begin_by,
        a.run_id,
        a.key,
        a.token,
        a.attempt,
        a.path,
        _encode_json(values),  # they came out of JSON; msgpack has no integers of more than 64 bits
        absent,
        secrets,
        os.fsencode(a.base),
        a.idempotency_key,
        a.max_result_bytes,
        list(a.hidden),
    )


@frozen(eq=False)
class Given:
    """The look-up of an attempt in a host: the values that came with it."""

    values: Mapping[str, Any]
    absent: Mapping[str, tuple[str, str | None]]

    def __call__(self, name: str) -> Any:
        try:
            return self.values[name]
        except KeyError:
            message, hint = self.absent.get(name, (f"{name} did not come with the step", None))
            raise AbsentValue(message, hint=hint) from None


def read_start(message: list[Any], node: Node, programs: ProgramCache) -> Assignment:
    _, _, _, _, run_id, key, token, attempt, path, values, absent, secrets, base, *rest = message
    idempotency_key, max_bytes, hidden = rest
    return Assignment(
        run_id=run_id,
        key=(key[0], key[1], key[2]),
        token=token,
        attempt=attempt,
        path=path,
        node=node,
        lookup=Given(_json(values), absent),
        secrets={name: Secret(name, source, ref) for name, source, ref in secrets},
        base=Path(os.fsdecode(base)),
        idempotency_key=idempotency_key,
        programs=programs,
        max_result_bytes=max_bytes,
        hidden=frozenset(hidden),
    )


def read_numbers(message: list[Any]) -> list[int]:
    """Of TAKEN and LATE. Raises HostileFrame."""
    numbers = message[1] if len(message) == 2 else None
    if type(numbers) is not list or not numbers or not all(type(each) is int for each in numbers):
        raise HostileFrame("a list of attempts that is none")
    return numbers


# An outcome on its way back


def settled_frame(number: int, outcome: Outcome) -> bytes:
    error = outcome.error
    if error is not None and len(_encode(error)) > MAX_ERROR_BYTES:
        error = attrs.evolve(error, cause=())
    return frame(SETTLED, number, outcome.status, outcome.value, error, outcome.retry_after_ms)


def read_settled(message: list[Any], a: Assignment) -> Outcome:
    """The outcome of `a`. Raises HostileFrame when it is not one.

    The value goes into the replicated log, where a text that is not JSON would harm every member; so it is read here.
    """
    if len(message) != 6:
        raise HostileFrame("an outcome without all its fields")
    _, _, status, value, error, retry_after_ms = message
    if type(status) is not str or status not in STATUSES or (value is not None) != (status == "succeeded"):
        raise HostileFrame(f"an outcome that is none: {status!r:.40}")
    if retry_after_ms is not None and not (
        type(retry_after_ms) is int and 0 <= retry_after_ms < MAX_RETRY_AFTER_MS and status == "failed"
    ):
        raise HostileFrame("a wait that is no number of milliseconds")
    if status == "succeeded":
        if error is not None:
            raise HostileFrame("a success with an error")
        _check_value(value, a.max_result_bytes)
        return Outcome("succeeded", value)
    record = None if error is None else _record(error, a)
    if record is None and status in ("failed", "skipped", "timed_out"):
        raise HostileFrame(f"{status} without an error")
    return Outcome(cast(OutcomeStatus, status), error=record, retry_after_ms=retry_after_ms)


def _check_value(value: Any, limit: int) -> None:
    if type(value) is not bytes or len(value) > limit:
        raise HostileFrame(f"a result that is no JSON text of at most {limit} bytes")
    if nests_deeper(value, MAX_JSON_DEPTH):
        raise HostileFrame(f"a result that nests deeper than {MAX_JSON_DEPTH} levels")
    try:
        _json(value)
    except ValueError as error:
        raise HostileFrame(f"a result that is not JSON: {error}") from None


def _record(error: Any, a: Assignment) -> ErrorRecord:
    """The error as the host told it, within the bounds that every error of a step has, and of this attempt."""
    try:
        record = msgspec.convert(error, ErrorRecord)
    except (msgspec.ValidationError, RecursionError) as problem:
        raise HostileFrame(f"an error that is none: {problem}") from None
    cause = record.cause if len(_encode(record)) <= MAX_ERROR_BYTES else ()
    return ErrorRecord(
        type=record.type[:TITLE_CHARS],
        title=_bounded(record.title, TITLE_CHARS),
        detail=_bounded(record.detail, DETAIL_CHARS),
        node=a.path,
        attempt=a.attempt,
        cause=cause,
    )


def _bounded(text: str, limit: int) -> str:
    """`shorten` adds a note to what it keeps, so a text that it made is a little longer than the limit."""
    return text if len(text) <= limit + 60 else shorten(text, limit)
