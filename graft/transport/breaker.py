"""A circuit breaker with its backoff: when to try again somebody who does not answer, and whether to bother him.

::

    closed --(failures in a row)--> open --(backoff over: one probe)--> half_open --(it worked)--> closed
                                      ^-----------------(it failed)---------------------'

Pure: time and dice are arguments. The wait doubles with each failure up to a bound; half of it is jitter, so that
members that lost a peer at the same moment do not come back at the same moment.
"""

from __future__ import annotations

from typing import Literal

from attrs import define

State = Literal["closed", "open", "half_open"]

# (state, event) -> state; an absent key changes nothing.
TRANSITIONS: dict[tuple[State, str], State] = {
    ("closed", "tripped"): "open",
    ("open", "probed"): "half_open",
    ("half_open", "succeeded"): "closed",
    ("half_open", "failed"): "open",
    ("open", "succeeded"): "closed",
}


@define
class Breaker:
    """`failures_to_open` attempts in a row have to fail. Waits are in seconds."""

    failures_to_open: int
    backoff_seconds: float
    max_backoff_seconds: float
    state: State = "closed"
    failures: int = 0
    retry_at: float = 0.0  # monotonic; not before, while open

    def succeeded(self) -> None:
        self.failures, self.retry_at = 0, 0.0
        self._on("succeeded")

    def failed(self, now: float, die: int) -> float:
        """One attempt failed at `now`; `die` is 64 random bits. Returns the seconds to wait before the next."""
        self.failures += 1
        full = min(self.backoff_seconds * 2.0 ** min(self.failures - 1, 30), self.max_backoff_seconds)
        wait = full / 2 + full / 2 * (die / 2**64)
        self.retry_at = now + wait
        self._on("failed")
        if self.failures >= self.failures_to_open:
            self._on("tripped")
        return wait

    def allows(self, now: float) -> bool:
        """True if an attempt may be made now; while open the first one after the wait is the probe."""
        if self.state == "open" and now >= self.retry_at:
            self._on("probed")
            return True
        return self.state == "closed"

    def _on(self, event: str) -> None:
        self.state = TRANSITIONS.get((self.state, event), self.state)
