""" "Did you mean …?": the closest of the known names, or None when nothing is close."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

MAX_CANDIDATES = 1000  # comparing is a few microseconds a name: a suggestion must not cost seconds
MAX_LENGTH = 100


def closest(name: str, known: Iterable[str]) -> str | None:
    """The name that `name` was probably meant to be."""
    if len(name) > MAX_LENGTH:
        return None
    room = max(2, len(name) // 2)
    first = islice(known, MAX_CANDIDATES)
    names = [each for each in first if each != name and abs(len(each) - len(name)) <= room]
    folded = {each.lower().replace("-", "_"): each for each in reversed(names)}
    wanted = name.lower().replace("-", "_")
    if wanted in folded:
        return folded[wanted]
    found = get_close_matches(wanted, folded, n=1, cutoff=0.65)
    return folded[found[0]] if found else None


def a(noun: str) -> str:
    """`noun` with its indefinite article."""
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"


def quoted(text: object, limit: int = 60) -> str:
    """`text` between backticks on one line, control characters escaped, shortened to `limit` characters."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)[: limit + 1])
    return f"`{shown}`" if len(shown) <= limit else f"`{shown[: limit - 1]}…`"


def listed(names: Iterable[str], last: str = "or", limit: int = 8) -> str:
    """`a`, `b` or `c`."""
    known = list(names)
    shown = [quoted(name) for name in known[: limit if len(known) > limit else None]]
    if len(known) > limit:
        shown.append(f"{len(known) - limit} more")
        return ", ".join(shown[:-1]) + " and " + shown[-1]
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + f" {last} " + shown[-1] if shown else "nothing"
