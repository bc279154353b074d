"""The one object that the cluster asks for its peers, whatever finds them.

::

    async with open_discovery(settings, address="10.0.0.1:7400") as discovery:   # start
        discovery.peers                                                          # known by now
        async for change in discovery.subscribe():                               # all of them, then what changes
            ...
                                                                                 # stop: no task is left
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager

import trio

from graft.config import Settings
from graft.discovery.kinds import make_source
from graft.discovery.records import Here, Peer, PeerChange, Source
from graft.errors import DiscoveryError

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
CALM_SECONDS = 60.0  # a source that worked for so long starts with the first pause again

log = logging.getLogger("graft.discovery")


class Discovery:
    """Made by `open_discovery`. `peers` never blocks; every subscriber sees every peer, and only the newest of each."""

    def __init__(self, source: Source) -> None:
        self.about = source.about
        self.peers: frozenset[Peer] = frozenset()
        self.problem: str | None = None  # why the last look failed, if it did
        self._source = source
        self._replaced = trio.Event()
        self._stopped = False
        self._news = trio.Event()
        self._looked = trio.Event()

    async def first_look(self) -> frozenset[Peer]:
        """The peers, once somebody has been looked for, with success or not."""
        await self._looked.wait()
        return self.peers

    def subscribe(self) -> AsyncIterator[PeerChange]:
        """Everything known by now as the first change if there is something, then what changes. Ends with the block.

        A subscriber that is slow gets one change in place of several.
        """
        return _Changes(self)

    def use(self, source: Source) -> None:
        """Look by `source` from now on, because the settings changed. What was seen stays until its first report."""
        self._source, self.about = source, source.about
        self._replaced.set()
        log.info("looking for members by %s", source.about)

    def _report(self, peers: Iterable[Peer]) -> None:
        found = frozenset(peers)
        self.problem = None
        self._looked.set()
        if found != self.peers:
            log.info("%s: %d peers (%s)", self.about, len(found), ", ".join(sorted(peer.address for peer in found)))
            self.peers = found
            self._wake()

    def _failed(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("%s: %s; what was seen before stays", self.about, problem)
        self.problem = problem
        self._looked.set()

    def _stop(self) -> None:
        self._stopped = True
        self._looked.set()
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()


class _Changes:
    """One subscriber: remembers what it has told. Holds nothing that would have to be closed."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery
        self._told: frozenset[Peer] = frozenset()

    def __aiter__(self) -> _Changes:
        return self

    async def __anext__(self) -> PeerChange:
        discovery = self._discovery
        await trio.lowlevel.checkpoint()
        while discovery.peers == self._told:
            if discovery._stopped:
                raise StopAsyncIteration
            await discovery._news.wait()
        told, self._told = self._told, discovery.peers
        return PeerChange(discovery.peers - told, told - discovery.peers, discovery.peers)


@asynccontextmanager
async def open_discovery(
    settings: Settings,
    *,
    address: str = "",
    environ: Mapping[str, str] | None = None,
    source: Source | None = None,
    jitter: Callable[[], float] = random.random,
) -> AsyncIterator[Discovery]:
    """Look for members as `settings.discovery` says, until the block is left.

    `address`: `host:port` at which others reach this member; mDNS announces it. `environ`: by default the process's.
    `source` replaces what the settings choose. `jitter` gives numbers from 0 to 1, for the pauses after failures.
    Raises DiscoveryUnfit when the kind cannot work at all: unknown, its extra is missing, it is not told what to ask.
    """
    if source is None:
        source = make_source(Here(settings, address, dict(os.environ) if environ is None else environ))
    discovery = Discovery(source)
    log.info("looking for members by %s", source.about)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_run, discovery, jitter)
        try:
            yield discovery
        finally:
            discovery._stop()
            nursery.cancel_scope.cancel()


async def _run(discovery: Discovery, jitter: Callable[[], float]) -> None:
    while True:
        discovery._replaced = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep_watching, discovery._source, discovery, jitter)
            await discovery._replaced.wait()
            nursery.cancel_scope.cancel()


async def _keep_watching(source: Source, discovery: Discovery, jitter: Callable[[], float]) -> None:
    pause = FIRST_PAUSE_SECONDS
    while True:
        began = trio.current_time()
        try:
            await source.watch(discovery._report)
        except DiscoveryError as error:
            discovery._failed(str(error))
        else:
            return
        if trio.current_time() - began > CALM_SECONDS:
            pause = FIRST_PAUSE_SECONDS
        await trio.sleep(pause * (0.5 + jitter() / 2))
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
