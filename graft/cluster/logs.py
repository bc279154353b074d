"""What the steps of a run wrote on this member, as a stream for somebody who asks over the wire.

Files are read in threads. A run of ten thousand steps has as many files: beyond `MERGED` they are not opened all at
once, and lines are in the order of time only within a batch.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from itertools import islice
from typing import Final

import trio

from graft.cluster.runs import Runs
from graft.cluster.wire import log_message
from graft.engine.lifecycle import FINAL
from graft.transport.proto import graft_pb2 as pb
from graft.worker.logs import LogLine, LogStore

MERGED: Final = 256
BATCH: Final = 512  # lines that one visit to a thread reads
POLL_SECONDS: Final = 0.1


async def log_lines(runs: Runs, request: pb.LogsRequest, member: str) -> AsyncGenerator[pb.LogLine, None]:
    """Raises UnknownRun. With `follow` it ends once the run has ended and all was read."""
    run_id, path = request.run_id, request.path or None
    runs.status(run_id)
    store = LogStore(runs.log_directory)
    if not request.follow and (path is not None or len(store.paths(run_id)) <= MERGED):
        lines = store.read(run_id, path)
        while batch := await trio.to_thread.run_sync(_some, lines):
            for line in batch:
                yield log_message(line, member)
        return
    follower = store.follow(run_id, path)
    while True:
        ended = not request.follow or runs.status(run_id) in FINAL  # asked before the look, so nothing is missed
        batch = await trio.to_thread.run_sync(follower.poll)
        for line in batch:
            yield log_message(line, member)
        if ended and not batch:
            return
        if not batch:
            await trio.sleep(POLL_SECONDS)


def _some(lines: Iterator[LogLine]) -> list[LogLine]:
    return list(islice(lines, BATCH))
