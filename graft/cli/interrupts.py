"""Ctrl-C, once and twice, at every moment of a command that runs steps.

==========================  ================================  ==========================================
moment                      first SIGINT or SIGTERM           second
==========================  ================================  ==========================================
before the event loop runs  `KeyboardInterrupt`: nothing has  leaves the process at once (code that was
(compiling, importing)      started, exit code 130            imported may have swallowed the first)
while it runs               `on_first()`: cancel gracefully   `on_second()`: stop now, exit code 130; the
                                                              process leaves after a second if it cannot
==========================  ================================  ==========================================

A handler of our own instead of `trio.open_signal_receiver`: that one needs a running loop, merges signals that arrive
together, and cannot help when the user's code blocks the thread that would read it. It must be there before
`trio.run`, which leaves SIGINT alone if it finds it handled.

A signal within `BOUNCE_SECONDS` after another is the same wish: `timeout`, `uv run` and others forward a signal that
the terminal or their own group has already delivered.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

from graft.cli import exits
from graft.cli.terminal import plain_text

SIGNALS = (signal.SIGINT, signal.SIGTERM)
BOUNCE_SECONDS = 0.03
STOP_SECONDS = 1.0

SHOW_CURSOR = b"\x1b[?25h"


class Interrupts:
    """Use as a context manager around the whole command; `listen` once the loop runs."""

    def __init__(self, leave: Callable[[int], Any] = os._exit, now: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self.last_words = ""  # printed when the process leaves by itself; the view that holds the terminal sets it
        self._leave = leave
        self._now = now
        self._last = -BOUNCE_SECONDS
        self._on_first: Callable[[], None] | None = None
        self._on_second: Callable[[], None] | None = None
        self._before: dict[int, Any] = {}
        self._terminal = 2

    def __enter__(self) -> Interrupts:
        with suppress(OSError):
            self._terminal = os.dup(2)  # steps may have a pipe there
        for number in (*SIGNALS, signal.SIGALRM):
            self._before[number] = signal.signal(number, self.handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
        if self._terminal != 2:
            os.close(self._terminal)
            self._terminal = 2

    def listen(self, on_first: Callable[[], None], on_second: Callable[[], None]) -> None:
        """From now on call these instead of raising. They run inside a signal handler: schedule, do not work."""
        self._on_first, self._on_second = on_first, on_second

    def handle(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGALRM:
            self.leave_now()
            return
        if self._now() - self._last < BOUNCE_SECONDS:
            return
        self._last = self._now()
        self.count += 1
        if self.count == 1:
            if self._on_first is None:
                raise KeyboardInterrupt
            self._on_first()
        elif self.count == 2 and self._on_second is not None:
            signal.setitimer(signal.ITIMER_REAL, STOP_SECONDS)
            self._on_second()
        else:
            self.leave_now()

    def leave_now(self) -> None:
        """End the process without any cleanup; a later `graft resume` sees what a crash would have left."""
        with suppress(OSError):  # a descriptor, not `sys.stderr`: a step may stand in for that while it runs
            cursor = SHOW_CURSOR if os.isatty(self._terminal) else b""
            os.write(self._terminal, cursor + plain_text(self.last_words).encode(errors="replace"))
        self._leave(exits.INTERRUPTED)
