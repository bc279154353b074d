"""Durations, sizes and percentages as an author writes them.

Durations become integer milliseconds, sizes integer bytes. A number without a unit is refused: `timeout = 30` could
mean anything.
"""

from __future__ import annotations

import re

DURATION_UNITS: dict[str, int] = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
"""Milliseconds of a unit."""

SIZE_UNITS: dict[str, int] = {
    "B": 1,
    **{unit: 1000**power for power, unit in enumerate(("kB", "MB", "GB", "TB"), 1)},
    **{unit: 1024**power for power, unit in enumerate(("KiB", "MiB", "GiB", "TiB"), 1)},
}
"""Bytes of a unit."""

MAX_DURATION_MS = 100 * 366 * DURATION_UNITS["d"]  # a century: longer is a mistake, and stays far below 2**63

_PART = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*(ms|s|m|h|d|w)")
_NUMBER = re.compile(r"\s*[0-9]+(?:\.[0-9]+)?\s*")
_SPELLED = re.compile(
    r"\s*([0-9]+(?:\.[0-9]+)?)\s*(millis\w*|msecs?|secs?|seconds?|mins?|minutes?|hrs?|hours?|days?|weeks?)\s*",
    re.IGNORECASE,
)
_PERCENT = re.compile(r"\s*([0-9]{1,3})\s*%\s*")


def parse_duration(text: str) -> int:
    """Milliseconds of `"500ms"`, `"1.5h"`, `"2d"`, `"1h 30m"`. Raises ValueError saying what is wanted."""
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
        raise ValueError("longer than a century")
    return round(total)


def suggest_duration(text: str) -> str | None:
    """What the author may have meant by a text that is not a duration."""
    if _NUMBER.fullmatch(text):
        return f"{text.strip()}s"
    spelled = _SPELLED.fullmatch(text)
    if spelled is None:
        return None
    word = spelled[2].lower()
    unit = "ms" if word.startswith(("mil", "ms")) else word[0]
    return f"{spelled[1]}{unit}"


def render_duration(millis: int) -> str:
    """The shortest text that `parse_duration` reads as `millis`: `"1d"`, `"90s"`, `"1500ms"`."""
    for unit, size in sorted(DURATION_UNITS.items(), key=lambda item: -item[1]):
        if millis and millis % size == 0:
            return f"{millis // size}{unit}"
    return f"{millis}ms"


def parse_percent(text: str) -> int | None:
    """10 for `"10%"`; None for anything else, also above 100."""
    found = _PERCENT.fullmatch(text)
    return int(found[1]) if found and int(found[1]) <= 100 else None
