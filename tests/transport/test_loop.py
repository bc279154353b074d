"""The loop that nobody sees, and the traps of trio-asyncio that it avoids."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys

import pytest
import sniffio
import trio

from graft.transport.loop import open_loop


async def test_asyncio_run_works_in_other_threads() -> None:
    """Importing trio_asyncio breaks it (a private name puts it right): dask and others run their loops in threads."""

    async def aio() -> str:
        await asyncio.sleep(0)
        return type(asyncio.get_running_loop()).__module__

    async with open_loop():
        found = await trio.to_thread.run_sync(lambda: asyncio.run(aio()))
    assert not found.startswith("trio_asyncio")


async def test_the_body_sees_no_loop() -> None:
    async with open_loop():
        assert sniffio.current_async_library() == "trio"
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()


async def test_a_task_that_fails_unawaited_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ZeroDivisionError("nobody waits for this")

    async with open_loop() as loop:
        task = loop.create_task(fail())
        while not task.done():  # noqa: ASYNC110
            await trio.sleep(0.001)
        del task
        gc.collect()  # it tells when it is collected, which its traceback may put off
        answered = loop.create_future()
        loop.call_soon(answered.set_result, 1)
        with trio.fail_after(5):
            while not answered.done():  # noqa: ASYNC110
                await trio.sleep(0.001)
    assert "nobody waits" in caplog.text


async def test_a_cancelled_owner_closes_it() -> None:
    with trio.move_on_after(5) as outer:
        async with open_loop():
            outer.cancel()
            await trio.sleep_forever()
    assert outer.cancelled_caught


async def test_loops_nest() -> None:
    async with open_loop() as outer, open_loop() as inner:
        assert outer is not inner


async def test_a_task_finds_its_loop_and_itself() -> None:
    """In C since Python 3.12, which asks the thread and not trio-asyncio."""

    async def look() -> bool:
        event = asyncio.Event()
        loop.call_soon(event.set)
        await event.wait()
        async with asyncio.timeout(5):
            await asyncio.sleep(0.001)
        return asyncio.get_running_loop() is loop and asyncio.current_task() is task

    async with open_loop() as loop:
        task = loop.create_task(look())
        with trio.fail_after(5):
            while not task.done():  # noqa: ASYNC110
                await trio.sleep(0.001)
        assert task.result() is True


BEFORE = {
    "nothing": "",
    "grpclib": "import grpclib.server, grpclib.client",
    "asyncio": "import asyncio; asyncio.run(asyncio.sleep(0))",
}
SERVED = """
import asyncio, functools, grpclib.utils
from graft.transport.server import Server
assert grpclib.utils._current_task is asyncio.current_task
assert not hasattr(asyncio.events, "BaseDefaultEventLoopPolicy") or sys.version_info < (3, 14)
asyncio.run(asyncio.sleep(0))
async def own() -> str:
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0))
    return type(asyncio.get_running_loop()).__module__
assert not asyncio.run(own()).startswith("trio_asyncio")
"""


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
def test_it_does_not_matter_what_was_imported_before(before: str) -> None:
    """A program that uses graft.Client may use grpclib or asyncio too. `-W error`: nothing here warns its users."""
    program = f"import sys\n{before}\n{SERVED}"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
