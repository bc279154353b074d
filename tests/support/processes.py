"""Finding processes by a marker in their environment or command line, as a test sees them: from outside."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import trio


def marked(marker: str) -> dict[int, str]:
    """Pid and command line of every process (zombies excepted) that holds `marker` in its environment."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment = Path(f"/proc/{name}/environ").read_bytes()
            command = Path(f"/proc/{name}/cmdline").read_bytes()
            state = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()[0]
        except OSError:
            continue
        if marker.encode() in environment + command and state not in (b"Z", b"X") and int(name) != os.getpid():
            found[int(name)] = command.replace(b"\0", b" ").decode("utf-8", "replace")
    return found


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for something that happens outside of Trio."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def gone(marker: str, seconds: float = 2.0) -> dict[int, str]:
    """Wait until no process holds `marker`; what is left after `seconds`."""
    with trio.move_on_after(seconds):
        await until(lambda: not marked(marker), seconds + 1)
    return marked(marker)
