"""What a client can send that no client of ours would: refused in words, whatever it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from graft.cluster.embedded import open_embedded
from graft.cluster.services import Workflows
from graft.errors import GraftError, InvalidParams, UnknownRun, UsageError
from graft.plan import encode
from graft.transport.proto import graft_pb2 as pb
from graft_dsl import compile_text

FLOW = """
graft = 1
name = "f"
[params]
x = { type = "int", default = 1 }
[nodes.each]
value = "${ item }"
for_each = "${ range(3) }"
[nodes.a]
value = "${ params.x }"
"""
DEEP = b"[" * 100_000 + b"]" * 100_000


@asynccontextmanager
async def handlers(base: Path) -> AsyncIterator[Any]:
    async with open_embedded(base / ".graft", ephemeral=True) as engine, trio.open_nursery() as nursery:
        yield Workflows(engine, nursery).handlers()
        nursery.cancel_scope.cancel()


def start(**fields: Any) -> pb.StartRequest:
    plan = encode(compile_text(FLOW, filename="flow.toml", base=Path()).plan)
    return pb.StartRequest(**({"plan": plan, "base": "/tmp"} | fields))


BAD_STARTS: dict[str, tuple[dict[str, Any], type[GraftError]]] = {
    "params that are cut off": ({"params": b"{"}, InvalidParams),
    "params that are no text": ({"params": b'{"x":"\xff"}'}, InvalidParams),
    "params as deep as the sea": ({"params": b'{"x":' + DEEP + b"}"}, InvalidParams),
    "params that are a list": ({"params": b"[]"}, InvalidParams),
    "a number too large": ({"params": b'{"x":' + b"9" * 5000 + b"}"}, InvalidParams),
    "a given result that is cut off": ({"given": {"a": b"{"}}, InvalidParams),
    "a given result that is nothing": ({"given": {"a": b""}}, InvalidParams),
    "a given result that is deep": ({"given": {"a": DEEP}}, InvalidParams),
    "a directory with a zero in it": ({"base": "/tmp/\0"}, UsageError),
    "a directory as long as a novel": ({"base": "/x" * 100_000}, UsageError),
    "an id with a line in it": ({"run_id": "a\n"}, UsageError),
    "an id that is too long": ({"run_id": "a" * 201}, UsageError),
    "a node that is not there": ({"excluded": ["nobody"]}, UsageError),
    "a plan that is none": ({"plan": b"\xff\0"}, GraftError),
    "a plan as deep as the sea": ({"plan": b'{"format":1,"plan":' + DEEP + b"}"}, GraftError),
    "nothing": ({"plan": b""}, GraftError),
}


@pytest.mark.parametrize("name", BAD_STARTS)
async def test_a_start_that_cannot_be_is_refused_in_words(tmp_path: Path, name: str) -> None:
    fields, error = BAD_STARTS[name]
    async with handlers(tmp_path) as handler:
        with pytest.raises(error) as caught:
            await handler["Start"](start(**fields), None)
        assert len(caught.value.message) < 1000
        assert not (await handler["List"](pb.ListRequest(), None)).runs


PATHS = (
    "each[²]",
    "each[٣]",
    "each[99999999999]",
    f"each[{'9' * 5000}]",
    "each[-1]",
    "each[",
    "//",
    "a/b",
    "a[0]",
    "\0",
)


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
async def test_a_path_that_leads_nowhere_is_a_step_that_is_not_there(tmp_path: Path, path: str) -> None:
    async with handlers(tmp_path) as handler:
        run_id = (await handler["Start"](start(), None)).run_id
        async for _ in handler["Watch"](pb.WatchRequest(run_id=run_id), None):
            pass
        for method in ("GetStep", "Cancel", "Retry"):
            with pytest.raises(UnknownRun):
                await handler[method](pb.StepRequest(run_id=run_id, path=path), None)


@pytest.mark.parametrize("after", [1 << 20, 1 << 62, (1 << 64) - 1])
async def test_a_cursor_behind_the_end_shows_nothing(tmp_path: Path, after: int) -> None:
    async with handlers(tmp_path) as handler:
        run_id = (await handler["Start"](start(), None)).run_id
        async for _ in handler["Watch"](pb.WatchRequest(run_id=run_id), None):
            pass
        behind = pb.WatchRequest(run_id=run_id, after=after)
        if after > 1 << 20:
            assert [event async for event in handler["Watch"](behind, None)] == []
        reply = await handler["Events"](pb.EventsRequest(run_id=run_id, after=after, limit=(1 << 32) - 1), None)
        assert reply.ended
