"""Static addresses, what `auto` chooses, plugins, missing extras, mDNS without a network."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Any

import pytest
import trio

from graft.config import Settings, load
from graft.discovery import Here, Peer, choose, make_source, open_discovery
from graft.discovery.mdns import Announcement, Mdns, _in_own_loop, peer_of
from graft.discovery.mdns import make as make_mdns
from graft.discovery.static import make as make_static
from graft.discovery.static import parse
from graft.errors import DiscoveryError
from tests.support.discovery import settings

POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}


def test_a_listen_port_of_0_is_no_port_to_dial() -> None:
    configured = load(flags={"transport.listen_port": 0, "discovery.peers": ["host"]}, host_name="me").settings
    (peer,) = make_static(Here(configured)).peers
    assert peer.address == "host:7400"


def test_static_addresses() -> None:
    texts = ["10.0.0.1:1", "a=10.0.0.2:2", "b=host.example", "[fd00::1]:3", "c=[fd00::2]", "host"]
    assert [(peer.id, peer.address) for peer in parse(texts, 7400)] == [
        ("", "10.0.0.1:1"),
        ("a", "10.0.0.2:2"),
        ("b", "host.example:7400"),
        ("", "[fd00::1]:3"),
        ("c", "[fd00::2]:7400"),
        ("", "host:7400"),
    ]


def told(**flags: Any) -> Settings:
    return load(flags={key.replace("__", "."): value for key, value in flags.items()}, host_name="me").settings


@pytest.mark.parametrize(
    ("flags", "environ", "has_zeroconf", "kind", "reason"),
    [
        ({"discovery__peers": "a:1", "discovery__dns__name": "x"}, POD, True, "static", "`discovery.peers`"),
        ({"discovery__dns__name": "x"}, POD, True, "dns", "`discovery.dns.name`"),
        ({}, POD, True, "kubernetes", "KUBERNETES_SERVICE_HOST"),
        ({}, {}, True, "static", "loopback"),
        ({"transport__listen_host": "10.0.0.1"}, {}, True, "mdns", "zeroconf is installed"),
        ({"transport__listen_host": "10.0.0.1"}, {}, False, "static", "not installed"),
    ],
)
def test_auto_chooses_and_says_why(
    flags: dict[str, Any], environ: dict[str, str], has_zeroconf: bool, kind: str, reason: str
) -> None:
    chosen, why = choose(told(**flags), environ, has_zeroconf=has_zeroconf)
    assert chosen == kind
    assert reason in why


def test_auto_logs_its_choice(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "graft.discovery")
    source = make_source(Here(settings(kind="auto", peers="a:1"), environ={}))
    assert source.about == "static: 1 addresses of the configuration"
    assert "discovery is static: `discovery.peers` names members" in caplog.text


class Entry:
    name = "consul"
    value = "acme_consul:make"

    def load(self) -> Any:
        raise ImportError("no module named acme_consul")


def test_an_unknown_kind_lists_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "entry_points", lambda group: [Entry()])
    with pytest.raises(DiscoveryError, match=r"no discovery `consol`(.|\n)*auto, consul, dns, kubernetes, mdns"):
        make_source(Here(settings(kind="consol"), environ={}))


def test_a_plugin_that_cannot_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "entry_points", lambda group: [Entry()])
    with pytest.raises(DiscoveryError, match=r"`consul` \(acme_consul:make\) cannot be loaded"):
        make_source(Here(settings(kind="consul"), environ={}))


@pytest.mark.parametrize("kind", ["consol", "mdns", "kubernetes", "dns"])
def test_what_cannot_work_at_all_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """With exit code 1 systemd started the member again, for ever."""
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    with pytest.raises(DiscoveryError) as caught:
        make_source(Here(settings(kind=kind), environ={}))
    assert caught.value.exit_code == 2


def test_mdns_without_zeroconf_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    with pytest.raises(DiscoveryError, match=r"graft-flow\[mdns\]"):
        make_mdns(Here(settings(kind="mdns"), environ={}))


@pytest.mark.parametrize(
    ("address", "port", "addresses"), [("10.1.2.3:7401", 7401, ("10.1.2.3",)), ("[fd00::1]:7402", 7402, ("fd00::1",))]
)
def test_mdns_announces_where_the_member_can_be_reached(address: str, port: int, addresses: tuple[str, ...]) -> None:
    pytest.importorskip("zeroconf")
    own = make_mdns(Here(settings(kind="mdns"), address, {})).own
    assert (own.member, own.cluster, own.port, own.addresses) == ("me", "graft", port, addresses)


def test_mdns_without_an_address_announces_those_of_the_machine() -> None:
    pytest.importorskip("zeroconf")
    own = make_mdns(Here(settings(kind="mdns"), "0.0.0.0:7401", {})).own
    assert own.addresses
    assert "0.0.0.0" not in own.addresses


class Info:
    """What zeroconf knows of an instance."""

    port: int | None = 7400

    def __init__(self, properties: dict[str, str | None], *addresses: str) -> None:
        self.decoded_properties = properties
        self.addresses = addresses

    def parsed_scoped_addresses(self) -> list[str]:
        return list(self.addresses)


def test_an_mdns_instance_of_the_cluster_is_a_peer() -> None:
    info = Info({"id": "a", "cluster": "graft"}, "fe80::1%eth0", "127.0.0.1", "10.0.0.1")
    assert peer_of(info, "graft") == Peer("10.0.0.1:7400", "a", "mdns")
    assert peer_of(info, "other") is None
    assert peer_of(Info({"id": "a", "cluster": "graft"}), "graft") is None
    assert peer_of(Info({"id": "a", "cluster": None}, "10.0.0.1"), "graft") is None


def test_mdns_instances_differ_by_member_and_cluster() -> None:
    made = {Announcement(m, c, 1, ()).instance for m, c in (("a", "b"), ("b", "a"), ("a", "a"), ("ab", ""), ("", "ab"))}
    assert len(made) == 5
    assert all(len(instance) <= 63 for instance in made)


async def test_mdns_on_an_address_that_is_not_ours_is_a_problem() -> None:
    pytest.importorskip("zeroconf")
    source = Mdns("_graft._tcp.local.", ("192.0.2.1",), Announcement("a", "b", 1, ("192.0.2.1",)))
    before = trio.lowlevel.current_statistics().tasks_living
    with trio.fail_after(30):
        async with open_discovery(settings(), source=source) as discovery:
            await discovery.first_look()
            assert discovery.problem is not None
            assert "multicast is not possible here" in discovery.problem
    assert trio.lowlevel.current_statistics().tasks_living == before


async def test_a_task_of_asyncio_that_fails_is_logged_and_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    import asyncio
    import gc

    running = trio.Event()

    async def fail() -> None:  # noqa: ASYNC124
        raise ValueError("in a task that nobody waits for")

    async def run(stop: asyncio.Event) -> None:
        task = asyncio.get_running_loop().create_task(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        gc.collect()
        running.set()
        await stop.wait()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_in_own_loop, run)
            await running.wait()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert "in a task that nobody waits for" in caplog.text


async def test_other_threads_keep_their_own_asyncio() -> None:
    import asyncio

    running = trio.Event()

    async def run(stop: asyncio.Event) -> None:
        running.set()
        await stop.wait()

    async def kind_of_loop() -> str:
        await asyncio.sleep(0)
        return type(asyncio.get_running_loop()).__module__

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_in_own_loop, run)
            await running.wait()
            found = await trio.to_thread.run_sync(lambda: asyncio.run(kind_of_loop()))
            nursery.cancel_scope.cancel()
    assert not found.startswith("trio_asyncio")
