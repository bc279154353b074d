"""Snapshots at this member: exporting the state, reading and writing pieces of files, bringing rows into the store.

One task does what the core orders, one job after the other; an export, which may take long, has a task of its own (the
core orders one at a time). All of it works in threads. How much waits is bounded by the core: a few pieces a follower.

A snapshot that has arrived is staged before the core is told of its last piece, while the log goes on being written in
between: then the switch is one small transaction. After a crash in between, the switch is ordered first and waits for
the staging.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any, Final

import trio

from graft.errors import StorageError
from graft.interfaces import Entropy, Snapshots, Store, Turn
from graft.raft import effects as fx
from graft.raft import events as ev
from graft.raft.records import SnapshotMeta

Job = fx.TakeSnapshot | fx.DropSnapshot | fx.ReadChunk | fx.WriteChunk


class SnapshotDesk:
    """`post` brings an event to the core; `write` commits a turn on the door's storage thread.

    `staged_id`: the snapshot whose rows are all staged in the store.
    """

    def __init__(
        self,
        store: Store,
        snapshots: Snapshots | None,
        entropy: Entropy,
        post: Callable[[ev.Event], None],
        write: Callable[[Turn], Awaitable[None]],
    ) -> None:
        self._store, self._snapshots, self._entropy = store, snapshots, entropy
        self._post, self._write = post, write
        self._jobs: deque[Callable[[], Awaitable[None]]] = deque()
        self._wake = trio.Event()
        self.staged_id = ""

    async def run(self) -> None:
        """Work, until cancelled. Raises what the store raises, unless the core can be told of it."""
        if self._store.spare_rows():
            self._jobs.append(self._sweep)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            while True:
                while self._jobs:
                    await self._jobs.popleft()()
                self._wake = trio.Event()
                await self._wake.wait()

    def _soon(self, job: Callable[[], Awaitable[None]]) -> None:
        self._jobs.append(job)
        self._wake.set()

    # What the core orders

    def order(self, effect: Job) -> None:
        self._soon(lambda: _DO[type(effect)](self, effect))

    async def _take(self, effect: fx.TakeSnapshot) -> None:
        self._nursery.start_soon(self._export)

    async def _export(self) -> None:
        if self._snapshots is None:
            self._post(ev.SnapshotFailed("", "this member has no place for snapshots"))
            return
        # Ids sort by age, and no other process would draw this one.
        id = f"{self._store.bounds().applied:020d}-{self._entropy.u64():016x}"
        try:
            index, size, checksum = await trio.to_thread.run_sync(self._export_now, self._snapshots, id)
        except StorageError as error:
            self._post(ev.SnapshotFailed("", error.message))
        else:
            self._post(ev.SnapshotTaken(id, index, size, checksum))

    def _export_now(self, snapshots: Snapshots, id: str) -> tuple[int, int, str]:
        with self._store.dump() as dump:
            return dump.applied, *snapshots.export(id, dump, trio.from_thread.check_cancelled)

    async def _drop(self, effect: fx.DropSnapshot) -> None:
        if self._snapshots is not None:
            await trio.to_thread.run_sync(self._snapshots.drop, effect.id)

    async def _read(self, effect: fx.ReadChunk) -> None:
        data = None
        if self._snapshots is not None:
            try:
                data = await trio.to_thread.run_sync(self._snapshots.read, effect.id, effect.offset, effect.max_bytes)
            except StorageError:
                data = None  # the core gives this file up
        self._post(ev.ChunkRead(effect.id, effect.target, effect.offset, data))

    async def _write_chunk(self, effect: fx.WriteChunk) -> None:
        meta = effect.meta
        try:
            if self._snapshots is None:
                raise StorageError("this member has no place for snapshots")
            offset = await trio.to_thread.run_sync(self._snapshots.write, meta, effect.offset, effect.data)
            if offset == meta.size:
                await self._stage(self._snapshots, meta)
        except StorageError as error:
            self._post(ev.SnapshotFailed(meta.id, error.message))
        else:
            self._post(ev.ChunkWritten(meta.id, offset))

    # The store

    def stage(self, meta: SnapshotMeta, done: Callable[[], None]) -> None:
        """Bring the rows of the file that has arrived into the store, then call `done`."""

        async def job() -> None:
            assert self._snapshots is not None, "a switch to a snapshot, and no place for any"
            await self._stage(self._snapshots, meta)
            done()

        self._soon(job)

    async def _stage(self, snapshots: Snapshots, meta: SnapshotMeta) -> None:
        """Piece by piece, into spare rows; they begin empty, because what an earlier process left means nothing."""
        if self.staged_id == meta.id:
            return
        self.staged_id = ""
        await self._sweep()
        with closing(snapshots.rows(meta.id)) as rows:
            while (piece := await trio.to_thread.run_sync(next, rows, None)) is not None:
                await self._write(Turn(staging=piece))
        self.staged_id = meta.id

    def switched(self) -> None:
        """The snapshot is the state: its file and the rows of the old state may go."""
        self.staged_id = ""
        self._soon(self._discard)
        self._soon(self._sweep)

    async def _discard(self) -> None:
        if self._snapshots is not None:
            await trio.to_thread.run_sync(self._snapshots.discard)

    async def _sweep(self) -> None:
        while self._store.spare_rows():
            await self._write(Turn(sweep=True))


_DO: Final[dict[type, Callable[[SnapshotDesk, Any], Awaitable[None]]]] = {
    fx.TakeSnapshot: SnapshotDesk._take,
    fx.DropSnapshot: SnapshotDesk._drop,
    fx.ReadChunk: SnapshotDesk._read,
    fx.WriteChunk: SnapshotDesk._write_chunk,
}
