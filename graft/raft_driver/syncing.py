"""One transaction on the storage thread."""

from __future__ import annotations

import threading

import outcome
import trio

from graft.interfaces import Store, Turn


async def commit_turn(store: Store, turn: Turn) -> None:
    """Write `turn` and return when it is durable. Raises what the store raises; cancellation waits for the sync.

    While the records are written this thread stands still on purpose: LMDB gives the interpreter lock away at every
    record, and would wait up to a switch interval (5 ms) for a busy Trio thread to give it back. From `staged` on, only
    the kernel works, and Trio goes on.
    """
    staged = threading.Event()
    synced = trio.Event()
    result: list[outcome.Outcome[None]] = []
    token = trio.lowlevel.current_trio_token()

    def commit() -> None:
        try:
            store.commit(turn, staged.set)
        finally:
            staged.set()

    def deliver(answer: outcome.Outcome[None]) -> None:
        result.append(answer)
        token.run_sync_soon(synced.set)

    trio.lowlevel.start_thread_soon(commit, deliver, "graft-storage")
    staged.wait()
    with trio.CancelScope(shield=True):
        await synced.wait()
    result[0].unwrap()
