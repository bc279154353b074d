"""Reading files that a person names. A path may lead to anything: a device without an end, a pipe that nobody writes
to, a directory. Only a regular file is read, up to a limit; nothing here waits."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 16 * 2**20


def read_file(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The content of a regular file. Raises OSError, whose `strerror` is made for a person, and ValueError for a path
    that cannot be one."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # or a pipe would wait for its writer
    try:
        check_regular(path, os.fstat(descriptor))
        with os.fdopen(os.dup(descriptor), "rb") as file:
            data = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"too large: more than {limit} bytes", str(path))
    return data


def check_regular(path: Path, status: os.stat_result | None = None) -> None:
    """For files that a library reads. Raises OSError."""
    mode = (os.stat(path) if status is None else status).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
