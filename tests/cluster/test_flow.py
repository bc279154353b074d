"""Channels that give the loop a turn only where they have to wait."""

from __future__ import annotations

from contextlib import aclosing

import pytest
import trio

from graft.cluster.flow import enter, items, put, take


async def test_what_has_room_and_what_is_there_goes_on_in_one_turn() -> None:
    send, receive = trio.open_memory_channel[int](10)
    ran: list[str] = []

    async def other() -> None:
        ran.append("other")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for n in range(10):
            await put(send, n)
        assert [await take(receive) for _ in range(10)] == list(range(10))
        room = trio.Semaphore(3)
        for _ in range(3):
            await enter(room)
        assert ran == []
    assert ran == ["other"]


async def test_it_waits_for_room_and_for_items_and_ends_with_the_senders() -> None:
    send, receive = trio.open_memory_channel[int](2)
    room = trio.Semaphore(0)

    async def feed() -> None:
        async with send:
            for n in range(100):
                await put(send, n)
        room.release()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        async with aclosing(items(receive)) as found:
            assert [each async for each in found] == list(range(100))
        await enter(room)


async def test_who_waits_can_be_cancelled_and_loses_nothing() -> None:
    send, receive = trio.open_memory_channel[int](1)
    with trio.move_on_after(0.01) as waiting:
        await take(receive)
    assert waiting.cancelled_caught
    await put(send, 1)
    with trio.move_on_after(0.01) as full:
        await put(send, 2)
    assert full.cancelled_caught
    assert await take(receive) == 1
    send.close()
    with pytest.raises(trio.EndOfChannel):
        await take(receive)
