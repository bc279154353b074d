"""Streams that survive their connection, as generators.

What reads the connection runs in a task of its own. A generator that held a nursery or a cancel scope across `yield`
would hand them to whoever iterates it.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any, Final, TypeVar

import trio

from graft.client.link import Link, may_pass
from graft.cluster.flow import items
from graft.errors import GraftError, Unreachable
from graft.transport.channel import Channel
from graft.worker.logs import LogLine

BUFFER: Final = 256  # items that may wait for the reader

T = TypeVar("T")
Pump = Callable[[Channel, "trio.MemorySendChannel[T]"], Awaitable[None]]


async def pumped(
    link: Link, nursery: trio.Nursery, pump: Pump[T], progress: Callable[[], int]
) -> AsyncGenerator[T, None]:
    """What `pump(channel, send)` sends, called again with another channel whenever one breaks, until it returns.

    Raises what it raises for good. Patience begins anew whenever `progress()` has changed.
    """
    send, receive = trio.open_memory_channel[T](BUFFER)
    scope = trio.CancelScope()
    failures: list[Exception] = []

    async def run() -> None:
        with scope:
            async with send:
                try:
                    await _persistently(link, lambda channel, _: pump(channel, send), progress)
                except Exception as error:  # the reader's, not the nursery's
                    failures.append(error)

    nursery.start_soon(run)
    try:
        async with aclosing(items(receive)) as received:
            async for each in received:
                yield each  # noqa: ASYNC119 - whoever iterates closes it
        if failures:
            raise failures[0]
    finally:
        scope.cancel()


async def _persistently(
    link: Link, once: Callable[[Channel, int], Awaitable[None]], progress: Callable[[], int]
) -> None:
    while True:
        before = progress()
        try:
            return await link.keep_trying(once)
        except GraftError as error:
            if not may_pass(error) or progress() == before:
                raise


async def merged(
    streams: Sequence[AsyncGenerator[LogLine, None]], nursery: trio.Nursery, *, in_order: bool
) -> AsyncGenerator[LogLine, None]:
    """All lines of several members: by time, or as they come. Members that do not answer are left out.

    Raises Unreachable when there is only one stream, or all of them break.
    """
    lost: list[Unreachable] = []
    whole = [_forgiving(stream, lost) for stream in streams] if len(streams) > 1 else list(streams)
    async with AsyncExitStack() as stack:
        for stream in whole:
            await stack.enter_async_context(aclosing(stream))
        together = _by_time(whole) if in_order else _as_they_come(whole, nursery)
        async with aclosing(together) as lines:
            async for line in lines:
                yield line  # noqa: ASYNC119 - closed by its caller
    if len(streams) > 1 and len(lost) == len(streams):
        raise lost[0]


async def _forgiving(stream: AsyncGenerator[LogLine, None], lost: list[Unreachable]) -> AsyncGenerator[LogLine, None]:
    try:
        async with aclosing(stream) as lines:
            async for line in lines:
                yield line  # noqa: ASYNC119 - closed by its caller
    except Unreachable as error:
        lost.append(error)


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


async def _as_they_come(
    streams: Sequence[AsyncGenerator[LogLine, None]], nursery: trio.Nursery
) -> AsyncGenerator[LogLine, None]:
    if len(streams) == 1:
        async for line in streams[0]:
            yield line
        return
    send, receive = trio.open_memory_channel[LogLine](BUFFER)
    scope = trio.CancelScope()

    async def read(stream: AsyncGenerator[LogLine, None], out: trio.MemorySendChannel[Any]) -> None:
        with scope:
            async with out, aclosing(stream) as lines:
                async for line in lines:
                    await out.send(line)

    async with send:
        for stream in streams:
            nursery.start_soon(read, stream, send.clone())
    try:
        async for line in receive:
            yield line
    finally:
        scope.cancel()
