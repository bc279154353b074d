"""Members on the same network, by multicast DNS: each announces itself and listens for the others (the extra `mdns`).

What is announced (RFC 6763): an instance `graft-DIGEST` of the service type, its port and addresses, and as TXT the
member's id and the cluster's name. Instances of other clusters are passed over.

zeroconf is an asyncio library. Its loop runs in a Trio task of its own, so that nothing outside of it is in asyncio's
context, and shielded, so that a member that stops can still say goodbye; `GOODBYE_SECONDS` bounds that.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import socket
from collections.abc import Callable
from typing import Any

import trio
from attrs import frozen

from graft.discovery.records import Here, Peer, Report, join
from graft.errors import DiscoveryError, DiscoveryUnfit

RESOLVE_MS = 3000
GOODBYE_SECONDS = 5.0

log = logging.getLogger("graft.discovery")


@frozen
class Announcement:
    """What a member says of itself. `addresses`: IP addresses as text."""

    member: str
    cluster: str
    port: int
    addresses: tuple[str, ...]

    @property
    def instance(self) -> str:
        digest = hashlib.sha256(f"{self.cluster}\0{self.member}".encode()).hexdigest()
        return f"graft-{digest[:20]}"


@frozen
class Mdns:
    service_type: str
    interfaces: tuple[str, ...]
    own: Announcement

    @property
    def about(self) -> str:
        return f"mdns: {self.service_type} of the cluster {self.own.cluster}"

    async def watch(self, report: Report) -> None:
        await _in_own_loop(_Browser(self, report).run)


class _Browser:
    """Everything that runs in asyncio. `run` announces and listens until `stop` is set."""

    def __init__(self, mdns: Mdns, report: Report) -> None:
        self._mdns = mdns
        self._report = report
        self._peers: dict[str, Peer] = {}  # by instance
        self._lookups: set[Any] = set()  # tasks

    async def run(self, stop: Any) -> None:
        import asyncio

        from zeroconf import Error, InterfaceChoice
        from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

        if strange := sorted(set(self._mdns.interfaces) - set(_own_addresses())):  # zeroconf leaks a socket over them
            raise DiscoveryError(f"multicast is not possible here: no interface has the address {', '.join(strange)}")
        try:
            network = AsyncZeroconf(interfaces=list(self._mdns.interfaces) or InterfaceChoice.All)
        except OSError as error:
            raise DiscoveryError(f"multicast is not possible here: {error}") from error
        stopped = asyncio.ensure_future(stop.wait())
        announced = asyncio.ensure_future(self._announce(network))
        browser = AsyncServiceBrowser(network.zeroconf, self._mdns.service_type, handlers=[self._changed])
        self._report(self._peers.values())
        try:
            await asyncio.wait({announced, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if announced.done():
                announced.result()
                await stopped
        except Error as error:
            said = str(error) or type(error).__name__
            raise DiscoveryError(f"{self._mdns.own.member} cannot be announced by mdns: {said}") from error
        finally:
            for task in (announced, stopped, *self._lookups):
                task.cancel()
            await browser.async_cancel()  # noqa: ASYNC102 - asyncio; the loop's task is shielded
            await network.async_unregister_all_services()  # noqa: ASYNC102
            await network.async_close()  # noqa: ASYNC102

    async def _announce(self, network: Any) -> None:
        """Takes about a second: the name is probed before it is taken (RFC 6762, section 8)."""
        await (await network.async_register_service(self._info()))

    def _info(self) -> Any:
        from zeroconf.asyncio import AsyncServiceInfo

        own = self._mdns.own
        return AsyncServiceInfo(
            self._mdns.service_type,
            f"{own.instance}.{self._mdns.service_type}",
            port=own.port,
            properties={"id": own.member, "cluster": own.cluster},
            parsed_addresses=list(own.addresses),
            server=f"{own.instance}.local.",
        )

    def _changed(self, zeroconf: Any, service_type: str, name: str, state_change: Any) -> None:
        import asyncio

        if state_change.name == "Removed":
            if self._peers.pop(name, None) is not None:
                self._report(self._peers.values())
            return
        task = asyncio.get_running_loop().create_task(self._look_up(zeroconf, service_type, name))
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)

    async def _look_up(self, zeroconf: Any, service_type: str, name: str) -> None:
        from zeroconf.asyncio import AsyncServiceInfo

        info = AsyncServiceInfo(service_type, name)
        if not await info.async_request(zeroconf, RESOLVE_MS):
            log.info("mdns: %s does not say where it is", name)
            return
        peer = peer_of(info, self._mdns.own.cluster)
        if peer is None:
            self._peers.pop(name, None)
        else:
            self._peers[name] = peer
        self._report(self._peers.values())


def peer_of(info: Any, cluster: str) -> Peer | None:
    """The peer that a zeroconf `ServiceInfo` tells of; None when it is of another cluster, or says too little."""
    texts = {key: value for key, value in info.decoded_properties.items() if value is not None}
    addresses = sorted(info.parsed_scoped_addresses(), key=_preference)
    if texts.get("cluster") != cluster or not addresses or not info.port:
        return None
    return Peer(join(addresses[0], info.port), texts.get("id", ""), "mdns")


def _preference(address: str) -> tuple[bool, bool, str]:
    """IPv4 before IPv6, which may be link-local; loopback last."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return parsed.is_loopback, parsed.version == 6, address


