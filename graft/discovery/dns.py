"""Members behind one name: its A and AAAA records, or its SRV records.

Addresses come from the system's resolver, through Trio's `getaddrinfo`; it cannot ask for SRV records, so these come
from dnspython (the extra `dns`), which runs under Trio. A name without records means: nobody is there. A resolver
that does not answer means nothing: what was seen before stays.
"""

from __future__ import annotations

import socket
from typing import Protocol

import trio
from attrs import frozen

from graft.discovery.records import Here, Peer, Report, join
from graft.errors import DiscoveryError, DiscoveryUnfit

LOOKUP_TIMEOUT_SECONDS = 10.0
NOBODY = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class Resolver(Protocol):
    async def addresses(self, name: str) -> list[str]:
        """IP addresses of `name`; empty when it has none. Raises DiscoveryError when that cannot be told."""
        ...

    async def services(self, name: str) -> list[tuple[str, int]]:
        """Hosts and ports of the SRV records of `name`; empty when it has none. Raises DiscoveryError."""
        ...


@frozen
class SystemResolver:
    nameservers: tuple[str, ...] = ()  # for SRV records; none: those of /etc/resolv.conf
    port: int = 53

    async def addresses(self, name: str) -> list[str]:
        try:
            found = await trio.socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except OSError as error:  # gaierror, or a name that is none
            if error.errno in NOBODY:
                return []
            raise DiscoveryError(f"{name} cannot be looked up: {error.strerror or error}") from error
        except UnicodeError:
            raise DiscoveryError(f"{name} is no host name") from None
        return [str(address[0]) for *_, address in found]

    async def services(self, name: str) -> list[tuple[str, int]]:
        from dns import asyncbackend, asyncresolver, exception, resolver

        try:
            asking = asyncresolver.Resolver(configure=not self.nameservers)
            if self.nameservers:
                asking.nameservers = list(self.nameservers)
                asking.port = self.port
            answer = await asking.resolve(name, "SRV", backend=asyncbackend.get_backend("trio"))
        except (resolver.NXDOMAIN, resolver.NoAnswer):
            return []
        except (exception.DNSException, OSError) as error:
            raise DiscoveryError(f"the SRV records of {name} cannot be looked up: {error}") from error
        return [(record.target.to_text(omit_final_dot=True), record.port) for record in answer]


@frozen
class Dns:
    name: str
    record: str  # address | srv
    port: int
    interval_seconds: float
    resolver: Resolver

    @property
    def about(self) -> str:
        return f"dns: {self.name} ({'SRV' if self.record == 'srv' else 'A and AAAA'} records)"

    async def watch(self, report: Report) -> None:
        while True:
            with trio.move_on_after(LOOKUP_TIMEOUT_SECONDS) as scope:
                report(await self.look())
            if scope.cancelled_caught:
                raise DiscoveryError(f"{self.name} cannot be looked up: no answer in {LOOKUP_TIMEOUT_SECONDS:g} s")
            await trio.sleep(self.interval_seconds)

    async def look(self) -> frozenset[Peer]:
        if self.record == "srv":
            found = await self.resolver.services(self.name)
        else:
            found = [(host, self.port) for host in await self.resolver.addresses(self.name)]
        return frozenset(Peer(join(host, port), "", f"dns {self.name}") for host, port in found)


def make(here: Here, resolver: Resolver | None = None) -> Dns:
    discovery = here.settings.discovery
    if not discovery.dns.name:
        raise DiscoveryUnfit("discovery by dns needs a name", hint="set `discovery.dns.name`")
    if discovery.dns.record == "srv" and resolver is None:
        try:
            import dns.asyncresolver  # noqa: F401
        except ImportError:
            hint = "pip install 'graft-flow[dns]', or use `discovery.dns.record = \"address\"`"
            raise DiscoveryUnfit("SRV records need dnspython", hint=hint) from None
    return Dns(
        discovery.dns.name, discovery.dns.record, discovery.dns.port, discovery.interval, resolver or SystemResolver()
    )
