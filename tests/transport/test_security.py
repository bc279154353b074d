"""Strangers, clients that may not, and clients that misbehave: refused or bounded, told of, and the server goes on."""

from __future__ import annotations

import datetime
import gzip
import shutil
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import h2.config
import h2.connection
import h2.events
import pytest
import trio
import trustme

import graft
from graft.errors import Denied, GraftError, Rejected, Unreachable, UsageError
from graft.security.audit import AuditRecord
from graft.security.certs import DevCertificates, make_dev
from graft.security.roles import METHOD_ROLES, ROLES
from graft.security.tls import ClientSecurity, ServerSecurity, TlsFiles
from graft.transport import Limits
from graft.transport.channel import Channel, open_channel
from graft.transport.proto import graft_pb2
from graft.transport.server import Server, open_server
from graft.transport.sockets import Tls
from tests.support.network import QUICK, make_node, until
from tests.support.services import make_services

Refused = list[AuditRecord]


@asynccontextmanager
async def guarded(
    certificates: DevCertificates, limits: Limits = QUICK, **more: Any
) -> AsyncIterator[tuple[Server, Refused]]:
    """A server with TLS and the list of whom it refused."""
    refused: Refused = []
    security = ServerSecurity(certificates.members["a"], "demo")
    listen = {"listen": ["127.0.0.1:0"], "security": security, "limits": limits, "audit": refused.append, **more}
    async with open_server(make_services(), **listen) as server:
        yield server, refused


async def ask(address: str, files: TlsFiles | None, method: str = "Workflows/Get", cluster: str = "demo") -> Any:
    service, _, name = method.partition("/")
    about = graft_pb2.DESCRIPTOR.services_by_name[service].methods_by_name[name]
    request = getattr(graft_pb2, about.input_type.name)()
    security = files and ClientSecurity(files, cluster)
    async with open_channel(address, security=security, limits=QUICK) as channel:
        if about.server_streaming:
            requests: Any = _nothing() if about.client_streaming else request
            async with channel.stream(service, name, requests) as replies:
                return [reply async for reply in replies]
        return await channel.call(service, name, request)


async def _nothing() -> AsyncIterator[Any]:
    for each in ():
        yield each


async def check_it_goes_on(server: Server, certificates: DevCertificates) -> None:
    with trio.fail_after(20):
        await ask(server.addresses[0], certificates.clients["viewer"])


def lines(refused: Refused) -> list[str]:
    """Each record is a line that a person can read."""
    for record in refused:
        assert record.reason
        assert record.text
        assert "\n" not in record.text
    return [record.reason for record in refused]


# Who connects


async def test_a_client_without_a_certificate(certificates: DevCertificates) -> None:
    async with guarded(certificates) as (server, refused):
        context = ssl.create_default_context(cafile=str(certificates.clients["viewer"].authority))
        context.set_alpn_protocols(["h2"])
        host, _, port = server.addresses[0].rpartition(":")
        stream = await trio.open_ssl_over_tcp_stream(host, int(port), ssl_context=context)
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()  # TLS 1.3 tells a client only after its own handshake
        await trio.aclose_forcefully(stream)
        await until(lambda: refused)
        assert lines(refused) == ["no_certificate"]
        await check_it_goes_on(server, certificates)


async def test_a_client_of_a_foreign_authority(certificates: DevCertificates, tmp_path: Path) -> None:
    foreign = make_dev(tmp_path, "demo", ["a"]).clients["operator"]
    mixed = attrs.evolve(foreign, authority=certificates.clients["operator"].authority)
    async with guarded(certificates) as (server, refused):
        wanted = rf"the members do not trust your certificate {mixed.certificate}: another authority signed it"
        with pytest.raises(Denied, match=wanted):
            await ask(server.addresses[0], mixed)
        await until(lambda: refused)
        assert lines(refused) == ["foreign_authority"]
        await check_it_goes_on(server, certificates)


