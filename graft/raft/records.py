"""The records that everything in this room is made of, and the decorator that makes them.

`record` is `attrs.frozen` for the type checker and for the reader: nobody assigns to a field after construction. At run
time it leaves out the guard, because a frozen attrs class costs three times as much to construct and the core makes
several records for every event it handles. They compare by value and are not hashable.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from attrs import frozen as record
else:
    from attrs import define as record

__all__ = [
    "Configuration",
    "Entry",
    "HardState",
    "Kind",
    "Member",
    "Recovered",
    "Role",
    "SnapshotMeta",
    "StagedSnapshot",
    "record",
]


class Kind(IntEnum):
    """What an entry of the log is for. The core looks inside all but commands."""

    NOOP = 0  # first entry of a leader's term (thesis 6.4, step 1)
    COMMAND = 1  # opaque to the core
    CONFIGURATION = 2  # `data` is an encoded `Configuration`; in force as soon as it is in the log
    VERSION = 3  # `data` is a decimal number: the cluster's version, in force when committed


@record
class Entry:
    """One entry of the replicated log. `kind` is a `Kind`; `data` is empty for a no-op."""

    index: int
    term: int
    kind: int
    data: bytes


Role = Literal["voter", "learner", "executor"]


@record
class Member:
    """One server of the cluster.

    `incarnation` is drawn when the member's data directory is made: whoever lost its disk has another one and is,
    for Raft, another server. A `learner` becomes a voter when it has caught up; an `executor` never does.
    """

    id: str
    incarnation: int
    role: Role = "voter"


@record
class Configuration:
    """Who is in the cluster (thesis 4.3, joint consensus).

    `members` is the configuration to be, sorted by id. `outgoing` is empty, or, while the configuration is joint, the
    voters of the configuration that is being left: then every decision needs a majority of both sets of voters. A
    voter that is demoted stands in `members` with its new role and in `outgoing` as a voter. `retired` are the
    (id, incarnation) that were removed: they never come back (a removed disk is another server when it returns).
    """

    members: tuple[Member, ...] = ()
    outgoing: tuple[Member, ...] = ()
    retired: tuple[tuple[str, int], ...] = ()

    @property
    def joint(self) -> bool:
        return bool(self.outgoing)

    def find(self, id: str) -> Member | None:
        """The member of that name in the configuration to be."""
        return next((member for member in self.members if member.id == id), None)


@record
class HardState:
    """What a member must know of itself after a restart, beside the log. Written in one transaction with entries.

    `runs` says the term of every entry of the log without reading it: pairs (index of the first entry of the run,
    term), ascending; the first pair covers the entry before the log's first. They are kept apart from the entries so
    that a damaged entry still has a known term (protocol-aware recovery, Alagappan et al., FAST 2018).
    `configurations` and `versions`: pairs (index, value), ascending; the first stands at or below the synced applied
    index, the others are those of the log behind it.
    """

    term: int = 0
    vote: str | None = None
    runs: tuple[tuple[int, int], ...] = ((0, 0),)
    configurations: tuple[tuple[int, Configuration], ...] = ((0, Configuration()),)
    versions: tuple[tuple[int, int], ...] = ((0, 1),)


@record
class SnapshotMeta:
    """A snapshot of the state machine, and all that Raft must know of the log it stands for.

    `id` names the file: equal ids promise equal bytes, so that a transfer may resume from another member's copy only
    when the id is the same. `size` in bytes; `checksum` of the whole file is the shell's business (text), that of
    each chunk travels with it.
    """

    id: str
    index: int
    term: int
    configuration: Configuration
    configuration_index: int
    size: int
    checksum: str = ""
    version: int = 1
    version_index: int = 0


@record
class StagedSnapshot:
    """A snapshot that has arrived in part: the next byte wanted is at `offset`."""

    meta: SnapshotMeta
    offset: int


@record
class Recovered:
    """What the shell found on the disk when the process started.

    The log holds `first <= index <= last`; empty is `first == last + 1`. `applied` is what the durable state machine
    covers. `corrupt`: indices of entries that are there and fail their checksum. `restarted` is False only for a data
    directory that was made just now; a founding member's `hard_state` then carries the first configuration at index 0
    (the same on all founders), a joining member's an empty one. The shell must have stored `hard_state` already.
    """

    hard_state: HardState
    first: int = 1
    last: int = 0
    applied: int = 0
    corrupt: tuple[int, ...] = ()
    staged: StagedSnapshot | None = None
    restarted: bool = True
