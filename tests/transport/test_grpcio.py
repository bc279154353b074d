"""The official client: every public method, the errors, health, reflection, compression both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
import trio
from grpclib.health.v1 import health_pb2
from grpclib.reflection.v1 import reflection_pb2

from graft.security.certs import DevCertificates
from graft.security.tls import ServerSecurity
from graft.transport.calls import PACKAGE
from graft.transport.proto import graft_pb2
from graft.transport.server import open_server
from graft.transport.statuses import TRAILER, decode_error
from tests.support.services import make_services

METHODS = [
    (service, method)
    for service in ("Cluster", "Workflows")
    for method in graft_pb2.DESCRIPTOR.services_by_name[service].methods_by_name
]


def message(name: str) -> Any:
    return getattr(graft_pb2, name)


def call(channel: grpc.Channel, service: str, method: str, request: Any = None, **more: Any) -> Any:
    """The reply, or the list of replies. Blocks."""
    about = graft_pb2.DESCRIPTOR.services_by_name[service].methods_by_name[method]
    kind = ("stream" if about.client_streaming else "unary") + ("_stream" if about.server_streaming else "_unary")
    invoke = getattr(channel, kind)(
        f"/{PACKAGE}.{service}/{method}",
        request_serializer=lambda each: each.SerializeToString(),
        response_deserializer=message(about.output_type.name).FromString,
    )
    request = message(about.input_type.name)() if request is None else request
    reply = invoke(iter([request, request]) if about.client_streaming else request, timeout=20, **more)
    return list(reply) if about.server_streaming else reply


@pytest.fixture
async def client(certificates: DevCertificates) -> AsyncIterator[Callable[..., Any]]:
    """Runs a function of a channel, which has the operator's certificate, in a thread."""
    files = certificates.clients["operator"]
    credentials = grpc.ssl_channel_credentials(
        files.authority.read_bytes(), files.key.read_bytes(), files.certificate.read_bytes()
    )
    security = ServerSecurity(certificates.members["a"], "demo")
    async with open_server(make_services(), listen=["127.0.0.1:0"], security=security) as server:
        channel = grpc.secure_channel(server.addresses[0], credentials)

        async def run(function: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
            return await trio.to_thread.run_sync(lambda: function(channel, *arguments, **more))

        yield run
        await trio.to_thread.run_sync(channel.close)


async def test_every_public_method(client: Callable[..., Any]) -> None:
    operators = {"Probe", "Join"}  # those are for members
    for service, method in METHODS:
        if method in operators:
            with pytest.raises(grpc.RpcError) as raised:
                await client(call, service, method)
            assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
            continue
        about = graft_pb2.DESCRIPTOR.services_by_name[service].methods_by_name[method]
        reply = await client(call, service, method)
        kind = message(about.output_type.name)
        assert all(isinstance(each, kind) for each in (reply if isinstance(reply, list) else [reply])), method


async def test_an_error_has_a_status_a_text_and_our_trailer(client: Callable[..., Any]) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        await client(call, "Workflows", "Get", graft_pb2.GetRequest(run_id="unknown"))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert raised.value.details() == "no run unknown"
    trailers = dict(raised.value.trailing_metadata())
    assert str(decode_error(trailers[TRAILER])) == "no run unknown\n  graft runs lists them"


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_compression_both_ways(client: Callable[..., Any], compression: Any) -> None:
    request = graft_pb2.GetRequest(run_id="300000")
    reply = await client(call, "Workflows", "Get", request, compression=compression)
    assert len(reply.params) == 300_000
    big = graft_pb2.StartRequest(plan=b"plan " * 60_000)
    await client(call, "Workflows", "Start", big, compression=compression)


async def test_a_stream_of_events(client: Callable[..., Any]) -> None:
    events = await client(call, "Workflows", "Watch", graft_pb2.WatchRequest(run_id="r", after=50))
    assert [event.seq for event in events] == list(range(1, 51))


async def test_a_deadline(client: Callable[..., Any]) -> None:
    def slow(channel: grpc.Channel) -> Any:
        get = channel.unary_unary(
            f"/{PACKAGE}.Workflows/Get",
            request_serializer=graft_pb2.GetRequest.SerializeToString,
            response_deserializer=graft_pb2.RunReply.FromString,
        )
        return get(graft_pb2.GetRequest(run_id="slow"), timeout=0.3)

    with pytest.raises(grpc.RpcError) as raised:
        await client(slow)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_an_unknown_method_is_unimplemented(client: Callable[..., Any]) -> None:
    def dance(channel: grpc.Channel) -> Any:
        return channel.unary_unary(f"/{PACKAGE}.Workflows/Dance")(b"", timeout=20)

    with pytest.raises(grpc.RpcError) as raised:
        await client(dance)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health(client: Callable[..., Any]) -> None:
    def check(channel: grpc.Channel, service: str) -> Any:
        invoke = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        return invoke(health_pb2.HealthCheckRequest(service=service), timeout=20)

    assert (await client(check, "")).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as raised:
        await client(check, "nobody")
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection(client: Callable[..., Any], version: str) -> None:
    def ask(channel: grpc.Channel, *requests: Any) -> Any:
        invoke = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        return list(invoke(iter(requests), timeout=20))

    names, file = await client(
        ask,
        reflection_pb2.ServerReflectionRequest(list_services="*"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=f"{PACKAGE}.Workflows"),
    )
    assert {each.name for each in names.list_services_response.service} >= {
        f"{PACKAGE}.Workflows",
        f"{PACKAGE}.Cluster",
        "grpc.health.v1.Health",
    }
    assert file.file_descriptor_response.file_descriptor_proto[0] == graft_pb2.DESCRIPTOR.serialized_pb