async def test_a_server_of_a_foreign_authority(certificates: DevCertificates, tmp_path: Path) -> None:
    foreign = make_dev(tmp_path, "demo", ["a"]).clients["operator"]
    async with guarded(certificates) as (server, _):
        with pytest.raises(Denied, match="not to be trusted") as raised:
            await ask(server.addresses[0], foreign)
        assert raised.value.reason == "foreign_authority"


async def test_a_certificate_that_has_expired(certificates: DevCertificates, tmp_path: Path) -> None:
    directory = certificates.authority.parent
    for name in ("ca.crt", "ca.key"):
        shutil.copy(directory / name, tmp_path)
    then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=10)
    old = make_dev(tmp_path, "demo", ["a"], days=5, now=then).clients["operator"]
    async with guarded(certificates) as (server, refused):
        with pytest.raises(Denied, match=rf"your certificate {old.certificate} has expired"):
            await ask(server.addresses[0], old)
        await until(lambda: refused)
        assert lines(refused) == ["expired"]
        await check_it_goes_on(server, certificates)


async def test_a_certificate_that_expires_while_it_is_connected(certificates: DevCertificates) -> None:
    now = 0.0
    async with guarded(certificates, wall=lambda: now) as (server, refused):
        security = ClientSecurity(certificates.clients["viewer"], "demo")
        async with open_channel(server.addresses[0], security=security) as channel:
            await channel.call("Workflows", "Get", graft_pb2.GetRequest())
            now = 1e12
            with pytest.raises(Denied, match="expired"):
                await channel.call("Workflows", "Get", graft_pb2.GetRequest())
            assert lines(refused) == ["expired"]


