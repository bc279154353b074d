"""How late this member's own loop is. What a member knows of the others is as old as that.

A loop that gets no processor time reads no heartbeat, and its clock goes on. The heartbeats that came meanwhile stand
in its sockets, and the election timeout has passed when it runs again: it would depose a leader that is well. So a task
sleeps for `interval` again and again, and whoever looks at the core asks here first by how much the loop is behind.

Only a share of the election timeout counts: less is what any busy machine does, and a member that waited for longer
than a whole timeout has heard enough in the rest of it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from graft.interfaces import Clock

SHARE: Final = 0.25  # of the election timeout
KEPT_SECONDS: Final = 60.0  # `worst` speaks of so long


class Lateness:
    """`limit`: seconds from which on the loop counts as starved."""

    def __init__(self, clock: Clock, election_timeout_seconds: float) -> None:
        self.limit = election_timeout_seconds * SHARE
        self.interval = self.limit / 2
        self._clock = clock
        self._due: float | None = None  # when the loop should have beaten; None: it does not run yet
        self._late: deque[tuple[float, float]] = deque()  # (when it was seen, by how much), the newest last

    def beat(self) -> None:
        """The loop runs now; it is to beat again after `interval`."""
        self._due = self._clock.monotonic() + self.interval

    def _behind(self) -> float:
        return 0.0 if self._due is None else self._clock.monotonic() - self._due

    @property
    def is_starved(self) -> bool:
        return self._behind() >= self.limit

    def take(self) -> float:
        """By how many seconds the loop is late, if that is at least `limit`, else 0. Each delay is told once."""
        late = self._behind()
        if late < self.limit:
            return 0.0
        self.beat()
        self._late.append((self._clock.monotonic(), late))
        self._forget()
        return late

    def worst(self) -> float:
        """The longest delay of the last `KEPT_SECONDS`, in seconds; 0 if the loop was never starved then."""
        self._forget()
        return max((late for _, late in self._late), default=0.0)

    def _forget(self) -> None:
        since = self._clock.monotonic() - KEPT_SECONDS
        while self._late and self._late[0][0] < since:
            self._late.popleft()
