"""Streams that survive their connection, as generators.

What reads the connection runs in a task of its own. A generator that held a nursery or a cancel scope across `yield`
would hand them to whoever iterates it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, TypeVar

import trio

from graft.client.link import Link, may_pass
from graft.cluster.flow import items
from graft.errors import GraftError
from graft.transport.channel import Channel

BUFFER: Final = 256  # items that may wait for the reader

T = TypeVar("T")
Pump = Callable[[Channel, "trio.MemorySendChannel[T]"], Awaitable[None]]


def pumped(link: Link, nursery: trio.Nursery, pump: Pump[T], progress: Callable[[], int]) -> AsyncGenerator[T, None]:
    """What `pump(channel, send)` sends, called again with another channel whenever one breaks, until it returns.

    Raises what it raises for good. Patience begins anew whenever `progress()` has changed.
    """
    return filled(nursery, lambda send: _persistently(link, lambda channel, _: pump(channel, send), progress))


async def filled(
    nursery: trio.Nursery, fill: Callable[[trio.MemorySendChannel[T]], Awaitable[None]]
) -> AsyncGenerator[T, None]:
    """What `fill` sends, from a task of `nursery`, until it returns. Raises what it raises, the first of a group."""
    send, receive = trio.open_memory_channel[T](BUFFER)
    scope = trio.CancelScope()
    failures: list[Exception] = []

    async def run() -> None:
        with scope:
            async with send:
                try:
                    await fill(send)
                except* Exception as group:  # the reader's, not the nursery's
                    failures.append(_first(group))

    nursery.start_soon(run)
    try:
        async with aclosing(items(receive)) as received:
            async for each in received:
                yield each  # noqa: ASYNC119 - whoever iterates closes it
        if failures:
            raise failures[0]
    finally:
        scope.cancel()


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, Exception)
    return error


async def _persistently(
    link: Link, once: Callable[[Channel, int], Awaitable[None]], progress: Callable[[], int]
) -> None:
    while True:
        before = progress()
        try:
            return await link.keep_trying(once, streams=True)
        except GraftError as error:
            if not may_pass(error) or progress() == before:
                raise
