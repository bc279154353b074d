"""Consensus, sans-IO: `Raft.handle(event, now) -> effects`. See `docs/internals/raft.md`.

Imports nothing of Graft but itself; reads no clock, draws no dice, touches no disk and no wire.
"""

from .config import Config
from .core import Follower, Raft, Status
from .records import (
    Configuration,
    Entry,
    HardState,
    Kind,
    Member,
    Recovered,
    SnapshotMeta,
    StagedSnapshot,
)

__all__ = [
    "Config",
    "Configuration",
    "Entry",
    "Follower",
    "HardState",
    "Kind",
    "Member",
    "Raft",
    "Recovered",
    "SnapshotMeta",
    "StagedSnapshot",
    "Status",
]
