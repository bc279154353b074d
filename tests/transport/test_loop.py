"""The loop that nobody sees, and the traps of trio-asyncio that it avoids."""

from __future__ import annotations

import asyncio

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
        await trio.sleep(0.01)
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
