"""`graft backup FILE`: all state of a cluster, in one file."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from graft.cli.cluster import ask, size_text
from graft.cli.data import is_held, must_exist
from graft.cli.place import Place, place_options
from graft.cli.terminal import note, out_json
from graft.errors import UsageError

if TYPE_CHECKING:
    from graft.client import Client


@click.command("backup")
@click.argument("file", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@place_options
def command(file: str, as_json: bool, place: Place) -> None:
    """Write all state of a cluster to FILE, as the member has it that answers, or of a data directory. Runs go on
    meanwhile.

    The logs of steps are not part of it. `graft restore FILE DIR` makes a data directory of it.
    """
    path = Path(file)
    if path.is_dir():
        raise UsageError(f"{file} is a directory", hint="name the file to write")

    async def body(client: Client) -> int:
        with writing(path) as target:
            return await client.backup(target)

    try:
        size = ask(place, body) if place.is_remote or is_held(place.data) else _idle(place, path)
    except OSError as error:
        raise UsageError(f"{error.filename or file} cannot be written: {error.strerror or error}") from error
    if as_json:
        out_json({"file": str(path), "bytes": size})
    else:
        note(f"wrote {file}: {size_text(size)}")


def _idle(place: Place, path: Path) -> int:
    """Of a directory that no process holds."""
    from graft.cluster.backup import back_up_directory

    data = must_exist(place.data)
    with writing(path) as target:
        back_up_directory(data, target)
        return target.tell()


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file that is `path` once it is complete and on the disk: a half of it never has the name of the whole."""
    unfinished = path.with_name(path.name + ".new")
    with open(take(unfinished), "wb") as target:
        try:
            yield target
            target.flush()
            os.fsync(target.fileno())
            os.replace(unfinished, path)  # while it is locked
        except BaseException:
            with suppress(OSError):
                unfinished.unlink()
            raise


def take(unfinished: Path) -> int:
    """A descriptor of the empty file `unfinished`, locked. What a backup that was killed left there is overwritten.

    Raises UsageError while another one writes it, OSError. It holds secrets of the runs' data: for its owner alone.
    """
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), os.stat(unfinished)):
            raise BlockingIOError  # the other one has just finished: this is its backup
        os.ftruncate(descriptor, 0)
    except (BlockingIOError, FileNotFoundError):
        os.close(descriptor)
        raise UsageError(f"another backup writes {unfinished}", hint="wait for it, or name another file") from None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
