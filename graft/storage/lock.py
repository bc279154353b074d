"""One process at a time: a lock that names its holder.

The truth is `flock` on the file: the kernel drops it when the last descriptor goes, whatever killed the process, so it
is never stale and a reused process number cannot fool it. What the file *says* is only the name for the message, plus
how the last holder left: a holder that stops in order writes the number of its last transaction, and the next one
knows by that number that nothing happened since.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

import msgspec
from attrs import asdict, evolve, frozen

from graft.errors import StorageError, StoreHeld

LOCK = "lock"  # its file, in a data directory
COMMAND_LENGTH = 120
ORPHAN_PATIENCE_SECONDS = 2.0


@frozen
class Holder:
    """Who holds the lock, or held it last. `closed_at` is the last transaction of a holder that stopped in order."""

    pid: int
    started: int  # ticks since boot, from /proc/PID/stat; 0 when it cannot be told
    boot: str  # the kernel's id of this boot; "" when it cannot be told
    host: str
    command: str
    since: float  # seconds since the Unix epoch
    closed_at: int | None = None

    @staticmethod
    def of_this_process(command: str | None) -> Holder:
        pid = os.getpid()
        shown = command if command is not None else shown_command(sys.argv)
        return Holder(pid, start_ticks(pid), boot_id(), os.uname().nodename, shown[:COMMAND_LENGTH], time.time())

    def is_alive(self) -> bool:
        """Whether that very process still runs on this host, as far as it can be told from here."""
        return self.boot == boot_id() and self.started != 0 and start_ticks(self.pid) == self.started

    def describe(self) -> str:
        """`process 1234 (graft run flow.toml, since 12:03)`"""
        started = time.localtime(self.since)
        today = started[:3] == time.localtime()[:3]
        when = time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", started)
        where = "" if self.host == os.uname().nodename else f" on host {self.host}"
        return f"process {self.pid}{where} ({self.command or 'unknown command'}, since {when})"


def shown_command(argv: Sequence[str]) -> str:
    """What a process was started as, for others to read: up to its first option, for values may be secret."""
    words = takewhile(lambda word: not word.startswith("-"), argv[1:])
    return " ".join([os.path.basename(argv[0]), *words])


class DirectoryLock:
    """The lock of a data directory, held from `take` to `release`."""

    def __init__(self, descriptor: int, holder: Holder, previous: Holder | None) -> None:
        self._descriptor = descriptor
        self.holder = holder
        self.previous = previous  # the one before, None for a new directory or unreadable content

    @staticmethod
    def take(path: Path, command: str | None = None) -> DirectoryLock:
        """Raises StoreHeld naming the holder, OSError when the file cannot be opened for writing."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _flock(descriptor, path)
            lock = DirectoryLock(descriptor, Holder.of_this_process(command), _read(descriptor))
            lock._write(lock.holder)
        except BaseException:
            os.close(descriptor)
            raise
        return lock

    def is_gone(self) -> bool:
        """Whether the file has been removed, most likely with the whole directory. Costs half a microsecond."""
        return os.fstat(self._descriptor).st_nlink == 0

    def release(self, closed_at: int | None) -> None:
        """`closed_at` is the last transaction, None when the store may need a check at the next start.

        A disk that does not take the note costs the next start a check, no more.
        """
        with suppress(OSError):
            self._write(evolve(self.holder, closed_at=closed_at))
        os.close(self._descriptor)

    def _write(self, holder: Holder) -> None:
        data = msgspec.json.encode(asdict(holder)) + b"\n"
        os.pwrite(self._descriptor, data, 0)
        os.ftruncate(self._descriptor, len(data))


def keep_alive(path: Path) -> None:
    """Let the lock file say that its holder is alive now: `last_alive` is how others learn when one was killed."""
    with suppress(OSError):
        os.utime(path)


def last_alive(path: Path) -> int | None:
    """When the holder of a lock was last known to be alive: ms since the Unix epoch; None when there was none."""
    try:
        return path.stat().st_mtime_ns // 1_000_000
    except OSError:
        return None


def read_holder(path: Path) -> Holder | None:
    """What the lock file of a data directory says; None when it says nothing that can be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _read(descriptor)
    finally:
        os.close(descriptor)


def _flock(descriptor: int, path: Path) -> None:
    """A holder that has just died may still be on its way out, or have left a child behind: that gets some patience."""
    patience_end = time.monotonic() + ORPHAN_PATIENCE_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise StorageError(
                    f"cannot lock {path}: {error.strerror}",
                    hint="the file system must support flock; network file systems often do not",
                ) from error
        holder = _read(descriptor)
        orphaned = holder is not None and holder.host == os.uname().nodename and not holder.is_alive()
        if not orphaned or time.monotonic() > patience_end:
            raise _held(path.parent, holder, orphaned)
        time.sleep(0.02)


def _held(directory: Path, holder: Holder | None, orphaned: bool) -> StoreHeld:
    hint = "wait until it is done, stop it, or name another directory with --data"
    if holder is None:
        return StoreHeld(f"{directory} is held by another process", pid=None, hint=hint)
    if orphaned:
        message = f"{directory} is still held by something that {holder.describe()} left behind when it died"
        return StoreHeld(message, pid=None, hint=hint)
    return StoreHeld(f"{directory} is held by {holder.describe()}", pid=holder.pid, hint=hint)


def _read(descriptor: int) -> Holder | None:
    try:
        document: Any = msgspec.json.decode(os.pread(descriptor, 1 << 16, 0))
        return Holder(**document)
    except (ValueError, TypeError, OSError):
        return None


def start_ticks(pid: int) -> int:
    """When process `pid` started, in clock ticks since boot; 0 when there is no such process or no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        fields = stat[stat.rindex(")") + 2 :].split()  # the command in parentheses may hold anything
        return 0 if fields[0] in "ZX" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return 0


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
