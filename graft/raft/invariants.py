"""What must hold inside one member after every event. `check` is cheap enough to run always in tests and simulation.

The numbers are those of the safety table (S1 to S16) as far as one member can see them by itself; the simulator checks
the rest from outside. A violation is an AssertionError that says what was expected of which numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import election
from .log import OVERHEAD_BYTES

if TYPE_CHECKING:
    from .core import Raft
    from .state import State

ROLES = frozenset({"follower", "pre_candidate", "candidate", "leader"})


def check(raft: Raft) -> None:
    """O(members). Call it when `handle` has returned."""
    s = raft.state
    if s.stopped:
        return
    check_order(s)
    check_role(s)
    if s.role == "leader":
        check_followers(s)


def check_deeply(raft: Raft) -> None:
    """`check`, and all that costs O(log)."""
    check(raft)
    check_log(raft.state)
    check_configurations(raft.state)


def check_order(s: State) -> None:
    """S8, and the lines that run through the log."""
    log = s.log
    marks = (log.first - 1, s.applied_durable, s.applied, s.applying, s.commit, log.last)
    assert marks[0] <= marks[1] <= marks[2] <= marks[3] <= marks[4] <= marks[5], f"S8: {marks}"
    assert log.durable <= log.handed == log.last, (log.durable, log.handed, log.last)
    assert log.window_first <= max(log.durable, log.first - 1) + 1, "an entry that is not synced left the window"
    assert log.window_first + len(log.window) == log.last + 1, (log.window_first, len(log.window), log.last)
    assert log.run_starts[0] <= log.first - 1, (log.run_starts, log.first)
    assert log.run_starts[-1] <= log.last, (log.run_starts, log.last)
    assert s.synced <= s.ticket, (s.synced, s.ticket)
    assert not log.pending or log.pending[0][0] > s.synced, (log.pending, s.synced)
    assert not s.hard_dirty, "a change of the hard state was not ordered"
    assert not s.outbox, s.outbox


def check_role(s: State) -> None:
    assert s.role in ROLES, s.role
    assert log_term_at_most(s), (s.log.last_term, s.term)
    if s.role == "leader":
        assert s.leader == s.id, s.leader
        assert s.vote == s.id, s.vote
        assert s.log.durable >= 0, s.log.durable
        assert s.log.last_term == s.term, "a leader's log ends with an entry of its term"
    else:
        assert s.leader != s.id, s.role
        assert not s.progress, s.role
        assert s.transfer is None, s.role
        assert s.replacement is None, s.role
        assert s.uncommitted_bytes == 0, s.uncommitted_bytes
    if s.role in ("candidate", "pre_candidate"):
        assert s.leader is None, s.leader
        assert election.may_stand(s), "who does not vote does not stand"
    if s.role == "candidate":
        assert s.vote == s.id, s.vote


def log_term_at_most(s: State) -> bool:
    return s.log.last_term <= s.term


def check_followers(s: State) -> None:
    config, log = s.config, s.log
    for id, p in s.progress.items():
        assert id == p.id, (id, p.id)
        assert (id in s.view.incarnations) != (id in s.departing), id
        assert 0 <= p.match < p.next <= log.last + 1, (id, p.match, p.next, log.last)
        assert p.state == "replicate" or not p.inflight, (id, p.state)
        assert p.state == "snapshot" or p.snapshot is None, (id, p.state)
        assert len(p.inflight) <= config.max_inflight_messages, (id, len(p.inflight))
        limit = config.max_inflight_bytes + max(config.max_append_bytes, config.max_entry_bytes + OVERHEAD_BYTES)
        assert 0 <= p.inflight_bytes <= limit, (id, p.inflight_bytes)
        assert p.round <= s.round, (id, p.round, s.round)
    assert all(id in s.progress for id in s.view.others), "every member is followed"
    assert s.uncommitted_bytes == 0 or s.uncommitted, s.uncommitted_bytes


def check_log(s: State) -> None:
    """The window is without gaps, and the runs say the terms of its entries."""
    log = s.log
    assert log.run_starts == sorted(set(log.run_starts)), log.run_starts
    assert log.run_terms == sorted(set(log.run_terms)), log.run_terms
    for position, entry in enumerate(log.window):
        assert entry.index == log.window_first + position, (entry.index, log.window_first, position)
        assert entry.term == log.term_at(entry.index), (entry, log.runs())
    assert log.window_bytes == sum(len(entry.data) + OVERHEAD_BYTES for entry in log.window), log.window_bytes
    assert s.uncommitted_bytes == sum(size for _, size in s.uncommitted), s.uncommitted_bytes
    assert s.applying_bytes == sum(size for _, size in s.applying_sizes), s.applying_bytes


def check_configurations(s: State) -> None:
    """S12 as this member sees it: what follows the committed configurations are one or two uncommitted ones."""
    indices = [index for index, _ in s.configurations]
    assert indices == sorted(set(indices)), indices
    assert indices[-1] <= s.log.last, (indices, s.log.last)
    assert s.view.index == indices[-1], (s.view.index, indices)
    for (_, before), (_, after) in zip(s.configurations, s.configurations[1:], strict=False):
        assert not (before.outgoing and after.outgoing), "a joint configuration is left before the next change"
