"""The check after a stop that was not in order, and what it may cost.

LMDB survives a killed process and a lost power supply by design, so the check looks for what it cannot survive: a disk
that lied or decayed. A whole walk costs about 2 µs a record, so it is not in the way of a start:

* a small file (up to INLINE_BYTES) is walked at once, in some ten milliseconds;
* a larger one is walked by a child process at the lowest priority, while the store already works. When it finds
  damage, the next commit refuses: the store stops with the damage named.

The walk reads the file with `pread` and cannot crash; the child is there for the time it takes. Until one walk came
through, a stop in order does not count as one, and the next start begins again. See `docs/decisions/`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
from attrs import frozen

from graft.errors import StorageError, StoreCorrupt
from graft.storage.directory import existing
from graft.storage.environment import open_environment
from graft.storage.failures import corrupt
from graft.storage.metas import Read
from graft.storage.walk import Damage, Walk

INLINE_BYTES = 2 << 20
EXIT_DAMAGED = 3


@frozen
class Report:
    """What a walk over a data directory found."""

    damages: tuple[Damage, ...]
    pages: int
    records: int
    seconds: float

    def error(self, root: Path) -> StoreCorrupt | None:
        """None when nothing is damaged."""
        if not self.damages:
            return None
        more = len(self.damages) - 1
        return corrupt(root, f"{self.damages[0]}" + (f" (and {more} more)" if more else ""))


def walk_file(data: Path) -> Report:
    """Walk a data file that nobody writes to. Raises OSError."""
    descriptor = os.open(data, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _walk(lambda offset, size: os.pread(descriptor, size, offset))
    finally:
        os.close(descriptor)


def verify(root: Path | str) -> Report:
    """Walk the store of a data directory; another process may be writing to it.

    Raises StorageError when there is none, StoreFormatUnknown, and StoreCorrupt when not even its head can be read.
    """
    layout = existing(Path(root))
    try:
        environment, _reads, _head = open_environment(layout, 1 << 20, readonly=True)
    except StoreCorrupt:
        report = walk_file(layout.data)  # it may name the damage better, and does not depend on LMDB
        if report.damages:
            return report
        raise
    try:
        with environment.begin():  # keeps the writer from reusing the pages that the walk is about to read
            return walk_file(layout.data)
    finally:
        environment.close()


def _walk(read: Read) -> Report:
    started = time.perf_counter()
    walk = Walk(read)
    damages = walk.run()
    return Report(damages, walk.pages, walk.records, time.perf_counter() - started)


class BackgroundCheck:
    """A walk in a child process. `poll` never waits."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._child: subprocess.Popen[bytes] | None = subprocess.Popen(
            [sys.executable, "-P", "-m", "graft.storage", os.fspath(root.absolute())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.report: Report | None = None

    @property
    def is_running(self) -> bool:
        return self._child is not None

    def poll(self) -> StoreCorrupt | None:
        """The damage, once the child has found some. A child that could not do its work leaves `report` None."""
        if self._child is None or self._child.poll() is None:
            return None
        return self._finish(self._child)

    def wait(self) -> StoreCorrupt | None:
        return None if self._child is None else self._finish(self._child)

    def _finish(self, child: subprocess.Popen[bytes]) -> StoreCorrupt | None:
        self._child = None
        output, _ = child.communicate()
        if child.returncode not in (0, EXIT_DAMAGED):
            return None
        self.report = msgspec.json.decode(output, type=Report)
        return self.report.error(self._root)

    def stop(self) -> None:
        """End the child when it is still at work."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None


def main(arguments: list[str]) -> int:
    """`python -m graft.storage DIRECTORY`: the report as JSON; exit code 0, 3 when damaged, 1 otherwise."""
    os.nice(19)
    try:
        report = verify(arguments[0])
    except StoreCorrupt as error:
        report = Report((Damage("structure", error.message),), 0, 0, 0.0)
    except StorageError as error:
        print(error, file=sys.stderr)
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    return EXIT_DAMAGED if report.damages else 0
