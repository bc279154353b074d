"""Values as text: `str(x)`, `json(x)`, the `${…}` of a template, the `{…}` of an f-string.

A text is itself, everything else is its JSON: `true`, `null`, `2.5`, `[1,2]`. So a value reads the same in a message,
in an environment variable and in an answer of an API. Numbers are written as Python does: the shortest text that gives
the same number back.
"""

from __future__ import annotations

import json
import re
from typing import Any

from graft.errors import ExpressionError
from graft.expressions.budget import Meter

MAX_WIDTH = 1000
MAX_PRECISION = 100

_SPEC = re.compile(
    r"(?:(?P<fill>[^{}])?(?P<align>[<>=^]))?(?P<sign>[-+ ])?\#?0?(?P<width>\d+)?[,_]?(?:\.(?P<precision>\d+))?"
    r"(?P<type>[bdeEfFgGosxX%])?"
)

_plain = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))
_sorted = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"), sort_keys=True
)


def spec_problem(spec: str) -> str | None:
    """What is wrong with a format specification: the text behind the colon of `{x:>8.2f}`."""
    found = _SPEC.fullmatch(spec)
    if found is None:
        return "not a format specification: [[fill]align][sign][#][0][width][,][.precision][type]"
    if len(found["width"] or "") > 6 or int(found["width"] or 0) > MAX_WIDTH:
        return f"the width is more than {MAX_WIDTH}"
    if len(found["precision"] or "") > 6 or int(found["precision"] or 0) > MAX_PRECISION:
        return f"the precision is more than {MAX_PRECISION}"
    return None


def to_json(meter: Meter, value: Any, sort_keys: bool = False) -> str:
    """Compact JSON. Raises ExpressionError for what JSON cannot say."""
    expected = 2 * meter.visit(value)
    meter.spend(0, expected)
    try:
        text = (_sorted if sort_keys else _plain).encode(value)
    except (ValueError, TypeError) as error:
        raise ExpressionError(f"this has no JSON: {error}") from None
    if len(text) > expected:  # control characters take six characters each
        meter.spend(0, len(text) - expected)
    return text


def to_text(meter: Meter, value: Any) -> str:
    if type(value) is str:
        return value
    if type(value) is int and -(1 << 64) < value < 1 << 64:
        return str(value)
    return to_json(meter, value)


def to_formatted(meter: Meter, value: Any, spec: str) -> str:
    """`value` by a specification that `spec_problem` accepts. Bools, null, lists and tables are formatted as text."""
    plain = value if type(value) in (int, float) else to_text(meter, value)
    meter.spend(1, 49 + (len(plain) if isinstance(plain, str) else 400) + MAX_WIDTH)
    try:
        return format(plain, spec)
    except (ValueError, OverflowError) as error:
        raise ExpressionError(f"cannot format this with `{spec}`: {error}") from None
