"""Members of a cluster as real processes, so that they can be killed, stopped and continued: a small harness.

Messages travel in datagrams over Unix sockets, which lose what does not fit, as Raft allows. A member works in the
cluster's directory, because the name of a socket has at most 107 bytes. A test talks to a member
over its standard input and output, one line of JSON a request (`[number, word, argument, ...]`) and an answer.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import trio
from attrs import evolve

from graft import raft
from graft.errors import Rejected
from graft.interfaces import Store
from graft.raft.messages import Message
from graft.raft_driver import RaftDoor
from graft.storage import SnapshotDirectory, open_store
from tests.raft_driver.members import HASTY, PATIENCE_SECONDS, Clock, Dice, KeyValues

ROOT = Path(__file__).resolve().parents[2]
MAX_DATAGRAM = 1 << 18
CONFIG = evolve(
    HASTY, retain_entries=50, purge_step_entries=20, snapshot_chunk_bytes=32 << 10, max_append_bytes=1 << 16
)


class Gone(Exception):
    """The process ended before it answered."""


# In the member's process


class Datagrams:
    def __init__(self, id: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        Path(f"{id}.sock").unlink(missing_ok=True)
        self.socket.bind(f"{id}.sock")
        self.is_deaf = False

    def send(self, *messages: Message) -> None:
        for message in messages:
            with suppress(OSError):
                self.socket.sendto(pickle.dumps(message), f"{message.target}.sock")

    async def receive(self, receive: Callable[[Message], None]) -> None:
        while True:
            await trio.lowlevel.wait_readable(self.socket)
            with suppress(BlockingIOError):
                while True:
                    message = pickle.loads(self.socket.recv(MAX_DATAGRAM))
                    if not self.is_deaf:
                        receive(message)


class Child:
    """`prepare` may change the store before the door gets it."""

    def __init__(self, id: str, ids: Sequence[str], config: raft.Config, prepare: str) -> None:
        self._store = open_store(id, quota_bytes=1 << 29, map_bytes=1 << 30)
        if prepare:
            PREPARATIONS[prepare.split()[0]](self._store, *prepare.split()[1:])
        self._machine = KeyValues(self._store)
        self._datagrams = Datagrams(id)
        founders = tuple(raft.Member(each, n + 1, "voter") for n, each in enumerate(ids))
        self._door = RaftDoor(
            self._store,
            self._machine,
            id,
            Clock(),
            Dice(int.from_bytes(os.urandom(8), "big")),
            config=config,
            founders=founders,
            transport=self._datagrams,
            snapshots=SnapshotDirectory(Path(f"{id}.snapshots")),
        )

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._door.run)
            nursery.start_soon(self._datagrams.receive, self._door.receive)
            buffer = b""
            async for data in trio.lowlevel.FdStream(os.dup(0)):
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    nursery.start_soon(self._serve, *json.loads(line))
            nursery.cancel_scope.cancel()

    async def _serve(self, number: int, word: str, *arguments: Any) -> None:
        try:
            answer = await getattr(self, word)(*arguments)
        except Rejected as error:
            answer = {"rejected": error.reason}
        os.write(1, json.dumps([number, answer]).encode() + b"\n")

    async def put(self, first: int, last: int, rows: int, pad: int) -> None:
        """Set key n % rows to n, for each n from first to last, in this order."""
        error: list[Exception] = []
        left = last - first + 1
        finished = trio.Event()

        def done(*problem: Any) -> None:
            nonlocal left
            left -= 1
            error.extend(each for each in problem if isinstance(each, Exception))
            if not left:
                finished.set()

        for n in range(first, last + 1):
            self._door.propose((b"%06d" % (n % rows), b"%d:" % n + b"." * pad), done, done)
        await finished.wait()
        if error:
            raise error[0]

    async def get(self, key: int, lease: bool) -> str:
        return await self._door.read(lambda: self._machine.values[b"%06d" % key].decode(), lease=lease)

    async def status(self) -> dict[str, Any]:
        s = self._door.status()
        return {"id": s.id, "role": s.role, "term": s.term, "leader": s.leader, "applied": s.applied}

    async def deaf(self, is_deaf: bool) -> None:
        """Nothing that others send arrives."""
        self._datagrams.is_deaf = is_deaf

    async def campaign(self) -> None:
        self._door.campaign()


def die_at(store: Store, kind: str, count: str, moment: str) -> None:
    """SIGKILL at the `count`-th turn of a kind: before it, behind it, or when all is written and nothing synced.

    `clearing` is a sweep of what was the state before a switch.
    """
    original, left, has_switched = store.commit, int(count), False

    def commit(turn: Any, staged: Callable[[], None] | None = None) -> None:
        nonlocal left, has_switched
        has_switched = has_switched or turn.switch is not None
        is_one = has_switched and turn.sweep if kind == "clearing" else bool(getattr(turn, kind))
        left -= is_one
        now = is_one and left == 0
        if now and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if now and moment == "within":
            original(turn, lambda: os.kill(os.getpid(), signal.SIGKILL))
        original(turn, staged)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)

    store.commit = commit  # type: ignore[method-assign]


PREPARATIONS: dict[str, Callable[..., None]] = {"die_at": die_at}


def main() -> None:
    directory, *arguments = pickle.loads(bytes.fromhex(sys.argv[1]))
    os.chdir(directory)
    trio.run(Child(*arguments).run)


# In the test's process


class Process:
    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._number = 0
        self._sending = trio.Lock()
        self._answers: dict[int, Any] = {}
        self._slots: dict[int, trio.Event] = {}
        self.ended = trio.Event()

    async def read(self) -> None:
        buffer = b""
        assert self._process.stdout is not None
        async for data in self._process.stdout:
            *lines, buffer = (buffer + data).split(b"\n")
            for number, answer in map(json.loads, lines):
                self._answers[number] = answer
                self._slots[number].set()
        await self._process.wait()
        self.ended.set()
        for slot in self._slots.values():
            slot.set()

    async def ask(self, *words: Any) -> Any:
        """The answer; raises Rejected as the door did, or Gone."""
        self._number += 1
        number, slot = self._number, trio.Event()
        self._slots[number] = slot
        assert self._process.stdin is not None
        try:
            async with self._sending:
                await self._process.stdin.send_all(json.dumps([number, *words]).encode() + b"\n")
            with trio.fail_after(PATIENCE_SECONDS):
                await slot.wait()
        except trio.BrokenResourceError:
            raise Gone from None
        del self._slots[number]
        if number not in self._answers:
            raise Gone
        answer = self._answers.pop(number)
        if isinstance(answer, dict) and "rejected" in answer:
            raise Rejected("the member refused", reason=answer["rejected"])
        return answer

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        self._process.kill()
        await self.ended.wait()


class Processes:
    """A cluster; `start` also starts a member again."""

    def __init__(self, nursery: trio.Nursery, directory: Path, ids: str, config: raft.Config) -> None:
        self._nursery, self.directory, self._ids, self._config = nursery, directory, ids, config
        self.members: dict[str, Process] = {}

    async def start(self, id: str, prepare: str = "") -> Process:
        argument = pickle.dumps((self.directory, id, self._ids, self._config, prepare)).hex()
        program = (
            f"import sys; sys.path.append({str(ROOT)!r}); from tests.raft_driver import processes; processes.main()"
        )
        process = await trio.lowlevel.open_process(
            [sys.executable, "-P", "-c", program, argument], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        member = self.members[id] = Process(process)
        self._nursery.start_soon(member.read)
        return member

    async def leader(self, among: str | None = None) -> Process:
        """The one of them that leads the newest term, and knows what is committed."""
        with trio.fail_after(PATIENCE_SECONDS):
            while True:
                found = [(await self.members[id].ask("status"), id) for id in among or self._ids]
                term = max(status["term"] for status, _ in found)
                for status, id in found:
                    if status["role"] == "leader" and status["term"] == term:
                        return self.members[id]
                await trio.sleep(0.02)

    async def put(self, first: int, last: int, rows: int, pad: int = 0, among: str | None = None) -> Process:
        """Through whoever leads, until it is done; the member that did it."""
        while True:
            leader = await self.leader(among)
            with suppress(Rejected):
                await leader.ask("put", first, last, rows, pad)
                return leader


@asynccontextmanager
async def open_processes(directory: Path, ids: str = "abc", config: raft.Config = CONFIG) -> AsyncIterator[Processes]:
    async with trio.open_nursery() as nursery:
        cluster = Processes(nursery, directory, ids, config)
        for id in ids:
            await cluster.start(id)
        try:
            yield cluster
        finally:
            with trio.CancelScope(shield=True):
                for member in cluster.members.values():
                    await member.kill()
            nursery.cancel_scope.cancel()
