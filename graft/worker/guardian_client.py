"""Graft's side of the guardian: starting it, asking it for processes, hearing what becomes of them.

The guardian is started by the first step that needs it. Should it die, the processes that it had are killed from here,
their attempts are lost, which is not counted as a failure of theirs, and the next step gets another one.
"""

from __future__ import annotations

import array
import contextlib
import errno
import marshal
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import trio

from graft.worker import guardian as program

_GONE = (OSError, trio.ClosedResourceError, trio.BrokenResourceError)


class GuardianLost(Exception):
    """The guardian ended while it had work."""


class SpawnFailed(Exception):
    """A program could not be started. `stage` is "cwd" or "exec"; `errno` says why, or `reason` alone when it is 0."""

    def __init__(self, stage: str, errno: int, reason: str = "") -> None:
        self.reason = reason or os.strerror(errno)
        super().__init__(f"{stage}: {self.reason}")
        self.stage = stage
        self.errno = errno


class Process:
    """A program that the guardian started, and its group. Must be closed."""

    def __init__(self, link: _Link, number: int, tag: str) -> None:
        self._link = link
        self.number = number
        self.tag = tag
        self.pid: int | None = None
        self.status: int | None = None  # exit code; -n when it died of signal n
        self.killed = False  # SIGKILL was needed to end the group; set when closed
        self.failure: SpawnFailed | None = None
        self.told_before = False  # the guardian was told to stop before this was started
        self.started = trio.Event()
        self.exited = trio.Event()
        self.closed = trio.Event()

    async def wait(self) -> int:
        """Until the leader ended: its exit code, -n when it died of signal n. Raises GuardianLost."""
        await self.exited.wait()
        if self.status is None:
            raise GuardianLost(self._link.last_words)
        return self.status

    async def was_told_to_stop(self, seconds: float) -> bool:
        """Whether, since it was started, something outside told all that the guardian has to stop, or does within
        `seconds`: whoever signals many processes signals one after the other."""
        if self.told_before:
            return False
        with trio.move_on_after(seconds):
            await self._link.told.wait()
        return self._link.told.is_set()

    async def close(self, grace_seconds: float | None = None) -> None:
        """End the group: with a grace, SIGTERM first and then the grace to obey; SIGKILL; wait until it is gone.

        To be awaited under a shield with a deadline: whoever gives up leaves the group to the guardian.
        """
        grace_ms = int((grace_seconds or 0.0) * 1000)
        await self._link.send(("close", self.number, grace_ms, grace_seconds is not None))
        await self.closed.wait()

    def kill(self) -> None:
        """The last resort, when a guardian that hangs did not answer `close` in time. Else does nothing."""
        if self.pid is not None and not self.closed.is_set():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)


class _Link:
    """One guardian process and the socket to it."""

    def __init__(self, control: trio.socket.SocketType, process: subprocess.Popen[bytes]) -> None:
        self._control = control
        self._process = process
        self._sending = trio.Lock()
        self.processes: dict[int, Process] = {}
        self.dead = False
        self.told = trio.Event()  # by a signal, to stop
        self.lease: float | None = None
        self._told: float | None = None  # of the lease, last
        self._telling = False
        self._ending = False
        self.last_words = ""  # traceback of a guardian that crashed

    async def send(self, request: tuple[Any, ...], descriptors: Sequence[int] = ()) -> None:
        """Send one frame whole. Raises nothing when the guardian is dead: `receive` deals with that."""
        data = marshal.dumps(request)
        frame = memoryview(struct.pack("!I", len(data)) + data)
        with trio.CancelScope(shield=True):  # half a frame would be the end of the link
            async with self._sending:
                with contextlib.suppress(*_GONE):
                    if descriptors:
                        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
                        frame = frame[await self._control.sendmsg([frame], rights) :]
                    while frame:
                        frame = frame[await self._control.send(frame) :]

    async def tell_lease(self) -> None:
        """Tell the guardian what `lease` is, and what it becomes meanwhile: one after the other."""
        if self._telling:
            return
        self._telling = True
        while self._told != self.lease:
            self._told = self.lease
            await self.send(("lease", self._told))
        self._telling = False

    async def receive(self) -> None:
        """Deal with answers until the guardian ends, or `end` closes the socket. Steps that are stopped need it."""
        received = b""
        with trio.CancelScope(shield=True), contextlib.suppress(*_GONE):
            while data := await self._control.recv(1 << 16):
                received += data
                while len(received) >= 4:
                    (length,) = struct.unpack_from("!I", received)
                    if len(received) < 4 + length:
                        break
                    self._deal(*marshal.loads(received[4 : 4 + length]))
                    received = received[4 + length :]
        self._died()

    def _deal(self, what: str, number: int, *rest: Any) -> None:
        if what == "crashed":
            self.last_words = rest[0]
        elif what == "told":
            self.told.set()
        process = self.processes.get(number)
        if process is None:
            return
        if what == "started":
            process.pid = rest[0]
            process.started.set()
        elif what == "failed":
            process.failure = SpawnFailed(*rest)
            self._forget(process)
        elif what == "exited":
            process.status = rest[0]
            process.exited.set()
        else:
            process.killed = rest[0]
            self._forget(process)

    def _died(self) -> None:
        self.dead = True
        if not self._ending:
            self._control.close()
            self._process.kill()
            self._process.wait()
            if self.processes:
                self._kill_all()
        for process in list(self.processes.values()):
            self._forget(process)

    def _kill_all(self) -> None:
        """What the guardian would have killed, as well as it can be done without being the parent."""
        for process in self.processes.values():
            process.kill()
        tags = {process.tag for process in self.processes.values()}
        for pid, *_ in program.processes():
            if program.tag_of(pid) in tags:
                program.kill(pid)

    def _forget(self, process: Process) -> None:
        del self.processes[process.number]
        process.started.set()
        process.exited.set()
        process.closed.set()

    async def end(self) -> None:
        """Closing the socket makes the guardian kill what is left and end."""
        self._ending = True
        self._control.close()
        try:
            while self._process.poll() is None:  # noqa: ASYNC110  a Popen has nothing to wait for
                await trio.sleep(0.005)
        finally:
            self._process.kill()
            self._process.wait()


