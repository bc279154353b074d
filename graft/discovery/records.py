"""What a discovery knows, and what a kind of discovery has to do.

A kind is a `Source`: something that looks for members and reports whom it sees, all of them each time. `Discovery`
does the rest, so a kind has no state of its own to guard and no subscribers.

A report is a hint. It may name the member that asked, members of other clusters and members that are gone; who an
address belongs to is what that member says of itself when it is dialled (see `graft.cluster`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from attrs import Factory, frozen

from graft.config import Settings
from graft.interfaces import Peer as Peer
from graft.interfaces import PeerChange as PeerChange

Report = Callable[[Iterable[Peer]], None]
"""Takes all peers that a source sees now. Never blocks."""


class Source(Protocol):
    """One kind of discovery. What a plugin of the entry point group `graft.discovery` makes."""

    @property
    def about(self) -> str:
        """How it looks for members, for a person: `dns: graft.example.org`."""
        ...

    async def watch(self, report: Report) -> None:
        """Look until cancelled, and `report` whenever there is news. May return when there will be no more.

        A failure that may pass (no answer) is raised as DiscoveryError: it is logged, what was seen stays, and
        `watch` is called again after a pause. Any other exception is a bug and ends the discovery.
        """
        ...


@frozen
class Here:
    """The member that looks. `address`: `host:port` at which others reach it; empty if it does not say."""

    settings: Settings
    address: str = ""
    environ: Mapping[str, str] = Factory(lambda: dict(os.environ))


SourceFactory = Callable[[Here], Source]
"""What an entry point of the group `graft.discovery` names. Raises DiscoveryUnfit when it cannot work at all."""


def join(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
