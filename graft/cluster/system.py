"""This machine's clock and dice."""

from __future__ import annotations

import secrets
import time


class SystemClock:
    def monotonic(self) -> float:
        return time.monotonic()

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> int:
        return time.time_ns() // 1_000_000


class SystemEntropy:
    def u64(self) -> int:
        return secrets.randbits(64)


__all__ = ["SystemClock", "SystemEntropy"]
