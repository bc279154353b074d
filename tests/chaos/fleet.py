"""A cluster of real `graft serve` processes on loopback, with mutual TLS and a directory each, to be ill-treated.

Every process is ended by its own pid when the fleet is closed. Members reach each other through relays (`relay`) when
`relayed`, so that single links can be cut; clients always go straight to them.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio
from attrs import Factory, define

import graft
from graft.cluster.membership import ClusterStatus
from graft.errors import GraftError
from graft.security.certs import DevCertificates, make_dev
from graft.security.tls import ClientSecurity
from tests.chaos.relay import Relays

ROOT: Final = Path(__file__).resolve().parents[2]
NAME: Final = "chaos"
READY_SECONDS: Final = 60.0  # a member may take so long on a machine that has other things to do
LOOK_SECONDS: Final = 0.05
PORTS: Final = (20_000, 32_000)
_GIVEN: Final[set[int]] = set()
POSSIBLE: Final = "abcdefghijk"  # who may become a member


@define(eq=False)
class Process:
    """A member as the operating system has it. `child` is None while it does not run."""

    id: str
    port: int
    address: str  # that others are told
    directory: Path
    log: Path
    child: subprocess.Popen[bytes] | None = None
    is_stopped: bool = False
    limit: int | None = None  # bytes that a file of it may have; None: no limit
    arguments: list[str] = Factory(list)


class Fleet:
    """`settings` are `--set KEY=VALUE` for all members. Use `open_fleet`."""

    def __init__(
        self, base: Path, ids: Iterable[str], settings: Mapping[str, Any], relays: Relays | None, plaintext: bool
    ) -> None:
        self.base, self.founders, self.settings, self.relays = base, tuple(ids), dict(settings), relays
        self.certificates: DevCertificates | None = None
        if not plaintext:
            self.certificates = make_dev(base / "certs", NAME, POSSIBLE)
        self.processes: dict[str, Process] = {}

    # Processes

    async def add(self, id: str) -> Process:
        """Make room for a member; `start` starts it."""
        port = free_port()
        address = f"127.0.0.1:{port}"
        if self.relays is not None:
            address = await self.relays.add(id, port)
        process = Process(id, port, address, self.base / "data" / id, self.base / f"{id}.log")
        self.processes[id] = process
        return process

    def start(self, id: str) -> None:
        process = self.processes[id]
        assert process.child is None or process.child.poll() is not None, f"{id} runs"
        with open(process.log, "ab") as log:
            process.child = subprocess.Popen(
                self._command(process),
                cwd=self.base,
                env=os.environ | {"CHAOS_MEMBER": id, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if process.limit is not None:
            limit_file_size(process.child.pid, process.limit)

    def _command(self, process: Process) -> list[str]:
        words = ["--name", process.id, "--data", str(process.directory), "--listen", f"127.0.0.1:{process.port}"]
        words += [f"--founder={id}" for id in self.founders]
        words += [f"--peer={other.address}" for other in self.processes.values() if other is not process]
        words += ["--plaintext"] if self.certificates is None else ["--certs", str(self.base / "certs")]
        settings = self.settings | {
            "service_name": NAME,
            "transport.advertise_address": process.address,
            "resources.worker_environment": "PATH,HOME,PYTHONPATH,CHAOS_MEMBER",
        }
        words += [f"--set={key}={value}" for key, value in settings.items()]
        return [sys.executable, "-m", "graft", "serve", *words, *process.arguments]

    def kill(self, id: str) -> None:
        """SIGKILL; returns when it is gone."""
        self._signal(id, signal.SIGKILL)
        child = self.processes[id].child
        assert child is not None
        child.wait()
        self.processes[id].is_stopped = False

    def stop(self, id: str) -> None:
        self._signal(id, signal.SIGSTOP)
        self.processes[id].is_stopped = True

    def cont(self, id: str) -> None:
        self._signal(id, signal.SIGCONT)
        self.processes[id].is_stopped = False

    async def shut_down(self, id: str, seconds: float = READY_SECONDS) -> int:
        """SIGTERM: it hands its work over and ends. Its exit code."""
        self._signal(id, signal.SIGTERM)
        return await self.ended(id, seconds)

    async def ended(self, id: str, seconds: float = READY_SECONDS) -> int:
        """The exit code of a member that ends."""
        child = self.processes[id].child
        assert child is not None
        await until(lambda: child.poll() is not None, seconds)
        return int(child.returncode)

    def wipe(self, id: str) -> None:
        """It lost its disk."""
        assert not self.runs(id)
        shutil.rmtree(self.processes[id].directory)

    def _signal(self, id: str, number: signal.Signals) -> None:
        child = self.processes[id].child
        assert child is not None
        assert child.poll() is None, f"{id} has ended by itself: {self.tail(id)}"
        os.kill(child.pid, number)

    def runs(self, id: str) -> bool:
        """Whether its process is there and not stopped."""
        process = self.processes[id]
        return process.child is not None and process.child.poll() is None and not process.is_stopped

    @property
    def running(self) -> list[str]:
        return [id for id in self.processes if self.runs(id)]

    def pid(self, id: str) -> int:
        child = self.processes[id].child
        assert child is not None
        return child.pid

    def log(self, id: str) -> str:
        return self.processes[id].log.read_text(errors="replace") if self.processes[id].log.exists() else ""

    def tail(self, id: str, lines: int = 15) -> str:
        return "\n".join(self.log(id).splitlines()[-lines:])

    def close(self) -> None:
        """End every process, whatever state it is in."""
        for process in self.processes.values():
            if process.child is not None and process.child.poll() is None:
                os.kill(process.child.pid, signal.SIGKILL)
                process.child.wait()

    # What members say

    def client(self, *ids: str, patience_seconds: float = 30.0, role: str = "operator") -> graft.Client:
        """To the members `ids`, without any: to all."""
        addresses = [f"127.0.0.1:{self.processes[id].port}" for id in ids or self.processes]
        security = None
        if self.certificates is not None:
            security = ClientSecurity(self.certificates.clients[role], NAME)
        return graft.Client(*addresses, security=security, patience_seconds=patience_seconds)

    async def status(self, id: str, seconds: float = 2.0) -> ClusterStatus | None:
        """How it says that it stands; None when it does not answer."""
        with trio.move_on_after(seconds):
            try:
                async with self.client(id, patience_seconds=0) as client:
                    return await client.status()
            except GraftError:
                return None
        return None

    async def statuses(self) -> dict[str, ClusterStatus]:
        """Of those that answer."""
        found: dict[str, ClusterStatus] = {}

        async def ask(id: str) -> None:
            status = await self.status(id)
            if status is not None:
                found[id] = status

        async with trio.open_nursery() as nursery:
            for id in self.running:
                nursery.start_soon(ask, id)
        return found

    async def leader(self, seconds: float = READY_SECONDS) -> str:
        """The one of the running members that leads, once most members agree that it does."""

        async def found() -> str | None:
            statuses = await self.statuses()
            for id, status in statuses.items():
                agreeing = [each for each in statuses.values() if each.leader == id and each.term == status.term]
                if status.role == "leader" and len(agreeing) * 2 > len(self.founders):
                    return id
            return None

        return str(await until_true(found, seconds))

    async def all_live(self, *ids: str, seconds: float = READY_SECONDS) -> None:
        """Return when the cluster takes `ids` for up and running; without any: all processes that run."""

        async def found() -> bool:
            wanted = set(ids or self.running)
            if not wanted <= (await self.statuses()).keys():
                return False
            async with self.client(*self.running, patience_seconds=0) as client:
                return wanted <= {member.id for member in await client.members() if member.live}

        await until_true(found, seconds)

    async def settled(self, seconds: float = READY_SECONDS) -> dict[str, ClusterStatus]:
        """Return when all running members have applied the same. Their states have to be equal, too."""

        async def equal() -> dict[str, ClusterStatus] | None:
            statuses = await self.statuses()
            if len(statuses) < len(self.running) or len({each.applied for each in statuses.values()}) != 1:
                return None
            return statuses

        statuses = await until_true(equal, seconds)
        hashes = {id: each.state_hash for id, each in statuses.items()}
        assert len(set(hashes.values())) == 1, f"members have applied the same and differ: {hashes}"
        return dict(statuses)


def free_port() -> int:
    """Below those that the system gives to connections: a member that is away for a moment finds its own again. Never
    the same one twice: nobody listens on it yet."""
    while True:
        port = random.randrange(*PORTS)
        if port in _GIVEN:
            continue
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        _GIVEN.add(port)
        return port


def limit_file_size(pid: int, size: int) -> None:
    """A write beyond `size` bytes of any file fails, as on a disk that is full."""
    import resource

    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def until(condition: Callable[[], Any], seconds: float = READY_SECONDS) -> Any:
    """What `condition` gives once it is true."""
    with trio.fail_after(seconds):
        while not (found := condition()):  # noqa: ASYNC110 - a process has no event
            await trio.sleep(LOOK_SECONDS)
        return found


async def until_true(condition: Callable[[], Any], seconds: float = READY_SECONDS) -> Any:
    """The same for one that asks members, who may not answer."""
    with trio.fail_after(seconds):
        while True:
            try:
                if found := await condition():
                    return found
            except GraftError:
                pass
            await trio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def open_fleet(
    base: Path,
    ids: Iterable[str] = "abc",
    *,
    relayed: bool = False,
    plaintext: bool = False,
    start: bool = True,
    **settings: Any,
) -> AsyncIterator[Fleet]:
    """A cluster of the founders `ids`, which leads itself and has registered all of them; `lease="2s"` and the like
    are settings of the engine. The logs of the members are printed when the block fails."""
    base.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - a test may
    async with trio.open_nursery() as nursery:
        relays = Relays(nursery) if relayed else None
        keyed = {key if "." in key else f"engine.{key}": value for key, value in settings.items()}
        fleet = Fleet(base, ids, keyed, relays, plaintext)
        if relays is not None:
            relays.whose = lambda port: owner(port, fleet)
        try:
            for id in fleet.founders:
                await fleet.add(id)
            if start:
                for id in fleet.founders:
                    fleet.start(id)
                await fleet.all_live(*fleet.founders)
            yield fleet
        except BaseException:
            with trio.CancelScope(shield=True):
                print(*(await fleet.statuses()).values(), sep="\n", file=sys.stderr)
            for id in fleet.processes:
                print(f"--- log of {id} ---\n{fleet.tail(id, 40)}", file=sys.stderr)
            raise
        finally:
            fleet.close()
        nursery.cancel_scope.cancel()


def owner(port: int, fleet: Fleet) -> str | None:
    """Whose connection comes from a local port; None: a stranger's, such as a test's."""
    inode = _inode(port)
    if inode is None:
        return None
    wanted = f"socket:[{inode}]"
    for id, process in fleet.processes.items():
        if process.child is not None and process.child.poll() is None and _holds(process.child.pid, wanted):
            return id
    return None


def _inode(port: int) -> str | None:
    with open("/proc/net/tcp") as table:
        for line in table:
            fields = line.split()
            if fields[1].endswith(f":{port:04X}") and fields[9] != "0":
                return fields[9]
    return None


def _holds(pid: int, wanted: str) -> bool:
    try:
        return any(os.readlink(f"/proc/{pid}/fd/{name}") == wanted for name in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


def cpu_seconds(pid: int) -> float:
    """What a process has used, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def wall_ms() -> float:
    return time.time() * 1000
