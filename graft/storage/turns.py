"""What a turn does to a store, as pure functions: the rules that every store shares."""

from __future__ import annotations

from attrs import evolve, frozen

from graft.errors import StoreFull
from graft.interfaces import LogBounds, Turn

PURGE_STEP = 2000
"""Entries that one turn removes at most, so that a purge never holds up the log for long."""

SWEEP_STEP = 2000
"""Spare rows that one turn removes at most."""

MAX_KEY_BYTES = 511


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
    for entry in turn.repaired:
        if not bounds.first <= entry.index <= last:
            raise ValueError(f"cannot repair entry {entry.index}: {bounds}")
    check_spare(bounds, turn)
    if turn.applied is not None and not bounds.applied <= turn.applied <= last:
        raise ValueError(f"cannot have applied {turn.applied} of {last}: {bounds}")


def check_spare(bounds: LogBounds, turn: Turn) -> None:
    """The rules of `staging`, `switch` and `sweep`."""
    if turn.staging and turn.sweep:
        raise ValueError("cannot stage rows and sweep them in one turn")
    if turn.switch is None:
        return
    if turn != Turn(hard_state=turn.hard_state, switch=turn.switch):
        raise ValueError("a switch comes with a hard state at most")
    index = turn.switch.index
    if index < bounds.applied or (turn.switch.keep_log and not bounds.first - 1 <= index <= bounds.last):
        raise ValueError(f"cannot switch to {index}: {bounds}")


def check_key(key: bytes) -> None:
    if not 1 <= len(key) <= MAX_KEY_BYTES:
        raise ValueError(f"a key has 1 to {MAX_KEY_BYTES} bytes, not {len(key)}")


def is_empty(bounds: LogBounds, turn: Turn) -> bool:
    """Whether there is nothing to write, so that no transaction and no fsync is due."""
    return not (
        turn.entries
        or turn.repaired
        or turn.staging
        or turn.switch is not None
        or turn.sweep
        or turn.changes
        or turn.hard_state is not None
        or turn.applied not in (None, bounds.applied)
        or turn.truncate_from not in (None, bounds.last + 1)
        or purge_end(bounds, turn) >= bounds.first
    )


def purge_end(bounds: LogBounds, turn: Turn) -> int:
    """The last index that `turn` purges: not beyond what is applied, at most PURGE_STEP entries. 'first - 1': none."""
    if turn.purge_to is None:
        return bounds.first - 1
    applied = bounds.applied if turn.applied is None else turn.applied
    return max(bounds.first - 1, min(turn.purge_to, applied, bounds.first + PURGE_STEP - 1))


def bounds_after(bounds: LogBounds, turn: Turn, purged_to: int, purged_term: int) -> LogBounds:
    """The bounds when `turn`, already checked, is done. `purged_term` is the term of entry `purged_to`."""
    if turn.switch is not None:
        index = turn.switch.index
        last = max(index, bounds.last) if turn.switch.keep_log else index
        return LogBounds(index + 1, last, index, turn.switch.term)
    last = bounds.last if turn.truncate_from is None else turn.truncate_from - 1
    return evolve(
        bounds,
        first=purged_to + 1,
        last=last + len(turn.entries),
        applied=bounds.applied if turn.applied is None else turn.applied,
        purged_term=purged_term,
    )


@frozen
class Quota:
    """How much a store takes. The quota itself is for whoever takes new work in (`graft.storage.space`): a member that
    refused what its leader has committed could neither go on nor be told to remove anything. So the store goes far
    beyond it, and keeps the rest of the map for what makes room, which needs pages, too (LMDB copies what it changes):

    * new entries stop at `ceiling_bytes - reserve_bytes`;
    * state changes of entries that are committed already, and staged rows, may use the reserve as well;
    * turns that only delete, truncate, purge or vote are never refused, so that a full store can shrink.
    """

    quota_bytes: int
    found_bytes: int = 0  # in the store when it was opened: whoever opens a full one gets room to make room in

    @property
    def map_bytes(self) -> int:
        """Address space that is needed at least."""
        return max(4 * self.quota_bytes, self.found_bytes + 2 * self.quota_bytes)

    @property
    def ceiling_bytes(self) -> int:
        return max(3 * self.quota_bytes, self.found_bytes + self.quota_bytes)

    @property
    def reserve_bytes(self) -> int:
        return min(self.quota_bytes // 8, 64 << 20)

    def limit(self, turn: Turn) -> int | None:
        """Bytes that may be used after `turn`, None for no limit."""
        if turn.entries:
            return self.ceiling_bytes - self.reserve_bytes
        if turn.staging or any(value is not None for _table, _key, value in turn.changes):
            return self.ceiling_bytes
        return None

    def full(self, used_bytes: int) -> StoreFull:
        return StoreFull(
            f"the store is full: {mebibytes(used_bytes)} are used, its quota is {mebibytes(self.quota_bytes)}",
            hint="remove old runs, or raise the quota; nothing that was recorded is lost",
        )


def mebibytes(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"
