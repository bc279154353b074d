"""Worlds in which members come and go, one for each kind of discovery, and the fakes that they are made of."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import httpx2
import trio
from attrs import evolve

from graft.config import Settings, load
from graft.discovery import Discovery, Here, Peer, Report, open_discovery
from graft.discovery.dns import Dns
from graft.discovery.kubernetes import Kubernetes, make
from graft.discovery.static import Static
from graft.errors import DiscoveryError


def settings(**flags: Any) -> Settings:
    return load(
        flags={f"discovery.{key.replace('__', '.')}": value for key, value in flags.items()}, host_name="me"
    ).settings


class World(Protocol):
    """`open` looks into it; the others change what there is to see. Members are known by name and address."""

    def open(self) -> AbstractAsyncContextManager[Discovery]: ...
    async def add(self, member: str, address: str) -> None: ...
    async def remove(self, member: str) -> None: ...


class StaticWorld:
    """What a file says; a change is a reload."""

    def __init__(self) -> None:
        self.members: dict[str, str] = {}
        self.opened: list[Discovery] = []

    def _source(self) -> Static:
        return Static(tuple(Peer(address, member, "static") for member, address in self.members.items()))

    def open(self) -> AbstractAsyncContextManager[Discovery]:
        return _noting(open_discovery(settings(), source=self._source()), self.opened)

    async def add(self, member: str, address: str) -> None:
        self.members[member] = address
        for discovery in self.opened:
            discovery.use(self._source())

    async def remove(self, member: str) -> None:
        del self.members[member]
        for discovery in self.opened:
            discovery.use(self._source())


class FakeResolver:
    """Names with their addresses and services. A name in `broken` cannot be looked up, one in `silent` never is."""

    def __init__(self) -> None:
        self.hosts: dict[str, list[str]] = {}
        self.srv: dict[str, list[tuple[str, int]]] = {}
        self.broken: set[str] = set()
        self.silent: set[str] = set()
        self.asked = 0

    async def _ask(self, name: str) -> None:
        self.asked += 1
        await trio.lowlevel.checkpoint()
        if name in self.silent:
            await trio.sleep_forever()
        if name in self.broken:
            raise DiscoveryError(f"{name} cannot be looked up: server failure")

    async def addresses(self, name: str) -> list[str]:
        await self._ask(name)
        return self.hosts.get(name, [])

    async def services(self, name: str) -> list[tuple[str, int]]:
        await self._ask(name)
        return self.srv.get(name, [])


class DnsWorld:
    """SRV records, so that members may have any port."""

    def __init__(self) -> None:
        self.resolver = FakeResolver()
        self.members: dict[str, tuple[str, int]] = {}

    def open(self) -> AbstractAsyncContextManager[Discovery]:
        return open_discovery(settings(), source=Dns("graft", "srv", 7400, 0.01, self.resolver))

    async def add(self, member: str, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.members[member] = (host, int(port))
        self.resolver.srv["graft"] = list(self.members.values())

    async def remove(self, member: str) -> None:
        del self.members[member]
        self.resolver.srv["graft"] = list(self.members.values())


def endpoint_slice(name: str, address: str, *, pod: str = "", version: int = 0, **conditions: bool) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    endpoint: dict[str, Any] = {"addresses": [host.strip("[]")], "conditions": {"ready": False, **conditions}}
    if pod:
        endpoint["targetRef"] = {"kind": "Pod", "name": pod}
    return {
        "metadata": {"name": name, "resourceVersion": str(version)},
        "endpoints": [endpoint],
        "ports": [{"name": "metrics", "port": 9}, {"name": "graft", "port": int(port)}],
    }


class FakeApiServer(httpx2.AsyncBaseTransport):
    """EndpointSlices of one namespace: lists, watches with history, bookmarks, expired versions.

    `down`: connections are refused. `status`: every answer has this status. `requests`: what was asked.
    """

    def __init__(self, token: str) -> None:
        self.token = token
        self.slices: dict[str, dict[str, Any]] = {}
        self.history: list[tuple[int, dict[str, Any]]] = []
        self.version = 100
        self.oldest = 100  # versions before it are gone
        self.down = False
        self.status = 0
        self.requests: list[httpx2.Request] = []
        self._news = trio.Event()
        self._hang_up = trio.Event()

    def put(self, item: dict[str, Any]) -> None:
        kind = "MODIFIED" if item["metadata"]["name"] in self.slices else "ADDED"
        self.slices[item["metadata"]["name"]] = item
        self.tell(kind, item)

    def delete(self, name: str) -> None:
        self.tell("DELETED", self.slices.pop(name))

    def tell(self, kind: str, item: dict[str, Any]) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.history.append((self.version, {"type": kind, "object": item}))
        self._wake()

    def forget(self) -> None:
        """Watches from older versions are answered with Gone; open ones get it as an event."""
        self.oldest = self.version + 1
        self.history.clear()
        self._wake()

    def hang_up(self) -> None:
        self._hang_up.set()
        self._hang_up = trio.Event()
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await trio.lowlevel.checkpoint()
        self.requests.append(request)
        if self.down:
            raise httpx2.ConnectError("connection refused", request=request)
        if self.status:
            return httpx2.Response(self.status, json={"message": "no"}, request=request)
        if request.headers["authorization"] != f"Bearer {self.token}":
            return httpx2.Response(401, json={"message": "Unauthorized"}, request=request)
        if "watch" not in request.url.params:
            body = {"metadata": {"resourceVersion": str(self.version)}, "items": list(self.slices.values())}
            return httpx2.Response(200, json=json.loads(json.dumps(body)), request=request)
        since = int(request.url.params["resourceVersion"])
        if since < self.oldest - 1:
            return httpx2.Response(410, json={"message": "too old"}, request=request)
        return httpx2.Response(200, content=self._events(since, self._hang_up), request=request)

    async def _events(self, since: int, hang_up: trio.Event) -> AsyncIterator[bytes]:
        while not hang_up.is_set():
            if since < self.oldest - 1:
                yield b'{"type":"ERROR","object":{"code":410,"message":"too old"}}\n'
                return
            fresh = [(version, event) for version, event in self.history if version > since]
            for version, event in fresh:
                since = version
                text = json.dumps(event).encode() + b"\n"
                yield text[:7]  # an event need not come in one piece
                yield text[7:]
            if not fresh:
                await self._news.wait()


class KubernetesWorld:
    def __init__(self, account: Path) -> None:
        (account / "token").write_text("t0\n")
        (account / "namespace").write_text("prod\n")
        self.account = account
        self.api = FakeApiServer("t0")
        self.environ = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}

    def source(self, **more: Any) -> Kubernetes:
        flags = {"kind": "kubernetes", "kubernetes__port_name": "graft", **more}
        return make(Here(settings(**flags), "", self.environ), self.api, self.account)

    def open(self) -> AbstractAsyncContextManager[Discovery]:
        return open_discovery(settings(), source=self.source(), jitter=lambda: 0.0)

    async def add(self, member: str, address: str) -> None:
        self.api.put(endpoint_slice(f"graft-{member}", address, pod=member))

    async def remove(self, member: str) -> None:
        self.api.delete(f"graft-{member}")


class MdnsWorld:
    """Real multicast on loopback. The looker announces itself too, at `OWN`."""

    OWN = "127.0.0.1:1"

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.announcing: dict[str, tuple[trio.CancelScope, trio.Event]] = {}
        base = settings(kind="mdns", mdns__interfaces=("127.0.0.1",))
        self.settings = evolve(base, service_name=f"test-{uuid4().hex[:8]}")

    def open(self) -> AbstractAsyncContextManager[Discovery]:
        return open_discovery(self.settings, address=self.OWN)

    async def add(self, member: str, address: str) -> None:
        self.announcing[member] = await self.nursery.start(self.run, member, address)

    async def remove(self, member: str) -> None:
        scope, ended = self.announcing.pop(member)
        scope.cancel()
        await ended.wait()

    async def run(self, member: str, address: str, task_status: Any) -> None:
        ended = trio.Event()
        with trio.CancelScope() as scope:
            async with open_discovery(evolve(self.settings, node_id=member), address=address):
                task_status.started((scope, ended))
                await trio.sleep_forever()
        ended.set()


def has_multicast() -> bool:
    """Whether mDNS can work on this machine's loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            group = socket.inet_aton("224.0.0.251") + socket.inet_aton("127.0.0.1")
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            probe.sendto(b"", ("224.0.0.251", 5353))
        except OSError:
            return False
    return True