async def _in_own_loop(run: Callable[[Any], Any]) -> None:
    """`run(stop)` in an asyncio loop of its own until this task is cancelled; then `stop` is set and waited for.

    Raises the DiscoveryError of `run`.
    """
    import asyncio

    from graft.asyncio_bridge import trio_asyncio

    stops: list[asyncio.Event] = []
    failures: list[DiscoveryError] = []  # kept out of the nurseries, which would wrap them
    scope = trio.CancelScope(shield=True)

    async def host() -> None:
        with scope:
            async with trio_asyncio.open_loop() as loop:
                loop.set_exception_handler(_report)
                stops.append(asyncio.Event())
                try:
                    await trio_asyncio.aio_as_trio(run)(stops[0])
                except DiscoveryError as error:
                    failures.append(error)

    def stop() -> None:
        scope.deadline = trio.current_time() + GOODBYE_SECONDS
        if stops:
            stops[0].set()
        else:
            scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_call_when_cancelled, stop, nursery)
        await host()
        nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]


def _report(loop: Any, context: dict[str, Any]) -> None:
    """What trio_asyncio would tear the loop down for: a task that failed and that nobody waited for."""
    log.error("mdns: %s", context.get("message", "error in the event loop"), exc_info=context.get("exception"))


async def _call_when_cancelled(call: Callable[[], None], nursery: trio.Nursery) -> None:
    try:
        await trio.sleep_forever()
    finally:
        call()


def make(here: Here) -> Mdns:
    try:
        import zeroconf  # noqa: F401
    except ImportError:
        hint = "pip install 'graft-flow[mdns]', or use another `discovery.kind`"
        raise DiscoveryUnfit("discovery by mdns needs zeroconf", hint=hint) from None
    settings = here.settings
    address = here.address or settings.transport.advertise_address
    host, _, port = address.rpartition(":") if address else ("", "", "")
    number = int(port) if port else settings.transport.listen_port
    interfaces = settings.discovery.mdns.interfaces
    own = Announcement(settings.node_id, settings.service_name, number, _addresses(host, interfaces))
    return Mdns(settings.discovery.mdns.service_type, interfaces, own)


def _addresses(host: str, interfaces: tuple[str, ...]) -> tuple[str, ...]:
    """What to announce: the advertised address, else the addresses of the interfaces, else those of all."""
    plain = host.strip("[]")
    if plain and plain not in ("0.0.0.0", "::"):
        try:
            return (str(ipaddress.ip_address(plain)),)
        except ValueError:
            try:
                return tuple(sorted({str(found[4][0]) for found in socket.getaddrinfo(plain, None)}))
            except OSError as error:
                raise DiscoveryError(f"{plain} cannot be looked up, so it cannot be announced: {error}") from error
    if interfaces:
        return interfaces
    own = _own_addresses()
    return tuple(ip for ip in own if not ipaddress.ip_address(ip).is_loopback) or tuple(own)


def _own_addresses() -> list[str]:
    """The IP addresses of all interfaces of this machine."""
    import ifaddr  # zeroconf needs it itself

    found = [each.ip for adapter in ifaddr.get_adapters() for each in adapter.ips]
    return [ip if isinstance(ip, str) else ip[0] for ip in found]
