"""One transaction: on the storage thread, or here and now where the disk is so fast that the way there takes longer.

The way to the storage thread and back costs about 0.2 ms of the one Trio thread's time, which is what a sync takes on a
good disk. So a member whose disk was fast lately writes in place. What this risks is a disk that is fast sixteen times
and then takes a second: the member stands still for that second, as it does in etcd at every write. From the next turn
on, the storage thread waits for the disk, and elections and leases do not.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

import outcome
import trio

from graft.interfaces import Clock, Store, Turn

STAND_STILL_SECONDS: Final = 0.01
FAST_SECONDS: Final = 0.001  # a sync that takes less is not worth two changes of threads
SLOW_SECONDS: Final = 0.02  # one that takes so long had to do with the disk; less may be a busy processor
REMEMBERED: Final = 16


class Syncer:
    """The way of turns to `store`, one at a time. `is_fast`: most of the syncs lately were, and none was slow."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._taken: deque[float] = deque([math.inf] * REMEMBERED, REMEMBERED)

    @property
    def is_fast(self) -> bool:
        taken = sorted(self._taken)
        return taken[REMEMBERED // 2] <= FAST_SECONDS and taken[-1] <= SLOW_SECONDS

    async def commit(self, turn: Turn) -> None:
        """Write `turn` and return when it is durable. Raises what the store raises; cancellation waits for the sync."""
        if self.is_fast:
            self.commit_here(turn)
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await _Commit(self, turn).run()

    def commit_here(self, turn: Turn) -> None:
        """Everything else stands still meanwhile."""
        self.sync(turn, lambda: None)

    def sync(self, turn: Turn, staged: Callable[[], None]) -> None:
        """In any thread: write `turn` and note how long the sync takes, which is all that comes after `staged`."""
        began: list[float] = []

        def note() -> None:
            began.append(self._clock.monotonic())
            staged()

        self._store.commit(turn, note)
        if began:
            self._taken.append(self._clock.monotonic() - began[0])


class _Commit:
    """On the storage thread. While the records are written the Trio thread stands still on purpose: LMDB gives the
    interpreter lock away at every record, and would wait up to a switch interval (5 ms) for a busy Trio thread to give
    it back. From `staged` on, only the kernel works, and Trio goes on. On a machine that gives the storage thread no
    processor that takes long, so every STAND_STILL_SECONDS all other tasks have a go: heartbeats have to leave.

    A lock, and a task that is woken by hand: an Event of each kind and a shield cost 30 µs more, on the way of every
    proposal.
    """

    def __init__(self, syncer: Syncer, turn: Turn) -> None:
        self._syncer, self._turn = syncer, turn
        self._task, self._token = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()
        self._staged = threading.Lock()
        self._staged.acquire()
        self._answer: outcome.Outcome[None] | None = None
        self._waits = False

    async def run(self) -> None:
        trio.lowlevel.start_thread_soon(self._commit, self._deliver)
        while not self._staged.acquire(timeout=STAND_STILL_SECONDS):
            await trio.lowlevel.cancel_shielded_checkpoint()
        if self._answer is None:
            self._waits = True
            await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        assert self._answer is not None
        self._answer.unwrap()

    # On the storage thread

    def _commit(self) -> None:
        try:
            self._syncer.sync(self._turn, self._let_go)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        """Called once or twice; nobody takes the lock again in between."""
        if self._staged.locked():
            self._staged.release()

    def _deliver(self, answer: outcome.Outcome[None]) -> None:
        self._token.run_sync_soon(self._arrived, answer)

    # On the Trio thread

    def _arrived(self, answer: outcome.Outcome[None]) -> None:
        self._answer = answer
        if self._waits:
            trio.lowlevel.reschedule(self._task)
