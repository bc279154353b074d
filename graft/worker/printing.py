"""`print()` of Python steps goes to the step's log.

`sys.stdout` and `sys.stderr` are one object for all tasks and threads, so they are replaced by a proxy that looks up,
in the context (which Trio copies into tasks and threads), whose code is writing. Code outside of steps, and threads
that a step starts by itself, write where they always did.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from graft.worker.attempt import Attempt

_running: ContextVar[Attempt | None] = ContextVar("graft_attempt", default=None)


class Printing:
    """Puts the proxies in place at the first Python step, and takes them away at the end."""

    def __init__(self, enabled: bool = True) -> None:
        self._enabled = enabled
        self._proxies: tuple[_Proxy, _Proxy] | None = None

    def attach(self, attempt: Attempt) -> None:
        """From now on what this task prints goes to the log of `attempt`."""
        if self._enabled:
            if self._proxies is None:
                self._install()
            _running.set(attempt)

    def detach(self) -> None:
        """The step's code has ended: what this task does next (it settles) is not the step's."""
        if self._proxies is not None:
            _running.set(None)

    def _install(self) -> None:
        self._proxies = (_Proxy(sys.stdout, "out"), _Proxy(sys.stderr, "err"))
        sys.stdout, sys.stderr = self._proxies

    def close(self) -> None:
        if self._proxies is not None:
            out, err = self._proxies
            if sys.stdout is out:
                sys.stdout = out.real
            if sys.stderr is err:
                sys.stderr = err.real
            self._proxies = None


class _Proxy(io.TextIOBase):
    """A text stream that writes to the log of the step that runs, else to `real`."""

    def __init__(self, real: TextIO, stream: str) -> None:
        self.real = real
        self._stream = stream

    def write(self, text: str) -> int:
        attempt = _running.get()
        if attempt is None:
            return self.real.write(text)
        attempt.log.write(self._stream, text.encode("utf-8", "replace"))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self.real.flush()

    def isatty(self) -> bool:
        return _running.get() is None and self.real.isatty()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.real.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.real.encoding

    @property
    def buffer(self) -> Any:
        return self.real.buffer
