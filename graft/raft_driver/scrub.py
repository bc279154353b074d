"""A slow walk over the stored log, for ever: damage is found and mended while other members still have good copies.

Entries that nobody reads may rot for months; when the second of three members needs one, it is too late. A piece of
SCRUB_ENTRIES is read in a thread every SCRUB_SECONDS: the 10,000 entries that are retained take 40 s, at a hundredth of
a percent of a processor. What it finds is told to the core, which fetches it from others (`graft.raft.repair`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from graft.interfaces import Store

SCRUB_ENTRIES: Final = 256
SCRUB_SECONDS: Final = 1.0


class Scrub:
    """`report` is called on the Trio thread with the index of each damaged entry; again in each round while it lasts.

    `is_idle`: there is nobody to fetch anything from, so nothing is read.
    """

    def __init__(self, store: Store, report: Callable[[int], None], is_idle: Callable[[], bool]) -> None:
        self._store, self._report, self._is_idle = store, report, is_idle
        self._next = 0

    async def run(self) -> None:
        """Walk until cancelled. Raises what the store raises: damage to more than an entry stops the member."""
        while True:
            await trio.sleep(SCRUB_SECONDS)
            if not self._is_idle():
                await self._step()

    async def _step(self) -> None:
        """One piece; behind the end of the log comes its beginning."""
        bounds = self._store.bounds()
        if not bounds.first <= self._next <= bounds.last:
            self._next = bounds.first
        last = self._next + SCRUB_ENTRIES - 1
        for index in await trio.to_thread.run_sync(self._store.damaged, self._next, last):
            self._report(index)
        self._next = last + 1
