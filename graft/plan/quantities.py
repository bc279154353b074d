"""Numbers, durations and sizes: how they are written, and how large they may be. One place for all who carry them.

Whole numbers in flow files are TOML's, of 64 bits; values may be larger, up to what has a finite float. A duration of
more than a century is a mistake, and everything below fits the 64-bit milliseconds of timers.
"""

from __future__ import annotations

import re
from typing import Any

MAX_INT_BITS = 1023
"""Of a value: each integer has a finite float, and JSON of it is read everywhere."""

MAX_INT64, MIN_INT64 = 2**63 - 1, -(2**63)

DURATION_UNITS: dict[str, int] = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
"""Milliseconds of a unit."""

SIZE_UNITS: dict[str, int] = {
    "": 1,
    "b": 1,
    **{unit: 1000**power for power, unit in enumerate(("k", "m", "g", "t"), 1)},
    **{unit: 1000**power for power, unit in enumerate(("kb", "mb", "gb", "tb"), 1)},
    **{unit: 1024**power for power, unit in enumerate(("kib", "mib", "gib", "tib"), 1)},
}
"""Bytes of a unit, in lower case."""

MAX_DURATION_MS = 100 * 366 * DURATION_UNITS["d"]

DURATION_TEXT = r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*(ms|s|m|h|d|w)"
_PART = re.compile(rf"\s*{DURATION_TEXT}")
_SIZE = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)\s*")


class TooLong(ValueError):
    """A duration of more than a century."""


def duration_ms(text: str) -> float:
    """Milliseconds of `"500ms"`, `"1.5h"`, `"2d"`, `"1h 30m"`. Raises ValueError; TooLong beyond a century."""
    total, at = 0.0, 0
    stripped = text.strip()
    while at < len(stripped):
        part = _PART.match(stripped, at)
        if part is None:
            break
        total += float(part[1]) * DURATION_UNITS[part[2]]
        at = part.end()
    if at < len(stripped) or not stripped:
        raise ValueError("not a duration: a number and a unit (ms, s, m, h, d, w)")
    if total > MAX_DURATION_MS:
        raise TooLong("longer than a century")
    return total


def size_bytes(text: str) -> int:
    """Bytes of `"10MiB"`, `"64kB"`, `"512"`. Raises ValueError."""
    found = _SIZE.fullmatch(text)
    if found is None or found[2].lower() not in SIZE_UNITS:
        raise ValueError("not a size: a number and a unit (kB, MiB, …)")
    unit = SIZE_UNITS[found[2].lower()]
    return round(float(found[1]) * unit) if "." in found[1] else int(found[1]) * unit


def number_problem(type_: str, value: Any) -> str | None:
    """Why a number is too large for a value of `type_`."""
    if type(value) is int and value.bit_length() > MAX_INT_BITS:
        return f"expected {type_}, got an integer of more than {MAX_INT_BITS} bits"
    if type_ == "duration" and abs(value) > MAX_DURATION_MS / 1000:
        return "expected duration, got more than a century"
    if type_ == "bytes" and abs(value) > MAX_INT64:
        return "expected bytes, got more than 8 EiB"
    return None
