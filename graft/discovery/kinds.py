"""The kinds of discovery by name, each imported when it is chosen; plugins; and what `auto` chooses."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib import import_module, metadata
from importlib.util import find_spec

from attrs import evolve

from graft.config import Settings, is_loopback
from graft.discovery.records import Here, Source, SourceFactory
from graft.errors import DiscoveryUnfit

GROUP = "graft.discovery"
KINDS: dict[str, str] = {
    "static": "graft.discovery.static",
    "dns": "graft.discovery.dns",
    "mdns": "graft.discovery.mdns",
    "kubernetes": "graft.discovery.kubernetes",
}
"""Modules with `make(here) -> Source`."""

log = logging.getLogger("graft.discovery")


def make_source(here: Here) -> Source:
    """The source that the settings name. Raises DiscoveryUnfit when there is none, or it cannot work."""
    kind = here.settings.discovery.kind
    if kind == "auto":
        kind, reason = choose(here.settings, here.environ, has_zeroconf=find_spec("zeroconf") is not None)
        log.info("discovery is %s: %s", kind, reason)
        discovery = evolve(here.settings.discovery, kind=kind)
        here = evolve(here, settings=evolve(here.settings, discovery=discovery))
    if kind in KINDS:
        source: Source = import_module(KINDS[kind]).make(here)
        return source
    return _plugin(kind)(here)


def choose(settings: Settings, environ: Mapping[str, str], *, has_zeroconf: bool) -> tuple[str, str]:
    """The kind for `auto`, and why. What somebody wrote down goes before what the surroundings offer."""
    discovery = settings.discovery
    if discovery.peers:
        return "static", "`discovery.peers` names members"
    if discovery.dns.name:
        return "dns", "`discovery.dns.name` is set"
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes", "this is a pod: KUBERNETES_SERVICE_HOST is set"
    if is_loopback(settings.transport.listen_host):
        return "static", "the member listens on loopback only, and `discovery.peers` is empty"
    if has_zeroconf:
        return "mdns", "nothing else is configured, and zeroconf is installed"
    return "static", "nothing is configured, and zeroconf (the extra `mdns`) is not installed"


def check_kind(kind: str) -> None:
    """Raises DiscoveryUnfit when there is no such kind here. Loads none."""
    known = {"auto", *KINDS, *_plugins()}
    if kind not in known:
        hint = f"there are: {', '.join(sorted(known))}; others come from packages with an entry point in `{GROUP}`"
        raise DiscoveryUnfit(f"there is no discovery `{kind}`", hint=hint)


def _plugins() -> dict[str, metadata.EntryPoint]:
    return {entry.name: entry for entry in metadata.entry_points(group=GROUP)}


def _plugin(kind: str) -> SourceFactory:
    check_kind(kind)
    found = _plugins()
    try:
        factory: SourceFactory = found[kind].load()
    except Exception as error:
        raise DiscoveryUnfit(f"the discovery `{kind}` ({found[kind].value}) cannot be loaded: {error!r}") from error
    return factory
