"""Durations and percentages as an author writes them.

Durations become integer milliseconds. A number without a unit is refused: `timeout = 30` could mean anything. How they
are written is said by `graft.plan.quantities`, which params and values use too.
"""

from __future__ import annotations

import re

from graft.plan.quantities import DURATION_UNITS, duration_ms

_NUMBER = re.compile(r"\s*[0-9]+(?:\.[0-9]+)?\s*")
_SPELLED = re.compile(
    r"\s*([0-9]+(?:\.[0-9]+)?)\s*(millis\w*|msecs?|secs?|seconds?|mins?|minutes?|hrs?|hours?|days?|weeks?)\s*",
    re.IGNORECASE,
)
_PERCENT = re.compile(r"\s*([0-9]{1,3})\s*%\s*")


def parse_duration(text: str) -> int:
    """Milliseconds of `"500ms"`, `"1.5h"`, `"2d"`, `"1h 30m"`. Raises ValueError saying what is wanted."""
    return round(duration_ms(text))


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