async def test_a_certificate_without_our_name(certificates: DevCertificates, tmp_path: Path) -> None:
    """The authority signs for other purposes, too: a name of another kind is nobody here."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    trust = tmp_path / "ca.crt"
    trust.write_bytes(trust.read_bytes() + certificates.authority.read_bytes())
    leaf = authority.issue_cert("stranger.example.org")
    leaf.private_key_pem.write_to_path(str(tmp_path / "leaf.key"))
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "leaf.crt"))
    stranger = TlsFiles(tmp_path / "leaf.crt", tmp_path / "leaf.key", certificates.authority)
    security = ServerSecurity(attrs.evolve(certificates.members["a"], authority=trust), "demo")
    async with guarded(certificates, security=security) as (server, refused):
        with pytest.raises(Denied, match=r"the certificate has 0 names of the form graft://CLUSTER/ROLE/NAME"):
            await ask(server.addresses[0], stranger)
        await until(lambda: refused)
        assert lines(refused) == ["no_identity"]
        await check_it_goes_on(server, certificates)


async def test_a_certificate_of_another_cluster(certificates: DevCertificates, tmp_path: Path) -> None:
    directory = certificates.authority.parent
    for name in ("ca.crt", "ca.key"):
        shutil.copy(directory / name, tmp_path)
    other = make_dev(tmp_path, "other", ["a"]).clients["operator"]
    async with guarded(certificates) as (server, refused):
        wanted = (
            rf"refuse your certificate {other.certificate}: the certificate of operator is for cluster other, not demo"
        )
        with pytest.raises(Denied, match=wanted) as raised:
            await ask(server.addresses[0], other)
        assert raised.value.reason == "foreign_cluster"
        await until(lambda: refused)
        assert lines(refused) == ["foreign_cluster"]


@pytest.mark.parametrize("cluster", ["demo", "other"])
async def test_a_certificate_that_is_refused_is_not_tried_again(
    certificates: DevCertificates, tmp_path: Path, caplog: pytest.LogCaptureFixture, cluster: str
) -> None:
    """Each command left eighteen lines here, which spoke of tampering, and six in the log of every member."""
    foreign = make_dev(tmp_path, cluster, ["a"]).clients["operator"]
    mixed = attrs.evolve(foreign, authority=certificates.clients["operator"].authority)
    async with guarded(certificates) as (server, refused):
        with trio.fail_after(60), pytest.raises(Unreachable, match="do not trust your certificate"):
            async with graft.Client(
                server.addresses[0], security=ClientSecurity(mixed), patience_seconds=600
            ) as client:
                await client.get("r")
        await until(lambda: refused)
        assert lines(refused) == ["foreign_authority"]
        assert [each.message for each in caplog.records if each.levelname != "DEBUG"] == []


async def test_plaintext_is_refused_where_tls_is_asked_for(certificates: DevCertificates) -> None:
    async with guarded(certificates) as (server, refused):
        with pytest.raises(Unreachable, match="does it want TLS"):
            await ask(server.addresses[0], None)
        assert lines(refused) == ["tls"]
        await check_it_goes_on(server, certificates)


async def test_an_old_version_of_tls_is_refused(certificates: DevCertificates) -> None:
    strict = ServerSecurity(certificates.members["a"], "demo")
    lax = attrs.evolve(certificates.clients["viewer"], minimum_version="1.2")
    async with guarded(certificates, security=strict) as (server, refused):
        security = ClientSecurity(lax, "demo")
        security.current().maximum_version = ssl.TLSVersion.TLSv1_2
        async with open_channel(server.addresses[0], security=security, limits=QUICK) as channel:
            with pytest.raises(Unreachable):
                await channel.call("Workflows", "Get", graft_pb2.GetRequest())
        await until(lambda: refused)
        assert lines(refused) == ["tls"]


async def test_versions_and_ciphers_can_be_chosen(certificates: DevCertificates) -> None:
    cipher = "ECDHE-ECDSA-CHACHA20-POLY1305"
    files = attrs.evolve(certificates.members["a"], minimum_version="1.2", ciphers=cipher)
    async with guarded(certificates, security=ServerSecurity(files, "demo")) as (server, _):
        context = attrs.evolve(certificates.clients["viewer"], minimum_version="1.2").context(ssl.Purpose.SERVER_AUTH)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        host, _, port = server.addresses[0].rpartition(":")
        stream = await trio.open_ssl_over_tcp_stream(host, int(port), ssl_context=context)
        await stream.do_handshake()
        assert stream.cipher()[0] == cipher  # type: ignore[attr-defined]
        await stream.aclose()


# What they may


def test_the_table_has_every_method_and_no_other() -> None:
    contract = {
        f"{service.name}/{method}"
        for service in graft_pb2.DESCRIPTOR.services_by_name.values()
        for method in service.methods_by_name
    }
    extra = {"Health/Check", "Health/Watch", "ServerReflection/ServerReflectionInfo"}
    assert set(METHOD_ROLES) == contract | extra
    assert all(roles and roles <= ROLES for roles in METHOD_ROLES.values())


@pytest.mark.parametrize("role", ["viewer", "author", "operator"])
async def test_every_method_asks_for_a_role(certificates: DevCertificates, role: str) -> None:
    async with guarded(certificates) as (server, refused):
        for method, roles in METHOD_ROLES.items():
            if method.partition("/")[0] not in ("Cluster", "Workflows"):
                continue
            refused.clear()
            if role in roles:
                await ask(server.addresses[0], certificates.clients[role], method)
                assert refused == []
                continue
            with pytest.raises(Denied):
                await ask(server.addresses[0], certificates.clients[role], method)
            (record,) = refused
            assert (record.reason, record.identity, record.roles, record.method) == ("role", role, (role,), method)
            assert method in record.text


async def test_a_client_cannot_join_the_stream_of_members(certificates: DevCertificates) -> None:
    node = make_node("a", certificates)
    async with guarded(certificates, peers=node.hub) as (server, refused):
        async with dialled(server, certificates.clients["operator"]) as client:
            id = client.request("/graft.v1.Raft/Exchange")
            headers = await client.headers(id)
            assert headers[b"grpc-status"] == b"7"
        assert lines(refused) == ["role"]
        assert node.received == []


async def test_the_caller_is_who_the_certificate_says(certificates: DevCertificates) -> None:
    async with guarded(certificates) as (server, _):
        reply = await ask(server.addresses[0], certificates.clients["author"], "Workflows/List")
        assert (reply.runs[0].run_id, reply.runs[0].name) == ("author", "author")


# What they send


class Client:
    """A client that speaks HTTP/2 by hand, and says whatever it likes."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding=None, validate_outbound_headers=False)
        )
        self.h2.initiate_connection()
        self.h2.local_settings.enable_push = 0
        self.events: list[Any] = []

    async def flush(self) -> None:
        await self.stream.send_all(self.h2.data_to_send())

    def request(self, path: str = "/graft.v1.Workflows/Get", **more: str) -> int:
        id = self.h2.get_next_available_stream_id()
        headers = {":method": "POST", ":scheme": "https", ":path": path, ":authority": "x", "te": "trailers"}
        headers |= {"content-type": "application/grpc"} | more
        self.h2.send_headers(id, [(name, value) for name, value in headers.items() if value])
        return id

    async def receive(self) -> None:
        """Raises EOFError at the end."""
        data = await self.stream.receive_some(65536)
        if not data:
            raise EOFError
        self.events += self.h2.receive_data(data)
        await self.flush()

    async def headers(self, id: int) -> Any:
        """Those that end the call."""
        await self.flush()
        with trio.fail_after(20):
            while True:
                for event in self.events:
                    headers = dict(getattr(event, "headers", None) or ())
                    if getattr(event, "stream_id", None) == id and b"grpc-status" in headers:
                        return headers
                await self.receive()

    async def ended(self) -> None:
        """Return when the server has closed the connection."""
        with trio.fail_after(20):
            try:
                while True:
                    await self.receive()
            except (EOFError, trio.BrokenResourceError, h2.exceptions.ProtocolError):
                pass


