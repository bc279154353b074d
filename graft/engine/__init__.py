"""Workflows, sans-IO and replicated: `Engine.apply(index, command)` gives what the shell has to do.

Read in this order: `lifecycle` (the tables), `records`, `commands`, `effects`, `engine`, `scopes`, `steps`,
`members`, `placement`.
"""

from graft.engine.effects import (
    Applied,
    CancelAttempt,
    Change,
    Decide,
    Effect,
    Happened,
    RunEnded,
    RunRemoved,
    StartAttempt,
)
from graft.engine.engine import Engine, Want

__all__ = [
    "Applied",
    "CancelAttempt",
    "Change",
    "Decide",
    "Effect",
    "Engine",
    "Happened",
    "RunEnded",
    "RunRemoved",
    "StartAttempt",
    "Want",
]
