"""A clock per member: it starts anywhere, runs a little fast or slow, and may jump.

Members see seconds as a float, which is exact here: a whole number of microseconds below 2**53, divided once. The
heap knows only true time; `true_delay_us` turns a deadline on the member's clock into a delay for the heap.
"""

from __future__ import annotations

_MILLION = 1_000_000


class MemberClock:
    """`drift_ppm`: microseconds too many in a true second, negative when slow.

    Invariant: `reading(now)` = `_base_local_us` + (now - `_base_true_us`) · (1 + drift / 10**6), rounded down.
    """

    __slots__ = ("_base_local_us", "_base_true_us", "_rate")

    def __init__(self, offset_us: int = 0, drift_ppm: int = 0) -> None:
        self._base_true_us = 0
        self._base_local_us = offset_us
        self._rate = _MILLION + drift_ppm

    @property
    def drift_ppm(self) -> int:
        return self._rate - _MILLION

    def local_us(self, true_us: int) -> int:
        return self._base_local_us + (true_us - self._base_true_us) * self._rate // _MILLION

    def seconds(self, true_us: int) -> float:
        return (self._base_local_us + (true_us - self._base_true_us) * self._rate // _MILLION) / _MILLION

    def true_delay_us(self, true_us: int, deadline_seconds: float) -> int:
        """How long to wait, from `true_us` on, until the clock shows at least the deadline."""
        missing_us = int(deadline_seconds * _MILLION // 1) + 1 - self.local_us(true_us)  # `int` rounds up below zero
        return max(0, -(-missing_us * _MILLION // self._rate))

    def jump(self, true_us: int, by_us: int) -> None:
        """Step the clock, forwards or back."""
        self._rebase(true_us)
        self._base_local_us += by_us

    def set_drift(self, true_us: int, drift_ppm: int) -> None:
        self._rebase(true_us)
        self._rate = _MILLION + drift_ppm

    def _rebase(self, true_us: int) -> None:
        self._base_local_us = self.local_us(true_us)
        self._base_true_us = true_us