@asynccontextmanager
async def dialled(server: Server, files: TlsFiles | None) -> AsyncIterator[Client]:
    host, _, port = server.addresses[0].rpartition(":")
    if files is None:
        stream: Any = await trio.open_tcp_stream(host, int(port))
    else:
        context = files.context(ssl.Purpose.SERVER_AUTH)
        stream = await trio.open_ssl_over_tcp_stream(host, int(port), ssl_context=context, https_compatible=True)
        await stream.do_handshake()
    client = Client(stream)
    try:
        await client.flush()
        yield client
    finally:
        await trio.aclose_forcefully(stream)


def framed(data: bytes, *, compressed: bool = False, length: int | None = None) -> bytes:
    return struct.pack(">?I", compressed, len(data) if length is None else length) + data


BAD_REQUESTS = {
    "truncated": (framed(b"abc", length=100), b"3"),
    "no protobuf": (framed(b"\xff\xff\xff"), b"3"),
    "half a header": (b"\0\0", b"3"),
    "oversized": (framed(b"", length=1 << 31), b"8"),
    "gzip bomb": (framed(gzip.compress(b"\0" * (64 << 20)), compressed=True), b"8"),
    "no gzip": (framed(b"not gzip", compressed=True), b"3"),
    "gzip cut off": (framed(gzip.compress(b"x" * 5000)[:-9], compressed=True), b"3"),
}


