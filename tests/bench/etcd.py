"""etcd on the same machine, for comparison: three members on loopback with fsync, put to by h2load.

h2load (Debian's `nghttp2-client`) is written in C and speaks HTTP/2, which is what gRPC is made of: each of its
requests is one `KV/Put`, a length-prefixed protobuf message. It does not read gRPC's status, so the number of
revisions tells whether all puts were taken. etcd gets no TLS here, neither from its client nor between its members.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

TOOLS: Final = ("etcd", "etcdctl", "h2load")
READY_SECONDS: Final = 30.0


def missing() -> list[str]:
    return [tool for tool in TOOLS if shutil.which(tool) is None]


@contextmanager
def open_etcd(base: Path) -> Iterator[str]:
    """Three members below `base`; the client address of the leader."""
    ports = _free_ports(6)
    clients = [f"http://127.0.0.1:{port}" for port in ports[:3]]
    peers = [f"http://127.0.0.1:{port}" for port in ports[3:]]
    initial = ",".join(f"m{i}={peer}" for i, peer in enumerate(peers))
    children = []
    try:
        for i in range(3):
            words = ["etcd", "--name", f"m{i}", "--data-dir", str(base / f"m{i}"), "--log-level", "error"]
            words += ["--listen-client-urls", clients[i], "--advertise-client-urls", clients[i]]
            words += ["--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i]]
            words += ["--initial-cluster", initial, "--initial-cluster-state", "new"]
            with open(base / f"m{i}.log", "wb") as log:
                children.append(subprocess.Popen(words, stdout=log, stderr=log))
        yield _leader(clients)
    finally:
        for child in children:
            child.kill()
            child.wait()


def put(address: str, directory: Path, count: int, in_flight: int, size: int) -> tuple[float, float]:
    """Puts a second, and the mean seconds of one, with values of `size` bytes."""
    message = _field(1, b"key") + _field(2, b"x" * size)
    body = directory / "put"
    body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    before = _status(address)["header"]["revision"]
    connections = min(in_flight, 4)
    words = ["h2load", "-n", str(count), "-c", str(connections), "-m", str(in_flight // connections), "-d", str(body)]
    words += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"{address}/etcdserverpb.KV/Put"]
    text = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    taken = _status(address)["header"]["revision"] - before
    assert taken == count, f"etcd took {taken} of {count} puts:\n{text}"
    rate = re.search(r"finished in .*?, ([\d.]+) req/s", text)
    each = re.search(r"time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)", text)
    assert rate, text
    assert each, text
    return float(rate[1]), float(each[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[each[2]]


def _field(number: int, data: bytes) -> bytes:
    length, encoded = len(data), bytearray()
    while length > 0x7F:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([number << 3 | 2, *encoded, length]) + data


def _status(address: str) -> dict[str, dict[str, int]]:
    words = ["etcdctl", "--endpoints", address, "endpoint", "status", "-w", "json"]
    found = subprocess.run(words, check=True, capture_output=True, env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"})
    status: dict[str, dict[str, int]] = json.loads(found.stdout)[0]["Status"]
    return status


def _leader(clients: list[str]) -> str:
    give_up_at = time.monotonic() + READY_SECONDS
    while True:
        try:
            statuses = {address: _status(address) for address in clients}
            for address, status in statuses.items():
                if status["leader"] == status["header"]["member_id"]:
                    return address
        except (subprocess.CalledProcessError, KeyError):
            pass
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"etcd has no leader after {READY_SECONDS:g} s; see its logs")
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
