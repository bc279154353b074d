"""Many starts in one stream, each applied once whatever becomes of the stream.

What was sent and not acknowledged is kept, and sent again over the next stream. That is safe, because each start
carries the id of its run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import trio
from attrs import Factory, frozen

from graft.client.link import may_pass
from graft.cluster.flow import enter, put, take
from graft.cluster.wire import read_problem
from graft.errors import GraftError, Rejected, Unreachable
from graft.plan import Plan
from graft.transport.channel import Channel
from graft.transport.proto import graft_pb2 as pb

WINDOW: Final = 512  # starts that are not acknowledged yet
KNOWN_PLANS: Final = 128  # that a member is trusted to remember within one stream


@frozen
class Start:
    """What a run is started with. `base`: the directory, on the members, that relative paths of the flow mean.

    `given`: results of nodes that are taken over; `excluded`: nodes that are skipped. `run_id`: None makes one.
    """

    plan: Plan
    params: Mapping[str, Any] = Factory(dict)
    base: Path | str = ""
    run_id: str | None = None
    given: Mapping[str, Any] = Factory(dict)
    excluded: frozenset[str] = frozenset()


@frozen
class Started:
    """How a start went: `error` is None when the run is durable."""

    run_id: str
    error: GraftError | None = None


class Feed:
    """`read` takes the starts; `pump` sends them over one channel after the other.

    Invariant: a request is in `_pending` from before it is sent until its reply was handed over.
    """

    def __init__(
        self, starts: Iterable[Start] | AsyncIterable[Start], request_of: Callable[[Start], pb.StartRequest]
    ) -> None:
        self._starts, self._request_of = starts, request_of
        self._pending: dict[str, pb.StartRequest] = {}
        self._room = trio.Semaphore(WINDOW)
        self._send, self._receive = trio.open_memory_channel[pb.StartRequest](WINDOW)
        self._failure: BaseException | None = None
        self._exhausted = False
        self.done = 0

    async def read(self) -> None:
        """Take from the source, as there is room. In a task of its own: a broken stream must not end the source."""
        async with self._send:
            try:
                async with aclosing(_each(self._starts)) as starts:
                    async for start in starts:
                        request = self._request_of(start)
                        await enter(self._room)
                        await put(self._send, request)
            except Exception as error:
                self._failure = error  # raised to whoever reads the replies

    async def pump(self, channel: Channel, send: trio.MemorySendChannel[Started]) -> None:
        if self._exhausted and not self._pending:
            return
        requests = _Requests(list(self._pending.values()), self._next)
        try:
            async with channel.stream("Workflows", "StartMany", requests) as replies:
                async for reply in replies:
                    await self._take(reply, send)
        finally:
            requests.is_closed = True
        if self._pending:  # taken by the feeder of an earlier stream at the moment when that broke
            raise Unreachable("not all starts were answered", address=channel.address)
        if self._failure is not None:
            raise self._failure

    async def _take(self, reply: pb.StartReply, send: trio.MemorySendChannel[Started]) -> None:
        error = read_problem(reply.problem) if reply.HasField("problem") else None
        if error is not None and (may_pass(error) or (isinstance(error, Rejected) and error.reason == "unknown_plan")):
            raise Rejected(error.message, reason="stopping", hint=error.hint)  # again, over another stream
        if self._pending.pop(reply.run_id, None) is not None:
            self.done += 1
            self._room.release()
            await put(send, Started(reply.run_id, error))

    async def _next(self) -> pb.StartRequest:
        """The next start that was never sent. Raises StopAsyncIteration."""
        try:
            request = await take(self._receive)
        except trio.EndOfChannel:
            self._exhausted = True
            raise StopAsyncIteration from None
        self._pending[request.run_id] = request
        return request


class _Requests:
    """What one stream sends: first what an earlier one has not been acknowledged.

    No generator: whoever iterates it may be cancelled, and is not to end what another stream needs.
    """

    def __init__(self, again: Iterable[pb.StartRequest], more: Callable[[], Awaitable[pb.StartRequest]]) -> None:
        self._again, self._more = deque(again), more
        self._known: dict[str, None] = {}
        self.is_closed = False

    def __aiter__(self) -> _Requests:
        return self

    async def __anext__(self) -> pb.StartRequest:
        if self.is_closed:
            raise StopAsyncIteration
        return _spared(self._again.popleft() if self._again else await self._more(), self._known)


def _spared(request: pb.StartRequest, known: dict[str, None]) -> pb.StartRequest:
    """`request`, without its plan if that went over this stream lately."""
    if request.plan_hash in known:
        bare = pb.StartRequest()
        bare.CopyFrom(request)
        bare.plan = b""
        return bare
    known[request.plan_hash] = None
    if len(known) > KNOWN_PLANS:
        del known[next(iter(known))]
    return request


async def _each(starts: Iterable[Start] | AsyncIterable[Start]) -> AsyncGenerator[Start, None]:
    if isinstance(starts, AsyncIterable):
        async for start in starts:
            yield start
    else:
        for start in starts:
            yield start