@pytest.mark.parametrize(("data", "status"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
async def test_a_request_that_is_none(certificates: DevCertificates, data: bytes, status: bytes) -> None:
    async with guarded(certificates) as (server, refused):
        async with dialled(server, certificates.clients["viewer"]) as client:
            id = client.request()
            client.h2.send_data(id, data[:16384], end_stream=len(data) <= 16384)
            for at in range(16384, len(data), 16384):
                await client.flush()
                client.h2.send_data(id, data[at : at + 16384], end_stream=at + 16384 >= len(data))
            assert (await client.headers(id))[b"grpc-status"] == status
            # The connection is still good for a request that is right.
            id = client.request()
            client.h2.send_data(id, framed(b""), end_stream=True)
            assert (await client.headers(id))[b"grpc-status"] == b"0"
        assert lines(refused) == ["message"]
        assert refused[0].identity == "viewer"
        assert refused[0].method == "Workflows/Get"


async def test_a_call_without_a_request(certificates: DevCertificates) -> None:
    async with guarded(certificates) as (server, _), dialled(server, certificates.clients["viewer"]) as client:
        id = client.request()
        client.h2.end_stream(id)
        assert (await client.headers(id))[b"grpc-status"] == b"3"


async def test_a_reply_that_is_too_large_is_nobodys_fault_but_ours(certificates: DevCertificates) -> None:
    small = attrs.evolve(QUICK, max_message_bytes=1 << 20)
    async with guarded(certificates, small) as (server, refused):
        security = ClientSecurity(certificates.clients["viewer"], "demo")
        async with open_channel(server.addresses[0], security=security) as channel:
            with pytest.raises(Rejected, match="larger than"):
                await channel.call("Workflows", "Get", graft_pb2.GetRequest(run_id="2000000"))
        assert refused == []


async def test_a_request_in_a_stream_that_is_none(certificates: DevCertificates) -> None:
    async with guarded(certificates) as (server, refused), dialled(server, certificates.clients["author"]) as client:
        id = client.request("/graft.v1.Workflows/StartMany")
        client.h2.send_data(id, framed(b"") + framed(b"\xff\xff"))
        assert (await client.headers(id))[b"grpc-status"] == b"3"
        assert lines(refused) == ["message"]
        assert refused[0].method == "Workflows/StartMany"


async def test_a_reply_that_is_a_bomb_is_refused_by_the_client(certificates: DevCertificates) -> None:
    small = attrs.evolve(QUICK, max_message_bytes=1 << 20)
    async with guarded(certificates) as (server, _):
        security = ClientSecurity(certificates.clients["viewer"], "demo")
        async with open_channel(server.addresses[0], security=security, limits=small) as channel:
            with pytest.raises(Rejected, match="gzip hold more than"):
                await channel.call("Workflows", "Get", graft_pb2.GetRequest(run_id="8000000"))


@pytest.mark.parametrize(
    "headers",
    [{":method": "GET"}, {"content-type": "text/html"}, {"te": ""}, {"grpc-timeout": "soon"}],
    ids=["method", "content-type", "te", "timeout"],
)
async def test_headers_that_are_not_grpc(certificates: DevCertificates, headers: dict[str, str]) -> None:
    async with guarded(certificates) as (server, _):
        async with dialled(server, certificates.clients["viewer"]) as client:
            id = client.request(**headers)
            client.h2.send_data(id, framed(b""), end_stream=True)
            await client.flush()
            with trio.fail_after(20):
                while not any(getattr(event, "stream_id", None) == id for event in client.events):
                    await client.receive()
        await check_it_goes_on(server, certificates)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"  # and empty settings
NOT_HTTP2 = {
    "http1": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 100,
    "noise": bytes(range(256)),
    "frame of 16 MiB": PREFACE + b"\xff" * 100,
    "headers on stream 0": PREFACE + b"\0\0\x01\x01\x05\0\0\0\0\x82",
    "bad hpack": PREFACE + b"\0\0\x03\x01\x05\0\0\0\x01\xff\xff\xff",
}


@pytest.mark.parametrize("data", NOT_HTTP2.values(), ids=NOT_HTTP2)
async def test_who_does_not_speak_http2(data: bytes, certificates: DevCertificates) -> None:
    async with guarded(certificates) as (server, refused):
        host, _, port = server.addresses[0].rpartition(":")
        context = certificates.clients["viewer"].context(ssl.Purpose.SERVER_AUTH)
        stream = await trio.open_ssl_over_tcp_stream(host, int(port), ssl_context=context, https_compatible=True)
        await stream.send_all(data)
        await until(lambda: refused)
        assert lines(refused) == ["protocol"]
        await until(lambda: not server.connections)
        await trio.aclose_forcefully(stream)
        await check_it_goes_on(server, certificates)


@pytest.mark.parametrize("kind", ["pings", "settings", "resets", "empty data"])
async def test_a_flood_of_frames_that_cost_nothing_to_send(certificates: DevCertificates, kind: str) -> None:
    limits = attrs.evolve(QUICK, max_controls=200)
    async with guarded(certificates, limits) as (server, refused):
        async with dialled(server, certificates.clients["author"]) as client:
            data_stream = client.request("/graft.v1.Workflows/StartMany")
            with trio.move_on_after(20):
                try:
                    for n in range(1000):
                        if kind == "pings":
                            client.h2.ping(b"%08d" % n)
                        elif kind == "settings":
                            client.h2.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: 4096 + n})
                        elif kind == "resets":
                            client.h2.reset_stream(client.request())
                        else:
                            client.h2.send_data(data_stream, b"")
                        await client.flush()
                    await client.ended()
                except (trio.BrokenResourceError, h2.exceptions.ProtocolError):
                    pass
            await until(lambda: refused)
        assert lines(refused)[0] == "flood"
        await check_it_goes_on(server, certificates)


