"""What the steps of a run wrote, put together from all members: each has the logs of the steps that it ran.

Every member is asked over a connection of its own, which is given up soon: one that is dead or cut off must not hold
up the rest. Whose lines are missing is told to `lost`.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, aclosing
from typing import Final

import trio
from attrs import define

from graft.client.link import Link, may_pass
from graft.client.streams import Pump, filled, pumped
from graft.cluster.flow import put
from graft.cluster.wire import read_log
from graft.errors import GraftError, NoQuorum
from graft.transport.channel import Channel
from graft.transport.proto import graft_pb2 as pb
from graft.worker.logs import LogLine

LOOK_SECONDS: Final = 2.0  # how often a follower looks for members that are new, or are back

Lost = Callable[[str, str], None]
"""The name of a member whose lines are missing, and why."""


@define(eq=False)
class Place:
    """A member that keeps logs, and what came from it so far. `address` is None for one that is not up."""

    member: str
    address: str | None
    pump: Pump[LogLine]
    is_lost: bool = False


Places = Callable[[], Awaitable[Mapping[str, str | None]]]
"""Asks the cluster: the address of every member by its name, None for one that is down."""


class Logs:
    """Of one run, or one step of it. `link_to` makes a link to an address, closed by whoever enters it."""

    def __init__(
        self,
        request: pb.LogsRequest,
        places: Places,
        link_to: Callable[[str], AbstractContextManager[Link]],
        nursery: trio.Nursery,
        lost: Lost,
    ) -> None:
        self._request, self._ask, self._link_to = request, places, link_to
        self._nursery, self._lost = nursery, lost
        self._places: dict[str, Place] = {}
        self._failure: GraftError | None = None  # of those that are lost

    async def look(self) -> None:
        """See who is there. Raises what the cluster answers."""
        found = await self._ask()
        for member, address in found.items():
            place = self._places.setdefault(member, Place(member, address, log_pump(self._request)))
            place.address = address
            if address is None:
                self._missing(place, "it is down")

    def _missing(self, place: Place, why: str) -> None:
        if not place.is_lost:
            place.is_lost = True
            self._lost(place.member, why)

    async def read(self) -> AsyncGenerator[LogLine, None]:
        """All lines there are, by time. Raises the last error when no member answers."""
        await self.look()
        up = [place for place in self._places.values() if place.address is not None]
        async with AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(aclosing(self._lines(place))) for place in up]
            async with aclosing(_by_time(streams)) as lines:
                async for line in lines:
                    yield line  # noqa: ASYNC119 - closed by its caller
        if self._failure is not None and all(place.is_lost for place in up):
            raise self._failure

    async def _lines(self, place: Place) -> AsyncGenerator[LogLine, None]:
        """What one member has, until it has said all or is lost."""
        assert place.address is not None
        with self._link_to(place.address) as link:
            try:
                async with aclosing(pumped(link, self._nursery, place.pump, lambda: 0)) as lines:
                    async for line in lines:
                        place.is_lost = False
                        yield line  # noqa: ASYNC119 - closed by its caller
            except GraftError as error:
                if not may_pass(error):
                    raise
                if not isinstance(self._failure, NoQuorum):  # which tells more than that another one is down
                    self._failure = error
                self._missing(place, error.message)
            else:
                place.is_lost = False

    def follow(self) -> AsyncGenerator[LogLine, None]:
        """Lines as they come, until the run has ended; also of members that come later, or come back."""
        return filled(self._nursery, self._follow)

    async def _follow(self, send: trio.MemorySendChannel[LogLine]) -> None:
        """Until a member has said that the run is over, and all others that are up have been heard after that."""
        await self.look()
        done: set[str] = set()
        running: set[str] = set()
        changed = trio.Event()

        async def tell(place: Place) -> None:
            async with aclosing(self._lines(place)) as lines:
                async for line in lines:
                    await put(send, line)
            running.discard(place.member)
            if not place.is_lost:
                done.add(place.member)
            changed.set()

        async with trio.open_nursery() as nursery:
            while True:
                is_over = bool(done)
                for place in self._places.values():
                    if place.address is not None and place.member not in running | done:
                        running.add(place.member)
                        nursery.start_soon(tell, place)
                if is_over:
                    break  # those that run come to their end
                with trio.move_on_after(LOOK_SECONDS):
                    await changed.wait()
                changed = trio.Event()
                await self._look_again(bool(running))

    async def _look_again(self, is_hearing: bool) -> None:
        try:
            await self.look()
        except GraftError as error:
            if is_hearing and may_pass(error):
                return  # those that are heard go on
            raise


async def _by_time(streams: Sequence[AsyncGenerator[LogLine, None]]) -> AsyncGenerator[LogLine, None]:
    heads: list[tuple[LogLine, int]] = []

    async def take(number: int) -> None:
        line = await anext(streams[number], None)
        if line is not None:
            heapq.heappush(heads, (line, number))

    for number in range(len(streams)):
        await take(number)
    while heads:
        line, number = heapq.heappop(heads)
        yield line
        await take(number)


def log_pump(request: pb.LogsRequest) -> Pump[LogLine]:
    """Lines from one member. After a break it sends them from the beginning: those that were given are left out."""
    given: dict[str, int] = {}

    async def pump(channel: Channel, send: trio.MemorySendChannel[LogLine]) -> None:
        seen: dict[str, int] = {}
        async with channel.stream("Workflows", "Logs", request) as lines:
            async for line in lines:
                number = seen[line.path] = seen.get(line.path, 0) + 1
                if number > given.get(line.path, 0):
                    await put(send, read_log(line))
                    given[line.path] = number

    return pump


__all__ = ["Logs", "Lost", "log_pump"]
