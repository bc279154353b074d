"""How one member stands, and a backup of what it has: what every membership answers the same way."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import IO, Final

import trio

from graft import __version__
from graft.cluster import starving
from graft.cluster.backup import Coming, write_backup
from graft.cluster.host import Host
from graft.cluster.membership import ClusterStatus
from graft.cluster.room import Room
from graft.errors import StorageError
from graft.interfaces import TABLES, Store

PIECE: Final = 256 << 10  # bytes


async def cluster_status(host: Host, store: Store, room: Room, *, cluster: str, has_quorum: bool) -> ClusterStatus:
    """`has_quorum`: whether the member has heard of a majority lately."""
    found, usage = host.door.status(), await trio.to_thread.run_sync(store.usage)
    return ClusterStatus(
        cluster=cluster,
        member=found.id,
        role=found.role,
        leader=found.leader or "",
        term=found.term,
        first_index=found.first,
        last_index=found.last,
        commit=found.commit,
        applied=found.applied,
        state_hash=host.engine.state_hash(),
        cluster_version=found.version,
        store_used_bytes=usage.used_bytes,
        store_quota_bytes=usage.quota_bytes,
        has_quorum=has_quorum,
        graft_version=__version__,
        live_runs=len(host.engine.state.live_runs()),
        warnings=(*room.warnings(), *starving.warnings(host.door)),
    )


async def backup_pieces(host: Host, store: Store, directory: Path | None) -> AsyncGenerator[bytes, None]:
    """The backup file in pieces: everything that this member had applied when it was asked.

    All state is first written to a file in `directory`, at the speed of the disk: a read transaction pins old pages,
    and who asks for the backup may be slow. Raises StorageError.
    """
    applied = host.door.applied
    coming = {table: host.door.overlay.items(table) for table in TABLES}  # not in the store yet
    file = await trio.to_thread.run_sync(_exported, store, applied, coming, directory)
    try:
        while piece := await trio.to_thread.run_sync(file.read, PIECE):
            yield piece
    finally:
        file.close()


def _exported(store: Store, applied: int, coming: Coming, directory: Path | None) -> IO[bytes]:
    """A nameless file, at its beginning."""
    file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed by the one who reads it
    try:
        write_backup(store, applied, coming, file)
        file.seek(0, os.SEEK_SET)
    except OSError as error:
        file.close()
        raise StorageError(f"the backup could not be written: {error.strerror or error}") from error
    except BaseException:
        file.close()
        raise
    return file