# How slowly they do it

HASTY = attrs.evolve(QUICK, handshake_seconds=0.3, request_seconds=0.3, stall_seconds=0.5, idle_seconds=0.3)


async def test_who_connects_and_says_nothing_is_dropped(certificates: DevCertificates) -> None:
    async with guarded(certificates, HASTY) as (server, refused):
        host, _, port = server.addresses[0].rpartition(":")
        silent = await trio.open_tcp_stream(host, int(port))
        await until(lambda: refused)
        assert lines(refused) == ["slow"]
        with trio.fail_after(20):
            assert await silent.receive_some() == b""
        await silent.aclose()


async def test_a_handshake_byte_by_byte_is_dropped(certificates: DevCertificates) -> None:
    async with guarded(certificates, HASTY) as (server, refused):
        host, _, port = server.addresses[0].rpartition(":")
        tls = Tls(certificates.clients["viewer"].context(ssl.Purpose.SERVER_AUTH), None, server_side=False)
        with pytest.raises(ssl.SSLWantReadError):
            tls.object.do_handshake()
        stream = await trio.open_tcp_stream(host, int(port))
        with trio.fail_after(20):
            try:
                for byte in tls.outgoing() * 10:
                    await stream.send_all(bytes([byte]))
                    await trio.sleep(0.02)
            except trio.BrokenResourceError:
                pass
        await stream.aclose()
        assert lines(refused) == ["slow"]
        await check_it_goes_on(server, certificates)


async def test_who_finishes_tls_and_says_nothing_is_dropped(certificates: DevCertificates) -> None:
    async with guarded(certificates, HASTY) as (server, refused):
        host, _, port = server.addresses[0].rpartition(":")
        context = certificates.clients["viewer"].context(ssl.Purpose.SERVER_AUTH)
        stream = await trio.open_ssl_over_tcp_stream(host, int(port), ssl_context=context, https_compatible=True)
        await stream.do_handshake()
        await until(lambda: refused)
        assert lines(refused) == ["slow"]
        assert refused[0].identity == "viewer"
        await until(lambda: not server.connections)
        await trio.aclose_forcefully(stream)


async def test_a_request_that_never_ends_is_dropped(certificates: DevCertificates) -> None:
    async with guarded(certificates, HASTY) as (server, refused):
        async with dialled(server, certificates.clients["viewer"]) as client:
            id = client.request()
            client.h2.send_data(id, framed(b"x" * 10, length=1000))
            await client.flush()
            with trio.fail_after(20):
                while not any(isinstance(event, h2.events.StreamReset) for event in client.events):
                    await client.receive()
        assert lines(refused) == ["slow"]
        await until(lambda: not server._calls.running)


