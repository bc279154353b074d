"""A command in a process of its own: behind pipes, or on a pseudo terminal as a person has it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

COMMAND = [sys.executable, "-c", "import sys; from graft.cli import main; sys.exit(main())"]
PATIENCE_SECONDS = 30.0  # for a loaded machine; nothing here waits so long when all is well

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def environment(**extra: str) -> dict[str, str]:
    steering = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "CI", "GITHUB_ACTIONS")
    plain = {name: value for name, value in os.environ.items() if name not in steering}
    return plain | {"TERM": "xterm-256color", "LANG": "C.UTF-8"} | extra


class Program:
    """`graft ARGS` behind pipes. Leaving the block kills it if it still runs."""

    def __init__(self, *args: str, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [*COMMAND, *args],
            cwd=cwd,
            env=environment(**(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.out = self.err = ""

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def see(self, text: str) -> None:
        """Wait until `text` stands on standard error."""
        assert self._process.stderr is not None
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text not in self.err:
            ready, _, _ = select.select([self._process.stderr], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self._process.stderr.fileno(), 65536) if ready else b""
            if not data:
                raise AssertionError(f"{text!r} did not come; standard error so far:\n{self.err}")
            self.err += data.decode()

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def stop_reading(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()

    def end(self) -> int:
        """Wait for the end; the exit code."""
        out, err = self._process.communicate()  # both at once: who writes one may wait for the other to be read
        self.out += (out or b"").decode()
        self.err += err.decode()
        return self._process.wait(PATIENCE_SECONDS)


def graft_process(*args: str, cwd: Path, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of `graft ARGS`."""
    with Program(*args, cwd=cwd, env=env) as program:
        return program.end(), program.out, program.err


class Terminal:
    """`graft ARGS` on a pseudo terminal. `seen` is everything that was written to it, escapes included."""

    def __init__(
        self, *args: str, cwd: Path, rows: int = 24, columns: int = 80, env: Mapping[str, str] | None = None
    ) -> None:
        self.seen = ""
        self.pid, self._fd = pty.fork()
        if self.pid == 0:  # pragma: no cover - the child
            os.chdir(cwd)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execve(COMMAND[0], [*COMMAND, *args], environment(**(env or {})))
        self._code: int | None = None

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)

    @property
    def text(self) -> str:
        """`seen` without escapes."""
        return _ESCAPES.sub("", self.seen).replace("\r\n", "\n")

    def see(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text not in self.text:
            if not self._read(deadline):
                raise AssertionError(f"{text!r} did not come; seen so far:\n{self.text}")

    def press(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def end(self) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._read(deadline):
            pass
        _, status = os.waitpid(self.pid, 0)
        self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._fd, 65536) if ready else b""
        except OSError:  # the other side was closed
            data = b""
        self.seen += data.decode(errors="replace")
        return bool(data)
