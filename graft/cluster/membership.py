"""What operators ask of a cluster: the seam between the service of that name and the member that answers.

`Membership` is all that the service's handlers call. A cluster of one that `graft run` keeps satisfies it, too
(`graft.cluster.sole`): it can tell how it stands, and refuses what needs others.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

from attrs import Factory, frozen


@frozen
class ClusterStatus:
    """How a cluster stands, as one member sees it. `role`: follower | candidate | leader; sizes are bytes."""

    cluster: str
    member: str
    role: str
    leader: str  # "" while none is known
    term: int
    first_index: int
    last_index: int
    commit: int
    applied: int
    state_hash: int
    cluster_version: int
    store_used_bytes: int
    store_quota_bytes: int
    has_quorum: bool
    graft_version: str
    live_runs: int
    warnings: tuple[str, ...] = ()  # what a person should know, in words


@frozen
class MemberView:
    """One member. `role`: voter | learner | executor. `match`: the last log index known to be on it, 0 if unknown.

    `live` is what the log says; `unknown`: without a quorum nobody can say so now. `heard_seconds`: since the leader
    heard from it, None where no leader says so. `draining` also while it stops.
    """

    id: str
    incarnation: int
    role: str
    address: str
    live: bool
    draining: bool = False
    labels: Mapping[str, str] = Factory(dict)
    node_types: tuple[str, ...] = ()
    zone: str = ""
    slots: Mapping[str, int] = Factory(dict)
    used: Mapping[str, int] = Factory(dict)
    match: int = 0
    version: int = 0
    unknown: bool = False
    heard_seconds: float | None = None


@frozen
class Change:
    """What an operator's request came to: the log index from which on it holds (0: none), and a line for a person."""

    index: int = 0
    text: str = ""


class Membership(Protocol):
    """All methods may raise RunConflict or UsageError (it makes no sense), Rejected (not now), Unreachable."""

    async def status(self) -> ClusterStatus: ...

    async def members(self, *, stale: bool = False) -> tuple[MemberView, ...]: ...

    async def add(self, member: str, address: str, role: str) -> Change:
        """`role` is voter or executor; a voter is a learner until it has caught up."""
        ...

    async def remove(self, member: str) -> Change: ...

    async def set_role(self, member: str, role: str) -> Change: ...

    async def transfer(self, target: str) -> Change:
        """Make `target` the leader; "" lets the leader choose who."""
        ...

    async def drain(self, member: str, *, undo: bool = False) -> Change:
        """Give the member no new work; `undo` ends that."""
        ...

    async def raise_version(self, version: int) -> Change:
        """Let the cluster use what came with this version; 0: the newest that all members understand."""
        ...

    async def take_snapshot(self) -> Change: ...

    def backup(self) -> AsyncGenerator[bytes, None]:
        """The file of a snapshot of all state, in pieces."""
        ...
