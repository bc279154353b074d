"""What only the leader does, from its first commit to the end of its term."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from graft.cluster.host import Host
from graft.errors import Rejected

AGAIN_SECONDS: Final = 0.05


class Leading:
    """`duties` run while this member leads; they are cancelled when it does not any more."""

    def __init__(self, host: Host, duties: Sequence[Callable[[], Awaitable[None]]]) -> None:
        self._host, self._door, self._duties = host, host.door, duties

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            while not self._door.leads:
                await self._door.wait_role()
            term = self._door.term
            try:
                await self._door.read_index()  # all that earlier leaders committed is applied
            except Rejected:
                with trio.move_on_after(AGAIN_SECONDS):
                    await self._door.wait_role()
                continue
            if self._door.leads and self._door.term == term:
                await self._lead(term)

    async def _lead(self, term: int) -> None:
        self._host.begin_term()
        try:
            async with trio.open_nursery() as nursery:
                for duty in self._duties:
                    nursery.start_soon(keep_doing, duty)
                while self._door.leads and self._door.term == term:
                    await self._door.wait_role()
                nursery.cancel_scope.cancel()
        finally:
            self._host.end_term()


async def keep_doing(duty: Callable[[], Awaitable[None]]) -> None:
    """A duty that is refused is begun again: either the log is full for a moment, or the term ends."""
    while True:
        try:
            await duty()
        except Rejected:
            await trio.sleep(AGAIN_SECONDS)
