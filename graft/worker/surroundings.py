"""What belongs to the whole process, and is as it was again when a Python step ends.

A step may change the directory, a variable or the mask of new files for itself; the next one must not find it. What a
*module* sets when it is imported stays, as its author means it to: it is imported once. Steps that run at once in
threads share all this while they run: `isolation = "process"` is for those that cannot.
"""

from __future__ import annotations

import contextlib
import gc
import locale
import logging
import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)  # that stop us; to look at one costs 4 us


def _directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def _umask() -> int:
    found = os.umask(0o077)
    os.umask(found)
    return found


def _set_directory(before: str | None) -> None:
    if before is not None:
        os.chdir(before)


def _variables() -> dict[bytes, bytes]:
    """Without the decoding and the checks of `os.environ`, which cost a hundred times as much."""
    inner: dict[bytes, bytes] | None = getattr(os.environ, "_data", None)
    return dict(os.environb) if inner is None else inner.copy()


def _set_variables(before: dict[bytes, bytes]) -> None:
    for name in os.environb.keys() - before.keys():
        del os.environb[name]
    for name, value in before.items():
        if os.environb.get(name) != value:
            os.environb[name] = value


def _signals() -> tuple[Any, ...]:
    return tuple(map(signal.getsignal, SIGNALS))


def _set_signals(before: tuple[Any, ...]) -> None:
    for number, handler in zip(SIGNALS, before, strict=True):
        if handler is not None and signal.getsignal(number) != handler:
            signal.signal(number, handler)


def _logging() -> tuple[int, tuple[logging.Handler, ...]]:
    return logging.root.level, tuple(logging.root.handlers)


def _set_logging(before: tuple[int, tuple[logging.Handler, ...]]) -> None:
    logging.root.setLevel(before[0])
    logging.root.handlers[:] = before[1]


def _set_filters(before: tuple[Any, ...]) -> None:
    with warnings.catch_warnings():  # which tells the interpreter, when it is left, that they changed
        pass
    warnings.filters[:] = before  # type: ignore[index]


ROWS: tuple[tuple[str, Callable[[], Any], Callable[[Any], None]], ...] = (
    ("environment variables", _variables, _set_variables),
    ("working directory", _directory, _set_directory),
    ("umask", _umask, lambda before: void(os.umask(before))),
    ("signal handlers", _signals, _set_signals),
    ("locale", lambda: locale.setlocale(locale.LC_ALL), lambda before: void(locale.setlocale(locale.LC_ALL, before))),
    ("root logger", _logging, _set_logging),
    ("warning filters", lambda: tuple(warnings.filters), _set_filters),
    ("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    ("switch interval", sys.getswitchinterval, sys.setswitchinterval),
    ("default timeout of sockets", socket.getdefaulttimeout, socket.setdefaulttimeout),
    ("garbage collector", gc.isenabled, lambda before: gc.enable() if before else gc.disable()),
)
"""What it is, how it is now, how it becomes what it was."""


def void(_: object) -> None: ...


class Surroundings:
    """How the process is between two steps: as it was when the first of those that run now began."""

    def __init__(self) -> None:
        self._usual: list[Any] = []
        self._running = 0
        self._imported: set[tuple[str, Path]] = set()

    @contextlib.contextmanager
    def importing(self, target: str, base: Path) -> Iterator[None]:
        """Around the import of a target's module: what it changes is usual from then on."""
        if not self._running or (target, base) in self._imported:
            yield
            return
        before = [get() for _, get, _ in ROWS]
        try:
            yield
        finally:
            self._imported.add((target, base))
            self._adopt(before)

    def _adopt(self, before: list[Any]) -> None:
        for index, (_, get, _set) in enumerate(ROWS):
            now = get()
            if now == before[index]:
                continue
            if isinstance(now, dict):
                gone = before[index].keys() - now.keys()
                new = {name: value for name, value in now.items() if before[index].get(name) != value}
                self._usual[index] = {k: v for k, v in self._usual[index].items() if k not in gone} | new
            else:
                self._usual[index] = now

    def begin(self) -> None:
        """A step begins, and has been imported. `restore` must follow."""
        if not self._running:
            self._usual = [get() for _, get, _ in ROWS]
        self._running += 1

    def restore(self) -> list[str]:
        """A step has ended. Make everything usual again: what was not."""
        self._running -= 1
        changed = []
        for (name, get, put), usual in zip(ROWS, self._usual, strict=True):
            if get() != usual:
                with contextlib.suppress(OSError, ValueError, locale.Error, RecursionError):
                    put(usual)
                    changed.append(name)
        return changed