class Guardians:
    """Spawns processes, with a guardian that is started when it is first needed."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._link: _Link | None = None
        self._count = 0
        self._lease: float | None = None
        self._salt = os.urandom(4).hex()  # process numbers come again

    async def spawn(
        self, argv: Sequence[str], env: Mapping[bytes, bytes], cwd: Path, files: tuple[int, int, int]
    ) -> Process:
        """Start a program in a group of its own, with `files` as its stdin, stdout and stderr.

        Raises SpawnFailed, GuardianLost, and OSError when no guardian can be started. Not cancellable: it takes a
        millisecond.
        """
        arguments = [os.fsencode(each) for each in argv]
        if sum(map(len, (*arguments, *env, *env.values()))) > program.MAX_START_BYTES:
            raise SpawnFailed("exec", errno.E2BIG)
        with trio.CancelScope(shield=True):
            link = self._live_link()
            link.lease = self._lease
            await link.tell_lease()
            self._count += 1
            tag = f"{os.getpid()}-{self._salt}-{self._count}"
            process = link.processes[self._count] = Process(link, self._count, tag)
            process.told_before = link.told.is_set()
            tagged = {**env, program.TAG.encode(): tag.encode()}
            await link.send(("spawn", self._count, arguments, tagged, os.fsencode(cwd), tag), files)
            await process.started.wait()
        if process.failure is not None:
            raise process.failure
        if process.pid is None:
            raise GuardianLost(link.last_words)
        return process

    def lease(self, until: float | None) -> None:
        """Everything is killed when CLOCK_BOOTTIME (seconds) passes `until`; None: there is no such time."""
        self._lease = until
        if self._link is not None and not self._link.dead:
            self._link.lease = until
            self._nursery.start_soon(self._link.tell_lease)

    @property
    def pid(self) -> int | None:
        """Of the guardian, when one runs."""
        return None if self._link is None or self._link.dead else self._link._process.pid

    def _live_link(self) -> _Link:
        if self._link is None or self._link.dead:
            self._link = _start()
            self._nursery.start_soon(self._link.receive)
        return self._link

    async def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.end()


def _start() -> _Link:
    """Raises OSError."""
    ours, theirs = socket.socketpair()
    with theirs, contextlib.ExitStack() as failed:
        failed.enter_context(ours)
        limit = INHERITED_FILES_LIMIT
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", program.__file__, str(theirs.fileno()), str(os.getpid()), str(limit)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
            cwd="/",
        )
        failed.pop_all()
    ours.setblocking(False)
    return _Link(trio.socket.from_stdlib_socket(ours), process)


INHERITED_FILES_LIMIT = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
"""Soft limit of open files that Graft was started with; steps get it, though Graft raises its own."""


@contextlib.asynccontextmanager
async def open_guardians() -> AsyncIterator[Guardians]:
    async with trio.open_nursery() as nursery:
        guardians = Guardians(nursery)
        try:
            yield guardians
        finally:
            with trio.move_on_after(program.LAST_SECONDS, shield=True):
                await guardians.close()
            nursery.cancel_scope.cancel()
