"""The wall time that a leader gives the engine: it passes evenly, whatever is done to the system clock.

Sleeps wait for this time, so a clock that is set back or ahead makes none of them longer or shorter. It begins where
the state left it, plus the time that has passed without a leader as far as the system clock can tell. Times that
people are shown are this one plus the offset in the state, which follows the system clock (`SetClockOffset`).

CLOCK_BOOTTIME carries it: unlike CLOCK_MONOTONIC it counts the time for which the machine was suspended.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from graft.interfaces import Clock

log = logging.getLogger("graft.cluster")

STEP_MS: Final = 1000
"""From here on a difference is a clock that was set: what NTP slews, CLOCK_BOOTTIME follows."""


class WallTime:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.begin(0, 0)

    def begin(self, wall: int, offset: int) -> None:
        """Go on from what the state says: `wall` and the clock's `offset` from it, both in ms."""
        self._offset = offset
        self._began = self._clock.boottime()
        self._origin = max(wall, self._clock.wall() - offset)

    def now(self) -> int:
        return self._origin + int((self._clock.boottime() - self._began) * 1000)

    def new_offset(self) -> int | None:
        """The system clock's offset, if the clock was set since the state was told one. Gives each only once."""
        offset = self._clock.wall() - self.now()
        step = offset - self._offset
        if abs(step) < STEP_MS:
            return None
        self._offset = offset
        log.warning(
            "the system clock is %s %s the time that runs have gone by so far: from now on times are shown by it; "
            "sleeps still end when their time has passed",
            timedelta(seconds=round(abs(step) / 1000)),
            "behind" if step < 0 else "ahead of",
        )
        return offset
