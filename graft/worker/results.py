"""Results of steps as JSON: encoded, checked against `returns`, bounded."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import PurePath
from typing import Any

import attrs
import msgspec
from attrs import frozen

from graft.plan.nesting import MAX_JSON_DEPTH, nests_deeper
from graft.plan.types import problems
from graft.worker.failures import StepFailure

EXCERPT_CHARS = 80
MAX_SEARCHED = 100_000  # containers looked at to find the part of a result that is to blame
MAX_DEPTH = 100


def _encode_other(value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__}")


MAX_DIGITS = 4300  # of an integer, as of Python's
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?Infinity|NaN|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?')
_encoder = msgspec.json.Encoder(enc_hook=_encode_other)
_DURATION = re.compile(rb'"-?P[0-9T]')  # how msgspec writes a timedelta; ours are seconds


def _in_seconds(value: Any) -> Any:
    """`value`, which is made of JSON's types and timedeltas, with numbers for the timedeltas."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, dict):
        return {key: _in_seconds(each) for key, each in value.items()}
    return [_in_seconds(each) for each in value] if isinstance(value, (list, tuple)) else value


def encode_result(value: Any, returns: Any | None, max_bytes: int) -> bytes:
    """`value` as JSON. Attrs classes, dataclasses, dates, sets, enums … become what JSON has for them.

    Raises StepFailure: `output_schema` when it has no JSON form or is not of the type `returns`, `too_large`.
    """
    try:
        data = _encoder.encode(value)
        _check_keys(value, data)
        if _DURATION.search(data):
            data = _encoder.encode(
                _in_seconds(msgspec.to_builtins(value, builtin_types=(timedelta,), enc_hook=_encode_other))
            )
    except StepFailure:
        raise
    except Exception as error:
        raise _not_json(value, error) from None
    if b"null" in data and value is not None and (found := _find(value, _is_not_finite, "", set())):
        raise StepFailure("output_schema", f"the result{found[0]} is not a finite number, which JSON cannot hold")
    check_size(len(data), max_bytes)
    if nests_deeper(data, MAX_JSON_DEPTH):
        raise StepFailure("output_schema", f"the result nests deeper than {MAX_JSON_DEPTH} levels")
    if returns is not None:
        misfits = problems(returns, msgspec.json.decode(data))
        if misfits:
            title = f"the result does not fit `returns`: {misfits[0]}"
            raise StepFailure("output_schema", title, "\n".join(misfits[1:]))
    return data


def _check_keys(value: Any, data: bytes) -> None:
    """Raise StepFailure when two keys of a table have one text in JSON (`1` and `"1"`): one value would be lost.

    `data` is `value` encoded, which has both then; what is decoded from it has one, and is shorter.
    """
    if data.count(b":") < 2 or len(_encoder.encode(msgspec.json.decode(data))) == len(data):
        return
    if found := _find(value, _has_equal_keys, "", set(), containers=True):
        path, table = found
        keys = " and ".join(map(repr, _equal_keys(table)))
        raise StepFailure(
            "output_schema",
            f"the result{path} has keys that become the same text: {keys}",
            "keys are text in JSON, so one of the values would be lost; make the keys text yourself",
        )


def _equal_keys(table: dict[Any, Any]) -> tuple[Any, ...]:
    """The first two keys that are one text in JSON, or nothing."""
    seen: dict[str, Any] = {}
    for key in table:
        text = key if type(key) is str else next(iter(msgspec.json.decode(_encoder.encode({key: None}))))
        if text in seen:
            return (seen[text], key)
        seen[text] = key
    return ()


def _has_equal_keys(value: Any) -> bool:
    return isinstance(value, dict) and bool(_equal_keys(value))


@frozen
class Encoded:
    """A result that is JSON already, checked and within bounds."""

    data: bytes


def check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise StepFailure(
            "too_large",
            f"the result has {size} bytes; the limit is {max_bytes}",
            'write it to a file and return its path; of a command, `output = "file"` does that',
        )


