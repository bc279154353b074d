"""What an operator can ask of a cluster of one that `graft run` keeps: how it stands, and a backup of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import NoReturn

from graft.cluster.embedded import Embedded
from graft.cluster.membership import Change, ClusterStatus, MemberView
from graft.cluster.standing import backup_pieces, cluster_status
from graft.errors import RunConflict


class SoleMember:
    """Satisfies `Membership`."""

    def __init__(self, engine: Embedded) -> None:
        self._host, self._store, self._room = engine.host, engine.store, engine.room
        self._directory = None if engine.log_directory is None else engine.log_directory.parent

    async def status(self) -> ClusterStatus:
        return await cluster_status(self._host, self._store, self._room, cluster="", has_quorum=True)

    async def members(self, *, stale: bool = False) -> tuple[MemberView, ...]:
        host = self._host
        slots = dict(host.offer.slots)
        found = host.door.status()
        return (
            MemberView(
                host.member,
                host.incarnation,
                "voter",
                "",
                True,
                slots=slots,
                match=found.last,
                version=1,
                heard_seconds=0.0,
            ),
        )

    def backup(self) -> AsyncGenerator[bytes, None]:
        return backup_pieces(self._host, self._store, self._directory)

    async def add(self, member: str, address: str, role: str) -> Change:
        self._refuse()

    async def remove(self, member: str) -> Change:
        self._refuse()

    async def set_role(self, member: str, role: str) -> Change:
        self._refuse()

    async def transfer(self, target: str) -> Change:
        self._refuse()

    async def drain(self, member: str, *, undo: bool = False) -> Change:
        self._refuse()

    async def raise_version(self, version: int) -> Change:
        self._refuse()

    async def take_snapshot(self) -> Change:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise RunConflict(
            "this is the process of a `graft run`: it is alone, and stays so",
            hint="`graft serve` makes a data directory the first member of a cluster",
        )
