"""The gRPC server behind the socket of a held directory. Importing this loads gRPC: `graft.cluster.socket` waits."""

from __future__ import annotations

import socket

import trio

from graft.cluster.embedded import Embedded
from graft.cluster.services import ClusterService, Workflows
from graft.cluster.socket import SHUTDOWN_SECONDS, SocketDoor
from graft.cluster.sole import SoleMember
from graft.transport.limits import Limits
from graft.transport.server import open_server


async def serve(engine: Embedded, sock: socket.socket, door: SocketDoor) -> None:
    """Answer whoever connects to `sock`, until cancelled."""
    async with trio.open_nursery() as nursery:
        handlers = {
            "Workflows": Workflows(engine, nursery).handlers(),
            "Cluster": ClusterService(SoleMember(engine)).handlers(),
        }
        services = {
            service: {method: door.counted(handler) for method, handler in methods.items()}
            for service, methods in handlers.items()
        }
        limits = Limits(shutdown_seconds=SHUTDOWN_SECONDS)
        async with open_server(services, listen=(), limits=limits, adopted=(sock,)):
            await trio.sleep_forever()
