"""What a turn does to the bounds of the log: the rules that every store shares, as pure functions."""

from __future__ import annotations

from attrs import evolve

from graft.interfaces import LogBounds, Turn

PURGE_STEP = 2000
"""Entries that one turn removes at most, so that a purge never holds up the log for long."""


def check_turn(bounds: LogBounds, turn: Turn) -> None:
    """Raises ValueError for a turn that contradicts the log: a bug of the caller, nothing gets written."""
    last = bounds.last
    if turn.truncate_from is not None:
        if not max(bounds.first, bounds.applied + 1) <= turn.truncate_from <= last + 1:
            raise ValueError(f"cannot truncate from {turn.truncate_from}: {bounds}")
        last = turn.truncate_from - 1
    for expected, entry in enumerate(turn.entries, last + 1):
        if entry.index != expected:
            raise ValueError(f"entry {entry.index} where {expected} is due: {bounds}")
    last += len(turn.entries)
    if turn.applied is not None and not bounds.applied <= turn.applied <= last:
        raise ValueError(f"cannot have applied {turn.applied} of {last}: {bounds}")


def purge_end(bounds: LogBounds, turn: Turn) -> int:
    """The last index that `turn` purges: not beyond what is applied, at most PURGE_STEP entries. 'first - 1': none."""
    if turn.purge_to is None:
        return bounds.first - 1
    applied = bounds.applied if turn.applied is None else turn.applied
    return max(bounds.first - 1, min(turn.purge_to, applied, bounds.first + PURGE_STEP - 1))


def bounds_after(bounds: LogBounds, turn: Turn, purged_to: int, purged_term: int) -> LogBounds:
    """The bounds when `turn`, already checked, is done. `purged_term` is the term of entry `purged_to`."""
    last = bounds.last if turn.truncate_from is None else turn.truncate_from - 1
    return evolve(
        bounds,
        first=purged_to + 1,
        last=last + len(turn.entries),
        applied=bounds.applied if turn.applied is None else turn.applied,
        purged_term=purged_term,
    )
