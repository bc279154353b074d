"""What operators ask of a member (`Membership`), answered from its state or brought to the leader."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

import trio

from graft import __version__
from graft.cluster.member import ClusterMember
from graft.cluster.membership import Change, ClusterStatus, MemberView
from graft.errors import UsageError
from graft.interfaces import Snapshots, Store

PIECE_BYTES: Final = 1 << 20
JOIN_SECONDS: Final = 30.0


class ClusterOperators:
    """Satisfies `Membership`. `invite` asks the member at an address to join, and gives its name."""

    def __init__(
        self,
        member: ClusterMember,
        cluster: str,
        store: Store,
        snapshots: Snapshots,
        invite: Callable[[str], Awaitable[str]],
    ) -> None:
        self._member, self._cluster, self._invite = member, cluster, invite
        self._store, self._snapshots = store, snapshots

    async def status(self) -> ClusterStatus:
        host = self._member.host
        raft = host.door.status()
        usage = await trio.to_thread.run_sync(self._store.usage)
        return ClusterStatus(
            cluster=self._cluster,
            member=raft.id,
            role=raft.role,
            leader=raft.leader or "",
            term=raft.term,
            first_index=raft.first,
            last_index=raft.last,
            commit=raft.commit,
            applied=host.door.applied,
            state_hash=host.engine.state_hash(),
            cluster_version=raft.version,
            store_used_bytes=usage.used_bytes,
            store_quota_bytes=usage.quota_bytes,
            has_quorum=raft.leader is not None,
            graft_version=__version__,
            live_runs=len(host.engine.state.live_runs()),
        )

    async def members(self, *, stale: bool = False) -> tuple[MemberView, ...]:
        if not stale:
            await self._member.runs.fresh()
        host = self._member.host
        raft = host.door.status()
        match = {follower.id: follower.match for follower in raft.followers} | {raft.id: raft.last}
        views = []
        for server in raft.configuration.members:
            record = host.engine.state.members.get(server.id)
            if record is None:
                views.append(MemberView(server.id, server.incarnation, server.role, "", live=False))
                continue
            views.append(
                MemberView(
                    id=server.id,
                    incarnation=server.incarnation,
                    role=server.role,
                    address=record.address,
                    live=record.live,
                    draining=bool(record.draining),
                    labels=dict(record.labels),
                    node_types=record.node_types,
                    zone=record.zone,
                    slots=dict(record.slots),
                    used={kind: host.engine.state.ledger.used(server.id, kind) for kind, _ in record.slots},
                    match=match.get(server.id, 0) if raft.role == "leader" else 0,
                    version=record.version,
                )
            )
        return tuple(views)

    async def add(self, member: str, address: str, role: str) -> Change:
        """Ask the empty member at `address` to join, and wait until it did."""
        found = await self._invite(address)
        if found != member:
            raise UsageError(f"the member at {address} is {found}, not {member}")
        with trio.move_on_after(JOIN_SECONDS):
            while not any(each.id == member for each in self._member.configuration.members):  # noqa: ASYNC110
                await trio.sleep(0.05)
            return self._changed(f"{member} joins as {role}")
        raise UsageError(f"{member} was asked and has not joined within {JOIN_SECONDS:g} s", hint="look at its log")

    async def remove(self, member: str) -> Change:
        await self._member.changes.remove(member)
        return self._changed(f"{member} is no member any more")

    async def set_role(self, member: str, role: str) -> Change:
        await self._member.changes.set_role(member, role)
        return self._changed(f"{member} is {role}")

    async def transfer(self, target: str) -> Change:
        await self._member.changes.transfer(target or None)
        door = self._member.host.door
        while door.leader is None:
            await door.wait_role()
        return self._changed(f"{door.leader} leads")

    async def drain(self, member: str, *, undo: bool = False) -> Change:
        await self._member.changes.drain(member, undo)
        return self._changed(f"{member} takes work again" if undo else f"{member} gets no new work")

    async def raise_version(self, version: int) -> Change:
        await self._member.changes.raise_version(version)
        return self._changed(f"the cluster's version is {self._member.host.door.status().version}")

    async def take_snapshot(self) -> Change:
        """Forget the log that the state covers: whoever misses it gets a snapshot."""
        door = self._member.host.door
        door.compact(door.applied)
        return self._changed(f"{self._member.id} keeps no log before {door.applied}")

    def _changed(self, text: str) -> Change:
        return Change(self._member.host.door.applied, text)

    async def backup(self) -> AsyncGenerator[bytes, None]:
        """All state that was acknowledged before the call."""
        await self._member.runs.fresh()
        id = f"backup-{self._member.host.door.applied:020}-{trio.current_time():.0f}"

        def export() -> int:
            with self._store.dump() as dump:
                return self._snapshots.export(id, dump, trio.from_thread.check_cancelled)[0]

        size = await trio.to_thread.run_sync(export)
        try:
            for offset in range(0, size, PIECE_BYTES):
                piece = await trio.to_thread.run_sync(self._snapshots.read, id, offset, PIECE_BYTES)
                assert piece is not None, "nobody else drops a backup"
                yield piece
        finally:
            self._snapshots.drop(id)
