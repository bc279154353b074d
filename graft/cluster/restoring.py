"""Making a data directory of a backup: the first member of a new cluster with the old one's state.

The rows are staged and switched to as a snapshot from another member would be, so that what stands in the directory
afterwards is what a member has that got its state that way: everything up to the backup's log index, and an empty log
behind it. Who the members are is not part of it: whoever starts on the directory is the only voter.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
from attrs import frozen

from graft.cluster.backup import HEAD
from graft.errors import StoreCorrupt, UsageError
from graft.files import check_regular
from graft.interfaces import Change, Switch, Turn
from graft.storage import open_store
from graft.storage.directory import sync_directory
from graft.storage.failures import translate
from graft.storage.snapshot_format import decode

MAX_HEAD: Final = 4096  # bytes


@frozen
class Restored:
    """What a backup held: all changes up to the log index `applied`. `made_by`: the program that wrote it."""

    applied: int
    rows: int
    runs: int
    made_by: str


def restore(file: Path, directory: Path) -> Restored:
    """Make `directory` of the backup `file`. It must not exist, or be empty.

    Raises UsageError (no backup, or something is there), StoreCorrupt (the backup is damaged; nothing is left behind),
    StorageError.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} is there already", hint="name a directory that is empty, or not there")
    directory = directory.absolute()
    _check_replaceable(directory)
    made = directory.with_name(directory.name + ".restoring")
    try:
        check_regular(file)
        with open(file, "rb") as backup:
            about = _head(file, backup)
            shutil.rmtree(made, ignore_errors=True)
            restored = _fill(made, about, decode(backup.read))
        os.rename(made, directory)  # over an empty one, too
        sync_directory(directory.parent)
    except StoreCorrupt as error:
        raise StoreCorrupt(f"{file}: {error.message}", hint="the file is damaged: use another backup") from error
    except OSError as error:
        if error.filename is not None and Path(error.filename) == file:
            raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
        raise translate(error, directory) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return restored


def _check_replaceable(directory: Path) -> None:
    """The whole directory is made beside it, and gets its name at the very end. Raises UsageError."""
    if not directory.exists():
        return
    for what, holds in (
        ("the current directory", directory.samefile(Path.cwd())),
        ("a mount point", directory.is_mount()),
    ):
        if holds:
            raise UsageError(f"{directory} is {what}, which cannot be replaced", hint="name a new directory in it")


def _head(file: Path, backup: BinaryIO) -> dict[str, Any]:
    line = backup.readline(MAX_HEAD)
    if not line.startswith(HEAD):
        raise UsageError(f"{file} is no backup of Graft, or one of a version that is not known")
    try:
        about: dict[str, Any] = msgspec.json.decode(line[len(HEAD) :])
        return {"applied": int(about["applied"]), "made_by": str(about["made_by"])}
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorrupt(f"its first line cannot be read: {error}") from error


def _fill(made: Path, about: dict[str, Any], pieces: Iterator[list[Change]]) -> Restored:
    store = open_store(made, command="graft restore")
    rows = runs = 0
    try:
        for piece in pieces:
            rows += len(piece)
            runs += sum(table == "runs" for table, _, _ in piece)
            store.commit(Turn(staging=piece))
        store.commit(Turn(switch=Switch(about["applied"], 0)))
        while store.spare_rows():
            store.commit(Turn(sweep=True))
    finally:
        store.close()
    return Restored(about["applied"], rows, runs, about["made_by"])
