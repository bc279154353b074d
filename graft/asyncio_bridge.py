"""trio-asyncio, made to work on every Python from 3.11 to 3.14. Import it from here, never by itself.

What it needs is private to asyncio, to itself and to grpclib, so pyproject.toml bounds their versions, and
tests/transport/test_loop.py holds each remedy:

- Importing it makes `asyncio.run` in *other threads* use its loop, which breaks them (dask, for one). They get back
  the policy that they had.
- Since Python 3.12 `asyncio.current_task` is written in C and knows nothing of Trio. trio-asyncio replaces it; a
  grpclib that was imported before has kept the one in C.
- Python 3.12 and 3.13 warn of a class that trio-asyncio subclasses.
- Python 3.14 has renamed or removed two classes that it subclasses, and tasks in C find their loop only when the
  thread says that it runs (https://github.com/python-trio/trio-asyncio/issues/160).

Python 3.16 will have no policies. Rejected: a loop of asyncio in a thread of its own (a hop for each message), and
copying trio-asyncio (2,000 lines that somebody else looks after).
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SINCE_3_14 = sys.version_info >= (3, 14)


@contextmanager
def _removed_names() -> Iterator[None]:
    """While the block runs, asyncio has the names again that Python 3.14 took from it."""
    events: Any = asyncio.events
    every: Any = asyncio
    events.BaseDefaultEventLoopPolicy = events._BaseDefaultEventLoopPolicy
    every.AbstractChildWatcher = object
    try:
        yield
    finally:
        del events.BaseDefaultEventLoopPolicy, every.AbstractChildWatcher


def _say_which_loop_runs() -> None:
    """Let the thread say, while a callback of one of Trio's loops runs, that this loop does."""
    every_handle: Any = asyncio.Handle
    call = every_handle._run

    def run(handle: Any) -> None:
        if not isinstance(handle._loop, trio_asyncio.TrioEventLoop):
            call(handle)
            return
        before = trio_asyncio._loop._orig_run_get()
        asyncio._set_running_loop(handle._loop)
        try:
            call(handle)
        finally:
            asyncio._set_running_loop(before)

    every_handle._run = run


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    if SINCE_3_14:
        with _removed_names():
            import trio_asyncio
        _say_which_loop_runs()
    else:
        import trio_asyncio
    trio_asyncio._loop._FakedPolicy.policy = asyncio.DefaultEventLoopPolicy()

if (_grpclib := sys.modules.get("grpclib.utils")) is not None:
    _grpclib._current_task = asyncio.current_task  # type: ignore[attr-defined]

__all__ = ["trio_asyncio"]
