"""Between Trio and asyncio, in one thread: run a Trio function for an asyncio task, and streams of items both ways.

Rejected: trio-asyncio's adapters for streams. They cost a task and several turns of the loop for every item; here an
item costs an append, and a wake-up when the other side sleeps.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any, Generic, TypeVar

import trio

Item = TypeVar("Item")

MAX_WAITING = 64  # items in a stream between the two


def unwrap(error: BaseException) -> BaseException:
    """The exception in a group of one: what happened inside of a nursery to a single task."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


class Bridge:
    """Runs Trio functions for tasks of `loop`, in `nursery`, with a context that knows of no loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, nursery: trio.Nursery, context: Context) -> None:
        self._loop, self._nursery, self._context = loop, nursery, context

    def start(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> asyncio.Future[Any]:
        """Its result; to cancel the future cancels the function. Awaited in asyncio."""
        future = self._loop.create_future()
        scope = trio.CancelScope()
        future.add_done_callback(lambda done: scope.cancel() if done.cancelled() else None)
        # The loop's context would tell the function that it runs under asyncio.
        self._context.copy().run(self._nursery.start_soon, self._run, future, scope, function, arguments)
        return future

    async def _run(
        self,
        future: asyncio.Future[Any],
        scope: trio.CancelScope,
        function: Callable[..., Awaitable[Any]],
        arguments: tuple[Any, ...],
    ) -> None:
        try:
            with scope:
                result = await function(*arguments)
                if not future.done():
                    future.set_result(result)
        except Exception as error:
            if not future.done():
                future.set_exception(unwrap(error))
        finally:
            if not future.done():
                future.cancel()


class ToAsyncio(Generic[Item]):
    """Items that Trio puts and asyncio takes, all there are at once. A full one makes `put` wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: list[Item] = []
        self._ended = False
        self._taker: asyncio.Future[None] | None = None
        self._room = trio.Event()

    async def put(self, item: Item) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        while len(self._items) >= MAX_WAITING:
            self._room = trio.Event()
            await self._room.wait()
        self._items.append(item)
        self._wake()

    def end(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)

    async def take(self) -> list[Item]:
        """Empty at the end."""
        while not self._items and not self._ended:
            self._taker = self._loop.create_future()
            await self._taker
        taken, self._items = self._items, []
        self._room.set()
        return taken


class ToTrio(Generic[Item]):
    """Items that asyncio puts and Trio iterates over. A full one makes `put` wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: deque[Item] = deque()
        self._ended = False
        self._error: BaseException | None = None
        self._putter: asyncio.Future[None] | None = None
        self._filled = trio.Event()

    async def put(self, item: Item) -> None:
        while len(self._items) >= MAX_WAITING:
            self._putter = self._loop.create_future()
            await self._putter
        self._items.append(item)
        self._filled.set()

    def end(self, error: BaseException | None = None) -> None:
        """After the items that are there, the iteration ends, or raises `error`."""
        if not self._ended:
            self._ended, self._error = True, error
            self._filled.set()

    def __aiter__(self) -> ToTrio[Item]:
        return self

    async def __anext__(self) -> Item:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._items:
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._filled = trio.Event()
            await self._filled.wait()
        item = self._items.popleft()
        if self._putter is not None and not self._putter.done():
            self._putter.set_result(None)
        return item
