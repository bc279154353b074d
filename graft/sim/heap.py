"""Virtual time: one heap of events, each run to its end before the next.

Events at the same microsecond run in the order in which they were scheduled, so the order of a run depends on nothing
but its plan. There is no cancelling: whoever schedules something that may become moot checks that when it comes.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

Call = Callable[..., None]


class Heap:
    """`now_us`: microseconds since the run began. Invariant: never goes back."""

    __slots__ = ("_events", "_serial", "now_us")

    def __init__(self) -> None:
        self.now_us = 0
        self._serial = 0
        self._events: list[tuple[int, int, Call, tuple[Any, ...]]] = []

    def __len__(self) -> int:
        return len(self._events)

    def after(self, delay_us: int, call: Call, *arguments: Any) -> None:
        """`delay_us` >= 0."""
        self._serial += 1
        heappush(self._events, (self.now_us + delay_us, self._serial, call, arguments))

    def at(self, time_us: int, call: Call, *arguments: Any) -> None:
        """A time that is past means now, after all that is already scheduled for now."""
        self._serial += 1
        heappush(self._events, (max(time_us, self.now_us), self._serial, call, arguments))

    def step(self) -> bool:
        """Run the next event; False when there is none."""
        if not self._events:
            return False
        self.now_us, _, call, arguments = heappop(self._events)
        call(*arguments)
        return True

    def run_until(self, time_us: int) -> None:
        """Run all events up to and including `time_us`, which is then the time."""
        events = self._events
        while events and events[0][0] <= time_us:
            self.now_us, _, call, arguments = heappop(events)
            call(*arguments)
        self.now_us = max(self.now_us, time_us)
