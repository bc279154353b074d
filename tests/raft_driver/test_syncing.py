"""Where a turn is written: in place where the disk was fast all the time lately, else on the storage thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import trio

from graft.errors import SyncFailed
from graft.interfaces import Turn
from graft.raft_driver.syncing import FAST_SECONDS, REMEMBERED, SLOW_SECONDS, Syncer


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> int:
        return 0


class Disk:
    """A store of which only the time counts that a sync takes. `places`: whether each was written in place."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._home = clock, threading.current_thread()
        self.seconds = FAST_SECONDS / 2
        self.staging = 10.0  # how long the records take does not say how fast the disk is
        self.places: list[bool] = []
        self.is_broken = False

    def commit(self, turn: Turn, staged: Callable[[], None] | None = None) -> None:
        self.places.append(threading.current_thread() is self._home)
        self._clock.now += self.staging
        if self.is_broken:
            raise SyncFailed("the disk is gone")
        if staged is not None:
            staged()
        self._clock.now += self.seconds


def make() -> tuple[Disk, Syncer]:
    clock = Clock()
    disk = Disk(clock)
    return disk, Syncer(disk, clock)  # type: ignore[arg-type]


async def commits(syncer: Syncer, count: int) -> None:
    for _ in range(count):
        await syncer.commit(Turn())


async def test_a_disk_that_was_fast_for_a_while_is_written_to_in_place() -> None:
    disk, syncer = make()
    await commits(syncer, REMEMBERED + 3)
    assert disk.places == [False] * REMEMBERED + [True] * 3


async def test_after_one_slow_sync_the_thread_waits_for_the_disk() -> None:
    disk, syncer = make()
    await commits(syncer, REMEMBERED)
    disk.seconds = SLOW_SECONDS * 2
    await commits(syncer, 1)
    disk.seconds = FAST_SECONDS / 2
    disk.places.clear()
    await commits(syncer, REMEMBERED + 2)
    assert disk.places == [False] * REMEMBERED + [True] * 2


async def test_a_busy_processor_now_and_then_makes_no_slow_disk_and_a_slow_disk_no_fast_one() -> None:
    disk, syncer = make()
    await commits(syncer, REMEMBERED)
    disk.places.clear()
    for disk.seconds in [FAST_SECONDS / 2, FAST_SECONDS / 2, FAST_SECONDS * 3] * 10:
        await commits(syncer, 1)
    assert disk.places == [True] * 30
    disk.places.clear()
    disk.seconds = FAST_SECONDS * 2
    await commits(syncer, 2 * REMEMBERED)
    assert disk.places.index(False) <= REMEMBERED // 2
    assert not any(disk.places[REMEMBERED // 2 :])


@pytest.mark.parametrize("before", [0, REMEMBERED], ids=["thread", "in place"])
async def test_what_the_store_raises_comes_out(before: int) -> None:
    disk, syncer = make()
    await commits(syncer, before)
    disk.is_broken = True
    with pytest.raises(SyncFailed, match="the disk is gone"):
        await syncer.commit(Turn())


async def test_a_slow_disk_holds_nobody_up() -> None:
    disk, syncer = make()
    entered, may_end = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def slow(turn: Turn, staged: Callable[[], None]) -> None:
        staged()
        token.run_sync_soon(entered.set)
        may_end.wait(60)

    disk.commit = slow  # type: ignore[assignment, method-assign]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(syncer.commit, Turn())
        with trio.fail_after(60):
            await entered.wait()
        may_end.set()
