"""How a setting is declared: its type, its default, what it means, what it may be, whether it may change at run time.

The declaration is the only table there is. Loading, `graft config show`, reloading and the reference page read it.

A setting's *type* says its unit: `Seconds` is written `"5s"` or `"1h 30m"` (a plain number is seconds), `Size` is
written `"64MiB"` (a plain number is bytes). So the names carry no unit, and neither do the environment variables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NewType, Union

import attrs
from attrs import frozen

Seconds = NewType("Seconds", float)
Size = NewType("Size", int)  # bytes
Check = Callable[[Any], str | None]  # of a value of the right type: None, or what was expected
Checks = Union[Check, "Every"]
META = "graft.setting"
HIDDEN = "********"


class Secret:
    """A text that neither `repr` nor `str` nor a format shows. `reveal` gives it; an empty one is false."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return f"Secret({HIDDEN!r})" if self._text else "Secret('')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))


@frozen
class Meaning:
    """What a setting is beside its type and default. `check` sees values that already have the right type."""

    about: str
    reload: bool = False  # whether it may change while the member runs
    check: Checks | None = None
    shown_default: str | None = None  # for a default that depends on the machine


def setting(
    default: Any,
    about: str,
    *,
    reload: bool = False,
    check: Checks | None = None,
    shown_default: str | None = None,
) -> Any:
    """A field of a settings record. A list or a table as default is copied for each record."""
    meaning = Meaning(about, reload, check, shown_default)
    if isinstance(default, dict):
        return attrs.field(factory=lambda: dict(default), metadata={META: meaning})
    return attrs.field(default=default, metadata={META: meaning})


def section(record: type, about: str) -> Any:
    """A field that is a settings record of its own."""
    return attrs.field(factory=record, metadata={META: Meaning(about)})


# What a setting may be. Each gives a check.


def one_of(*words: str) -> Check:
    wanted = f"{', '.join(words[:-1])} or {words[-1]}"
    return lambda value: None if value in words else wanted


def each_of(*words: str) -> Check:
    wanted = f"each of {', '.join(words)}, at least one"
    return lambda value: None if value and set(value) <= set(words) else wanted


def between(least: float, most: float, unit: str = "") -> Check:
    wanted = f"at least {least:g}{unit} and at most {most:g}{unit}"
    return lambda value: None if least <= value <= most else wanted


def at_least(least: float, unit: str = "") -> Check:
    return lambda value: None if value >= least else f"at least {least:g}{unit}"


def above(least: float, unit: str = "") -> Check:
    return lambda value: None if value > least else f"more than {least:g}{unit}"


def like(pattern: str, wanted: str) -> Check:
    import re

    compiled = re.compile(pattern)
    return lambda value: None if compiled.fullmatch(value) else wanted


@frozen
class Every:
    """The check of each item of a list, or of each value of a table."""

    check: Check


def every(check: Check) -> Every:
    return Every(check)