async def test_who_does_not_read_is_dropped(certificates: DevCertificates) -> None:
    async with guarded(certificates, HASTY) as (server, refused):
        async with dialled(server, certificates.clients["viewer"]) as client:
            client.h2.increment_flow_control_window(1 << 30)
            client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 30})
            for _ in range(4):
                id = client.request()
                client.h2.send_data(id, framed(graft_pb2.GetRequest(run_id="15000000").SerializeToString()), True)
            await client.flush()
            await until(lambda: refused)
        assert lines(refused)[0] == "stalled"
        await until(lambda: not server.connections)
        await check_it_goes_on(server, certificates)


async def test_who_is_idle_is_let_go_without_blame(certificates: DevCertificates) -> None:
    async with guarded(certificates, HASTY) as (server, refused):
        security = ClientSecurity(certificates.clients["viewer"], "demo")
        calm = attrs.evolve(QUICK, keepalive_seconds=60)
        async with open_channel(server.addresses[0], security=security, limits=calm) as channel:
            await channel.call("Workflows", "Get", graft_pb2.GetRequest())
            await until(lambda: not server.connections)
            await channel.call("Workflows", "Get", graft_pb2.GetRequest())
        assert refused == []


async def test_a_thousand_idle_connections(certificates: DevCertificates) -> None:
    limits = attrs.evolve(QUICK, max_unready=100, handshake_seconds=60)
    sockets: list[socket.socket] = []
    async with guarded(certificates, limits) as (server, refused):
        host, _, port = server.addresses[0].rpartition(":")
        try:
            for n in range(1000):
                sock = socket.socket()
                sock.setblocking(False)
                sockets.append(sock)
                with pytest.raises(BlockingIOError):
                    sock.connect((host, int(port)))
                if n % 50 == 0:
                    await trio.sleep(0.01)
                if n % 250 == 0:
                    await check_it_goes_on(server, certificates)
            await until(lambda: len(refused) >= 900)
            assert len(server.connections) <= 100
            assert set(lines(refused)) == {"crowded"}
            await check_it_goes_on(server, certificates)
        finally:
            for sock in sockets:
                sock.close()


async def test_too_many_connections_that_are_good(certificates: DevCertificates) -> None:
    """An idle one makes room; while all work, the newcomer is refused."""
    limits = attrs.evolve(QUICK, max_connections=2)
    viewer = certificates.clients["viewer"]
    async with (
        guarded(certificates, limits) as (server, refused),
        dialled(server, viewer) as first,
        dialled(server, viewer) as second,
    ):
        await until(lambda: sum(each.is_ready for each in server.connections) == 2)
        async with dialled(server, viewer) as third:
            await until(lambda: refused)
            assert lines(refused) == ["crowded"]
            for client in (second, third):
                client.request("/graft.v1.Workflows/Watch")
                await client.flush()
            await until(lambda: not any(each.is_idle for each in server.connections))
            with pytest.raises(GraftError):
                await ask(server.addresses[0], viewer)
            assert lines(refused) == ["crowded", "crowded"]
        await first.ended()


async def test_too_many_calls_on_a_server(certificates: DevCertificates) -> None:
    limits = attrs.evolve(QUICK, max_calls=3)
    viewer = certificates.clients["viewer"]
    async with guarded(certificates, limits) as (server, refused), dialled(server, viewer) as client:
        for _ in range(3):
            client.request()
        id = client.request()
        assert (await client.headers(id))[b"grpc-status"] == b"8"
        assert lines(refused) == ["crowded"]


# Plaintext


