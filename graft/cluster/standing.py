"""How one member stands, and a backup of what it has: what every membership answers the same way.

A backup file is one line, `GRAFT-BACKUP 1 {JSON}`, and then a snapshot of all state as `graft.storage.snapshot_format`
writes it, with a checksum for every block and a count at its end.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncGenerator, Iterator, Mapping
from pathlib import Path
from typing import IO, Final

import msgspec
import trio

from graft import __version__
from graft.cluster import starving
from graft.cluster.host import Host
from graft.cluster.membership import ClusterStatus
from graft.cluster.room import Room
from graft.errors import StorageError
from graft.interfaces import TABLES, Store
from graft.storage.snapshot_format import encode

HEAD: Final = b"GRAFT-BACKUP 1 "
PIECE: Final = 256 << 10  # bytes

Row = tuple[str, bytes, bytes]
Coming = Mapping[str, Mapping[bytes, bytes | None]]  # changes by table and key; None removes


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
        with store.dump() as dump:
            is_behind = dump.applied < applied
            about = {"applied": max(dump.applied, applied), "made_by": f"graft {__version__}"}
            file.write(HEAD + msgspec.json.encode(about) + b"\n")
            for block in encode(_with_changes(dump.rows, coming) if is_behind else dump.rows):
                file.write(block)
        file.seek(0, os.SEEK_SET)
    except OSError as error:
        file.close()
        raise StorageError(f"the backup could not be written: {error.strerror or error}") from error
    except BaseException:
        file.close()
        raise
    return file


def _with_changes(rows: Iterator[Row], coming: Coming) -> Iterator[Row]:
    """The rows as they will be once the changes on their way are in the store.

    The changes are all those behind some earlier state than that of the rows, so each may be there already.
    """
    for table, key, value in rows:
        if key not in coming[table]:
            yield table, key, value
    for table, changes in coming.items():
        for key, changed in changes.items():
            if changed is not None:
                yield table, key, changed
