"""Many starts in one stream, each applied once whatever becomes of the stream.

What was sent and not acknowledged is kept, and sent again over the next stream. That is safe, because each start
carries the id of its run.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import trio
from attrs import Factory, frozen

from graft.client.link import may_pass
from graft.cluster.wire import read_problem
from graft.errors import GraftError, Rejected
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
    """`source` gives requests; `pump` sends them over one channel after the other.

    Invariant: a request is in `_pending` from before it is sent until its reply was handed over.
    """

    def __init__(self, source: AsyncIterable[pb.StartRequest]) -> None:
        self._source = source
        self._pending: dict[str, pb.StartRequest] = {}
        self._room = trio.Semaphore(WINDOW)
        self._send, self._receive = trio.open_memory_channel[pb.StartRequest](0)
        self._failure: BaseException | None = None
        self._exhausted = False
        self.done = 0

    async def read(self) -> None:
        """Take from the source, as there is room. In a task of its own: a broken stream must not end the source."""
        async with self._send:
            try:
                async for request in self._source:
                    await self._room.acquire()
                    await self._send.send(request)
            except Exception as error:
                self._failure = error  # raised to whoever reads the replies

    async def pump(self, channel: Channel, send: trio.MemorySendChannel[Started]) -> None:
        if self._exhausted and not self._pending:
            return
        async with channel.stream("Workflows", "StartMany", self._requests()) as replies:
            async for reply in replies:
                await self._take(reply, send)
        if self._failure is not None:
            raise self._failure

    async def _take(self, reply: pb.StartReply, send: trio.MemorySendChannel[Started]) -> None:
        error = read_problem(reply.problem) if reply.HasField("problem") else None
        if error is not None and (may_pass(error) or (isinstance(error, Rejected) and error.reason == "unknown_plan")):
            raise Rejected(error.message, reason="stopping", hint=error.hint)  # again, over another stream
        if self._pending.pop(reply.run_id, None) is not None:
            self.done += 1
            self._room.release()
            await send.send(Started(reply.run_id, error))

    async def _requests(self) -> AsyncGenerator[pb.StartRequest, None]:
        known: dict[str, None] = {}
        for request in list(self._pending.values()):
            yield _spared(request, known)
        if self._exhausted:
            return
        async for request in self._receive:
            self._pending[request.run_id] = request
            yield _spared(request, known)
        self._exhausted = True


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


async def each(starts: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
    if isinstance(starts, AsyncIterable):
        async for start in starts:
            yield start
    else:
        for start in starts:
            yield start
