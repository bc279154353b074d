"""What LMDB and the kernel say, in Graft's words.

Tried on Linux with a file-size limit, a full tmpfs and injected faults: a write that stops half-way because the disk
is full is reported by LMDB as EIO, the same code as a broken disk. So an EIO of a commit is followed by a probe: when
the directory takes no more bytes, it was full and the store goes on; when it does, the fault is real and the store
stops. The transaction that failed left nothing behind either way: its pages are not reachable from any root.
"""

from __future__ import annotations

import errno
import os
import resource
import tempfile
from pathlib import Path

import lmdb

from graft.errors import StorageError, StoreCorrupt, StoreFull, StoreReadOnly, SyncFailed

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
DAMAGE = (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError, lmdb.VersionMismatchError)

FREE_SPACE = "free some space and try again; nothing that was recorded is lost"
PROBE_BYTES = 1 << 20


def translate(error: lmdb.Error | OSError, directory: Path) -> StorageError:
    """The error of our own tree for what happened in `directory` outside of a commit."""
    code = code_of(error)
    reason = error.strerror if isinstance(error, OSError) else str(error)
    if code in FULL or isinstance(error, lmdb.MapFullError):
        return StoreFull(f"no space left for {directory}", hint=FREE_SPACE)
    if code in READ_ONLY or isinstance(error, lmdb.ReadonlyError):
        return StoreReadOnly(
            f"cannot use {directory}: {os.strerror(code) if code else reason}",
            hint="give yourself the right to write there, or name another directory with --data",
        )
    if isinstance(error, (*DAMAGE, lmdb.BadTxnError)):  # LMDB spoils a transaction that met a page which is none
        return corrupt(directory, f"LMDB says: {reason}")
    if isinstance(error, lmdb.ReadersFullError):
        return StorageError(f"too many processes read {directory} at once", hint="close some of them and try again")
    if code == errno.ENOMEM or isinstance(error, lmdb.MemoryError):
        return StorageError(
            f"cannot map the store in {directory} into memory",
            hint="the address space is limited: raise `ulimit -v`, or lower map_bytes and quota_bytes",
        )
    file = error.filename if isinstance(error, OSError) else None
    return StorageError(f"cannot use {file or directory}: {reason}")


def translate_commit(error: lmdb.Error, directory: Path, data_file: Path) -> StorageError:
    """The error for a commit that failed: StoreFull when the disk takes no more, else SyncFailed."""
    code = code_of(error)
    if code in FULL or isinstance(error, lmdb.MapFullError) or (code == errno.EIO and is_full(data_file)):
        return StoreFull(f"no space left for {directory}", hint=FREE_SPACE)
    if isinstance(error, DAMAGE):
        return corrupt(directory, f"LMDB says: {error}")
    if code in READ_ONLY:
        return translate(error, directory)
    return SyncFailed(
        f"writing to {directory} failed: {error}",
        hint="check the disk, then start again; what was recorded before is safe, this last step is in doubt",
    )


def code_of(error: lmdb.Error | OSError) -> int:
    """The errno behind an error, 0 when there is none. Those that LMDB does not raise itself have no code."""
    code = error.errno if isinstance(error, OSError) else getattr(error, "code", None)
    return int(code or 0)


def is_full(data_file: Path) -> bool:
    """Whether the file system of `data_file` refuses another PROBE_BYTES, or a limit refuses to let the file grow."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft != resource.RLIM_INFINITY and os.stat(data_file).st_size + PROBE_BYTES > soft:
        return True
    try:
        with tempfile.TemporaryFile(dir=data_file.parent, buffering=0) as probe:
            block = bytes(1 << 16)
            for _ in range(PROBE_BYTES // len(block)):
                if probe.write(block) != len(block):
                    return True
            os.fsync(probe.fileno())
    except OSError as error:
        return error.errno in FULL
    return False


def free_bytes(directory: Path) -> int | None:
    """What the file system of `directory` has left for us; None when it does not say."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def corrupt(directory: Path, what: str) -> StoreCorrupt:
    return StoreCorrupt(f"the store in {directory} is damaged: {what}", hint=WAY_OUT)


WAY_OUT = "nothing was changed; put back a copy of the directory, or move it away to start with an empty one"