class PluginSource:
    """What somebody else wrote: reports whatever is put into its channel."""

    about = "plugin: test"

    def __init__(self) -> None:
        self.members: dict[str, str] = {}
        self.news = trio.Event()

    async def watch(self, report: Report) -> None:
        while True:
            news = self.news
            report(Peer(address, member, "plugin") for member, address in self.members.items())
            await news.wait()

    def changed(self) -> None:
        self.news.set()
        self.news = trio.Event()


class PluginWorld:
    def __init__(self) -> None:
        self.source = PluginSource()

    def open(self) -> AbstractAsyncContextManager[Discovery]:
        return open_discovery(settings(kind="plugin"), environ={})

    async def add(self, member: str, address: str) -> None:
        self.source.members[member] = address
        self.source.changed()

    async def remove(self, member: str) -> None:
        del self.source.members[member]
        self.source.changed()


class _noting:
    """A context manager that also notes what it gives in a list."""

    def __init__(self, inner: AbstractAsyncContextManager[Discovery], into: list[Discovery]) -> None:
        self.inner, self.into = inner, into

    async def __aenter__(self) -> Discovery:
        made = await self.inner.__aenter__()
        self.into.append(made)
        return made

    async def __aexit__(self, *details: Any) -> bool | None:
        self.into.pop()
        return await self.inner.__aexit__(*details)  # noqa: ASYNC102 - it only passes on
