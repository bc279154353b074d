"""Backup files: all state of a member, or of a data directory that no process holds.

A backup file is one line, `GRAFT-BACKUP 1 {JSON}`, and then a snapshot of all state as `graft.storage.snapshot_format`
writes it, with a checksum for every block and a count at its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Final, Protocol

import msgspec

from graft import __version__
from graft.cluster.history import replayed
from graft.interfaces import TABLES, Dump
from graft.storage import open_reader
from graft.storage.snapshot_format import encode

HEAD: Final = b"GRAFT-BACKUP 1 "

Row = tuple[str, bytes, bytes]
Coming = Mapping[str, Mapping[bytes, bytes | None]]  # changes by table and key; None removes


class Dumped(Protocol):
    def dump(self) -> AbstractContextManager[Dump]: ...


def write_backup(store: Dumped, applied: int, coming: Coming, file: IO[bytes]) -> None:
    """The state up to the log index `applied`: what `store` has, with the changes on their way to it."""
    with store.dump() as dump:
        is_behind = dump.applied < applied
        about = {"applied": max(dump.applied, applied), "made_by": f"graft {__version__}"}
        file.write(HEAD + msgspec.json.encode(about) + b"\n")
        for block in encode(_with_changes(dump.rows, coming) if is_behind else dump.rows):
            file.write(block)


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


def back_up_directory(data: Path, file: IO[bytes]) -> None:
    """The backup of a directory that no process holds; nothing in it is changed.

    What its log holds beyond the state is in it, too, where one voter wrote that; of a member of many nobody can tell
    what of that is committed. Raises StorageError.
    """
    store = open_reader(data)
    try:
        found = replayed(store, strict=True)
        applied = store.bounds().applied if found is None else store.bounds().last
        coming = {} if found is None else {table: found[1].items(table) for table in TABLES}
        write_backup(store, applied, coming, file)
    finally:
        store.close()
