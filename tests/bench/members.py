"""Three members in three processes on loopback, with fsync and mutual TLS, to be measured from outside and inside."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio
from attrs import define

from graft.client import Client
from graft.errors import GraftError
from graft.security.certs import DevCertificates, make_dev
from graft.security.tls import ClientSecurity
from tests.bench.loaded import SOCKET

NAMES: Final = ("a", "b", "c")
SERVICE: Final = "bench"
START_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.1


@define(eq=False)
class MemberProcess:
    name: str
    address: str
    directory: Path
    child: subprocess.Popen[bytes]

    @property
    def socket(self) -> Path:
        return self.directory / f"{self.name}.bench"

    def cpu_seconds(self) -> float:
        """What the process has used, its worker hosts left out."""
        return cpu_seconds(self.child.pid)

    def hosts_cpu_seconds(self) -> float:
        """What its worker hosts and their guardian have used."""
        return sum(map(cpu_seconds, _below(self.child.pid)))

    def resident_mib(self) -> float:
        pages = int(Path(f"/proc/{self.child.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    async def ask(self, **question: Any) -> Any:
        """What `loaded` measures."""
        stream = await trio.open_unix_socket(str(self.socket))
        async with stream:
            await stream.send_all(json.dumps(question).encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                data = await stream.receive_some()
                assert data, f"{self.name} ended; see its log"
                answer += data
        return json.loads(answer)


class Members:
    """`leader` led when the cluster had come together."""

    def __init__(self, certificates: DevCertificates, processes: dict[str, MemberProcess], leader: str) -> None:
        self._certificates, self.processes = certificates, processes
        self.leader = processes[leader]
        self.others = [process for name, process in processes.items() if name != leader]

    def client(self, *members: MemberProcess) -> Client:
        """Asks these members, in this order."""
        return _client(self._certificates, *(member.address for member in members))


def _client(certificates: DevCertificates, *addresses: str) -> Client:
    return Client(*addresses, security=ClientSecurity(certificates.clients["operator"], SERVICE))


@asynccontextmanager
async def open_members(base: Path) -> AsyncIterator[Members]:
    """Until the block is left; entered when all of them are registered. The data are below `base`."""
    await trio.Path(base).mkdir(parents=True, exist_ok=True)
    certificates = make_dev(base / "certs", SERVICE, NAMES)
    addresses = dict(zip(NAMES, _free_addresses(len(NAMES)), strict=True))
    processes = {name: _start(base, name, addresses) for name in NAMES}
    try:
        with trio.fail_after(START_SECONDS):
            leader = await _together(certificates, list(addresses.values()))
        yield Members(certificates, processes, leader)
    except BaseException:
        for name in NAMES:
            print(f"--- {name}\n" + "\n".join((base / f"{name}.log").read_text().splitlines()[-20:]), file=sys.stderr)
        raise
    finally:
        for process in processes.values():
            process.child.kill()
            process.child.wait()


def _start(base: Path, name: str, addresses: dict[str, str]) -> MemberProcess:
    words = ["serve", "--name", name, "--data", str(base / name), "--listen", addresses[name]]
    words += [f"--founder={founder}" for founder in addresses] + [f"--peer={each}" for each in addresses.values()]
    words += ["--certs", str(base / "certs"), "--set", f"service_name={SERVICE}"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GRAFT_")}
    with open(base / f"{name}.log", "wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.loaded", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment | {SOCKET: str(base / f"{name}.bench")},
        )
    return MemberProcess(name, addresses[name], base, child)


async def _together(certificates: DevCertificates, addresses: list[str]) -> str:
    """The leader, once it has registered all."""
    while True:
        try:
            async with _client(certificates, *addresses) as client:
                if sum(member.live for member in await client.members()) == len(addresses):
                    return (await client.status()).leader
        except GraftError:
            pass
        await trio.sleep(LOOK_SECONDS)


def _free_addresses(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return addresses


def cpu_seconds(pid: int) -> float:
    """What a process has used, 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _below(pid: int) -> list[int]:
    """All descendants of a process."""
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return []
    return children + [each for child in children for each in _below(child)]


def round_trip_seconds(count: int = 2000) -> float:
    """One byte there and back over a loopback connection, between two processes."""
    ours, theirs = socket.create_server(("127.0.0.1", 0)), None
    echo = (
        "import socket, sys\n"
        "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)\n"
        "while (data := s.recv(1)): s.sendall(data)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", echo, str(ours.getsockname()[1])])
    try:
        theirs, _ = ours.accept()
        theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        taken = []
        for _ in range(count):
            began = time.perf_counter()
            theirs.sendall(b"x")
            theirs.recv(1)
            taken.append(time.perf_counter() - began)
        return sorted(taken)[count // 2]
    finally:
        ours.close()
        if theirs is not None:
            theirs.close()
        child.wait()
