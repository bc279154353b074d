"""Signatures of Python targets, learned in a process apart: a module may sleep, loop, exit or print when imported.

The process is a fork of this one, which costs a few milliseconds, where a new interpreter would cost 150. It lives
until the last target of a flow is known, so a module is imported once. One that takes too long is given up with the
process; the next target gets another one.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import socket
import sys
import time
import warnings
from types import TracebackType
from typing import NoReturn

from graft.plan.signature import Signature
from graft.registry.signatures import signature
from graft.registry.targets import TargetProblem

IMPORT_SECONDS = 5.0
POLL_SECONDS = 0.005
VARIABLE = "GRAFT_IMPORT_SECONDS"

Answer = Signature | tuple[str, str, str]  # message, type and hint of a TargetProblem


class Apart:
    """A `SignatureResolver`, and the context in which its process lives."""

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = _limit() if seconds is None else seconds
        self._pid = 0
        self._channel: socket.socket | None = None
        self._given_up: dict[tuple[str, str], TargetProblem] = {}

    def __enter__(self) -> Apart:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def __call__(self, target: str, base: str) -> Signature:
        """Raises LookupError: no such function, or its module fails, ends the process or takes too long."""
        module = (base, target.partition(":")[0])
        if module in self._given_up:
            raise self._given_up[module]
        answer = self._ask(target, base)
        if isinstance(answer, TargetProblem):
            self._given_up[module] = answer
            raise answer
        if isinstance(answer, tuple):
            message, type, hint = answer
            raise TargetProblem(message, type=type, hint=hint)
        return answer

    def _ask(self, target: str, base: str) -> Answer | TargetProblem:
        """The answer, or why there will be none from this module."""
        channel = self._begin() if self._channel is None else self._channel
        channel.sendall(pickle.dumps((target, base)))
        module = target.partition(":")[0]
        deadline = time.monotonic() + self._seconds
        data = b""
        while not data.endswith(pickle.STOP) or not _is_whole(data):
            ready, _, _ = select.select([channel], [], [], max(0.0, deadline - time.monotonic()))
            piece = channel.recv(1 << 16) if ready else b""
            if not piece:
                status = self._end(deadline if ready else 0.0)
                if ready:
                    message = f"importing module `{module}` (wanted by `{target}`) ended the process: {_said(status)}"
                    return TargetProblem(message, type="python.SystemExit", hint="a module must not exit on import")
                message = f"importing module `{module}` (wanted by `{target}`) took more than {self._seconds:g} s"
                hint = f"move its work into the function; {VARIABLE} sets another limit"
                return TargetProblem(message, type="timeout", hint=hint)
            data += piece
        answer: Answer = pickle.loads(data)
        return answer

    def _begin(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()  # or the child would write it a second time
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: the child needs none of them
            self._pid = os.fork()
        if self._pid == 0:
            ours.close()
            _serve(theirs)
        theirs.close()
        self._channel = ours
        return ours

    def _end(self, deadline: float = 0.0) -> int:
        """End the process, which has until `deadline` to do it by itself: its wait status."""
        if self._channel is None:
            return 0
        self._channel.close()
        self._channel = None
        while True:
            ended, status = os.waitpid(self._pid, os.WNOHANG)
            if ended:
                return status
            if time.monotonic() >= deadline:
                os.kill(self._pid, signal.SIGKILL)
                return os.waitpid(self._pid, 0)[1]
            time.sleep(POLL_SECONDS)


def _serve(channel: socket.socket) -> NoReturn:
    """In the child: until the other side closes. What modules print is no output of the command."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        while data := channel.recv(1 << 16):
            target, base = pickle.loads(data)
            channel.sendall(pickle.dumps(_learn(target, base)))
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(0)


def _learn(target: str, base: str) -> Answer:
    try:
        return signature(target, base)
    except TargetProblem as problem:
        return problem.message, problem.type, problem.hint


def _is_whole(data: bytes) -> bool:
    try:
        pickle.loads(data)
    except (pickle.UnpicklingError, EOFError):
        return False
    return True


def _said(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _limit() -> float:
    try:
        return float(os.environ.get(VARIABLE, ""))
    except ValueError:
        return IMPORT_SECONDS
