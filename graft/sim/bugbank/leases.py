"""Leases that last too long, outlive what they rest on, or are never extended."""

from __future__ import annotations

from typing import Final

from graft.sim.bugbank.planting import Bug, edit, own

BUGS: Final[tuple[Bug, ...]] = (
    own(
        "lease1",
        "the drift is left out",
        edit("raft.reads:lease_seconds", "/ (1.0 + s.config.max_clock_drift)", ""),
        lease_reads=True,
    ),
    own(
        "lease2",
        "a lease lasts for two timeouts",
        edit(
            "raft.reads:lease_seconds",
            "return s.config.election_timeout_seconds",
            "return 2 * s.config.election_timeout_seconds",
        ),
        lease_reads=True,
    ),
    own(
        "lease3",
        "a lease outlives a change of configuration",
        edit("raft.membership:_follow_members", "s.lease_until = None", "pass"),
        edit("raft.membership:_follow_members", "s.lease_from_round = s.round + 1", "pass"),
        lease_reads=True,
    ),
    own(
        "lease4",
        "a lease is extended by rounds from before the configuration",
        edit("raft.membership:_follow_members", "s.lease_from_round = s.round + 1", "pass"),
        lease_reads=True,
    ),
    own(
        "lease5",
        "a lease outlives the request for a transfer",
        edit("raft.reads:lease_valid", "and s.transfer is None", ""),
        edit("raft.transfer:transfer_requested", "s.lease_until = None", "pass"),
        edit("raft.reads:lease_valid", "and not s.transfer_tainted", ""),
        edit("raft.transfer:tell", "s.lease_until = None", "pass"),
        lease_reads=True,
    ),
    own(
        "lease6",
        "a lease is used again after a transfer that failed",
        edit("raft.reads:lease_valid", "and not s.transfer_tainted", ""),
        lease_reads=True,
    ),
    own(
        "lease7",
        "a lease is never extended",
        edit(
            "raft.reads:extend_lease",
            "s.lease_until = until if s.lease_until is None else max(until, s.lease_until)",
            "s.lease_until = until if s.lease_until is None else s.lease_until",
        ),
        lease_reads=True,
    ),
    own(
        "lease8",
        "a lease runs from when a quorum answered",
        edit("raft.reads:extend_lease", "until = began(s, round)", "until = s.now"),
        lease_reads=True,
    ),
    own(
        "lease9",
        "no answer promises anything",
        edit("raft.reads:heartbeat_reply", "lease = s.config.lease_reads and s.config.check_quorum", "lease = False"),
        lease_reads=True,
    ),
    own(
        "lease10",
        "a lease rests on answers that promise nothing",
        edit("raft.reads:extend_lease", "p.lease_round", "p.round"),
        lease_reads=True,
    ),
    own(
        "lease11",
        "a lease outlives its term",
        edit("raft.replication:begin_term", "s.lease_until = None", "pass"),
        edit("raft.roles:lay_down", "s.lease_until = None", "pass"),
        lease_reads=True,
        harmless="an election takes longer than any lease that is left, and a transfer ends it",
    ),
    own(
        "lease12",
        "a transfer takes the lease of every later term",
        edit("raft.replication:begin_term", "s.transfer_tainted = False", "pass"),
        lease_reads=True,
    ),
    own(
        "lease13",
        "a lease is used before anything is committed in the term",
        edit("raft.reads:lease_valid", "and may_read(s)", ""),
        lease_reads=True,
    ),
    own(
        "lease14",
        "a restarted member waits for half the time that it may have promised",
        edit("raft.election:grace_seconds", "return 2 *", "return 0.5 *"),
        lease_reads=True,
    ),
    own(
        "lease15",
        "the promise in an answer that comes second for its round is kept for the next",
        edit("raft.reads:heartbeat_replied", "elif promises:", "elif False:"),
        election_seconds=0.3,
        heartbeat_seconds=0.15,
        think_us=10_000,
        lease_reads=True,
    ),
    own(
        "lease16",
        "the rounds of one leader are those of the next",
        edit("raft.replication:begin_term", "s.round_times.clear()", "pass"),
        lease_reads=True,
    ),
)
