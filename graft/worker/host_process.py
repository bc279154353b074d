"""The member's side of one worker host: its process, its socket, and the attempts that are in it.

Nothing here waits for the host but the tasks that read and write. What is said to it is put into a buffer, which one
task sends; a host that does not read holds up that task and nothing else. The buffer is bounded by what the member
lets a host have in flight.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from graft.plan import ErrorRecord, Node
from graft.plan.codec import encode_node
from graft.worker import guardian as program
from graft.worker import host_wire as wire
from graft.worker.assignment import Assignment, Outcome, Settle
from graft.worker.guardian_client import GuardianLost, Guardians, Process
from graft.worker.inputs import names_read

READ_BYTES = 1 << 15  # at a time: some hundred outcomes, then the loop has its turn
MAX_UNSENT = 4 * 1024 * 1024  # bytes; a host that has so much to read gets no more attempts
READS_AT_ONCE = 32  # at most, where the loop cannot have its turn
BEGIN_SECONDS = 1.0  # a host that has not read an attempt by then must not begin it
KNOWN_NODES = 4096  # that a host keeps
STATUS_SECONDS = 1.0  # after the end of its socket, for the status, which says more
CLOSE_SECONDS = 5.0  # how long a killed host may take to be gone
LEFTOVER_SECONDS = 2.0  # … and what it had started, which its own guardian kills
COMMAND = (sys.executable, "-u", "-P", "-m", "graft.worker.host")


class Flight:
    """An attempt that was handed in and has not settled. `host` is None while it waits for one."""

    __slots__ = ("assignment", "begin_by", "cancelled", "give_up_at", "host", "number", "overdue_at", "settle", "taken")

    def __init__(self, assignment: Assignment, settle: Settle) -> None:
        self.assignment = assignment
        self.settle = settle
        self.number = 0  # in its host
        self.host: HostProcess | None = None
        self.begin_by = 0.0  # CLOCK_MONOTONIC, seconds: its host may not begin it later
        self.taken = False  # its host has said that it begins
        self.cancelled = False
        self.overdue_at = float("inf")  # its timeout passes (Trio's time)
        self.give_up_at = float("inf")  # a host that turned would have settled it by now


class HostProcess:
    """One host. `down` says why, once it is of no use any more."""

    def __init__(self, channel: socket.socket, process: Process) -> None:
        self.process = process
        self.flights: dict[int, Flight] = {}
        self.ready = trio.Event()
        self.ended = trio.Event()  # it is down, or is to be taken down
        self.down: str | None = None
        self.is_extra = False  # it stands in for one that hangs
        self.is_retiring = False  # it gets no more attempts, and ends after its last
        self.on_settled: Callable[[Flight, Outcome], None] = lambda _, __: None
        self.on_answer: Callable[[], None] = lambda: None
        self.on_returned: Callable[[list[Flight]], None] = lambda _: None
        self._raw = channel  # not blocking
        self._channel = trio.socket.from_stdlib_socket(channel)
        self._out = bytearray()
        self._sending = 0  # bytes that the writer has taken out of it
        self._more = trio.Event()
        self._frames = wire.FrameReader(wire.FRAME_MARGIN)
        self._nodes: OrderedDict[int, tuple[int, Node, tuple[str, ...]]] = OrderedDict()  # by id; it keeps them alive
        self._node_count = 0
        self._count = 0
        self._recalled: set[int] = set()  # it has yet to find them in its socket
        self._returning: set[int] = set()  # … and has yet to say that it was too late
        self._runs: set[int] = set()
        self._ping: tuple[int, float] | None = None  # that is not answered yet, and since when
        self._pings = 0

    @property
    def pid(self) -> int | None:
        return self.process.pid

    def is_answering(self, now: float, hang_seconds: float) -> bool:
        """Whether it may get attempts."""
        return self.ready.is_set() and not self.is_retiring and not self.is_hung(now, hang_seconds)

    def has_room(self, attempts: int) -> bool:
        """Whether another attempt may go there now, when it may have so many in flight."""
        return len(self.flights) < attempts and len(self._out) + self._sending < MAX_UNSENT

    def is_hung(self, now: float, seconds: float) -> bool:
        """Whether our question has been open for `seconds`."""
        return self._ping is not None and now - self._ping[1] >= seconds

    # What is said to it

    def say(self, *message: Any) -> None:
        self._put(wire.frame(*message))
        self.flush()

    def start(self, flight: Flight) -> None:
        """It leaves with the next `flush`. Raises what `wire.start_frame` raises; nothing is said then."""
        a = flight.assignment
        node, names = self._introduce(a.node)
        self._count += 1
        begin_by = time.monotonic() + BEGIN_SECONDS
        data = wire.start_frame(self._count, node, names, a, begin_by)
        flight.number, flight.host, flight.begin_by, flight.taken = self._count, self, begin_by, False
        self.flights[self._count] = flight
        self._runs.add(a.key[0])
        self._frames.limit = max(self._frames.limit, a.max_result_bytes + wire.FRAME_MARGIN)
        self._put(data)

    def _introduce(self, node: Node) -> tuple[int, tuple[str, ...]]:
        """The number by which the host knows the node, and the names of the values that go with it."""
        known = self._nodes.get(id(node))
        if known is not None:
            self._nodes.move_to_end(id(node))
            return known[0], known[2]
        self._node_count += 1
        names = names_read(node)
        self._put(wire.frame(wire.NODE, self._node_count, encode_node(node)))
        self._nodes[id(node)] = (self._node_count, node, names)
        if len(self._nodes) > KNOWN_NODES:
            self._put(wire.frame(wire.FORGET, self._nodes.popitem(last=False)[1][0]))
        return self._node_count, names

    def cancel(self, flight: Flight) -> None:
        self.say(wire.CANCEL, flight.number)

    def drop_run(self, run_no: int) -> None:
        if run_no in self._runs:
            self._runs.discard(run_no)
            self.say(wire.DROP, run_no)

    def retire(self) -> None:
        """It is to end when it has no attempts any more; until then it gets none."""
        self.is_retiring = True
        self._end_if_retired()

    def _end_if_retired(self) -> None:
        if self.is_retiring and not self.flights:
            self.say(wire.STOP, 0)

    def ask(self, now: float) -> None:
        """Ping it, when the last ping was answered."""
        if self._ping is None and self.ready.is_set():
            self._pings += 1
            self._ping = (self._pings, now)
            self.say(wire.PING, self._pings)

    def recall(self) -> None:
        """Give back the attempts that it has not begun in time, and will not."""
        if all(flight.taken for flight in self.flights.values()):
            return
        now = time.monotonic()
        if not self._read_at_once():
            return
        late = [flight for flight in self.flights.values() if not flight.taken and flight.begin_by < now]
        self._recalled.update(flight.number for flight in late)
        self._give_back(late)

    def _give_back(self, flights: list[Flight]) -> None:
        for flight in flights:
            del self.flights[flight.number]
            flight.host = None
        if flights:
            self._end_if_retired()
            self.on_returned(flights)

    def _read_at_once(self) -> bool:
        """Deal with all that is in the socket. False when that is much, or the end."""
        try:
            for _ in range(READS_AT_ONCE):
                data = self._raw.recv(READ_BYTES)
                if not data:
                    return False
                self._take(data)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            pass
        return False

    def give_up(self, why: str) -> None:
        """Have it taken down. Its attempts are lost."""
        if self.down is None:
            self.down = why
        self.ended.set()

    def _put(self, data: bytes) -> None:
        self._out += data

    def flush(self) -> None:
        """What was said leaves at once, as far as the socket has room."""
        if not self._sending and self._out:
            with contextlib.suppress(OSError):  # no room, or the end, which the reader sees
                del self._out[: self._raw.send(self._out)]
        if self._out:
            self._more.set()

    # Its tasks

    async def run(self) -> None:
        """Until it is down."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read)
            nursery.start_soon(self._write)
            nursery.start_soon(self._watch)
            await self.ended.wait()
            nursery.cancel_scope.cancel()

    async def _watch(self) -> None:
        """End-of-file is not enough: a fork that a step made of its host holds the socket open."""
        try:
            status = await self.process.wait()
        except GuardianLost:
            self.give_up("the guardian died, and the host with it")
        else:
            self.give_up(f"it was killed by signal {-status}" if status < 0 else f"it exited with {status}")

    async def _write(self) -> None:
        while True:
            await self._more.wait()
            self._more = trio.Event()
            data, self._out = memoryview(self._out), bytearray()
            try:
                while data:
                    self._sending = len(data)
                    data = data[await self._channel.send(data) :]
            except OSError:
                return  # the reader sees the end
            self._sending = 0
            self.on_answer()

    async def _read(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                await trio.lowlevel.wait_readable(self._raw)
                try:  # not with Trio's `recv`, which may turn the loop before it gives us what it took
                    data = self._raw.recv(READ_BYTES)
                except (BlockingIOError, InterruptedError):
                    continue
                if not data:
                    break
                self._take(data)
        await trio.sleep(STATUS_SECONDS)
        self.give_up("it closed its socket")

    def _take(self, data: bytes) -> None:
        if self.down is not None:
            return
        try:
            for message in self._frames.feed(data):
                self._deal(message)
        except wire.HostileFrame as error:
            self.give_up(f"it sent {error}")

    def _deal(self, message: list[Any]) -> None:
        tag = message[0]
        if tag == wire.SETTLED:
            self._settled(message)
        elif tag == wire.TAKEN:
            self._taken(wire.read_numbers(message))
        elif tag == wire.LATE:
            self._late(wire.read_numbers(message))
        elif tag == wire.PONG and self._ping is not None and message[1:] == [self._ping[0]]:
            self._ping = None
            self.on_answer()
        elif tag == wire.READY and len(message) == 1 and not self.ready.is_set():
            self.ready.set()
            self.on_answer()
        else:
            raise wire.HostileFrame(f"what it has no reason to say: {tag}")

    def _taken(self, numbers: list[int]) -> None:
        for number in numbers:
            flight = self.flights.get(number)
            if flight is not None and not flight.taken:
                flight.taken = True
            elif number in self._recalled:
                self._recalled.discard(number)
                self._returning.add(number)
            else:
                raise wire.HostileFrame("an attempt that it does not have")

    def _late(self, numbers: list[int]) -> None:
        back = []
        for number in numbers:
            if number in self._returning:
                self._returning.discard(number)
            elif number in self.flights and self.flights[number] not in back:
                back.append(self.flights[number])
            else:
                raise wire.HostileFrame("an attempt that it does not have")
        self._give_back(back)

    def _settled(self, message: list[Any]) -> None:
        number = message[1] if len(message) > 1 else None
        flight = self.flights.get(number) if type(number) is int else None
        if flight is None:
            raise wire.HostileFrame("the outcome of an attempt that it does not have")
        outcome = wire.read_settled(message, flight.assignment)
        del self.flights[flight.number]
        self._end_if_retired()
        self.on_settled(flight, outcome)

    async def take_down(self) -> None:
        """Kill what is left of it and of what it started; returns when that is gone, or seconds later."""
        self._channel.close()
        with trio.move_on_after(CLOSE_SECONDS):
            await self.process.close()
        self.process.kill()
        await trio.to_thread.run_sync(wait_until_gone, self.process.tag, LEFTOVER_SECONDS)


def wait_until_gone(tag: str, seconds: float) -> bool:
    """Wait for the guardian of a dead host, which ends when it has killed all that it had. False: in vain."""
    deadline = time.monotonic() + seconds
    while any(program.tag_of(pid) == tag for pid, *_ in program.processes()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


async def start_host(
    guardians: Guardians, environment: dict[bytes, bytes], directory: Path, hello: dict[str, Any]
) -> HostProcess:
    """Start the process, in `directory`; it is `ready` some 0.3 s later. Raises SpawnFailed, GuardianLost, OSError."""
    ours, theirs = socket.socketpair()
    try:
        with theirs, _output() as output:
            files = (theirs.fileno(), output.fileno(), output.fileno())
            process = await guardians.spawn(COMMAND, environment, directory, files)
    except BaseException:
        ours.close()
        raise
    ours.setblocking(False)
    host = HostProcess(ours, process)
    host.say(wire.HELLO, hello)
    return host


def _output() -> Any:
    """Where a host's own words go, and what steps print past Python: our stderr."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.fdopen(os.dup(sys.__stderr__.fileno()), "wb")  # type: ignore[union-attr]
    return Path(os.devnull).open("wb")


def lost(assignment: Assignment, why: str) -> Outcome:
    error = ErrorRecord("lost_member", "the worker host that ran it is no more", why, assignment.path)
    return Outcome("lost", error=error)
