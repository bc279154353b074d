"""The end of what a step printed. Without an event loop of its own: commands that only look load none."""

from __future__ import annotations

from collections import deque
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from graft.errors import GraftError

if TYPE_CHECKING:
    from graft.cli.sources import Source
    from graft.worker.logs import LogLine

GROUP_LINES = 2000  # of one step, in a group; `graft logs` has all


async def last_lines(
    engine: Source, run_id: str, path: str, most: int, *, since: str = ""
) -> tuple[list[LogLine], int]:
    """The last lines of a step, at most `most`, and how many there are in all; none when they cannot be had."""
    last: deque[LogLine] = deque(maxlen=most)
    total = 0
    with suppress(GraftError, OSError):
        async with aclosing(engine.logs(run_id, path)) as lines:
            async for line in lines:
                if line.time >= since:
                    total += 1
                    last.append(line)
    return list(last), total
