"""Members over gRPC in one process, and a proxy between them that can be held, cut and made to lie."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import trio
from attrs import Factory, define

from graft.security.audit import AuditRecord
from graft.security.certs import DevCertificates
from graft.security.tls import ClientSecurity, ServerSecurity
from graft.transport.limits import Limits
from graft.transport.peers import Hello, PeerHub
from graft.transport.server import open_server

QUICK = Limits(backoff_seconds=0.01, max_backoff_seconds=0.2, keepalive_seconds=0.5, keepalive_timeout_seconds=0.5)


class Dice:
    def u64(self) -> int:
        return 1 << 63


async def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.002)


@define
class Node:
    """A member's transport: what it received, whom it refused, who it says it is, and who says that it is twice."""

    id: str
    hub: PeerHub
    hello: Hello
    received: list[Any] = Factory(list)
    refused: list[AuditRecord] = Factory(list)
    address: str = ""
    twins: list[str] = Factory(list)

    def is_connected(self, other: str) -> bool:
        return any(status.member == other and status.connected for status in self.hub.statuses())

    @property
    def reasons(self) -> list[str]:
        return [record.reason for record in self.refused]


def make_node(
    id: str,
    certificates: DevCertificates | None = None,
    *,
    limits: Limits = QUICK,
    cluster: str = "c1",
    admit: Any = lambda hello: None,
    shown: str = "",
    process: int = 0,
) -> Node:
    """`shown`: whose certificate it shows, if not its own. `process`: see `Hello`; by default it does not say."""
    nodes: list[Node] = []
    files = certificates and certificates.members[shown or id]
    hub = PeerHub(
        id,
        lambda *messages: nodes[0].received.extend(messages),
        hello=lambda: nodes[0].hello,
        entropy=Dice(),
        admit=admit,
        security=ClientSecurity(files, "demo") if files else None,
        limits=limits,
        audit=lambda record: nodes[0].refused.append(record),
        duplicated=lambda why: nodes[0].twins.append(why),
    )
    nodes.append(Node(id, hub, Hello(cluster, id, 1, "", 1, process)))
    return nodes[0]


@asynccontextmanager
async def serving(
    node: Node,
    certificates: DevCertificates | None = None,
    *,
    limits: Limits = QUICK,
    port: int = 0,
    services: Any = (),
    shown: str = "",
) -> AsyncIterator[Node]:
    security = ServerSecurity(certificates.members[shown or node.id], "demo") if certificates else None
    async with open_server(
        dict(services),
        listen=[f"127.0.0.1:{port}"],
        security=security,
        limits=limits,
        peers=node.hub,
        audit=node.refused.append,
    ) as server:
        (node.address,) = server.addresses
        yield node


@asynccontextmanager
async def connected(
    certificates: DevCertificates | None = None, ids: str = "ab", **more: Any
) -> AsyncIterator[list[Node]]:
    """Members that have all found each other."""
    async with AsyncExitStack() as stack:
        nodes = [make_node(id, certificates, **more) for id in ids]
        for node in nodes:
            await stack.enter_async_context(serving(node, certificates, limits=more.get("limits", QUICK)))
        introduce(nodes)
        await until(lambda: all(n.is_connected(o.id) for n in nodes for o in nodes if o is not n))
        yield nodes


def introduce(nodes: list[Node]) -> None:
    for node in nodes:
        for other in nodes:
            node.hub.set_address(other.id, other.address)


class Proxy:
    """Between a client and a server. `held`: nothing goes through and nothing ends, as with a host that is paused."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self.address = ""
        self.held = False
        self.change: Callable[[bytes], bytes] = lambda data: data  # what comes from the client
        self.seen: list[bytes] = []  # from the client
        self._released = trio.Event()
        self._scopes: list[trio.CancelScope] = []

    def release(self) -> None:
        self.held = False
        self._released.set()
        self._released = trio.Event()

    def cut(self) -> None:
        """End all connections that there are."""
        for scope in self._scopes:
            scope.cancel()
        self._scopes.clear()

    async def serve(self, stream: trio.SocketStream) -> None:
        with trio.CancelScope() as scope:
            self._scopes.append(scope)
            try:
                async with await trio.open_tcp_stream(*self._target) as server, stream, trio.open_nursery() as nursery:
                    nursery.start_soon(self._copy, stream, server, True)
                    nursery.start_soon(self._copy, server, stream, False)
            except* (OSError, trio.BrokenResourceError):
                pass

    async def _copy(self, source: trio.SocketStream, target: trio.SocketStream, is_client: bool) -> None:
        try:
            async for chunk in source:
                data = bytes(chunk)
                if is_client:
                    self.seen.append(data)
                    data = self.change(data)
                await self._pass()
                await target.send_all(data)
        finally:
            await self._pass()  # how it ends is not told either
        await target.send_eof()

    async def _pass(self) -> None:
        while self.held:
            await self._released.wait()


@asynccontextmanager
async def open_proxy(target: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(target)
    listener = socket.create_server(("127.0.0.1", 0))
    proxy.address = f"127.0.0.1:{listener.getsockname()[1]}"
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, proxy.serve, listeners)
        try:
            yield proxy
        finally:
            nursery.cancel_scope.cancel()
