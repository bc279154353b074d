"""The one asyncio loop of a server or a channel. Nobody outside of this room sees that it exists.

It runs in a task of its own, so the context of whoever opens a server or a channel never shows it: what the body
starts is plain Trio. It is shielded: its owner closes it last, so that a cancelled server can still say goodbye.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any

import trio

from graft.asyncio_bridge import trio_asyncio

log = logging.getLogger(__name__)


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What trio_asyncio would tear the loop down for: a task that failed and that nobody waited for."""
    log.error("%s", context.get("message", "error in the event loop"), exc_info=context.get("exception"))


@asynccontextmanager
async def open_loop() -> AsyncIterator[asyncio.AbstractEventLoop]:
    """A running loop, until the block is left."""
    ready, stop = trio.Event(), trio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        with trio.CancelScope(shield=True):
            async with trio_asyncio.open_loop() as loop:
                loop.set_exception_handler(_report)
                loops.append(loop)
                ready.set()
                await stop.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)  # noqa: ASYNC113  # `ready` is waited for
        try:
            await ready.wait()
            yield loops[0]
        finally:
            stop.set()


def start_in(
    loop: asyncio.AbstractEventLoop, nursery: trio.Nursery, function: Callable[..., Awaitable[Any]], *arguments: Any
) -> None:
    """Start a Trio task whose calls of asyncio's functions mean `loop`."""
    context = copy_context()
    context.run(enter, loop)
    context.run(nursery.start_soon, function, *arguments)


def enter(loop: asyncio.AbstractEventLoop) -> None:
    """From now on asyncio's functions that this Trio task calls mean `loop`."""
    trio_asyncio._loop.current_loop.set(loop)
