"""The loop of a worker host that a step held up: what the member said meanwhile counts before what the clock says."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from graft.expressions import ProgramCache
from graft.ids import StepKey
from graft.plan import Node, PythonAction
from graft.plan.codec import encode_node
from graft.worker import Assignment, Outcome, host_loop
from graft.worker import host_wire as wire
from graft.worker.host_loop import HostLoop

LEASE_SECONDS = 5.0
ROUNDS = 30  # Trio runs tasks that are due together in any order
NEVER = 1e12  # no attempt is too late


class Attempts:
    """In the place of the worker: which attempts began, and which were cancelled."""

    def __init__(self) -> None:
        self.begun: list[StepKey] = []
        self.cancelled: list[StepKey] = []
        self.stopped = False

    def start(self, assignment: Assignment, settle: Callable[[Assignment, Outcome], None]) -> None:
        self.begun.append(assignment.key)

    def cancel(self, key: StepKey, token: int) -> None:
        self.cancelled.append(key)

    def drop_run(self, run_no: int) -> None:
        raise AssertionError("nobody asked for it")

    def stop(self, grace_ms: int | None) -> None:
        self.stopped = True


class Bench:
    """A host's loop, the member's end of its socket, and the clock of the machine."""

    def __init__(self, member: socket.socket, channel: socket.socket, trios: MockClock) -> None:
        self.member, self.attempts, self.trios = member, Attempts(), trios
        self.loop = HostLoop(self.attempts, channel, wire.FrameReader())  # type: ignore[arg-type]
        self.now = 1000.0
        self.member.sendall(wire.frame(wire.NODE, 1, encode_node(Node("n", PythonAction("a:b", ("dict", ()))))))

    def say_start(self, ordinal: int) -> None:
        node = Node("n", PythonAction("a:b", ("dict", ())))
        assignment = Assignment(
            "r", (1, 2, ordinal), 4, 1, "n", node, {}.__getitem__, {}, Path("/"), "k", ProgramCache(), 1000
        )
        self.member.sendall(wire.start_frame(ordinal, 1, (), assignment, NEVER))

    def say_lease(self) -> None:
        self.member.sendall(wire.frame(wire.LEASE, self.now + LEASE_SECONDS))

    def hold_up(self) -> None:
        """A step does not let the loop turn for longer than a lease; the member renews it at the end of that time."""
        self.now += 2 * LEASE_SECONDS
        self.say_lease()
        self.trios.jump(2 * LEASE_SECONDS)


@pytest.fixture
def bench(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    member, channel = socket.socketpair()
    with member, channel:
        channel.setblocking(False)
        bench = Bench(member, channel, autojump_clock)
        monkeypatch.setattr(host_loop, "boottime", lambda: bench.now)
        yield bench


async def test_a_renewal_that_came_while_a_step_held_up_the_loop_counts(
    autojump_clock: MockClock, bench: Bench
) -> None:
    bench.say_lease()
    bench.say_start(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.loop.read, [])
        nursery.start_soon(bench.loop.watch_lease)
        await wait_all_tasks_blocked()
        assert bench.attempts.begun == [(1, 2, 1)]
        for _ in range(ROUNDS):
            bench.hold_up()
            await wait_all_tasks_blocked()
            assert not bench.attempts.cancelled
        nursery.cancel_scope.cancel()


async def test_an_attempt_that_waited_in_the_socket_has_the_lease_that_came_behind_it(
    autojump_clock: MockClock, bench: Bench
) -> None:
    bench.say_lease()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.loop.read, [])
        nursery.start_soon(bench.loop.watch_lease)
        await wait_all_tasks_blocked()
        for ordinal in range(ROUNDS):
            bench.say_start(ordinal)
            bench.hold_up()
            await wait_all_tasks_blocked()
            assert len(bench.attempts.begun) == ordinal + 1
            assert not bench.attempts.cancelled
        nursery.cancel_scope.cancel()


async def test_a_lease_that_nobody_renewed_ends(autojump_clock: MockClock, bench: Bench) -> None:
    bench.say_lease()
    bench.say_start(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.loop.read, [])
        nursery.start_soon(bench.loop.watch_lease)
        await wait_all_tasks_blocked()
        bench.now += LEASE_SECONDS - 1
        await trio.sleep(LEASE_SECONDS)
        assert not bench.attempts.cancelled
        bench.now += 2
        await trio.sleep(LEASE_SECONDS)
        assert bench.attempts.cancelled == [(1, 2, 1)]
        bench.say_start(2)
        await wait_all_tasks_blocked()
        assert bench.attempts.cancelled == [(1, 2, 1), (1, 2, 2)], "what comes without a lease ends at once"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("says", ["stop", "nothing"])
async def test_the_end_is_seen_whoever_reads_it(autojump_clock: MockClock, bench: Bench, says: str) -> None:
    """The task that watches the lease empties the socket when the lease is over: the last word may be in it."""
    bench.say_lease()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.loop.watch_lease)
        with trio.fail_after(10 * LEASE_SECONDS):
            nursery.start_soon(_end_later, bench, says)
            await bench.loop.read([])
        nursery.cancel_scope.cancel()
    assert bench.attempts.stopped == (says == "stop")


async def _end_later(bench: Bench, says: Any) -> None:
    await wait_all_tasks_blocked()
    if says == "stop":
        bench.member.sendall(wire.frame(wire.STOP, None))
        bench.now += 2 * LEASE_SECONDS
        bench.trios.jump(2 * LEASE_SECONDS)
    else:
        bench.member.close()
