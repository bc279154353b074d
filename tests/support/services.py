"""Handlers for every method of graft.proto that answer at once, with what shows that they were asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import trio

from graft.errors import Rejected, UnknownRun
from graft.transport.proto import graft_pb2
from graft.transport.server import Caller, Services


def make_services() -> Services:
    found: dict[str, dict[str, Any]] = {}
    for service in ("Cluster", "Workflows"):
        methods = graft_pb2.DESCRIPTOR.services_by_name[service].methods_by_name
        found[service] = {name: _stub(about) for name, about in methods.items()}
    found["Workflows"]["Get"] = get
    found["Workflows"]["Watch"] = watch
    found["Workflows"]["StartMany"] = start_many
    found["Workflows"]["List"] = whoami
    return found


def _stub(about: Any) -> Any:
    reply = getattr(graft_pb2, about.output_type.name)

    async def unary(request: Any, caller: Caller) -> Any:
        return reply()

    async def stream(request: Any, caller: Caller) -> AsyncGenerator[Any, None]:
        for _ in range(3):
            yield reply()

    return stream if about.server_streaming else unary


async def get(request: Any, caller: Caller) -> Any:
    """What the run's id asks for."""
    match request.run_id:
        case "unknown":
            raise UnknownRun("no run unknown", hint="graft runs lists them")
        case "overloaded":
            raise Rejected("too much to do", reason="overloaded", leader="b")
        case "bug":
            raise ZeroDivisionError("secret of the house")
        case "grouped":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(get, graft_pb2.GetRequest(run_id="unknown"), caller)
        case "slow":
            await trio.sleep(30)
    size = int(request.run_id) if request.run_id.isdecimal() else 0
    return graft_pb2.RunReply(summary=graft_pb2.RunSummary(run_id=request.run_id), params=b"x" * size)


async def watch(request: Any, caller: Caller) -> AsyncGenerator[Any, None]:
    """Events 1 to `after`, then an end, an error, or nothing for ever."""
    for seq in range(1, request.after + 1):
        yield graft_pb2.Event(seq=seq, run_id=request.run_id)
    if request.run_id == "unknown":
        raise UnknownRun("no run unknown")
    if request.run_id == "forever":
        await trio.sleep_forever()


async def start_many(requests: AsyncIterator[Any], caller: Caller) -> AsyncGenerator[Any, None]:
    async for request in requests:
        yield graft_pb2.StartReply(run_id=request.run_id)
        if request.run_id == "enough":
            return


async def whoami(request: Any, caller: Caller) -> Any:
    return graft_pb2.ListReply(runs=[graft_pb2.RunSummary(run_id=caller.identity, name=",".join(sorted(caller.roles)))])
