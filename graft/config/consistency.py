"""What only several settings together can get wrong.

`contradictions` hold for every configuration; `load` refuses them. `unfit_for_serving` is what a configuration must
have beyond that before a member listens to others: `graft config check` tells it, `graft serve` refuses.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from graft.config.converting import Mistake
from graft.config.settings import Settings
from graft.plan.records import TASK_KINDS


def contradictions(settings: Settings) -> list[Mistake]:
    return [
        *_of_timeouts(settings),
        *_of_certificates(settings),
        *_of_founding(settings),
        *_of_slots(settings),
    ]


def unfit_for_serving(settings: Settings) -> list[Mistake]:
    """What is missing for `graft serve`."""
    return [*_of_encryption(settings), *_of_finding(settings)]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a listener on `host`. A name that is not `localhost` counts as no."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


def _of_timeouts(settings: Settings) -> Iterator[Mistake]:
    engine, transport, storage = settings.engine, settings.transport, settings.storage
    if engine.heartbeat * 3 > engine.election_timeout * (1 + 1e-9):
        wanted = f"expected at most a third of `engine.election_timeout` ({engine.election_timeout:g}s)"
        yield Mistake(("engine", "heartbeat"), f"{wanted}, got {engine.heartbeat:g}s")
    if engine.lease < 2 * engine.election_timeout:
        wanted = f"expected at least twice `engine.election_timeout` ({engine.election_timeout:g}s)"
        yield Mistake(("engine", "lease"), f"{wanted}, or every election would end it; got {engine.lease:g}s")
    if transport.reconnect_max < transport.reconnect_min:
        wanted = f"expected at least `transport.reconnect_min` ({transport.reconnect_min:g}s)"
        yield Mistake(("transport", "reconnect_max"), f"{wanted}, got {transport.reconnect_max:g}s")
    if storage.map_size < 2 * storage.quota:
        wanted = f"expected at least twice `storage.quota` ({storage.quota} bytes)"
        yield Mistake(("storage", "map_size"), f"{wanted}, got {storage.map_size}")
    if storage.snapshot_chunk * 2 > transport.max_message_size:
        wanted = f"expected at most half of `transport.max_message_size` ({transport.max_message_size} bytes)"
        yield Mistake(("storage", "snapshot_chunk"), f"{wanted}, got {storage.snapshot_chunk}")
    if engine.max_result_size * 4 > transport.max_message_size:
        wanted = f"expected at most a quarter of `transport.max_message_size` ({transport.max_message_size} bytes)"
        yield Mistake(("engine", "max_result_size"), f"{wanted}, got {engine.max_result_size}")


def _of_certificates(settings: Settings) -> Iterator[Mistake]:
    security = settings.security
    if security.tls_max_version < security.tls_min_version:
        wanted = f"expected at least `security.tls_min_version` ({security.tls_min_version})"
        yield Mistake(("security", "tls_max_version"), f"{wanted}, got {security.tls_max_version}")
    files = {name: getattr(security, name) for name in ("ca_file", "cert_file", "key_file")}
    for name in (name for name, file in files.items() if not file and any(files.values())):
        given = ", ".join(f"`security.{other}`" for other, file in files.items() if file)
        yield Mistake(("security", name), f"expected a file, because there is {given}; got nothing")
    if security.plaintext and any(files.values()):
        yield Mistake(("security", "plaintext"), "expected either certificates or `plaintext`, got both")
    if security.force_plaintext and not security.plaintext:
        yield Mistake(("security", "force_plaintext"), "expected `security.plaintext` beside it")


def _of_founding(settings: Settings) -> Iterator[Mistake]:
    discovery = settings.discovery
    if discovery.founders and discovery.expect:
        yield Mistake(("discovery", "expect"), "expected either `discovery.founders` or `discovery.expect`, got both")
    founders = discovery.initial_set()
    twice = {name for name in founders if founders.count(name) > 1}
    if twice:
        yield Mistake(("discovery", "founders"), f"expected different ids, got {', '.join(sorted(twice))} twice")
    if settings.node_id in founders and "voter" not in settings.resources.roles:
        yield Mistake(("resources", "roles"), "expected `voter` among them: this member is one of the founders")


def _of_slots(settings: Settings) -> Iterator[Mistake]:
    """Another member may know more kinds; this one would wait for ever for steps of a kind that there is not."""
    for kind in sorted(settings.resources.slots.keys() - TASK_KINDS):
        known = ", ".join(f"`{each}`" for each in sorted(TASK_KINDS))
        yield Mistake(("resources", "slots", kind), f"expected a kind of node that has attempts ({known})")


def _of_encryption(settings: Settings) -> Iterator[Mistake]:
    security, transport = settings.security, settings.transport
    if not security.plaintext:
        if not security.cert_file:
            advice = "or `security.plaintext = true` to try it out on one machine"
            yield Mistake(("security", "cert_file"), f"expected certificates (`graft certs dev` makes some), {advice}")
        return
    listeners = [("listen_host", transport.listen_host)]
    listeners += [
        ("client_listen", each.rpartition(":")[0]) for each in transport.client_listen if not each.startswith("unix:")
    ]
    for name, host in listeners:
        if not is_loopback(host) and not security.force_plaintext:
            message = f"expected a loopback address, because of `security.plaintext`, got {host}"
            yield Mistake(("transport", name), message, "`security.force_plaintext` allows it")


def _of_finding(settings: Settings) -> Iterator[Mistake]:
    discovery, transport = settings.discovery, settings.transport
    if discovery.kind == "dns" and not discovery.dns.name:
        yield Mistake(("discovery", "dns", "name"), "expected a name to look up, got nothing")
    if transport.listen_host in ("0.0.0.0", "::", "[::]") and not transport.advertise_address:
        message = "expected an address that others can reach, because the member listens on all interfaces"
        yield Mistake(("transport", "advertise_address"), message)
