"""Members that somebody wrote down: `peers = ["10.0.0.1:7400", "graft-1=10.0.0.2:7400"]`."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from graft.config.settings import MEMBER_PORT
from graft.discovery.records import Here, Peer, Report

NAME = "static"


@frozen
class Static:
    peers: tuple[Peer, ...]

    @property
    def about(self) -> str:
        return f"{NAME}: {len(self.peers)} addresses of the configuration"

    async def watch(self, report: Report) -> None:
        report(self.peers)


def make(here: Here) -> Static:
    settings = here.settings
    return Static(parse(settings.discovery.peers, settings.transport.listen_port or MEMBER_PORT))


def parse(peers: Sequence[str], default_port: int) -> tuple[Peer, ...]:
    """`id=host:port`, with or without id and port, as the settings allow them."""
    made = []
    for text in peers:
        member, _, address = text.rpartition("=")
        has_port = address.rpartition("]")[2].count(":") == 1
        made.append(Peer(address if has_port else f"{address}:{default_port}", member, NAME))
    return tuple(made)
