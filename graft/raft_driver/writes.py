"""What Raft ordered to be written, in its order, and the messages that wait until it is.

Bounded by the core: followers are sent a window of entries, a leader takes a number of bytes, and a held message
answers one that was sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from graft.raft import effects as fx
from graft.raft.messages import Message


class Writes:
    """Invariant: tickets ascend, in `_ordered` as in `_held`."""

    def __init__(self) -> None:
        self._ordered: deque[fx.Persist | fx.SwitchToSnapshot] = deque()
        self._held: deque[tuple[int, Message]] = deque()
        self._synced = 0
        self.purge_to = 0

    def order(self, write: fx.Persist | fx.SwitchToSnapshot) -> None:
        self._ordered.append(write)

    @property
    def switch(self) -> fx.SwitchToSnapshot | None:
        """The switch to a snapshot, when it is next."""
        first = self._ordered[0] if self._ordered else None
        return first if isinstance(first, fx.SwitchToSnapshot) else None

    @property
    def is_due(self) -> bool:
        """Whether entries or hard state are to be written next."""
        return bool(self._ordered) and isinstance(self._ordered[0], fx.Persist)

    def take(self) -> fx.Persist:
        """All that may go into one transaction, as one; without a ticket when there is nothing."""
        taken: list[fx.Persist] = []
        while self._ordered and isinstance(first := self._ordered[0], fx.Persist):
            self._ordered.popleft()
            taken.append(first)
        if len(taken) == 1:
            return taken[0]
        return fx.merge(taken) if taken else fx.Persist(0)

    def take_switch(self) -> fx.SwitchToSnapshot:
        switch = self._ordered.popleft()
        assert isinstance(switch, fx.SwitchToSnapshot), switch
        return switch

    # Messages

    def hold(self, message: Message, after: int) -> bool:
        """True if `message` has to wait for its ticket."""
        if after <= self._synced:
            return False
        self._held.append((after, message))
        return True

    def drop_held(self) -> None:
        self._held.clear()

    def synced(self, ticket: int) -> Iterator[Message]:
        """Everything up to `ticket` is: the messages that may leave now."""
        self._synced = max(self._synced, ticket)
        while self._held and self._held[0][0] <= self._synced:
            yield self._held.popleft()[1]
