"""Memory channels for many small items.

Trio's own `send` and `receive` give the loop a turn for every item, and a turn costs more than most items do; worse,
what comes one by one is also written one by one. These wait only when there is no room, or nothing there.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TypeVar

import trio

T = TypeVar("T")


async def put(channel: trio.MemorySendChannel[T], item: T) -> None:
    """Raises what `channel.send` raises."""
    try:
        channel.send_nowait(item)
    except trio.WouldBlock:
        await channel.send(item)


async def take(channel: trio.MemoryReceiveChannel[T]) -> T:
    """Raises what `channel.receive` raises: EndOfChannel, for one."""
    try:
        return channel.receive_nowait()
    except trio.WouldBlock:
        return await channel.receive()


async def items(channel: trio.MemoryReceiveChannel[T]) -> AsyncGenerator[T, None]:
    """All that comes, until the senders have closed."""
    while True:
        try:
            item = await take(channel)
        except trio.EndOfChannel:
            return
        yield item


async def enter(room: trio.Semaphore) -> None:
    """Acquire, by the same rule."""
    try:
        room.acquire_nowait()
    except trio.WouldBlock:
        await room.acquire()
