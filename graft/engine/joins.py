"""The join rules (R5): what a node does when some of its needs have ended.

A node without needs always runs. A rule sees how many needs there are and how many ended in which way, and answers
`"ready"`, a reason to skip, or None (not decided yet). A cancelled need counts as `bad` unless it was the loser of an
`any_succeeded`, which is neutral like a skip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

READY: Final = "ready"

# (needs, succeeded, bad, skipped) -> READY | reason to skip | None
Rule = Callable[[int, int, int, int], str | None]


def none_failed(needs: int, ok: int, bad: int, skipped: int) -> str | None:
    if bad:
        return "a need failed"
    if ok + skipped < needs:
        return None
    return READY if ok or not needs else "all needs were skipped"


def all_succeeded(needs: int, ok: int, bad: int, skipped: int) -> str | None:
    if bad or skipped:
        return "a need did not succeed"
    return READY if ok == needs else None


def all_done(needs: int, ok: int, bad: int, skipped: int) -> str | None:
    return READY if ok + bad + skipped == needs else None


def any_succeeded(needs: int, ok: int, bad: int, skipped: int) -> str | None:
    if ok:
        return READY
    return "no need succeeded" if bad + skipped == needs and needs else (None if needs else READY)


def any_failed(needs: int, ok: int, bad: int, skipped: int) -> str | None:
    if bad or not needs:
        return READY
    return "no need failed" if ok + skipped == needs else None


RULES: Final[dict[str, Rule]] = {
    "none_failed": none_failed,
    "all_succeeded": all_succeeded,
    "all_done": all_done,
    "any_succeeded": any_succeeded,
    "any_failed": any_failed,
}
