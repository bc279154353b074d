"""What a member is told about itself and its limits. Times in seconds, sizes in bytes."""

from __future__ import annotations

from attrs import Factory

from .records import record


@record
class Config:
    """Timeouts must be the same on all members; everything else may differ.

    Elections time out between `election_timeout_seconds` and twice that (section 5.2 of the paper: randomised).
    """

    id: str
    incarnation: int = 1
    election_timeout_seconds: float = 0.3
    heartbeat_seconds: float = 0.05
    rpc_timeout_seconds: float = 0.5  # no answer to appends, chunks or repairs for so long: they are sent again
    pre_vote: bool = True
    check_quorum: bool = True

    lease_reads: bool = False  # all members or none; a restarted member then grants no vote for one maximal timeout
    max_clock_drift: float = 0.1  # one member's clock runs at most so much faster than another's (0.1: by a tenth)

    max_append_bytes: int = 256 * 1024  # of entries in one message, though never less than one entry
    max_append_entries: int = 1024
    max_inflight_messages: int = 64  # appends sent to one follower and not answered
    max_inflight_bytes: int = 4 * 1024 * 1024
    max_entry_bytes: int = 1024 * 1024
    max_uncommitted_bytes: int = 32 * 1024 * 1024  # beyond it proposals are refused as `overloaded`
    max_window_bytes: int = 8 * 1024 * 1024  # synced entries kept in memory for followers; unsynced ones always are
    max_apply_bytes: int = 1024 * 1024  # handed to the state machine and not yet applied
    max_pending_reads: int = 10_000

    snapshot_chunk_bytes: int = 256 * 1024
    max_chunks_in_flight: int = 4
    retain_entries: int = 10_000  # of the applied log, for followers that were away for a moment
    purge_step_entries: int = 1_000  # purge when so many more have gathered
    max_held_bytes: int = 512 * 1024 * 1024  # of log kept for a follower that is sent a snapshot, and then catches up
    hold_silence_seconds: float = 30.0  # it is kept no longer when the follower was not heard of for so long

    # A learner has caught up when a round takes it less: an election timeout, unless it is said (thesis 4.2.1).
    promotion_rounds_seconds: float = Factory(lambda self: self.election_timeout_seconds, takes_self=True)
    min_version: int = 1
    max_version: int = 1  # newest cluster version that this program understands
