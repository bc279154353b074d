"""grpc.health.v1: whether a server takes calls, for Kubernetes and load balancers. "" stands for all of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3  # numbers of HealthCheckResponse.ServingStatus


class Health:
    """`set` by whoever knows. A server that stops says so by itself."""

    def __init__(self, *, serving: bool = True) -> None:
        self._states = {"": serving}
        self._changed = trio.Event()

    def set(self, serving: bool, service: str = "") -> None:
        """`service` is a full name (`graft.v1.Workflows`)."""
        self._states[service] = serving
        self._changed.set()
        self._changed = trio.Event()

    async def check(self, request: Any, caller: object = None) -> Any:
        if request.service not in self._states:
            raise GRPCError(Status.NOT_FOUND, f"no service {request.service}")
        return self._reply(request.service)

    async def watch(self, request: Any, caller: object = None) -> AsyncGenerator[Any, None]:
        last = None
        while True:
            changed, reply = self._changed, self._reply(request.service)
            if reply.status != last:
                last = reply.status
                yield reply
            await changed.wait()

    def _reply(self, service: str) -> Any:
        serving = self._states.get(service)
        state: Any = UNKNOWN if serving is None else SERVING if serving else NOT_SERVING
        return HealthCheckResponse(status=state)


__all__ = ["Health", "HealthCheckRequest", "HealthCheckResponse"]