def decode_json(data: bytes, what: str) -> Any:
    """The value of a JSON text that a step printed or a server sent. Raises StepFailure `output_schema`."""
    if not data.strip():
        raise StepFailure("output_schema", f"{what} is empty, not JSON")
    if nests_deeper(data, MAX_JSON_DEPTH):
        raise StepFailure("output_schema", f"{what} is JSON that nests deeper than {MAX_JSON_DEPTH} levels")
    try:
        return msgspec.json.decode(data)
    except ValueError as error:  # of msgspec or of UTF-8: which one tells of bytes that are not text changed in 0.23
        try:
            reason, position = _why_not_json(data.decode(), str(error))
        except UnicodeDecodeError as error:
            raise StepFailure("output_schema", f"{what} is not UTF-8 text: byte {error.start}") from None
    line = data.count(b"\n", 0, position) + 1
    column = position - data.rfind(b"\n", 0, position)
    title = f"{what} is not JSON: {reason} at line {line}, column {column}"
    raise StepFailure("output_schema", title, _excerpt(data, position))


def lines_of(text: str) -> list[str]:
    """The lines of `output = "lines"`: each ends with `\\n` or `\\r\\n`, and with nothing else that Python knows."""
    text = text.removesuffix("\n")
    return [line.removesuffix("\r") for line in text.split("\n")] if text else []


def _why_not_json(text: str, message: str) -> tuple[str, int]:
    """What is wrong and at which byte. The standard library says it better, and msgspec's offsets are not exact."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.msg.lower(), len(text[: error.pos].encode())
    except (RecursionError, ValueError):  # an integer of thousands of digits
        pass
    for token in _TOKEN.finditer(text):
        if (reason := _why_not_token(token[0])) is not None:
            return reason, len(text[: token.start()].encode("utf-8", "surrogatepass"))
    return message.removeprefix("JSON is malformed: "), 0


def _why_not_token(token: str) -> str | None:
    """What is wrong with a value that only the standard library takes, or that it takes for something else."""
    if token.startswith('"'):
        try:
            json.loads(token, strict=False).encode()
        except UnicodeEncodeError:
            return "a text has half of a surrogate pair"
        return None
    if token.strip("-") in ("NaN", "Infinity"):
        return f"{token} is not a value of JSON,"
    if len(token) > MAX_DIGITS:
        return f"a number has {len(token)} digits,"
    return "a number is too large," if math.isinf(float(token)) else None


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
    if found := _find(value, _has_foreign_key, "", set(), containers=True):
        path, table = found
        key = next(each for each in table if _has_no_json({each: None}))
        title = f"the result{path} has the key {key!r}, a {_kind(key)}: keys are text in JSON"
        return StepFailure("output_schema", title, "make the keys text, or return a list of pairs")
    path, culprit = _find(value, _has_no_json, "", set()) or ("", value)
    kind = _kind(culprit)
    hint = _hint(kind) if _parts(culprit) is None and isinstance(error, TypeError) else str(error)
    return StepFailure("output_schema", f"the result{path} is a {kind} that has no JSON form", hint)


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


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


def _has_foreign_key(value: Any) -> bool:
    return isinstance(value, dict) and any(type(key) is not str and _has_no_json({key: None}) for key in value)


def _is_not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _find(
    value: Any, guilty: Callable[[Any], bool], path: str, seen: set[int], *, containers: bool = False
) -> tuple[str, Any] | None:
    """Path (`.lines[3].price`) and value of the first innermost part of `value` that is `guilty`.

    `containers`: ask about them, too, and before what is in them.
    """
    if id(value) in seen or len(seen) > MAX_SEARCHED or path.count(".") + path.count("[") > MAX_DEPTH:
        return None
    parts = _parts(value)
    if parts is None:
        return (path, value) if guilty(value) else None
    seen.add(id(value))
    if containers and guilty(value):
        return path, value
    for step, part in parts:
        if (found := _find(part, guilty, path + step, seen, containers=containers)) is not None:
            return found
    return None


def _parts(value: Any) -> list[tuple[str, Any]] | None:
    """What is inside a container; None when `value` is not one."""
    if isinstance(value, dict):
        return [(f".{key}" if isinstance(key, str) else f"[{key!r}]", each) for key, each in value.items()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [(f"[{index}]", each) for index, each in enumerate(value)]
    if isinstance(value, msgspec.Struct):
        return [(f".{name}", getattr(value, name, None)) for name in value.__struct_fields__]
    if attrs.has(type(value)):
        return [(f".{each.name}", getattr(value, each.name, None)) for each in attrs.fields(type(value))]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(f".{each.name}", getattr(value, each.name, None)) for each in dataclasses.fields(value)]
    return None
