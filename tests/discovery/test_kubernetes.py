"""Kubernetes: what is asked, the watch with all its ends, and what a slice says."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from graft.config import load
from graft.discovery import Discovery, Here, Peer, kubernetes
from graft.discovery.kubernetes import PACE_SECONDS, make
from graft.errors import DiscoveryError
from graft.security.certs import make_dev
from tests.support.discovery import KubernetesWorld, endpoint_slice, settings


@pytest.fixture
def cluster(tmp_path: Path) -> KubernetesWorld:
    return KubernetesWorld(tmp_path)


@asynccontextmanager
async def looking(cluster: KubernetesWorld) -> AsyncIterator[Discovery]:
    async with cluster.open() as discovery:
        await discovery.first_look()
        yield discovery


def addresses(discovery: Discovery) -> set[str]:
    return {peer.address for peer in discovery.peers}


def kinds(cluster: KubernetesWorld) -> str:
    """What was asked, a letter a request: l(ist), w(atch)."""
    return "".join("w" if "watch" in request.url.params else "l" for request in cluster.api.requests)


async def test_what_is_asked(autojump_clock: MockClock, cluster: KubernetesWorld) -> None:
    async with looking(cluster) as discovery:
        assert discovery.about == "kubernetes: service graft in prod"
        await trio.sleep(1)
    listed, watched = cluster.api.requests
    assert str(listed.url).startswith("https://10.96.0.1/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices?")
    assert listed.headers["authorization"] == "Bearer t0"
    assert dict(listed.url.params) == {"labelSelector": "kubernetes.io/service-name=graft"}
    assert dict(watched.url.params) == {
        "labelSelector": "kubernetes.io/service-name=graft",
        "watch": "1",
        "resourceVersion": "100",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "300",
    }


async def test_a_watch_that_ends_is_begun_anew_from_the_last_version(
    autojump_clock: MockClock, cluster: KubernetesWorld
) -> None:
    async with looking(cluster) as discovery:
        await cluster.add("graft-0", "10.0.0.1:7400")
        await trio.sleep(1)
        cluster.api.hang_up()
        await trio.sleep(1)
        await cluster.add("graft-1", "10.0.0.2:7400")
        await trio.sleep(1)
        assert addresses(discovery) == {"10.0.0.1:7400", "10.0.0.2:7400"}
    assert kinds(cluster) == "lww"
    assert cluster.api.requests[-1].url.params["resourceVersion"] == "101"


async def test_a_bookmark_moves_the_version_and_nothing_else(
    autojump_clock: MockClock, cluster: KubernetesWorld
) -> None:
    await cluster.add("graft-0", "10.0.0.1:7400")
    async with looking(cluster) as discovery:
        cluster.api.tell("BOOKMARK", {"metadata": {"name": ""}})
        await trio.sleep(1)
        cluster.api.hang_up()
        await trio.sleep(1)
        assert addresses(discovery) == {"10.0.0.1:7400"}
    assert cluster.api.requests[-1].url.params["resourceVersion"] == "102"


async def test_gone_in_the_middle_of_a_watch_lists_again(autojump_clock: MockClock, cluster: KubernetesWorld) -> None:
    await cluster.add("graft-0", "10.0.0.1:7400")
    async with looking(cluster) as discovery:
        await trio.sleep(1)
        del cluster.api.slices["graft-graft-0"]  # and nobody says so
        cluster.api.slices["x"] = endpoint_slice("x", "10.0.0.9:7400")
        cluster.api.version += 50
        cluster.api.forget()
        await trio.sleep(2)
        assert addresses(discovery) == {"10.0.0.9:7400"}
        assert discovery.problem is None
    assert kinds(cluster) == "lwlw"


async def test_gone_as_the_answer_to_a_watch_lists_again(autojump_clock: MockClock, cluster: KubernetesWorld) -> None:
    async with looking(cluster) as discovery:
        await trio.sleep(1)
        cluster.api.slices["x"] = endpoint_slice("x", "10.0.0.9:7400")
        cluster.api.hang_up()
        cluster.api.version += 50
        cluster.api.oldest = cluster.api.version + 1
        await trio.sleep(3)
        assert addresses(discovery) == {"10.0.0.9:7400"}
    assert kinds(cluster)[:4] in ("lwwl", "lwlw")


async def test_a_server_that_says_gone_for_ever_is_not_asked_in_a_hot_loop(
    autojump_clock: MockClock, cluster: KubernetesWorld
) -> None:
    cluster.api.oldest = 10**9
    async with looking(cluster):
        await trio.sleep(60)
    assert len(cluster.api.requests) <= 2 * 60 / PACE_SECONDS + 4


async def test_a_server_that_ends_each_watch_at_once_is_not_asked_in_a_hot_loop(
    autojump_clock: MockClock, cluster: KubernetesWorld
) -> None:
    cluster.api._hang_up.set()
    async with looking(cluster):
        await trio.sleep(60)
    assert 60 <= len(cluster.api.requests) <= 60 / PACE_SECONDS + 4


async def test_while_the_server_is_down_what_was_seen_stays(
    autojump_clock: MockClock, cluster: KubernetesWorld
) -> None:
    await cluster.add("graft-0", "10.0.0.1:7400")
    async with looking(cluster) as discovery:
        cluster.api.down = True
        cluster.api.hang_up()
        await trio.sleep(100)
        assert addresses(discovery) == {"10.0.0.1:7400"}
        assert discovery.problem is not None
        assert "no answer from the API server https://10.96.0.1" in discovery.problem
        assert len(cluster.api.requests) < 20
        await cluster.add("graft-1", "10.0.0.2:7400")
        cluster.api.down = False
        await trio.sleep(31)
        assert addresses(discovery) == {"10.0.0.1:7400", "10.0.0.2:7400"}
        assert discovery.problem is None


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "refused with 401: it does not accept the token of the service account; it said 'no'"),
        (403, "refused with 403: the service account may not list and watch endpointslices; it said 'no'"),
        (500, "refused with 500; it said 'no'"),
    ],
)
async def test_a_refusal_says_what_is_missing(
    autojump_clock: MockClock, cluster: KubernetesWorld, status: int, said: str
) -> None:
    cluster.api.status = status
    async with looking(cluster) as discovery:
        assert discovery.problem is not None
        assert said in discovery.problem


async def test_the_token_is_read_again(autojump_clock: MockClock, cluster: KubernetesWorld) -> None:
    async with looking(cluster) as discovery:
        (cluster.account / "token").write_text("t1")
        cluster.api.token = "t1"
        cluster.api.hang_up()
        await trio.sleep(1)
        assert discovery.problem is None
        (cluster.account / "token").unlink()
        cluster.api.hang_up()
        await trio.sleep(1)
        assert discovery.problem is not None
        assert "the token cannot be read from" in discovery.problem
    assert cluster.api.requests[-1].headers["authorization"] == "Bearer t1"


@pytest.mark.parametrize("text", ["not json\n", "[1]\n", "x" * 9_000_000])
async def test_nonsense_from_the_server_is_a_problem(
    autojump_clock: MockClock, cluster: KubernetesWorld, text: str
) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if "watch" in request.url.params:
            return httpx2.Response(200, content=text)
        return httpx2.Response(200, json={"metadata": {"resourceVersion": "1"}})

    source = cluster.source()
    source = evolve(cluster.source(), transport=httpx2.MockTransport(answer))
    with pytest.raises(DiscoveryError, match="the API server sent"):
        await source.watch(lambda peers: None)


# What a slice says


def peers_of(cluster: KubernetesWorld, *items: dict[str, Any], **flags: Any) -> list[tuple[str, str]]:
    source = cluster.source(**flags)
    return sorted((peer.address, peer.id) for peer in source.peers_of(dict(enumerate(items))))  # type: ignore[arg-type]


def test_an_endpoint_is_a_pod_at_the_named_port(cluster: KubernetesWorld) -> None:
    one = endpoint_slice("a", "10.0.0.1:7400", pod="graft-0")
    six = endpoint_slice("b", "[fd00::1]:7400")
    assert peers_of(cluster, one, six) == [("10.0.0.1:7400", "graft-0"), ("[fd00::1]:7400", "")]


def test_without_a_port_name_the_first_port_counts(cluster: KubernetesWorld) -> None:
    one = endpoint_slice("a", "10.0.0.1:7400")
    assert peers_of(cluster, one, kubernetes__port_name="") == [("10.0.0.1:9", "")]
    one["ports"] = None
    assert peers_of(cluster, one, kubernetes__port_name="") == [("10.0.0.1:7400", "")]
    assert peers_of(cluster, one, kubernetes__port_name="other") == []


def test_an_endpoint_in_two_slices_counts_once(cluster: KubernetesWorld) -> None:
    items = [endpoint_slice(name, "10.0.0.1:7400", pod="p") for name in "ab"]
    assert peers_of(cluster, *items) == [("10.0.0.1:7400", "p")]


def test_unready_pods_count_and_terminated_ones_do_not(cluster: KubernetesWorld) -> None:
    items = [
        endpoint_slice("a", "10.0.0.1:1", ready=False),
        endpoint_slice("b", "10.0.0.2:1", terminating=True, serving=True),
        endpoint_slice("c", "10.0.0.3:1", terminating=True, serving=False),
    ]
    assert [address for address, _ in peers_of(cluster, *items)] == ["10.0.0.1:1", "10.0.0.2:1"]


@pytest.mark.parametrize(
    ("conditions", "counts"),
    [
        ({}, True),
        (None, True),
        ({"ready": None, "serving": None, "terminating": None}, True),
        ({"ready": False}, True),
        ({"ready": False, "serving": False, "terminating": False}, True),
        ({"terminating": True}, True),
        ({"ready": True, "terminating": True}, True),  # publishNotReadyAddresses
        ({"ready": False, "terminating": True}, False),
        ({"ready": False, "serving": None, "terminating": True}, False),
        ({"ready": None, "serving": False, "terminating": True}, False),
        ({"ready": False, "serving": True, "terminating": True}, True),
    ],
)
def test_a_condition_that_is_not_said(cluster: KubernetesWorld, conditions: Any, counts: bool) -> None:
    """As `EndpointConditions` of discovery.k8s.io/v1 has it: no `ready` means ready, without `serving` `ready` counts,
    and no `terminating` means that it is not."""
    item = endpoint_slice("a", "10.0.0.1:1")
    item["endpoints"][0]["conditions"] = conditions
    assert bool(peers_of(cluster, item)) is counts


def test_a_full_table_still_takes_changes(cluster: KubernetesWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "MAX_ITEMS", 1)
    seen: list[Any] = []
    slices: dict[str, Any] = {"a": endpoint_slice("a", "10.0.0.1:1")}
    for name, address in (("a", "10.0.0.2:1"), ("b", "10.0.0.3:1")):
        event = {"type": "MODIFIED", "object": endpoint_slice(name, address)}
        cluster.source()._apply(event, slices, lambda peers: seen.append({peer.address for peer in peers}))
    assert seen == [{"10.0.0.2:1"}, {"10.0.0.2:1"}]


def test_without_a_port_of_its_own_a_member_takes_the_usual_one_for_others(tmp_path: Path) -> None:
    """`listen_port = 0` is no port to dial."""
    (tmp_path / "namespace").write_text("n")
    configured = load(flags={"transport.listen_port": 0}, host_name="me").settings
    made = make(Here(configured, environ={"KUBERNETES_SERVICE_HOST": "10.0.0.1"}), account=tmp_path)
    assert made.default_port == 7400


def test_a_slice_without_endpoints_is_nobody(cluster: KubernetesWorld) -> None:
    assert peers_of(cluster, {"metadata": {"name": "a"}, "endpoints": None, "ports": None}) == []


# What it is told


def test_outside_of_a_pod_it_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(DiscoveryError, match=r"KUBERNETES_SERVICE_HOST is not set(.|\n)*api_server"):
        make(Here(settings(kind="kubernetes"), environ={}), account=tmp_path)
    with pytest.raises(DiscoveryError, match="the namespace cannot be read"):
        make(Here(settings(kind="kubernetes"), environ={"KUBERNETES_SERVICE_HOST": "10.0.0.1"}), account=tmp_path)


def test_settings_go_before_the_service_account(tmp_path: Path) -> None:
    flags = {"api_server": "http://proxy:8001/", "namespace": "n", "service": "s", "token_file": "/t", "ca_file": "/c"}
    made = make(Here(settings(kind="kubernetes", **{f"kubernetes__{k}": v for k, v in flags.items()}), environ={}))
    assert (made.api_server, made.namespace, made.service) == ("http://proxy:8001", "n", "s")
    assert (made.token_file, made.ca_file) == (Path("/t"), Path("/c"))


def test_an_ipv6_api_server_gets_brackets(tmp_path: Path) -> None:
    (tmp_path / "namespace").write_text("n")
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    assert (
        make(Here(settings(kind="kubernetes"), environ=environ), account=tmp_path).api_server
        == "https://[fd00::1]:6443"
    )


async def test_a_missing_ca_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "namespace").write_text("n")
    made = make(Here(settings(kind="kubernetes"), environ={"KUBERNETES_SERVICE_HOST": "127.0.0.1"}), account=tmp_path)
    with pytest.raises(DiscoveryError, match="the CA of the API server cannot be read"):
        await made.watch(lambda peers: None)


async def test_an_authority_of_an_older_cluster_is_good_enough(tmp_path: Path) -> None:
    """Python 3.13 began to refuse those without an Authority Key Identifier; kubectl does not."""
    (tmp_path / "namespace").write_text("n")
    certificates = make_dev(tmp_path, "x", ["a"])
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1"}
    made = make(Here(settings(kind="kubernetes"), environ=environ), account=tmp_path)
    built: list[ssl.SSLContext] = []
    real = ssl.create_default_context

    def strict(*arguments: Any, **more: Any) -> ssl.SSLContext:
        built.append(real(*arguments, **more))
        built[-1].verify_flags |= ssl.VERIFY_X509_STRICT  # as 3.13 does
        return built[-1]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ssl, "create_default_context", strict)
        async with made._client():
            pass
    assert certificates.authority.exists()
    assert not built[0].verify_flags & ssl.VERIFY_X509_STRICT
    assert built[0].verify_mode is ssl.CERT_REQUIRED
    assert built[0].check_hostname


async def test_a_token_and_an_authority_that_are_replaced_are_read_again(tmp_path: Path) -> None:
    """A server on loopback whose first authority is another one: the second try trusts it and has the new token."""
    old, new = make_dev(tmp_path / "old", "x", ["a"]), make_dev(tmp_path / "new", "x", ["a"], ["127.0.0.1"])
    heads: list[bytes] = []

    async def serve(plain: trio.SocketStream) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(new.members["a"].certificate, new.members["a"].key)
        stream = trio.SSLStream(plain, context, server_side=True, https_compatible=True)
        with suppress(trio.BrokenResourceError):
            heads.append(await stream.receive_some())
            body = b'{"kind":"Status","code":403,"message":"no"}'
            await stream.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await stream.aclose()

    (tmp_path / "namespace").write_text("n")
    (tmp_path / "ca.crt").write_bytes(old.authority.read_bytes())
    (tmp_path / "token").write_text("t1")
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(port)}
        made = make(Here(settings(kind="kubernetes"), environ=environ), account=tmp_path)
        with trio.fail_after(30):
            with pytest.raises(DiscoveryError, match="no answer from the API server"):
                await made.watch(lambda peers: None)
            (tmp_path / "ca.crt").write_bytes(new.authority.read_bytes())
            (tmp_path / "token").write_text("t2")
            with pytest.raises(DiscoveryError, match="refused with 403"):
                await made.watch(lambda peers: None)
        nursery.cancel_scope.cancel()
    assert b"authorization: bearer t2" in heads[-1].lower()


async def test_over_a_real_connection(tmp_path: Path) -> None:
    """One list and one watch in pieces, from a server on loopback."""
    item = (
        b'{"metadata":{"name":"a","resourceVersion":"7"},"endpoints":[{"addresses":["10.0.0.1"]}],"ports":[{"port":1}]}'
    )
    events = [b'{"type":"ADDED",', b'"object":' + item + b"}\n"]

    async def serve(stream: trio.SocketStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some()
        if b"watch=1" not in head:
            body = b'{"metadata":{"resourceVersion":"5"},"items":[]}'
            await stream.send_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
            )
        else:
            await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in events:
                await stream.send_all(b"%x\r\n%s\r\n" % (len(piece), piece))
            await trio.sleep_forever()
        await stream.aclose()

    (tmp_path / "token").write_text("t")
    seen: list[Any] = []
    done = trio.Event()

    def report(peers: Any) -> None:
        seen.append(sorted(peers))
        if seen[-1]:
            done.set()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        flags = {"kubernetes__api_server": f"http://127.0.0.1:{port}", "kubernetes__namespace": "n"}
        source = make(Here(settings(kind="kubernetes", **flags), environ={}), account=tmp_path)
        nursery.start_soon(source.watch, report)
        with trio.fail_after(30):
            await done.wait()
        nursery.cancel_scope.cancel()
    assert seen == [[], [Peer("10.0.0.1:1", "", "kubernetes graft")]]
