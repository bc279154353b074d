"""What Python steps print goes to their logs, and what they read from standard input is empty.

`sys.stdout` and `sys.stderr` are one object for all tasks and threads, so they are replaced by a proxy that looks up,
in the context (which Trio copies into tasks and threads), whose code is writing. Code outside of steps, and threads
that a step starts by itself, write where they always did.

What does not go through them arrives at descriptor 1 or 2 (see `descriptors`), which does not say who wrote. It goes
to the step that began last of those that run. Programs that a step starts, and whoever asks for `fileno()`, get a pipe
of the step's own instead.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO

from graft.worker.descriptors import Pipe, Taken, moved_away

if TYPE_CHECKING:
    from graft.worker.attempt import Attempt

PAST_PYTHON = "descriptor"
"""The source of what did not come through `sys.stdout`."""

_running: ContextVar[Attempt | None] = ContextVar("graft_attempt", default=None)


def running() -> Attempt | None:
    """The attempt whose code asks; None: it is not a step's."""
    return _running.get()


class Printing:
    """Puts the proxies in place at the first Python step, and takes them away at the end."""

    def __init__(self, enabled: bool = True) -> None:
        self._enabled = enabled
        self._proxies: tuple[_Proxy, _Proxy] | None = None
        self._before: tuple[TextIO | None, TextIO | None] = (None, None)
        self._stdin: tuple[TextIO | None, TextIO] | None = None  # before, and ours
        self._taken: Taken | None = None
        self._attempts: dict[Attempt, None] = {}  # that run, in the order in which they began

    def attach(self, attempt: Attempt) -> None:
        """From now on what this task prints goes to the log of `attempt`."""
        if self._enabled:
            if self._proxies is None:
                self._install()
            self._attempts[attempt] = None
            _running.set(attempt)

    def detach(self, attempt: Attempt) -> None:
        """The step's code has ended: what this task does next (it settles) is not the step's."""
        if attempt in self._attempts:
            assert self._taken is not None
            self._taken.drain()
            for pipe in attempt.pipes.values():
                pipe.close()
            attempt.pipes = {}
            del self._attempts[attempt]
            _running.set(None)
            if self._proxies is not None and not self._attempts:
                sys.stdout, sys.stderr = self._proxies  # a step may have put something else there

    def _install(self) -> None:
        self._before = (sys.stdout, sys.stderr)
        out, err = moved_away(sys.stdout), moved_away(sys.stderr)  # before the descriptors are taken
        self._taken = Taken(self._stray)
        self._proxies = (_Proxy(out, "out"), _Proxy(err, "err"))
        sys.stdout, sys.stderr = self._proxies
        self._stdin = (sys.stdin, os.fdopen(0, closefd=False))
        sys.stdin = self._stdin[1]

    def _stray(self, stream: str, data: bytes) -> None:
        attempt = next(reversed(self._attempts), None) if self._attempts else None
        if attempt is not None:
            attempt.log.write(stream, data, PAST_PYTHON)
        elif self._taken is not None:
            self._taken.write(stream, data)

    def close(self) -> None:
        if self._proxies is None or self._taken is None:
            return
        for name, proxy, before in zip(("stdout", "stderr"), self._proxies, self._before, strict=True):
            if proxy.real is not None:
                with suppress(OSError, ValueError):
                    proxy.real.flush()
            if getattr(sys, name) is proxy:
                setattr(sys, name, before)
            if proxy.real is not None and proxy.real is not before:
                with suppress(OSError):
                    proxy.real.close()
        if self._stdin is not None and sys.stdin is self._stdin[1]:
            sys.stdin = self._stdin[0]
        self._taken.close()
        self._proxies = self._taken = None


class _Proxy(io.TextIOBase):
    """A text stream that writes to the log of the step that runs, else to `real`."""

    def __init__(self, real: TextIO | None, stream: str) -> None:
        self.real = real
        self._stream = stream
        self._buffer = _Bytes(self)

    def write(self, text: str) -> int:
        attempt = _running.get()
        if attempt is None:
            return self.real.write(text) if self.real is not None else len(text)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        attempt.log.write(self._stream, text.encode("utf-8", "replace"))
        return len(text)

    def write_bytes(self, data: Any) -> int:
        attempt = _running.get()
        if attempt is not None:
            taken = bytes(data)
            attempt.log.write(self._stream, taken)
            return len(taken)
        buffer = getattr(self.real, "buffer", None)
        if buffer is None:
            raise io.UnsupportedOperation("this stream takes text only")
        return int(buffer.write(data))

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if _running.get() is None and self.real is not None:
            self.real.flush()

    def close(self) -> None:
        """Not for a step to do: others write here, too."""

    @property
    def closed(self) -> bool:
        return False

    def detach(self) -> Any:
        raise io.UnsupportedOperation("the standard streams of a step cannot be detached")

    def reconfigure(self, **options: Any) -> None:
        if _running.get() is None and self.real is not None:
            self.real.reconfigure(**options)  # type: ignore[attr-defined]

    def isatty(self) -> bool:
        return _running.get() is None and self.real is not None and self.real.isatty()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        attempt = _running.get()
        if attempt is not None:
            return descriptor_of(attempt, self._stream)
        if self.real is None:
            raise io.UnsupportedOperation("fileno")
        return self.real.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8" if _running.get() is not None or self.real is None else self.real.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return "replace" if _running.get() is not None or self.real is None else self.real.errors

    @property
    def line_buffering(self) -> bool:
        return True

    @property
    def name(self) -> str:
        return "<stdout>" if self._stream == "out" else "<stderr>"

    @property
    def mode(self) -> str:
        return "w"

    @property
    def buffer(self) -> Any:
        return self._buffer


class _Bytes(io.BufferedIOBase):
    """The `buffer` of a proxy."""

    def __init__(self, text: _Proxy) -> None:
        self._text = text

    def write(self, data: Any) -> int:
        return self._text.write_bytes(data)

    @property
    def raw(self) -> Any:
        return self

    @property
    def name(self) -> str:
        return self._text.name

    @property
    def mode(self) -> str:
        return "wb"

    @property
    def closed(self) -> bool:
        return False

    def close(self) -> None: ...

    def flush(self) -> None:
        self._text.flush()

    def isatty(self) -> bool:
        return self._text.isatty()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._text.fileno()


def descriptor_of(attempt: Attempt, stream: str) -> int:
    """Of a pipe that leads to the log of the step, made when first asked for."""
    pipe = attempt.pipes.get(stream)
    if pipe is None:
        pipe = attempt.pipes[stream] = Pipe(lambda data: attempt.log.write(stream, data, PAST_PYTHON))
    return pipe.end
