"""One transaction on the storage thread."""

from __future__ import annotations

import threading
from typing import Final

import outcome
import trio

from graft.interfaces import Store, Turn

STAND_STILL_SECONDS: Final = 0.01


async def commit_turn(store: Store, turn: Turn) -> None:
    """Write `turn` and return when it is durable. Raises what the store raises; cancellation waits for the sync.

    While the records are written the Trio thread stands still on purpose: LMDB gives the interpreter lock away at every
    record, and would wait up to a switch interval (5 ms) for a busy Trio thread to give it back. From `staged` on, only
    the kernel works, and Trio goes on. On a machine that gives the storage thread no processor that takes long, so
    every STAND_STILL_SECONDS all other tasks have a go: heartbeats have to leave.
    """
    await _Commit(store, turn).run()


class _Commit:
    """A lock, and a task that is woken by hand: an Event of each kind and a shield cost 30 µs more, on the way of every
    proposal.
    """

    def __init__(self, store: Store, turn: Turn) -> None:
        self._store, self._turn = store, turn
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
            self._store.commit(self._turn, self._let_go)
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
