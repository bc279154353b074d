"""How full a store is, and what follows from that: the one place of every threshold.

============  =====================================================================================================
`WARNING`     it is said in the member's log and in `graft status`; the member keeps less of its log
`REFUSING`    no new runs are taken in; those under way go on
`PAUSING`     runs under way start no new steps either; what runs already ends, and is recorded
============  =====================================================================================================

The quota is a word about new work, not a wall: results of the steps that run when it is reached are written beyond it
(`graft.storage.turns.Quota` says how far). A disk that is nearly full means the same, whatever the quota says.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from graft.interfaces import Usage
from graft.storage.turns import mebibytes


class Level(IntEnum):
    FREE = 0
    WARNING = 1
    REFUSING = 2
    PAUSING = 3


OF_QUOTA: Final = ((Level.PAUSING, 1.0), (Level.REFUSING, 0.9), (Level.WARNING, 0.8))
"""From which part of the quota on."""

OF_DISK: Final = ((Level.PAUSING, 4 << 20), (Level.REFUSING, 16 << 20), (Level.WARNING, 64 << 20))
"""From how few free bytes of the file system on."""


def level_of(usage: Usage) -> Level:
    return max(_of_quota(usage), _of_disk(usage))


def _of_quota(usage: Usage) -> Level:
    return next((level for level, part in OF_QUOTA if usage.used_bytes >= part * usage.quota_bytes), Level.FREE)


def _of_disk(usage: Usage) -> Level:
    free = usage.free_bytes
    return next((level for level, least in OF_DISK if free is not None and free <= least), Level.FREE)


def describe(usage: Usage) -> str:
    """How full it is: "58.1 MiB of its quota of 64.0 MiB are used", or what the disk has left."""
    if _of_disk(usage) > _of_quota(usage):
        assert usage.free_bytes is not None
        return f"its disk has {mebibytes(usage.free_bytes)} left"
    return f"{mebibytes(usage.used_bytes)} of its quota of {mebibytes(usage.quota_bytes)} are used"
