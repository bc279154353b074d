"""A cluster of one in this process: what `graft run` is made of (ARCHITECTURE §1: one artefact).

``open_embedded`` holds a data directory, brings its state up, registers this process as the member `local`, and runs
attempts until the block is left.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

import trio

from graft.cluster.history import LOGS
from graft.cluster.host import MAX_RESULT_BYTES, Host, Offer
from graft.cluster.leading import keep_doing
from graft.cluster.removing import Removing
from graft.cluster.room import Room
from graft.cluster.runs import Runs, new_run_id
from graft.cluster.system import SystemClock, SystemEntropy
from graft.engine.commands import CLUSTER_VERSION
from graft.errors import StorageError
from graft.interfaces import Store
from graft.raft_driver import sole_member
from graft.security.sealing import KEY_FILE, Sealer
from graft.storage import LOCK, MemoryStore, keep_alive, last_alive, open_store
from graft.worker import WorkerSettings, open_worker

MEMBER: Final = "local"
ALIVE_SECONDS: Final = 1.0
QUOTA: Final = 16 << 30  # bytes that the store should hold
# Attempts at once: all kinds together, shell commands and programs (processes are dear), requests.
SLOTS: Final = (("*", 1024), ("run", 32), ("exec", 32), ("http", 128))


class Embedded(Runs):
    """The engine of this process, which is a cluster of its own."""

    def __init__(self, host: Host, log_directory: Path | None, store: Store, room: Room, removing: Removing) -> None:
        super().__init__(host, log_directory)
        self.host, self.store, self.room = host, store, room
        self._removing = removing

    async def remove(self, run_ids: Sequence[str]) -> list[str]:
        """Also sweeps: this process may end next. Its cluster has the newest version from then on."""
        if self.host.door.version < CLUSTER_VERSION:
            await self.host.door.raise_version(CLUSTER_VERSION)
        removed = await super().remove(run_ids)
        await self._removing.wait_swept()
        return removed

    def busy(self) -> list[str]:
        """Runs that go on in this process: neither paused, nor waiting for a person."""
        live = self.host.engine.state.live_runs()
        return [run.id for run in live if not run.paused and not (self._only_waits(run.no) and self._is_stuck(run.id))]

    def _is_stuck(self, run_id: str) -> bool:
        return self.run_view(run_id).waiting is not None


def open_embedded(
    data: Path,
    *,
    ephemeral: bool = False,
    max_result_bytes: int = MAX_RESULT_BYTES,
    tell: Callable[[str], None] = lambda text: None,
) -> AbstractAsyncContextManager[Embedded]:
    """Hold `data` (made if missing) and run a cluster of one in it; `ephemeral` keeps everything in memory, but
    for logs: those are in a temporary directory until the block is left.

    `tell` gets lines for a person.

    Unfinished runs of earlier processes are held until `resume`. Raises the storage errors of `graft.errors`; those of
    a running store (full, sync failed) end the block.
    """
    return _open_embedded(data, ephemeral, max_result_bytes, tell)


@contextmanager
def _log_directory(data: Path, ephemeral: bool) -> Iterator[Path | None]:
    """Where steps' logs are; None when there is no room for a directory that lasts as long as this process."""
    if not ephemeral:
        yield data / LOGS
        return
    with ExitStack() as stack:
        logs: Path | None = None
        with suppress(OSError):
            temporary = tempfile.TemporaryDirectory(prefix="graft-logs-", ignore_cleanup_errors=True)
            logs = Path(stack.enter_context(temporary))
        yield logs


@asynccontextmanager
async def _open_embedded(
    data: Path, ephemeral: bool, max_result_bytes: int, tell: Callable[[str], None]
) -> AsyncIterator[Embedded]:
    with _log_directory(data, ephemeral) as logs:
        async with _open_with_logs(data, logs, ephemeral, max_result_bytes, tell) as engine:
            yield engine


@asynccontextmanager
async def _open_with_logs(
    data: Path, logs: Path | None, ephemeral: bool, max_result_bytes: int, tell: Callable[[str], None]
) -> AsyncIterator[Embedded]:
    lock = data / LOCK
    stopped_at = None if ephemeral else last_alive(lock)
    store: Store = MemoryStore() if ephemeral else open_store(data, quota_bytes=QUOTA)
    try:
        member = MEMBER if store.hard_state() is None else sole_member(store).id  # it may have been served
        clock = SystemClock()
        host = Host(store, clock, SystemEntropy(), member=member, offer=Offer(SLOTS), max_result_bytes=max_result_bytes)
        host.values.sealer = Sealer.of_one_process() if ephemeral else Sealer(file=data / KEY_FILE, makes=True)
        room = Room(host, store, clock, None, tell)
        removing = Removing(host, logs)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(host.door.run)
                async with open_worker(WorkerSettings(log_dir=logs)) as worker:
                    await host.serve_alone(worker, stopped_at)
                    if not ephemeral:
                        nursery.start_soon(_stay_alive, lock)
                    nursery.start_soon(host.run_decisions)
                    nursery.start_soon(host.run_timers)
                    nursery.start_soon(room.run)  # noqa: ASYNC113 - nobody waits for its first turn
                    nursery.start_soon(keep_doing, room.lead)
                    nursery.start_soon(removing.run)  # noqa: ASYNC113
                    nursery.start_soon(keep_doing, removing.lead)
                    try:
                        yield Embedded(host, logs, store, room, removing)
                    finally:
                        host.stop_serving()
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise _the_cause(group) from None
    finally:
        store.close()


async def _stay_alive(lock: Path) -> None:
    """Let others know, should this process be killed, how long its runs went on."""
    while True:
        keep_alive(lock)
        await trio.sleep(ALIVE_SECONDS)


def _the_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What to show of a group from our own nursery: a store that failed explains all the rest."""
    storage, _ = group.split(StorageError)
    if storage is not None:
        group = storage
    leaf: BaseException = group
    while isinstance(leaf, BaseExceptionGroup) and len(leaf.exceptions) == 1:
        leaf = leaf.exceptions[0]
    return leaf


__all__ = ["Embedded", "new_run_id", "open_embedded"]
