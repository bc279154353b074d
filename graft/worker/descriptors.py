"""The descriptors 0, 1 and 2 of a process in which Python steps run.

Children of a step, C code and `os.write(1, …)` write past `sys.stdout`, into whatever stands at these numbers. So our
own words go to copies of them, and steps find pipes there, which a thread reads; 0 is empty, as it is for commands.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from typing import IO, Any, TextIO

READ_BYTES = 1 << 16

Sink = Callable[[bytes], None]


class Pipe:
    """Gives what is written to `end` to `sink`, from a thread of its own, or from whoever drains it."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._start, self.end = os.pipe()
        os.set_blocking(self._start, False)
        self._lock = threading.Lock()  # of the reading end
        self._poll = select.poll()
        self._poll.register(self._start, select.POLLIN)
        self._is_over = False
        threading.Thread(target=self._run, name="graft output of steps", daemon=True).start()

    def drain(self) -> None:
        """Take what has been written until now. Raises nothing."""
        with self._lock:
            if not self._is_over and self._poll.poll(0):  # cheaper than a read in vain
                self._take()

    def close(self) -> None:
        """Drain it for the last time. Processes that still hold its end write to nobody's loss: it is read on."""
        self.drain()
        os.close(self.end)

    def _take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while not self._is_over:
                data = os.read(self._start, READ_BYTES)
                self._is_over = not data
                if data:
                    self._sink(data)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._start, select.POLLIN)
        while not self._is_over:
            poll.poll()
            self.drain()
        os.close(self._start)


class Taken:
    """Puts pipes at 1 and 2 and nothing at 0, and gives back what was there. `sink(stream, data)`: "out" or "err"."""

    def __init__(self, sink: Callable[[str, bytes], None]) -> None:
        self._kept = {number: os.dup(number) for number in (0, 1, 2) if _is_open(number)}
        self._pipes = {1: Pipe(lambda data: sink("out", data)), 2: Pipe(lambda data: sink("err", data))}
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        for number, pipe in self._pipes.items():
            os.dup2(pipe.end, number)

    def drain(self) -> None:
        for pipe in self._pipes.values():
            pipe.drain()

    def write(self, stream: str, data: bytes) -> None:
        """To where it would have gone."""
        descriptor = self._kept.get(1 if stream == "out" else 2)
        with contextlib.suppress(OSError):
            while data and descriptor is not None:
                data = data[os.write(descriptor, data) :]

    def close(self) -> None:
        for number in (0, 1, 2):
            if number in self._kept:
                os.dup2(self._kept[number], number)
            else:
                os.close(number)
        for pipe in self._pipes.values():
            pipe.close()
        for descriptor in self._kept.values():
            os.close(descriptor)


@contextlib.contextmanager
def own_streams() -> Iterator[None]:
    """`sys.stdout` and `sys.stderr` of this process on copies of their descriptors, which no step writes to.

    To be entered before anything keeps one of them, as a view on a terminal does.
    """
    with contextlib.ExitStack() as stack:
        for name in ("stdout", "stderr"):
            stack.enter_context(_moved(name))
        yield


@contextlib.contextmanager
def _moved(name: str) -> Iterator[None]:
    before: TextIO | None = getattr(sys, name)
    after = moved_away(before)
    formal = getattr(sys, f"__{name}__")
    setattr(sys, name, after)
    if formal is before:  # the width of a terminal is asked for there
        setattr(sys, f"__{name}__", after)
    try:
        yield
    finally:
        setattr(sys, name, before)
        setattr(sys, f"__{name}__", formal)
        if after is not None and after is not before:
            _close(after)


def moved_away(stream: TextIO | None) -> TextIO | None:
    """A stream like this one on a copy of its descriptor; itself when it is not at 1 or 2."""
    try:
        number = -1 if stream is None else stream.fileno()
    except (OSError, ValueError, AttributeError):
        return stream
    if stream is None or number not in (1, 2):
        return stream
    with contextlib.suppress(OSError):
        stream.flush()
    raw = os.fdopen(os.dup(number), "wb", -1)
    return io.TextIOWrapper(
        raw, stream.encoding, stream.errors, line_buffering=getattr(stream, "line_buffering", stream.isatty())
    )


def _close(stream: IO[Any]) -> None:
    """Raises OSError when the last of it cannot be written; it is closed all the same."""
    try:
        stream.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        raise
    finally:
        stream.close()


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
