"""From what a person types to a value of a type: flags of the command line, values of a TOML file.

A text that arrives for an `int` is read as one, a TOML date becomes ISO text, `"15m"` becomes seconds. Nothing is
guessed: what does not fit raises ValueError, which says what was expected.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any

from graft.plan.quantities import TooLong, duration_ms, size_bytes
from graft.plan.type_trees import Type, head, parse_moment, problems

MAX_TEXT_DIGITS = 300

_INT = re.compile(r"[+-]?[0-9]+")
_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def convert(type_: Type, value: Any, *, from_text: bool = False) -> Any:
    """`value` as a JSON value of `type_`. Raises ValueError that says what was expected.

    A text is read as what the type wants. Where text itself would do (`any`), it stays text, unless `from_text` says
    that it was typed by a person who could write nothing but text: then it is read as JSON if it is JSON.
    """
    made = _converted(type_, _plain(value), from_text, 0)
    if found := problems(type_, made):
        raise ValueError("; ".join(found))
    return made


def parse_duration(text: str) -> float:
    """Seconds of `"500ms"`, `"15m"`, `"1h 30m"`; a plain number is seconds. Raises ValueError."""
    try:
        return duration_ms(text) / 1000
    except TooLong as error:
        raise ValueError(f"expected duration, got {_shown(text)}: {error}") from None
    except ValueError:
        return _number(text.strip(), "a duration such as 15m, 1h 30m or 500ms", text)


def parse_size(text: str) -> int:
    """Bytes of `"10MiB"`, `"64kB"`, `"512"`. Raises ValueError."""
    try:
        return size_bytes(text)
    except ValueError:
        raise ValueError(f"expected a size such as 10MiB, 64kB or 512, got {_shown(text)}") from None


def _plain(value: Any, depth: int = 0) -> Any:
    """`value` with the dates and times of TOML as ISO text, also inside."""
    if depth > 100:
        raise ValueError("the value nests too deep")
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (list, tuple)):
        return [_plain(each, depth + 1) for each in value]
    if isinstance(value, dict):
        return {str(name): _plain(each, depth + 1) for name, each in value.items()}
    return value


def _converted(type_: Type, value: Any, from_text: bool, depth: int) -> Any:
    name = head(type_)
    if name == "optional":
        if value is None or (from_text and value in ("null", "")):
            return None
        return _converted(type_[1], value, from_text, depth)
    if isinstance(value, str):
        return _from_text(type_, value, from_text, depth)
    if name == "list" and isinstance(value, list):
        return [_converted(type_[1], each, False, depth + 1) for each in value]
    if name == "table" and isinstance(value, dict):
        return {key: _converted(type_[1], each, False, depth + 1) for key, each in value.items()}
    if name == "record" and isinstance(value, dict) and not isinstance(type_, str):
        fields = dict(type_[1])
        return {key: _converted(fields.get(key, "any"), each, False, depth + 1) for key, each in value.items()}
    return value


def _from_text(type_: Type, text: str, from_text: bool, depth: int) -> Any:
    name = head(type_)
    if name in _READERS:
        return _READERS[name](text)
    if name == "enum":
        return _member(type_[1], text)
    if name in ("list", "table", "record"):
        return _converted(type_, _container(type_, text), False, depth + 1)
    if name == "any" and from_text:
        try:
            return _json(text)
        except ValueError:
            return text
    return text


def _container(type_: Type, text: str) -> Any:
    """A list or a table from JSON; a list also from words between commas."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return _json(text)
        except ValueError as error:
            raise ValueError(f"expected a {head(type_)} as JSON: {error}") from None
    if head(type_) == "list":
        return [part.strip() for part in text.split(",")] if text.strip() else []
    raise ValueError(f"expected a {head(type_)} as JSON, got {_shown(text)}")


def _json(text: str) -> Any:
    def refuse(word: str) -> Any:
        raise ValueError(f"{word} is not a JSON value")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("the JSON nests too deep") from None


def _member(values: tuple[Any, ...], text: str) -> Any:
    """The member of an enum that a text names; the text itself when there is none, for `problems` to tell."""
    for value in values:
        if value == text or (not isinstance(value, str) and json.dumps(value) == text):
            return value
    return text


def _int(text: str) -> int:
    stripped = text.strip().replace("_", "")
    if not _INT.fullmatch(stripped) or len(stripped) > MAX_TEXT_DIGITS:
        raise ValueError(f"expected int, got {_shown(text)}")
    return int(stripped)


def _float(text: str) -> float | int:
    return _number(text, "float", text)


def _number(text: str, wanted: str, shown: str) -> float:
    try:
        value = float(text) if len(text) <= MAX_TEXT_DIGITS else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"expected {wanted}, got {_shown(shown)}")
    return value


def _bool(text: str) -> bool:
    value = _BOOLS.get(text.strip().lower())
    if value is None:
        raise ValueError(f"expected bool (true or false), got {_shown(text)}")
    return value


def _none(text: str) -> None:
    if text not in ("null", "none", ""):
        raise ValueError(f"expected nothing (null), got {_shown(text)}")


def _moment(name: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        moment = parse_moment(name, text.strip())
        if moment is None:
            example = "2026-03-01" if name == "date" else "2026-03-01T12:00:00Z"
            raise ValueError(f"expected {name} such as {example}, got {_shown(text)}")
        return moment.isoformat()

    return read


_READERS: dict[str, Callable[[str], Any]] = {
    "int": _int,
    "float": _float,
    "bool": _bool,
    "none": _none,
    "date": _moment("date"),
    "datetime": _moment("datetime"),
    "duration": parse_duration,
    "bytes": parse_size,
}


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
