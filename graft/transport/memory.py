"""A network in one process: members that reach each other by calling, over links that can be cut, held and delayed.

A link that is in order delivers at once, without a task of its own: `receive` does not wait. A link
with a delay keeps its messages in order in a bounded queue; `run` delivers them when they are due.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable

import trio
from attrs import Factory, define

from graft.raft.messages import Message
from graft.transport.letters import Letter

MAX_QUEUED = 1024  # messages on one link; the oldest is dropped for a newer one

Receive = Callable[[Message | Letter], None]  # or of several at once: see `PeerHub`


@define
class _Link:
    """From one member to another. `queued` are (due, message), in order; `dropped` counts what the bound cost."""

    is_cut: bool = False
    delay_seconds: float = 0.0
    queued: deque[tuple[float, Message | Letter]] = Factory(lambda: deque(maxlen=MAX_QUEUED))
    dropped: int = 0


class MemoryNetwork:
    """`join` gives a member its transport. `run` is needed where links have delays."""

    def __init__(self) -> None:
        self._members: dict[str, Receive] = {}
        self._links: defaultdict[tuple[str, str], _Link] = defaultdict(_Link)
        self._changed = trio.Event()

    def join(self, member: str, receive: Receive) -> None:
        """From now on `receive` gets what is sent to `member`; it must not block. A later call takes its place."""
        self._members[member] = receive

    def leave(self, member: str) -> None:
        """What is sent to `member` from now on is lost."""
        self._members.pop(member, None)

    def transport(self, member: str) -> MemoryTransport:
        """What `member` sends with."""
        return MemoryTransport(self, member)

    # Links

    def cut(self, source: str, target: str) -> None:
        """What `source` sends to `target` is lost, what is on its way included."""
        link = self._links[source, target]
        link.is_cut = True
        link.queued.clear()

    def isolate(self, member: str) -> None:
        for other in set(self._members) - {member}:
            self.cut(member, other)
            self.cut(other, member)

    def delay(self, source: str, target: str, seconds: float) -> None:
        """Messages take `seconds` from now on; `math.inf` holds them until there is another delay."""
        link = self._links[source, target]
        link.delay_seconds = seconds
        now = trio.current_time()
        link.queued = deque(((min(due, now + seconds), message) for due, message in link.queued), MAX_QUEUED)
        self._deliver(link, now)
        self._changed.set()

    def hold(self, member: str) -> None:
        """Nothing reaches `member` or leaves it, and nothing is lost, until `heal`."""
        for other in set(self._members) - {member}:
            self.delay(member, other, math.inf)
            self.delay(other, member, math.inf)

    def heal(self) -> None:
        """All links are in order; what was held arrives now."""
        for (source, target), link in list(self._links.items()):
            link.is_cut = False
            self.delay(source, target, 0.0)

    # Messages

    def send(self, source: str, message: Message | Letter) -> None:
        link = self._links[source, message.target]
        if link.is_cut:
            return
        if not link.delay_seconds and not link.queued:
            self._hand(message)
            return
        link.dropped += len(link.queued) == MAX_QUEUED
        link.queued.append((trio.current_time() + link.delay_seconds, message))
        self._changed.set()

    def _hand(self, message: Message | Letter) -> None:
        receive = self._members.get(message.target)
        if receive is not None:
            receive(message)

    def _deliver(self, link: _Link, now: float) -> None:
        while link.queued and link.queued[0][0] <= now:
            self._hand(link.queued.popleft()[1])

    async def run(self) -> None:
        """Deliver delayed messages, until cancelled."""
        while True:
            self._changed = trio.Event()
            now = trio.current_time()
            for link in list(self._links.values()):
                self._deliver(link, now)
            due = min((link.queued[0][0] for link in self._links.values() if link.queued), default=math.inf)
            with trio.move_on_at(due):
                await self._changed.wait()


class MemoryTransport:
    """Satisfies `graft.interfaces.Transport`."""

    def __init__(self, network: MemoryNetwork, member: str) -> None:
        self._network, self._member = network, member

    def send(self, *messages: Message | Letter) -> None:
        for message in messages:
            self._network.send(self._member, message)
