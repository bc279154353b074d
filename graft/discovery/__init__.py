"""How members find each other: `static`, `dns`, `mdns`, `kubernetes`, `auto`, and plugins."""

from __future__ import annotations

from graft.discovery.discovery import Discovery, open_discovery
from graft.discovery.kinds import GROUP, choose, make_source
from graft.discovery.records import Here, Peer, PeerChange, Report, Source, SourceFactory

__all__ = [
    "GROUP",
    "Discovery",
    "Here",
    "Peer",
    "PeerChange",
    "Report",
    "Source",
    "SourceFactory",
    "choose",
    "make_source",
    "open_discovery",
]
