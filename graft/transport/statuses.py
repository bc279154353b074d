"""Graft's errors on the wire: a gRPC status for any client, and for ours the error itself in the trailers.

The trailer `graft-error-bin` is a msgpack map: `type` (a class of graft.errors), `message`, `hint`, and the fields that
the class has beside them. A class that this version does not know is raised as a GraftError with the same text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from grpclib.const import Status

from graft import errors
from graft.errors import Denied, GraftError, Rejected, Unreachable

TRAILER = "graft-error-bin"
MAX_TEXT = 4096  # characters of a message in a trailer: headers have a bound

# The first class that fits says the status.
STATUSES: tuple[tuple[type[GraftError], Status], ...] = (
    (errors.UnknownRun, Status.NOT_FOUND),
    (errors.RunConflict, Status.FAILED_PRECONDITION),
    (errors.UsageError, Status.INVALID_ARGUMENT),
    (errors.ExpressionError, Status.INVALID_ARGUMENT),
    (errors.PlanError, Status.INVALID_ARGUMENT),
    (errors.StoreFull, Status.RESOURCE_EXHAUSTED),
    (errors.Denied, Status.PERMISSION_DENIED),
    (errors.Unreachable, Status.UNAVAILABLE),
    (errors.GraftError, Status.INTERNAL),
)
REASONS: dict[str, Status] = {  # of a `Rejected`
    errors.NoRoom.REASON: Status.RESOURCE_EXHAUSTED,
    "version_too_old": Status.FAILED_PRECONDITION,
    "overloaded": Status.RESOURCE_EXHAUSTED,
    "too_large": Status.INVALID_ARGUMENT,
    "invalid": Status.INVALID_ARGUMENT,
}
FIELDS = ("reason", "leader", "where", "address", "sent", "pid")

_CLASSES: dict[str, type[GraftError]] = {
    name: found for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, GraftError)
}
# What a status means that came without our trailer: from grpclib, a proxy, or a server of another kind.
_DENIED = {Status.UNAUTHENTICATED: "unauthenticated", Status.PERMISSION_DENIED: "role"}
_UNREACHABLE = {Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.CANCELLED}


def status_of(error: GraftError) -> Status:
    if isinstance(error, Rejected):
        return REASONS.get(error.reason, Status.UNAVAILABLE)
    return next(status for kind, status in STATUSES if isinstance(error, kind))


def encode_error(error: GraftError) -> bytes:
    """The trailer's value."""
    fields = {name: getattr(error, name) for name in FIELDS if getattr(error, name, None) is not None}
    row = {"type": type(error).__name__, "message": error.message[:MAX_TEXT], "hint": error.hint, **fields}
    return msgspec.msgpack.encode(row)


def decode_error(data: bytes) -> GraftError:
    """Raises ValueError."""
    try:
        row = msgspec.msgpack.decode(data, type=dict[str, str | int | bool | None])
    except ValueError as error:
        raise ValueError(f"no error: {error}") from None
    kind = _CLASSES.get(str(row.get("type")), GraftError)
    # Not by its constructor: each has another one, and an older server may not fill all fields.
    found = kind.__new__(kind, str(row.get("message", "")))
    hint = row.get("hint")
    GraftError.__init__(found, str(row.get("message", "")), hint=None if hint is None else str(hint))
    for name in FIELDS:
        setattr(found, name, row.get(name))
    found.reason = str(row.get("reason") or "")  # type: ignore[attr-defined]
    if isinstance(found, errors.InvalidFlow):
        found.diagnostics = ()
    return found


def error_of(status: Status, message: str, trailers: Mapping[str, Any] | None, address: str) -> GraftError:
    """The error that a reply with this status stands for."""
    data = (trailers or {}).get(TRAILER)
    if isinstance(data, bytes):
        try:
            return decode_error(data)
        except ValueError:
            pass
    text = f"{address}: {message or status.name.lower().replace('_', ' ')}"
    if status in _DENIED:
        return Denied(text, reason=_DENIED[status])
    if status in _UNREACHABLE:
        return Unreachable(text, address=address)
    if status is Status.RESOURCE_EXHAUSTED:
        return Rejected(text, reason="overloaded")
    return GraftError(text)
