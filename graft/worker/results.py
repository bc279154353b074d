"""Results of steps as JSON: encoded, checked against `returns`, bounded."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import attrs
import msgspec
from attrs import frozen

from graft.plan.types import problems
from graft.worker.failures import StepFailure

EXCERPT_CHARS = 80
MAX_SEARCHED = 100_000  # containers looked at to find the part of a result that is to blame
MAX_DEPTH = 100


def _encode_other(value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__}")


_encoder = msgspec.json.Encoder(enc_hook=_encode_other)


def encode_result(value: Any, returns: Any | None, max_bytes: int) -> bytes:
    """`value` as JSON. Attrs classes, dataclasses, dates, sets, enums … become what JSON has for them.

    Raises StepFailure: `output_schema` when it has no JSON form or is not of the type `returns`, `too_large`.
    """
    try:
        data = _encoder.encode(value)
    except Exception as error:
        raise _not_json(value, error) from None
    if b"null" in data and (found := _find(value, _is_not_finite, "", set())):
        raise StepFailure("output_schema", f"the result{found[0]} is not a finite number, which JSON cannot hold")
    check_size(len(data), max_bytes)
    if returns is not None:
        misfits = problems(returns, msgspec.json.decode(data))
        if misfits:
            title = f"the result does not fit `returns`: {misfits[0]}"
            raise StepFailure("output_schema", title, "\n".join(misfits[1:]))
    return data


@frozen
class Encoded:
    """A result that is JSON already, checked and within bounds."""

    data: bytes


def check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise StepFailure(
            "too_large",
            f"the result has {size} bytes; the limit is {max_bytes}",
            "write it to a file and return its path, or raise the limit (max_result_bytes)",
        )


def decode_json(data: bytes, what: str) -> Any:
    """The value of a JSON text that a step printed or a server sent. Raises StepFailure `output_schema`."""
    if not data.strip():
        raise StepFailure("output_schema", f"{what} is empty, not JSON")
    try:
        return msgspec.json.decode(data)
    except UnicodeDecodeError as error:
        raise StepFailure("output_schema", f"{what} is not UTF-8 text: byte {error.start}") from None
    except RecursionError:
        raise StepFailure("output_schema", f"{what} is JSON that nests too deep") from None
    except msgspec.DecodeError as error:
        position = _position(str(error), len(data))
        line = data.count(b"\n", 0, position) + 1
        column = position - (data.rfind(b"\n", 0, position) + 1) + 1
        reason = str(error).removeprefix("JSON is malformed: ").partition(" (byte")[0]
        raise StepFailure(
            "output_schema", f"{what} is not JSON: {reason} at line {line}, column {column}", _excerpt(data, position)
        ) from None


def _position(message: str, size: int) -> int:
    """Where msgspec found the problem: it says `… (byte 12)`; a text that is cut off ends there."""
    _, _, rest = message.rpartition("(byte ")
    digits = rest.rstrip(")")
    return min(int(digits), size) if digits.isdigit() else size


def _excerpt(data: bytes, position: int) -> str:
    """The line around `position`, with a caret under it."""
    start = max(data.rfind(b"\n", 0, position) + 1, position - EXCERPT_CHARS // 2)
    end = data.find(b"\n", position)
    end = min(len(data) if end < 0 else end, start + EXCERPT_CHARS)
    before = data[start:position].decode("utf-8", "replace")
    return f"{before}{data[position:end].decode('utf-8', 'replace')}\n{' ' * len(before)}^"


def _not_json(value: Any, error: Exception) -> StepFailure:
    if isinstance(error, RecursionError):
        return StepFailure("output_schema", "the result contains itself or nests too deep")
    path, culprit = _find(value, _has_no_json, "", set()) or ("", value)
    kind = f"{type(culprit).__module__}.{type(culprit).__qualname__}".removeprefix("builtins.")
    hint = _hint(kind) if _parts(culprit) is None and isinstance(error, TypeError) else str(error)
    return StepFailure("output_schema", f"the result{path} is a {kind} that has no JSON form", hint)


def _hint(kind: str) -> str:
    if kind.startswith("numpy."):
        return "convert it: `x.tolist()` for an array, `x.item()` for a number"
    if kind.startswith("pandas."):
        return 'convert it: `frame.to_dict("records")`, `series.tolist()`'
    return "return numbers, text, lists, tables, dates, attrs classes or dataclasses"


def _has_no_json(value: Any) -> bool:
    try:
        _encoder.encode(value)
    except Exception:
        return True
    return False


def _is_not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _find(value: Any, guilty: Callable[[Any], bool], path: str, seen: set[int]) -> tuple[str, Any] | None:
    """Path (`.lines[3].price`) and value of the first innermost part of `value` that is `guilty`."""
    if id(value) in seen or len(seen) > MAX_SEARCHED or path.count(".") + path.count("[") > MAX_DEPTH:
        return None
    parts = _parts(value)
    if parts is None:
        return (path, value) if guilty(value) else None
    seen.add(id(value))
    for step, part in parts:
        if (found := _find(part, guilty, path + step, seen)) is not None:
            return found
    return None


def _parts(value: Any) -> list[tuple[str, Any]] | None:
    """What is inside a container; None when `value` is not one."""
    if isinstance(value, dict):
        return [(f".{key}" if isinstance(key, str) else f"[{key!r}]", each) for key, each in value.items()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [(f"[{index}]", each) for index, each in enumerate(value)]
    if attrs.has(type(value)):
        return [(f".{each.name}", getattr(value, each.name, None)) for each in attrs.fields(type(value))]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(f".{each.name}", getattr(value, each.name, None)) for each in dataclasses.fields(value)]
    return None
