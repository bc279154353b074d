"""The loop of a worker host: frames to attempts, outcomes to frames."""

from __future__ import annotations

import math
import socket
import time
from functools import partial
from typing import Any

import trio

from graft.expressions import ProgramCache
from graft.ids import StepKey
from graft.plan import ErrorRecord, Node
from graft.plan.codec import decode_node
from graft.worker import host_wire as wire
from graft.worker.assignment import Assignment, Outcome
from graft.worker.guardian import boottime
from graft.worker.settings import WorkerSettings
from graft.worker.worker import Worker, open_worker

READ_BYTES = 1 << 16
LEASE_POLL_SECONDS = 0.2  # the clock of the lease goes on while the machine sleeps, Trio's may not


class HostLoop:
    """One host, over a socket that does not block. The outcomes come from the tasks of attempts."""

    def __init__(self, worker: Worker, channel: socket.socket, frames: wire.FrameReader) -> None:
        self._worker, self._channel, self._frames = worker, channel, frames
        self._nodes: dict[int, tuple[Node, ProgramCache]] = {}
        self._attempts: dict[int, tuple[StepKey, int]] = {}
        self._cancelled: set[int] = set()  # by the member
        self._expired: set[int] = set()  # stopped because the lease ended
        self._out = bytearray()
        self._more = trio.Event()
        self._lease: float | None = None
        self._leased = trio.Event()
        self._reading = trio.CancelScope()
        self.stopping = False

    async def read(self, waiting: list[list[Any]]) -> None:
        """Until the member says stop, or has gone. `waiting` are messages that came before."""
        self._deal(waiting)
        with self._reading:
            while self._receive():
                await trio.lowlevel.wait_readable(self._channel)

    def _receive(self) -> bool:
        """Deal with all that the socket holds now, in one step; False: there is nothing more to come."""
        messages: list[list[Any]] = []
        is_open = True
        try:
            while data := self._channel.recv(READ_BYTES):
                messages += self._frames.feed(data)
            is_open = False
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            is_open = False
        self._deal(messages)
        return is_open and not self.stopping

    def _deal(self, messages: list[list[Any]]) -> None:
        """The newest lease goes first: what began before it in the socket has it, too."""
        leases = [message for message in messages if message[0] == wire.LEASE]
        if leases:
            self._set_lease(leases[-1])
        starts: list[list[Any]] = []
        for message in messages:
            if message[0] == wire.LEASE:
                continue
            if message[0] == wire.START:
                starts.append(message)
                continue
            if starts:
                self._begin(starts)
                starts = []
            _HANDLERS[message[0]](self, message)
        if starts:
            self._begin(starts)

    def _node(self, message: list[Any]) -> None:
        self._nodes[message[1]] = (decode_node(message[2]), ProgramCache())

    def _forget(self, message: list[Any]) -> None:
        del self._nodes[message[1]]

    def _begin(self, starts: list[list[Any]]) -> None:
        """Say that they are taken, and begin those that are not late; see `host_wire` for why in this order."""
        self._out += wire.frame(wire.TAKEN, [message[1] for message in starts])
        self._push()
        now = math.inf if self._out else time.monotonic()  # what is still in our buffer is not said
        late = [message[1] for message in starts if message[3] <= now]
        if late:
            self._send(wire.frame(wire.LATE, late))
        for message in starts:
            if message[3] > now:
                self._start(message)

    def _start(self, message: list[Any]) -> None:
        number = message[1]
        assignment = wire.read_start(message, *self._nodes[message[2]])
        self._attempts[number] = (assignment.key, assignment.token)
        self._worker.start(assignment, partial(self._settled, number))
        if self._lease is not None and boottime() >= self._lease:
            self._expire(number)

    def _cancel(self, message: list[Any]) -> None:
        number = message[1]
        if number in self._attempts:
            self._cancelled.add(number)
            self._worker.cancel(*self._attempts[number])

    def _drop(self, message: list[Any]) -> None:
        self._worker.drop_run(message[1])

    def _ping(self, message: list[Any]) -> None:
        self._send(wire.frame(wire.PONG, message[1]))

    def _set_lease(self, message: list[Any]) -> None:
        self._lease = message[1]
        self._leased.set()

    def _stop(self, message: list[Any]) -> None:
        self.stopping = True
        self._worker.stop(message[1])
        self._reading.cancel()

    def _settled(self, number: int, assignment: Assignment, outcome: Outcome) -> None:
        del self._attempts[number]
        expired, cancelled = number in self._expired, number in self._cancelled
        self._expired.discard(number)
        self._cancelled.discard(number)
        if expired and not cancelled and outcome.status != "succeeded":
            outcome = Outcome("lost", error=ErrorRecord("lost_member", LEASE_ENDED, "", assignment.path))
        try:
            data = wire.settled_frame(number, outcome)
        except (OverflowError, ValueError, TypeError) as error:
            problem = ErrorRecord("output_schema", f"the outcome of the step cannot be told: {error}", "")
            data = wire.settled_frame(number, Outcome("failed", error=problem))
        self._send(data)

    # The lease

    async def watch_lease(self) -> None:
        """Stop the attempts when it ends."""
        while True:
            self._leased = trio.Event()
            if self._lease is None:
                await self._leased.wait()
                continue
            left = self._lease - boottime()
            if left <= 0:
                # A step may have held up this loop: a renewal that came meanwhile is still in the socket. The task
                # that reads cannot be waited for: the next step may hold up the loop before it has a turn.
                self._receive()
                if self._lease is None or boottime() < self._lease:
                    continue
                for number in self._attempts:
                    self._expire(number)
                await self._leased.wait()
                continue
            with trio.move_on_after(min(left, LEASE_POLL_SECONDS)):
                await self._leased.wait()

    def _expire(self, number: int) -> None:
        self._expired.add(number)
        self._worker.cancel(*self._attempts[number])

    # Writing

    def _send(self, data: bytes) -> None:
        self._out += data
        self._more.set()

    def _push(self) -> None:
        """Put into the socket what it takes now."""
        try:
            while self._out:
                del self._out[: self._channel.send(self._out)]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._out.clear()  # the reader sees the end

    async def write(self) -> None:
        """Whatever was said in one turn of the loop goes out at once."""
        self._send(wire.frame(wire.READY))
        while True:
            await self._more.wait()
            self._more = trio.Event()
            self._push()
            while self._out:
                await trio.lowlevel.wait_writable(self._channel)
                self._push()


LEASE_ENDED = "the member's lease ended while the step ran"

_HANDLERS = {
    wire.NODE: HostLoop._node,
    wire.FORGET: HostLoop._forget,
    wire.CANCEL: HostLoop._cancel,
    wire.DROP: HostLoop._drop,
    wire.PING: HostLoop._ping,
    wire.STOP: HostLoop._stop,
}


async def serve(
    channel: socket.socket, frames: wire.FrameReader, waiting: list[list[Any]], settings: WorkerSettings
) -> None:
    """Until the member says stop, or has gone. Leaving stops every attempt that is left."""
    channel.setblocking(False)
    async with open_worker(settings) as worker:
        loop = HostLoop(worker, channel, frames)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(loop.write)
            nursery.start_soon(loop.watch_lease)
            await loop.read(waiting)
            nursery.cancel_scope.cancel()
        if not loop.stopping:
            worker.stop(grace_ms=0)
