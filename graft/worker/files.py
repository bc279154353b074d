"""The files of steps: where they are, what is in them, and making them.

A file may be what nobody expects: a FIFO that nobody writes to, `/dev/zero`, a file of a server that does not answer.
So files are opened without waiting, must be regular ones, and are read and written in threads that a cancelled or late
step leaves behind.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio

from graft.plan import Tree
from graft.worker.failures import AttemptLost, StepFailure
from graft.worker.shortage import SHORT

if TYPE_CHECKING:
    from graft.worker.attempt import Attempt

CHUNK_BYTES: Final = 1024 * 1024
MAX_DOWNLOAD_BYTES: Final = 16 * 1024**3  # of a file that `http` makes
CLEANUP_SECONDS: Final = 1.0

Made = TypeVar("Made")


def path_of(attempt: Attempt, given: str | Tree | None, key: str) -> str | None:
    """What `cwd` or `output_path` says, which is relative to the directory of the flow.

    A text of the flow's author may lead anywhere; a computed path must not leave that directory, whatever the values
    are that it is made of. Raises StepFailure of type `expression`.
    """
    if given is None:
        return None
    if isinstance(given, str):
        text = given
    else:
        value = attempt.evaluate(given)
        text = str(value) if isinstance(value, (str, int, float)) else ""
        if not text:
            raise StepFailure("expression", f"`{key}` needs a path, and got {_shown(value)}")
        if os.path.isabs(text) or os.path.normpath(text).split(os.sep)[0] == os.pardir:
            raise StepFailure(
                "expression",
                f"`{key}` leads out of the directory of the flow: {text}",
                "a path with `${…}` must stay below it; of a command, hand the path in as a variable and use it there",
            )
    if not passes(text):
        raise StepFailure("expression", f"`{key}` {text!r} is not a path: NUL or broken Unicode")
    return text


def _shown(value: Any) -> str:
    return "an empty text" if value == "" else f"{type(value).__name__}"


def passes(text: str) -> bool:
    """Can the system get `text`, in an argument or as a path?"""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


async def file_record(base: Path, name: str | None) -> dict[str, Any]:
    """`{path, size, sha256}` of the file that a step made. `path` is as the flow says it, relative to `base`."""
    if name is None:
        raise StepFailure("output_schema", '`output = "file"` needs the path of the file')
    try:
        size, digest = await _in_thread(partial(_hash_file, base / name, left := _Left()), left)
    except (FileNotFoundError, NotADirectoryError):
        raise StepFailure("output_schema", f"the step did not make the file {name}", f"looked in {base}") from None
    except OSError as error:
        raise StepFailure("output_schema", f"the file {name} cannot be read: {error.strerror}") from None
    return {"path": name, "size": size, "sha256": digest}


class _Left:
    """Tells a thread that nobody waits for it any more."""

    is_set = False


async def _in_thread(work: Callable[[], Made], left: _Left) -> Made:
    """A limiter of its own: threads that hang hold up no other step."""
    try:
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))
    except BaseException:
        left.is_set = True
        raise


def _hash_file(path: Path, left: _Left) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    # A FIFO without a writer, a terminal or a device would keep `open` waiting.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        while not left.is_set and (data := os.read(descriptor, CHUNK_BYTES)):
            digest.update(data)
            size += len(data)
    finally:
        os.close(descriptor)
    return size, digest.hexdigest()


class Download:
    """A file that is being made beside its place, and moved there whole: one that is cut off never has the name.

    Use as an async context manager; leaving it without `finish` removes what there is.
    """

    def __init__(self, base: Path, name: str, token: int) -> None:
        self.name = name
        self._target = base / name
        self._partial = self._target.with_name(f".{self._target.name[:200]}.{token}.part")
        self._digest = hashlib.sha256()
        self._left = _Left()
        self._descriptor: int | None = None
        self._waiting = bytearray()
        self.size = 0

    async def __aenter__(self) -> Download:
        await self._do(self._open)
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.move_on_after(CLEANUP_SECONDS, shield=True):
            await _in_thread(self._remove, _Left())

    async def write(self, piece: bytes) -> None:
        """Raises StepFailure: `too_large`, `output_schema`; AttemptLost when there is no space."""
        self.size += len(piece)
        if self.size > MAX_DOWNLOAD_BYTES:
            raise too_large(self.name)
        self._waiting += piece
        if len(self._waiting) >= CHUNK_BYTES:
            await self._do(self._flush)

    async def finish(self) -> dict[str, Any]:
        """Put it into its place: `{path, size, sha256}`."""
        await self._do(self._place)
        return {"path": self.name, "size": self.size, "sha256": self._digest.hexdigest()}

    async def _do(self, work: Callable[[], None]) -> None:
        try:
            await _in_thread(work, self._left)
        except OSError as error:
            title = f"the file {self._target} cannot be written: {error.strerror}"
            if error.errno in SHORT:
                raise AttemptLost("shortage", title) from None
            raise StepFailure("output_schema", title) from None

    # In threads

    def _open(self) -> None:
        if self._target.is_dir():
            raise OSError(errno.EISDIR, "it is a directory")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with suppress(FileNotFoundError):  # of an attempt that was lost
            self._partial.unlink()
        self._descriptor = os.open(self._partial, flags, 0o666)

    def _flush(self) -> None:
        data, self._waiting = bytes(self._waiting), bytearray()
        self._digest.update(data)
        assert self._descriptor is not None
        rest = memoryview(data)
        while rest and not self._left.is_set:
            rest = rest[os.write(self._descriptor, rest) :]

    def _place(self) -> None:
        self._flush()
        assert self._descriptor is not None
        descriptor, self._descriptor = self._descriptor, None
        os.close(descriptor)
        if not self._left.is_set:
            self._partial.replace(self._target)

    def _remove(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with suppress(OSError):
                os.close(descriptor)
        with suppress(OSError):
            self._partial.unlink()


def too_large(name: str) -> StepFailure:
    return StepFailure("too_large", f"the file {name} has more than the {MAX_DOWNLOAD_BYTES} bytes of a download")
