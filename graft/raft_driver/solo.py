"""The commit door of a cluster of one: propose -> persist -> apply, with group commit (ARCHITECTURE §6).

One transaction a turn: everything that was proposed while the last one synced, together with the state changes of what
was applied meanwhile. An entry is committed when its own sync is done (a majority of one), and applied after that; so
a turn holds state only of entries of earlier turns. State changes that no proposal carries along wait up to
`FLUSH_SECONDS`: after a crash they are derived again by replaying the log.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import trio
from attrs import frozen

from graft.engine import Applied, Change
from graft.errors import Rejected
from graft.interfaces import Entry, Store, Turn
from graft.raft_driver.overlay import Overlay
from graft.raft_driver.syncing import commit_turn

MAX_TURN_ENTRIES: Final = 256  # an apply costs tens of microseconds, and Trio waits for the whole turn
MAX_TURN_BYTES: Final = 4 << 20
MAX_PENDING_BYTES: Final = 64 << 20
FLUSH_SECONDS: Final = 0.05
RETAIN_ENTRIES: Final = 1024  # applied entries that stay in the log
CLOSE_SECONDS: Final = 30.0


class Machine(Protocol):
    """The state machine behind the log. All calls come from the door, on the Trio thread, and do not block."""

    def encode(self, command: Any) -> bytes: ...

    def decode(self, data: bytes) -> Any: ...

    def apply(self, index: int, command: Any) -> Applied: ...

    def drain(self) -> list[Change]:
        """State changes since the last call."""
        ...

    def dispatch(self, turn: list[Applied]) -> None:
        """Carry out the effects of a turn. Its state changes can be read by now."""
        ...


@frozen(eq=False)
class _Proposal:
    command: Any
    data: bytes
    done: Callable[[Applied], None] | None
    refused: Callable[[Exception], None] | None


class SoloDoor:
    """`run` is the loop; `propose` may be called before it starts.

    `overlay` holds the newest state changes that are not in the store yet: read it before the store.
    Invariant: `_applied` <= last index in the store.
    """

    def __init__(self, store: Store, machine: Machine) -> None:
        self._store = store
        self._machine = machine
        bounds = store.bounds()
        self._first, self._last, self._applied = bounds.first, bounds.last, bounds.applied
        self._durable = bounds.applied
        self._queue: deque[_Proposal] = deque()
        self._pending_bytes = 0
        self.overlay = Overlay()
        self._wake = trio.Event()
        self._closing = False

    @property
    def applied(self) -> int:
        return self._applied

    def propose(
        self,
        command: Any,
        done: Callable[[Applied], None] | None = None,
        refused: Callable[[Exception], None] | None = None,
    ) -> None:
        """See `graft.interfaces.CommitDoor`. Proposals without `refused` are our own, and are always taken."""
        data = self._machine.encode(command)
        if refused is not None and (error := self._objection(len(data))) is not None:
            refused(error)
            return
        self._queue.append(_Proposal(command, data, done, refused))
        self._pending_bytes += len(data)
        self._wake.set()

    def _objection(self, size: int) -> Rejected | None:
        if self._closing:
            return Rejected("this Graft process is stopping", reason="stopping", hint="try again when it has restarted")
        if size > MAX_TURN_BYTES:
            return Rejected(
                f"the request has {size} bytes, more than the {MAX_TURN_BYTES} that one log entry may have",
                reason="too_large",
            )
        if self._pending_bytes + size > MAX_PENDING_BYTES:
            return Rejected("too many requests wait to be written to disk", reason="overloaded", hint="try again later")
        return None

    def replay(self) -> list[Applied]:
        """Apply what the log holds beyond the stored state. Effects of a replay are not carried out."""
        replayed: list[Applied] = []
        while self._applied < self._last:
            for entry in self._store.entries(self._applied + 1, self._last):
                replayed.append(self._apply(entry.index, self._machine.decode(entry.data)))
            self._collect()
        return replayed

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Turn after turn, until cancelled or closed; then one last turn that leaves nothing to replay.

        Raises what the store raises: a store that cannot be written to must stop everything at once.
        """
        task_status.started()
        failed = False
        try:
            while not self._closing or self._queue:
                await self._wait_for_work()
                await self._turn()
        except trio.Cancelled:
            raise
        except BaseException:
            failed = True
            raise
        finally:
            self._closing = True
            if not failed and self.overlay:
                with trio.move_on_after(CLOSE_SECONDS, shield=True):
                    await self._commit([])

    def close(self) -> None:
        """Take no more requests; `run` returns when what was proposed has been applied."""
        self._closing = True
        self._wake.set()

    async def _wait_for_work(self) -> None:
        if self._queue or self._closing:
            return
        self._wake = trio.Event()
        with trio.move_on_after(FLUSH_SECONDS if self.overlay else math.inf):
            await self._wake.wait()

    async def _turn(self) -> None:
        batch = self._take()
        entries = [Entry(self._last + 1 + i, 1, proposal.data) for i, proposal in enumerate(batch)]
        await self._commit(entries)
        results = []
        for entry, proposal in zip(entries, batch, strict=True):
            results.append(self._apply(entry.index, proposal.command))
        self._collect()
        self._machine.dispatch(results)
        for proposal, applied in zip(batch, results, strict=True):
            if proposal.done is not None:
                proposal.done(applied)

    def _take(self) -> list[_Proposal]:
        batch: list[_Proposal] = []
        size = 0
        while self._queue and len(batch) < MAX_TURN_ENTRIES and size + len(self._queue[0].data) <= MAX_TURN_BYTES:
            batch.append(self._queue.popleft())
            size += len(batch[-1].data)
        if self._queue and not batch:
            batch.append(self._queue.popleft())  # our own, larger than a turn should be
            size = len(batch[0].data)
        self._pending_bytes -= size
        return batch

    async def _commit(self, entries: list[Entry]) -> None:
        """One transaction and one fsync, on the storage thread."""
        if not entries and not self.overlay:
            return
        purge_to = self._durable - RETAIN_ENTRIES
        turn = Turn(
            entries=entries,
            changes=self.overlay.begin_write(),
            applied=self._applied,
            purge_to=purge_to if purge_to >= self._first else None,
        )
        await commit_turn(self._store, turn)
        self.overlay.end_write()
        self._durable = self._applied
        self._last += len(entries)
        self._first = self._store.bounds().first

    def _apply(self, index: int, command: Any) -> Applied:
        applied = self._machine.apply(index, command)
        self._applied = index
        return applied

    def _collect(self) -> None:
        for table, key, value in self._machine.drain():
            self.overlay.put(table, key, value)
