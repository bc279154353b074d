"""How much of the log is kept (section 7: a server discards what its synced state covers).

`retain_entries` are kept for followers that were away for a moment. A follower that needs more is sent a snapshot, and
while it is, the log goes on growing: what comes behind the snapshot is *held* until the follower has come so close that
the ordinary retention serves it. Without this a follower that takes longer to install a snapshot than the leader takes
to cut `retain_entries` more would be sent one snapshot after the other, for ever (etcd keeps the log for the same
reason while a snapshot is sent, and half a minute longer).

A hold ends with the follower's silence (`hold_silence_seconds`), and when the log has taken in `max_held_bytes` since
it began: a disk that fills up would cost all members more than another snapshot costs this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import membership, repair, versions
from .effects import PurgeLog
from .events import CompactionRequested
from .progress import Progress

if TYPE_CHECKING:
    from .state import State


def compact(s: State) -> None:
    """The synced state machine moved: cut the log behind it."""
    target = s.applied_durable - s.config.retain_entries
    if target - s.log.first + 1 < s.config.purge_step_entries:
        return
    # Each is asked about the same target: one that holds the log for itself brings no other one closer.
    wanted = [held(s, p, target) for p in s.progress.values() if p.held_since is not None]
    purge(s, min([target, *wanted]))


def held(s: State, p: Progress, target: int) -> int:
    """How far the log may be cut for the sake of `p`, which needs a snapshot or just got one; at most `target`."""
    assert p.held_since is not None
    if s.now - p.heard_at > s.config.hold_silence_seconds:
        return target
    if s.log.taken_bytes - p.held_since > s.config.max_held_bytes:
        return target
    if p.state == "snapshot":
        index = s.taking_snapshot if p.snapshot is None else p.snapshot.index
        return target if index is None else min(index, target)
    if p.match >= target:
        p.held_since = None  # it is as close as those that never were away
    return min(p.match, target) if p.match >= s.log.first - 1 else target


def forget_covered(s: State) -> None:
    """Configurations and versions that were replaced in what the synced state covers are history. A snapshot that is
    being taken needs those of its index still."""
    floor = s.applied_durable if s.taking_snapshot is None else min(s.applied_durable, s.taking_snapshot)
    membership.forget_before(s, floor)
    versions.forget_before(s, floor)


def compaction_requested(s: State, event: CompactionRequested) -> None:
    purge(s, min(event.index, s.applied_durable))


def purge(s: State, index: int) -> None:
    """Forget the log up to `index` (S8)."""
    if index < s.log.first:
        return
    assert index <= s.applied_durable, (index, s.applied_durable)
    s.log.purge(index)
    s.emit(PurgeLog(index))
    repair.cut(s)