async def test_plaintext_only_on_loopback_unless_it_is_insisted_on(caplog: pytest.LogCaptureFixture) -> None:
    for address in ("0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:80", "example.org:80"):
        with pytest.raises(UsageError, match="without TLS anybody"):
            async with open_server({}, listen=[address]):
                pass
    async with open_server({}, listen=["127.0.0.1:0"]):
        assert "no TLS" in caplog.text
    caplog.clear()
    async with open_server({}, listen=["0.0.0.0:0"], plaintext_anywhere=True):
        assert "no TLS" in caplog.text


# Certificates that change


def overwrite(certificates: DevCertificates, directory: Path) -> None:
    for file in certificates.authority.parent.iterdir():
        shutil.copy(file, directory)


async def test_renewed_certificates_are_taken_and_open_streams_stay(tmp_path: Path) -> None:
    old = make_dev(tmp_path / "now", "demo", ["a"])
    security = ServerSecurity(old.members["a"], "demo")
    security.contexts.check_seconds = 0
    refused: Refused = []
    async with open_server(
        make_services(), listen=["127.0.0.1:0"], security=security, limits=QUICK, audit=refused.append
    ) as server:
        address = server.addresses[0]
        async with open_channel(address, security=ClientSecurity(old.clients["viewer"], "demo")) as channel:
            request = graft_pb2.WatchRequest(run_id="forever", after=1)
            async with channel.stream("Workflows", "Watch", request) as events:
                await anext(events)
                before = ClientSecurity(attrs.evolve(old.clients["viewer"]), "demo")
                before.contexts.check_seconds = 1e9
                before.current()  # the old files, in memory
                new = make_dev(tmp_path / "new", "demo", ["a"])  # with an authority of its own
                overwrite(new, tmp_path / "now")
                # Newcomers: the new certificate is shown, and asked for.
                await ask(address, new.clients["viewer"])
                with pytest.raises(Denied):
                    async with open_channel(address, security=before) as late:
                        await late.call("Workflows", "Get", graft_pb2.GetRequest())
                # Who was there before: the stream and new calls on its connection go on.
                assert len(server.connections) >= 1
                await channel.call("Workflows", "Get", graft_pb2.GetRequest())
                with trio.move_on_after(0.1) as scope:
                    await anext(events)
                assert scope.cancelled_caught, "the watch is still open"


async def test_files_that_do_not_fit_together_change_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = make_dev(tmp_path / "now", "demo", ["a"])
    other = make_dev(tmp_path / "other", "demo", ["a"])
    security = ServerSecurity(good.members["a"], "demo")
    security.contexts.check_seconds = 0
    async with guarded(good, security=security) as (server, _):
        shutil.copy(other.members["a"].key, good.members["a"].key)  # the certificate is not there yet
        await check_it_goes_on(server, good)
        assert "the old ones stay" in caplog.text
        overwrite(other, tmp_path / "now")
        await check_it_goes_on(server, other)


async def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    missing = TlsFiles(tmp_path / "a.crt", tmp_path / "a.key", tmp_path / "ca.crt")
    with pytest.raises(UsageError, match=r"a\.crt: No such file"):
        async with open_server({}, listen=["127.0.0.1:0"], security=ServerSecurity(missing)):
            pass


@asynccontextmanager
async def asked(certificates: DevCertificates, **more: Any) -> AsyncIterator[Channel]:
    """A channel to a server whose name in the certificate has to be that of the host."""
    security = ClientSecurity(certificates.clients["viewer"], "demo", verify_hostname=True)
    async with (
        guarded(certificates, **more) as (server, _),
        open_channel(server.addresses[0], security=security, limits=QUICK) as channel,
    ):
        yield channel


async def test_a_client_may_ask_for_the_name_of_the_host(certificates: DevCertificates) -> None:
    async with asked(certificates) as channel:
        await channel.call("Workflows", "Get", graft_pb2.GetRequest())
    async with asked(certificates, listen=["127.0.0.2:0"]) as channel:  # which is not in the certificate
        with pytest.raises(Denied, match="IP address mismatch"):
            await channel.call("Workflows", "Get", graft_pb2.GetRequest())
