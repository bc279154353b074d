"""DNS: names with addresses, services, no answer, and the resolvers that are really used."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from graft.discovery import Here, Peer, open_discovery
from graft.discovery.dns import LOOKUP_TIMEOUT_SECONDS, Dns, SystemResolver, make
from graft.errors import DiscoveryError
from tests.support.discovery import FakeResolver, settings


async def look(resolver: FakeResolver, record: str = "address") -> set[tuple[str, str]]:
    found = await Dns("graft", record, 7400, 1.0, resolver).look()
    assert {peer.source for peer in found} <= {"dns graft"}
    return {(peer.address, peer.id) for peer in found}


async def test_addresses_get_the_port_of_the_settings_and_ipv6_gets_brackets() -> None:
    resolver = FakeResolver()
    resolver.hosts["graft"] = ["10.0.0.1", "fd00::2"]
    assert await look(resolver) == {("10.0.0.1:7400", ""), ("[fd00::2]:7400", "")}


async def test_srv_records_bring_their_ports() -> None:
    resolver = FakeResolver()
    resolver.srv["graft"] = [("graft-0.graft.svc", 7400), ("graft-1.graft.svc", 7500)]
    assert await look(resolver, "srv") == {("graft-0.graft.svc:7400", ""), ("graft-1.graft.svc:7500", "")}


async def test_a_name_without_records_is_nobody_and_a_failure_is_no_news(
    autojump_clock: MockClock,
) -> None:
    resolver = FakeResolver()
    resolver.hosts["graft"] = ["10.0.0.1"]
    async with open_discovery(settings(), source=Dns("graft", "address", 7400, 5.0, resolver)) as discovery:
        assert await discovery.first_look() == {Peer("10.0.0.1:7400", "", "dns graft")}
        resolver.broken.add("graft")
        await trio.sleep(6)
        assert discovery.problem == "graft cannot be looked up: server failure"
        assert len(discovery.peers) == 1
        resolver.broken.clear()
        resolver.hosts["graft"] = []
        await trio.sleep(60)
        assert (discovery.problem, discovery.peers) == (None, frozenset())


async def test_a_resolver_that_does_not_answer_is_a_problem(autojump_clock: MockClock) -> None:
    resolver = FakeResolver()
    resolver.silent.add("graft")
    async with open_discovery(settings(), source=Dns("graft", "address", 7400, 5.0, resolver)) as discovery:
        assert await discovery.first_look() == frozenset()
        assert discovery.problem == f"graft cannot be looked up: no answer in {LOOKUP_TIMEOUT_SECONDS:g} s"


async def test_it_asks_once_an_interval(autojump_clock: MockClock) -> None:
    resolver = FakeResolver()
    async with open_discovery(settings(), source=Dns("graft", "address", 7400, 5.0, resolver)):
        await trio.sleep(51)
    assert resolver.asked == 11


class Hosts(trio.abc.HostnameResolver):
    """What the system's resolver would say."""

    def __init__(self, error: int = 0, *addresses: str) -> None:
        self.error, self.addresses = error, addresses

    async def getaddrinfo(self, host: Any, port: Any, family: int = 0, type: int = 0, *_: Any, **__: Any) -> list[Any]:
        await trio.lowlevel.checkpoint()
        assert type == socket.SOCK_STREAM
        if self.error:
            raise socket.gaierror(self.error, "as the system says it")
        return [
            (socket.AF_INET6 if ":" in ip else socket.AF_INET, type, 6, "", (ip, 0, 0, 0) if ":" in ip else (ip, 0))
            for ip in self.addresses
        ]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise NotImplementedError


async def test_the_system_resolver_gives_addresses_of_both_families() -> None:
    trio.socket.set_custom_hostname_resolver(Hosts(0, "10.0.0.1", "fd00::1"))
    assert await SystemResolver().addresses("graft") == ["10.0.0.1", "fd00::1"]


async def test_the_system_resolver_tells_nobody_from_no_answer() -> None:
    trio.socket.set_custom_hostname_resolver(Hosts(socket.EAI_NONAME))
    assert await SystemResolver().addresses("graft") == []
    trio.socket.set_custom_hostname_resolver(Hosts(socket.EAI_AGAIN))
    with pytest.raises(DiscoveryError, match="graft cannot be looked up: as the system says it"):
        await SystemResolver().addresses("graft")


async def test_the_system_resolver_refuses_what_is_no_name() -> None:
    with pytest.raises(DiscoveryError, match="is no host name"):
        await SystemResolver().addresses("a" * 64 + "ü.example")


@pytest.fixture
async def nameserver() -> AsyncIterator[tuple[str, int]]:
    """A DNS server on loopback: `_graft.example` has two SRV records, `refused.example` is refused."""
    message = pytest.importorskip("dns.message")
    rrset = pytest.importorskip("dns.rrset")
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as server:
        await server.bind(("127.0.0.1", 0))

        async def serve() -> None:
            while True:
                data, client = await server.recvfrom(4096)
                query = message.from_wire(data)
                answer = message.make_response(query)
                name = query.question[0].name.to_text()
                if name == "_graft.example.":
                    texts = ["0 0 7400 graft-0.example.", "0 0 7401 graft-1.example."]
                    answer.answer.append(rrset.from_text(name, 60, "IN", "SRV", *texts))
                else:
                    answer.set_rcode(5 if name == "refused.example." else 3)
                await server.sendto(answer.to_wire(), client)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            yield server.getsockname()
            nursery.cancel_scope.cancel()


async def test_srv_records_come_from_dnspython_under_trio(nameserver: tuple[str, int]) -> None:
    resolver = SystemResolver((nameserver[0],), nameserver[1])
    with trio.fail_after(30):
        assert sorted(await resolver.services("_graft.example")) == [
            ("graft-0.example", 7400),
            ("graft-1.example", 7401),
        ]
        assert await resolver.services("nobody.example") == []
        with pytest.raises(DiscoveryError, match=r"the SRV records of refused\.example cannot be looked up"):
            await resolver.services("refused.example")


def test_it_needs_a_name() -> None:
    with pytest.raises(DiscoveryError, match="needs a name"):
        make(Here(settings(kind="dns")))


def test_srv_without_dnspython_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "dns.asyncresolver", None)
    with pytest.raises(DiscoveryError, match=r"graft-flow\[dns\]"):
        make(Here(settings(kind="dns", dns__name="x", dns__record="srv")))
    assert make(Here(settings(kind="dns", dns__name="x"))).about == "dns: x (A and AAAA records)"
