"""When a majority of a cluster is lost for ever: one member's directory becomes a cluster of its own (`graft recover`).

Offline, and by an operator's word only (`graft.raft.recovery` says what it costs). The directory gets another cluster
id, so that members of the old one that come back after all are refused, instead of making a second cluster with it.
"""

from __future__ import annotations

from pathlib import Path

import trio
from attrs import frozen

from graft import raft
from graft.cluster.host import Host, Offer
from graft.cluster.identity import Identity, cluster_id, load_identity, save_identity
from graft.cluster.system import SystemClock, SystemEntropy
from graft.engine.commands import CLUSTER_VERSION
from graft.errors import Rejected, UsageError
from graft.interfaces import Store
from graft.raft_driver import RaftDoor
from graft.storage import SnapshotDirectory, open_store
from graft.storage.directory import Layout

RECOVER_SECONDS = 60.0


@frozen
class Outlook:
    """What a recovery would keep. Who has the later `last_term`, and with the same one the later `last`, knows more.

    `lost` are the members that would be none any more; `live_runs` of the `runs` have not ended.
    """

    cluster: str
    member: str
    lost: tuple[str, ...]
    last_term: int
    last: int
    runs: int
    live_runs: int


@frozen
class Recovered:
    """`cluster` is the new id, `lost` the members that are none any more, `applied` what the state covers."""

    cluster: str
    member: str
    lost: tuple[str, ...]
    applied: int


def look(directory: Path) -> Outlook:
    """What `recover` would do. Raises like it, StoreHeld while the member runs."""
    identity = _identity(directory)
    store = open_store(directory, command="graft recover")
    try:
        host = _host(directory, identity, store)
        lost = _lost(directory, identity, host)
        status, view = host.door.status(), host.view
        runs, live = len(view.run_numbers()), len(view.live_runs())
        return Outlook(identity.cluster, identity.member, lost, status.last_term, status.last, runs, live)
    finally:
        store.close()


def _identity(directory: Path) -> Identity:
    """Whose directory it is. Raises UsageError for one that belongs to no cluster."""
    if not directory.is_dir():
        raise UsageError(f"there is no directory {directory}", hint="name the data directory of a member")
    identity = load_identity(directory)
    if identity is None or not identity.cluster or not Layout(directory).store.exists():
        raise UsageError(
            f"{directory} belongs to no cluster",
            hint="`graft recover` is for the data directory of a member of a cluster that lost its majority",
        )
    return identity


def _host(directory: Path, identity: Identity, store: Store) -> Host:
    return Host(
        store,
        SystemClock(),
        SystemEntropy(),
        member=identity.member,
        offer=Offer(()),
        config=raft.Config(id=identity.member, max_version=CLUSTER_VERSION),
        founders=(),
        snapshots=SnapshotDirectory(directory / "snapshots"),
    )


def _lost(directory: Path, identity: Identity, host: Host) -> tuple[str, ...]:
    """The other members. Raises UsageError where the directory cannot or need not become a cluster of its own."""
    found = host.door.configuration
    mine = next((each for each in found.members if each.id == identity.member), None)
    if mine is None or mine.role != "voter":
        raise UsageError(
            f"{identity.member} is no voter, so its state may lack what was acknowledged",
            hint="recover the directory of a voter",
        )
    others = tuple(each.id for each in found.members if each.id != mine.id)
    if not others and not found.joint:
        raise UsageError(
            f"{directory} is a cluster of one already, {identity.cluster}: nothing is lost",
            hint="start it: `graft serve`",
        )
    return others


async def recover(directory: Path) -> Recovered:
    """Make the member of `directory` the only one. Raises UsageError, StorageError, Rejected."""
    identity = _identity(directory)
    store = open_store(directory, command="graft recover")
    try:
        host = _host(directory, identity, store)
        lost = _lost(directory, identity, host)
        mine = raft.Member(identity.member, host.door.identity.incarnation, "voter")
        name = identity.cluster.rpartition("-")[0]
        found = Identity(mine.id, mine.incarnation, cluster_id(name, [mine], host.incarnation), (mine,))
        with trio.fail_after(RECOVER_SECONDS):
            async with trio.open_nursery() as nursery:
                await nursery.start(host.door.run)
                await _make_alone(directory, identity, found, host.door)
                await host.door.read_index()
                nursery.cancel_scope.cancel()
        return Recovered(found.cluster, mine.id, lost, host.door.applied)
    except* Rejected as group:
        raise group.exceptions[0] from None  # noqa: ASYNC123 - one refusal is all that there is
    finally:
        store.close()


async def _make_alone(directory: Path, identity: Identity, found: Identity, door: RaftDoor) -> None:
    """The new cluster id comes first: killed before it is alone, the member waits, and can be recovered again. The
    other way round it would lead under the id of the old cluster, whose members take it for one of theirs."""
    save_identity(directory, found)
    try:
        await door.recover_quorum(raft.Configuration(found.founders))
    except Rejected:
        save_identity(directory, identity)
        raise
