"""What operators ask of a member (`Membership`), answered from its state or brought to the leader."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final

import trio

from graft.cluster.member import ClusterMember
from graft.cluster.membership import Change, ClusterStatus, MemberView
from graft.cluster.standing import backup_pieces, cluster_status
from graft.errors import UsageError
from graft.interfaces import Store

JOIN_SECONDS: Final = 30.0


class ClusterOperators:
    """Satisfies `Membership`. `invite` asks the member at an address to join as a role, and gives its name."""

    def __init__(
        self,
        member: ClusterMember,
        cluster: str,
        store: Store,
        directory: Path,
        invite: Callable[[str, str], Awaitable[str]],
    ) -> None:
        self._member, self._cluster, self._invite = member, cluster, invite
        self._store, self._directory = store, directory

    async def status(self) -> ClusterStatus:
        host = self._member.host
        has_quorum = host.door.leader is not None
        return await cluster_status(host, self._store, self._member.room, cluster=self._cluster, has_quorum=has_quorum)

    async def members(self, *, stale: bool = False) -> tuple[MemberView, ...]:
        if not stale:
            await self._member.runs.fresh()
        known = self._member.followers.known_here() if stale else await self._member.followers.ask()
        host = self._member.host
        has_quorum = host.door.leader is not None
        views = []
        for server in self._member.configuration.members:
            record = host.engine.state.members.get(server.id)
            unknown = not has_quorum and server.id != host.member
            match, heard = known.get(server.id, (0, None))
            if record is None:
                views.append(MemberView(server.id, server.incarnation, server.role, "", live=False, unknown=unknown))
                continue
            views.append(
                MemberView(
                    id=server.id,
                    incarnation=server.incarnation,
                    role=server.role,
                    address=record.address,
                    live=record.live,
                    draining=record.draining or record.stopping,
                    labels=dict(record.labels),
                    node_types=record.node_types,
                    zone=record.zone,
                    slots=dict(record.slots),
                    used={kind: host.engine.state.ledger.used(server.id, kind) for kind, _ in record.slots},
                    match=match,
                    version=record.version,
                    unknown=unknown,
                    heard_seconds=heard,
                )
            )
        return tuple(views)

    async def add(self, member: str, address: str, role: str) -> Change:
        """Ask the empty member at `address` to join as `role`, and wait until it did. Raises NoQuorum.

        Its settings have to allow the role. One of an older version goes by its settings alone, and one that has joined
        already is what it is.
        """
        await self._member.runs.fresh()
        found = await self._invite(address, role)
        if found != member:
            raise UsageError(f"the member at {address} is {found}, not {member}")
        with trio.move_on_after(JOIN_SECONDS):
            while (joined := self._role_of(member)) is None:  # noqa: ASYNC110
                await trio.sleep(0.05)
            if joined != role:
                wanted = f"`resources.roles` in the settings of {member} says which; `graft member demote` changes it"
                raise UsageError(f"{member} has joined as {joined}, not as {role}", hint=wanted)
            return self._changed(f"{member} joins as {role}")
        raise UsageError(f"{member} was asked and has not joined within {JOIN_SECONDS:g} s", hint="look at its log")

    def _role_of(self, member: str) -> str | None:
        """What it is or, as a learner, is to become; None while it is no member."""
        found = self._member.configuration.find(member)
        return None if found is None else "executor" if found.role == "executor" else "voter"

    async def remove(self, member: str) -> Change:
        await self._member.changes.remove(member)
        return self._changed(f"{member} is no member any more")

    async def set_role(self, member: str, role: str) -> Change:
        await self._member.changes.set_role(member, role)
        return self._changed(f"{member} is {role}")

    async def transfer(self, target: str) -> Change:
        await self._member.changes.transfer(target or None)
        return self._changed(f"{self._member.host.door.leader} leads")

    async def drain(self, member: str, *, undo: bool = False) -> Change:
        await self._member.changes.drain(member, undo)
        return self._changed(f"{member} takes work again" if undo else f"{member} gets no new work")

    async def raise_version(self, version: int) -> Change:
        await self._member.changes.raise_version(version)
        await self._member.runs.fresh()  # the leader did it, and this member may not have heard of it
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
        async with aclosing(backup_pieces(self._member.host, self._store, self._directory)) as pieces:
            async for piece in pieces:
                yield piece  # noqa: ASYNC119 - the service closes it
