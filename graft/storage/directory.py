"""The data directory: what lies where in it, and the format it was written in.

::

    .graft/
      format        one line of JSON: {"format": 1, "made_by": "graft 0.1.0"}; the first thing that is read
      .gitignore    `*`
      lock          flock, and the name of the holder (`lock.py`)
      store/        the LMDB environment: data.mdb, lock.mdb
      logs/ …       other rooms

`format` is a file of its own so that a newer layout can be refused before anything else is looked at. A format that is
older than ours is brought up to date by `MIGRATIONS`, one step at a time, each safe to run again after a crash.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from attrs import frozen

from graft import __version__
from graft.errors import StorageError, StoreCorrupt, StoreFormatUnknown
from graft.storage.failures import WAY_OUT, corrupt, translate
from graft.storage.lock import LOCK

FORMAT = 1

MIGRATIONS: Mapping[int, Callable[[Layout], None]] = {}
"""Format -> the step that makes the next one of it. A step must be safe to run twice: a crash may come before the
new number is written. It runs under the lock, with the LMDB environment closed."""


@frozen
class Layout:
    """Where things are in a data directory."""

    root: Path

    @property
    def format(self) -> Path:
        return self.root / "format"

    @property
    def lock(self) -> Path:
        return self.root / LOCK

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def new_store(self) -> Path:
        """Where the environment of a new directory is made."""
        return self.root / "store.new"

    @property
    def data(self) -> Path:
        return self.root / "store" / "data.mdb"


OURS_BEFORE_FORMAT = frozenset({LOCK, ".gitignore", "format.new", "store.new", "holder.log"})
"""What a start that died early may leave: still a new directory."""


def prepare(root: Path) -> Layout:
    """The layout of `root` for a writer; makes the directory when there is nothing.

    Raises StoreReadOnly, StoreFull or StorageError when it cannot be made or is something else; StoreFormatUnknown,
    before anything is touched.
    """
    layout = Layout(root)
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = set(os.listdir(root))
    except (FileExistsError, NotADirectoryError) as error:
        file = next(place for place in (root, *root.parents) if os.path.lexists(place))
        raise StorageError(f"{file} is a file, not a directory", hint=NAME_ANOTHER) from error
    except OSError as error:
        raise translate(error, root) from error
    if "format" not in names and names - OURS_BEFORE_FORMAT - {"store"} and not layout.data.exists():
        raise StorageError(f"{root} is not empty and holds no Graft data", hint=NAME_ANOTHER)
    read_format(layout)
    with suppress(OSError):  # a directory that cannot be written to is told below
        _ignore_in_git(root)
    return layout


def _ignore_in_git(root: Path) -> None:
    """Logs, keys and data of runs are nothing to commit."""
    with suppress(FileExistsError), open(root / ".gitignore", "x") as file:
        file.write("*\n")


def existing(root: Path) -> Layout:
    """The layout of `root` for a reader. Raises StorageError when there is no Graft data, StoreFormatUnknown, and
    StoreCorrupt when only a part of it is there."""
    layout = Layout(root)
    being_made = layout.new_store.exists()  # asked first: it is what gets the name of the store
    formed, stored = read_format(layout) is not None, layout.data.exists()
    if stored and not formed:
        raise corrupt(root, f"{layout.format} is missing")
    if formed and not stored and not being_made:
        raise corrupt(root, f"{layout.data} is missing")
    if not formed or not stored:
        raise StorageError(f"there is no Graft data in {root}", hint="start a run first, or name it with --data")
    return layout


NAME_ANOTHER = "name another directory with --data"


def read_format(layout: Layout) -> int | None:
    """The format of the directory; None when it is new. Raises StoreFormatUnknown, StoreCorrupt."""
    try:
        data = layout.format.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise translate(error, layout.root) from error
    try:
        document: Any = msgspec.json.decode(data)
        found, made_by = int(document["format"]), str(document["made_by"])
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorrupt(f"{layout.format} cannot be read: {error}", hint=WAY_OUT) from error
    if found > FORMAT:
        raise StoreFormatUnknown(
            f"{layout.root} has storage format {found}, written by {made_by}; "
            f"this is graft {__version__}, which knows formats up to {FORMAT}",
            hint="use that version or a newer one; nothing was changed",
        )
    return found


def bring_up_to_date(layout: Layout, migrations: Mapping[int, Callable[[Layout], None]] | None = None) -> None:
    """Under the lock: migrate a directory of an older format step by step.

    Raises StoreFormatUnknown for one that is too old to migrate, or too new.
    """
    steps = MIGRATIONS if migrations is None else migrations
    found = read_format(layout)
    while found is not None and found < FORMAT:
        step = steps.get(found)
        if step is None:
            raise StoreFormatUnknown(
                f"{layout.root} has storage format {found}; graft {__version__} reads format {FORMAT} only",
                hint="use an older version of Graft; nothing was changed",
            )
        step(layout)
        found += 1
        write_format(layout, found)


def write_format(layout: Layout, number: int) -> None:
    """Replace the format file in one step that survives a crash."""
    new = layout.root / "format.new"
    with open(new, "wb") as file:
        file.write(msgspec.json.encode({"format": number, "made_by": f"graft {__version__}"}) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, layout.format)
    sync_directory(layout.root)


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable. Some file systems cannot, and then it is not needed there."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
