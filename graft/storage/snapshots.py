"""Snapshot files in a directory: those exported for others, and the one that arrives.

::

    snapshots/
      ID.snapshot        exported, complete; ID.new while it is being written
      arriving           the bytes that have come so far
      arriving.meta      whose they are: SnapshotMeta with a checksum before it

An exported file belongs to the process that made it: after a restart nobody is being sent it, so only the newest
`retain` are kept, for people. What arrives outlives restarts, and a transfer goes on where it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from functools import partial
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import msgspec

from graft.errors import StorageError
from graft.interfaces import Change, Dump
from graft.raft.records import SnapshotMeta, StagedSnapshot
from graft.storage.directory import sync_directory
from graft.storage.failures import translate
from graft.storage.segments import Segments
from graft.storage.snapshot_format import bad, decode, encode

RETAIN = 1
_PIECE = 1 << 20


class SnapshotDirectory:
    """Satisfies `graft.interfaces.Snapshots`. One process at a time; calls for one file come one after the other."""

    def __init__(self, path: Path | str, *, retain: int = RETAIN) -> None:
        self._path, self._retain = Path(path), retain
        self._arriving = self._path / "arriving"
        self._meta_file = self._path / "arriving.meta"
        self._unused: set[str] = set()
        self._segments: dict[str, Segments] = {}  # of what this process exported
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in self._path.glob("*.new"):
                left.unlink()
            self._unused = {file.stem for file in self._path.glob("*.snapshot")}
            self._prune()
            self._staged = self._recover()
        except OSError as error:
            raise translate(error, self._path) from error

    # Exports

    def _file(self, id: str) -> Path:
        return self._path / f"{id}.snapshot"

    def export(self, id: str, dump: Dump, poll: Callable[[], None]) -> tuple[int, str]:
        unfinished = self._path / f"{id}.new"
        whole, segments = sha256(), Segments()
        size = 0
        try:
            with open(unfinished, "xb") as file:
                for block in encode(dump.rows):
                    poll()
                    whole.update(block)
                    segments.add(block)
                    size += file.write(block)
                file.flush()
                os.fsync(file.fileno())
            os.rename(unfinished, self._file(id))
            sync_directory(self._path)
        except OSError as error:
            raise translate(error, self._path) from error
        finally:
            unfinished.unlink(missing_ok=True)
        self._segments[id] = segments
        return size, whole.hexdigest()

    def read(self, id: str, offset: int, max_bytes: int) -> bytes | None:
        segments = self._segments.get(id)
        try:
            with open(self._file(id), "rb", buffering=0) as file:
                if segments is None:
                    return os.pread(file.fileno(), max_bytes, offset)
                data = segments.read(partial(os.pread, file.fileno()), offset, max_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise translate(error, self._path) from error
        if data is None:
            self._file(id).unlink(missing_ok=True)
            raise bad(f"the exported file {id} was damaged on the disk")
        return data

    def drop(self, id: str) -> None:
        self._unused.add(id)
        self._prune()

    def _prune(self) -> None:
        """Ids sort by age."""
        for id in sorted(self._unused)[: max(0, len(self._unused) - self._retain)]:
            self._file(id).unlink(missing_ok=True)
            self._unused.discard(id)
            self._segments.pop(id, None)

    # The one that arrives

    def _recover(self) -> StagedSnapshot | None:
        try:
            record, size = self._meta_file.read_bytes(), self._arriving.stat().st_size
        except FileNotFoundError:
            return None
        if record[:4] != crc32(record[4:]).to_bytes(4, "big"):
            return None
        try:
            meta = msgspec.msgpack.decode(record[4:], type=SnapshotMeta)
        except ValueError:  # four zeros are the checksum of nothing
            return None
        return StagedSnapshot(meta, min(size, meta.size))

    def staged(self) -> StagedSnapshot | None:
        return self._staged

    def write(self, meta: SnapshotMeta, offset: int, data: bytes) -> int:
        try:
            staged = self._staged
            if staged is None or staged.meta.id != meta.id or offset == 0:
                staged = self._begin(meta)
            if offset == staged.offset:
                with open(self._arriving, "r+b", buffering=0) as file:
                    file.seek(offset)
                    file.write(data)
                    file.truncate()
                    os.fdatasync(file.fileno())
                staged = self._staged = StagedSnapshot(meta, offset + len(data))
            if staged.offset == meta.size and self._checksum() != meta.checksum:
                self.discard()
                raise bad("the checksum of the whole is wrong")
        except OSError as error:
            raise translate(error, self._path) from error
        return staged.offset

    def _begin(self, meta: SnapshotMeta) -> StagedSnapshot:
        self.discard()
        self._arriving.touch(mode=0o600)
        record = msgspec.msgpack.encode(meta)
        with open(self._meta_file, "wb") as file:
            file.write(crc32(record).to_bytes(4, "big") + record)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(self._path)
        return StagedSnapshot(meta, 0)

    def _checksum(self) -> str:
        whole = sha256()
        with open(self._arriving, "rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                whole.update(piece)
        return whole.hexdigest()

    def rows(self, id: str) -> Generator[list[Change], None, None]:
        if self._staged is None or self._staged.meta.id != id:
            raise bad("it is not staged")
        try:
            with open(self._arriving, "rb") as file:
                yield from decode(file.read)
        except OSError as error:
            raise translate(error, self._path) from error

    def discard(self) -> None:
        self._staged = None
        self._meta_file.unlink(missing_ok=True)
        self._arriving.unlink(missing_ok=True)


class MemorySnapshots:
    """Satisfies `graft.interfaces.Snapshots` without a disk: the fake that passes the same contract suite.

    `restart` gives what a new process finds.
    """

    def __init__(self, *, retain: int = RETAIN) -> None:
        self._retain = retain
        self._files: dict[str, bytes] = {}
        self._unused: set[str] = set()
        self._meta: SnapshotMeta | None = None
        self._arriving = b""

    def export(self, id: str, dump: Dump, poll: Callable[[], None]) -> tuple[int, str]:
        if id in self._files:
            raise StorageError(f"a snapshot {id} is there already")
        blocks: list[bytes] = []
        for block in encode(dump.rows):
            poll()
            blocks.append(block)
        self._files[id] = data = b"".join(blocks)
        return len(data), sha256(data).hexdigest()

    def read(self, id: str, offset: int, max_bytes: int) -> bytes | None:
        data = self._files.get(id)
        return None if data is None else data[offset : offset + max_bytes]

    def drop(self, id: str) -> None:
        self._unused.add(id)
        for old in sorted(self._unused)[: max(0, len(self._unused) - self._retain)]:
            self._files.pop(old, None)
            self._unused.discard(old)

    def staged(self) -> StagedSnapshot | None:
        return None if self._meta is None else StagedSnapshot(self._meta, len(self._arriving))

    def write(self, meta: SnapshotMeta, offset: int, data: bytes) -> int:
        if self._meta is None or self._meta.id != meta.id or offset == 0:
            self._meta, self._arriving = meta, b""
        if offset == len(self._arriving):
            self._arriving += data
        if len(self._arriving) == meta.size and sha256(self._arriving).hexdigest() != meta.checksum:
            self.discard()
            raise bad("the checksum of the whole is wrong")
        return len(self._arriving)

    def rows(self, id: str) -> Generator[list[Change], None, None]:
        if self._meta is None or self._meta.id != id:
            raise bad("it is not staged")
        data, at = self._arriving, 0

        def read(count: int) -> bytes:
            nonlocal at
            at += count
            return data[at - count : at]

        yield from decode(read)

    def discard(self) -> None:
        self._meta, self._arriving = None, b""

    def restart(self) -> MemorySnapshots:
        found = MemorySnapshots(retain=self._retain)
        found._meta, found._arriving = self._meta, self._arriving
        found._files = dict(self._files)
        for id in self._files:
            found.drop(id)
        return found
