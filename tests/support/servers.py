"""The services of an embedded engine, on loopback: what a client meets, without a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from graft.cluster.embedded import Embedded, open_embedded
from graft.cluster.services import ClusterService, Workflows
from graft.cluster.sole import SoleMember
from graft.security.tls import ServerSecurity
from graft.transport.limits import Limits
from graft.transport.server import open_server
from graft_dsl import compile_text

QUICK = Limits(shutdown_seconds=0.1, backoff_seconds=0.01, max_backoff_seconds=0.05)

Wrap = Callable[[str, Callable[..., Any]], Callable[..., Any]]


@asynccontextmanager
async def open_services(
    engine: Embedded,
    *,
    listen: str = "127.0.0.1:0",
    wrap: Wrap = lambda name, handler: handler,
    membership: Any = None,
    security: ServerSecurity | None = None,
) -> AsyncIterator[str]:
    """The address where the services of `engine` answer. `wrap(method, handler)` may stand in for a handler."""
    async with trio.open_nursery() as nursery:
        handlers = {
            "Workflows": Workflows(engine, nursery).handlers(),
            "Cluster": ClusterService(membership or SoleMember(engine)).handlers(),
        }
        services = {
            service: {name: wrap(name, handler) for name, handler in methods.items()}
            for service, methods in handlers.items()
        }
        async with open_server(services, listen=[listen], limits=QUICK, security=security) as server:
            yield server.addresses[0]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_engine(directory: Path) -> AsyncIterator[Embedded]:
    async with open_embedded(directory / "data") as engine:
        yield engine


def plan_of(text: str, base: Path = Path("/")) -> Any:
    return compile_text(text, filename="flow.toml", base=base).plan
