"""Whether this process was given the processor, or used it up: a test that waited in vain has to tell which."""

from __future__ import annotations

import time

import trio

BEAT_SECONDS = 0.02
LATE_SECONDS = 0.15  # half of an election timeout


class Pulse:
    """`run` beats; a beat that comes late is a moment at which no member did anything."""

    def __init__(self) -> None:
        self._began, self._used = time.monotonic(), time.process_time()
        self._late: list[float] = []

    async def run(self) -> None:
        last = time.monotonic()
        while True:
            await trio.sleep(BEAT_SECONDS)
            now = time.monotonic()
            if now - last > LATE_SECONDS:
                self._late.append(now - last)
            last = now

    def __str__(self) -> str:
        used, passed = time.process_time() - self._used, time.monotonic() - self._began
        longest = max(self._late, default=0.0)
        return (
            f"{used:.1f} s of processor in {passed:.1f} s; stood still {len(self._late)} times,"
            f" for {sum(self._late):.1f} s together, {longest:.1f} s at most"
        )
