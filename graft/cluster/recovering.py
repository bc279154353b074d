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
from graft.errors import Rejected, UsageError
from graft.raft_driver import RaftDoor
from graft.storage import SnapshotDirectory, open_store
from graft.storage.directory import Layout

RECOVER_SECONDS = 60.0
LOOK_SECONDS = 0.05


@frozen
class Recovered:
    """`cluster` is the new id, `lost` the members that are none any more, `applied` what the state covers."""

    cluster: str
    member: str
    lost: tuple[str, ...]
    applied: int


def plan_recovery(directory: Path) -> Identity:
    """Whose directory it is. Raises UsageError for one that belongs to no cluster."""
    identity = load_identity(directory)
    if identity is None or not identity.cluster or not Layout(directory).store.exists():
        raise UsageError(
            f"{directory} belongs to no cluster",
            hint="`graft recover` is for the data directory of a member of a cluster that lost its majority",
        )
    return identity


async def recover(directory: Path) -> Recovered:
    """Make the member of `directory` the only one. Raises UsageError, StorageError, Rejected."""
    identity = plan_recovery(directory)
    store = open_store(directory, command="graft recover")
    try:
        host = Host(
            store,
            SystemClock(),
            SystemEntropy(),
            member=identity.member,
            offer=Offer(()),
            config=raft.Config(id=identity.member),
            founders=(),
            snapshots=SnapshotDirectory(directory / "snapshots"),
        )
        before = host.door.configuration.members
        mine = raft.Member(identity.member, host.door.identity.incarnation, "voter")
        name = identity.cluster.rpartition("-")[0]
        found = Identity(mine.id, mine.incarnation, cluster_id(f"{name}-{host.incarnation:x}", [mine]), (mine,))
        lost = tuple(each.id for each in before if each.id != mine.id)
        if not any(each.id == mine.id and each.role == "voter" for each in before):
            raise UsageError(
                f"{mine.id} is no voter, so its state may lack what was acknowledged",
                hint="recover the directory of a voter",
            )
        with trio.fail_after(RECOVER_SECONDS):
            async with trio.open_nursery() as nursery:
                await nursery.start(host.door.run)
                if before == (mine,):  # such as after a recovery that was killed: it elects itself
                    while not host.door.leads:  # noqa: ASYNC110 - the door has no event for it
                        await trio.sleep(LOOK_SECONDS)
                else:
                    await _make_alone(directory, identity, found, host.door)
                await host.door.read_index()
                save_identity(directory, found)
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
