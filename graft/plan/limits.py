"""What limits the values of a param beyond its type (R25): `values`, `pattern`, `min`, `max`."""

from __future__ import annotations

from typing import Any

from graft.plan.patterns import PatternError, TooMuchWork, compile_pattern
from graft.plan.records import Param


def limit_problems(param: Param, value: Any) -> list[str]:
    """How a value of the param's type breaks its limits; each the end of a sentence about the param."""
    if value is None:
        return []
    found = []
    if param.values and not any(type(each) is type(value) and each == value for each in param.values):
        found.append(f"it must be {_listed(param.values)}, not {_quoted(value)}")
    if param.pattern is not None and isinstance(value, str) and (misfit := _misfit(param.pattern, value)):
        found.append(misfit)
    sized = isinstance(value, (str, list, dict))
    measure = len(value) if sized else value
    what = "its length" if sized else "it"
    if isinstance(measure, (int, float)):
        if param.min is not None and measure < param.min:
            found.append(f"{what} must be at least {param.min:g}, and is {measure:g}")
        if param.max is not None and measure > param.max:
            found.append(f"{what} must be at most {param.max:g}, and is {measure:g}")
    return found


def _misfit(pattern: str, value: str) -> str | None:
    """Why a value does not match a pattern as a whole."""
    try:
        if compile_pattern(pattern).matches(value):
            return None
    except PatternError as error:  # in a plan that was compiled before patterns had bounds
        return f"its pattern {_quoted(pattern)} cannot be used: {error}"
    except TooMuchWork:
        return f"a text of {len(value)} characters is too long for the pattern {_quoted(pattern)}"
    return f"{_quoted(value)} does not match the pattern {_quoted(pattern)}"


def _quoted(value: Any) -> str:
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value)[:61])
    return f"`{text if len(text) <= 60 else text[:59] + '…'}`"


def _listed(values: tuple[Any, ...]) -> str:
    *first, last = map(_quoted, values)
    return f"{', '.join(first)} or {last}" if first else last
