"""A member of a cluster in this process, made of settings: what `graft serve` is, and what a program may embed.

::

    async with Factory(graft.config.load(["member.toml"]).settings).open() as cluster:
        run_id = await cluster.runs.start_run(plan, {"n": 3}, base=Path("flows"))
        await cluster.operators.drain("b")

The thread that runs it sends heartbeats. A program that keeps it busy for a third of a second leads no more, and one
that does so for seconds loses its steps to others: such work belongs into steps, which run in processes of their own.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager

import trio

from graft.cluster.member import ClusterRuns
from graft.cluster.operators import ClusterOperators
from graft.cluster.serving import Serving, offer_of, open_serving
from graft.config import Settings
from graft.discovery import open_discovery
from graft.discovery.discovery import Discovery
from graft.discovery.kinds import make_source
from graft.discovery.records import Here
from graft.security.audit import Audit, log_refusal

log = logging.getLogger("graft.cluster")


class Cluster:
    """A cluster, as seen by the member that this process is. `runs` starts, watches and reads runs, `operators` looks
    after members; whatever the leader has to do is brought to it."""

    def __init__(self, serving: Serving) -> None:
        assert serving.member is not None
        assert serving.operators is not None
        self._serving, self._member = serving, serving.member
        self.runs: ClusterRuns = serving.member.runs
        self.operators: ClusterOperators = serving.operators

    @property
    def id(self) -> str:
        return self._serving.identity.cluster

    @property
    def member(self) -> str:
        """The name of this member."""
        return self._member.id

    @property
    def address(self) -> str:
        """Where others reach this member."""
        return self._serving.address

    @property
    def leader(self) -> str | None:
        """Who leads, as far as this member knows."""
        return self._member.host.door.leader

    @property
    def running(self) -> int:
        """How many steps run here."""
        return self._member.host.running

    async def offer(self, settings: Settings) -> None:
        """Offer the cluster what `settings.resources` says, from now on. Raises Rejected, NoQuorum."""
        await self._member.offer(offer_of(settings, self.address))

    async def stop(self) -> None:
        """Take nothing new, let another one lead, wait for the steps that run as long as `engine.drain_timeout` says,
        and hand the rest back. Afterwards the block of `Factory.open` is left."""
        await self._serving.stop()


class Factory:
    """Makes a member of `settings`, one at a time. `tell` gets a line for an operator now and then, `audit` a record of
    each refusal."""

    def __init__(
        self,
        settings: Settings,
        *,
        tell: Callable[[str], None] = log.info,
        audit: Audit = log_refusal,
    ) -> None:
        self._settings, self._tell, self._audit = settings, tell, audit
        self._address = ""  # where others reach the member, once it listens
        self._discovery: Discovery | None = None
        self.cluster: Cluster | None = None  # while it takes part in one

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Cluster]:
        """A member that takes part in its cluster, until the block is left; entering waits until there is a cluster.

        Raises storage errors, UsageError for settings that cannot be, OSError for an address in use; in groups.
        """
        async with trio.open_nursery() as nursery:

            def reached(address: str) -> None:
                """Not before it listens: the system may have chosen the port that is announced."""
                self._address = address
                nursery.start_soon(self._discover)

            async with open_serving(
                self._settings, peers=self._peers, tell=self._tell, audit=self._audit, reached=reached
            ) as serving:
                self.cluster = Cluster(serving)
                try:
                    yield self.cluster
                finally:
                    self.cluster = None
            nursery.cancel_scope.cancel()

    async def _discover(self) -> None:
        async with open_discovery(self._settings, address=self._address) as self._discovery:
            await trio.sleep_forever()

    def _peers(self) -> Iterable[str]:
        return [peer.address for peer in self._discovery.peers] if self._discovery else []

    async def use(self, settings: Settings, changed: Collection[str]) -> None:
        """Go on with `settings`, in which the keys `changed` are different: what may change while a member runs."""
        self._settings = settings
        if self._discovery is not None and any(key.startswith("discovery.") for key in changed):
            self._discovery.use(make_source(Here(settings, self._address)))
        if self.cluster is not None and any(key.startswith("resources.") for key in changed):
            await self.cluster.offer(settings)
