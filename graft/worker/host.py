"""A worker host: the process in which the steps of a member run. `python -m graft.worker.host`, socket on stdin.

It is the `Worker` of `graft run` with a socket in front: a Trio loop of its own, a nursery for each run, a cancel
scope for each attempt. What steps do to the loop, to the interpreter or to the process they do to this one only.

It ends when the member says so or the socket closes. A host whose loop does not turn cannot see that: the guardian,
which is its parent, kills it then, with everything below it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.worker.host_environment import become
from graft.worker.host_wire import FrameReader

if TYPE_CHECKING:
    from graft.worker.settings import WorkerSettings


def take_channel() -> socket.socket:
    """The socket, moved away from stdin, where nothing that a step starts inherits it."""
    channel = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    return channel


def read_hello(channel: socket.socket, frames: FrameReader) -> tuple[dict[str, Any], list[list[Any]]]:
    """The settings, and what came after them already."""
    while True:
        data = channel.recv(1 << 16)
        if not data:
            sys.exit(0)  # the member has gone
        messages = frames.feed(data)
        if messages:
            return messages[0][1], messages[1:]


def worker_settings(told: dict[str, Any]) -> WorkerSettings:
    from graft.worker.settings import WorkerSettings

    log_dir = told.pop("log_dir")
    return WorkerSettings(log_dir=None if log_dir is None else Path(os.fsdecode(log_dir)), **told)


def leave_signals_to_the_member() -> None:
    """A service manager tells all of its processes to end; it is the member that stops us, when it has drained.

    A handler that does nothing, for what is ignored would be ignored by the programs of steps too.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)


def main() -> None:
    leave_signals_to_the_member()
    channel = take_channel()
    frames = FrameReader()
    settings, rest = read_hello(channel, frames)
    if settings["identity"] is not None:
        become(*settings["identity"])
    import trio

    from graft.worker.host_loop import serve

    try:
        trio.run(serve, channel, frames, rest, worker_settings(settings["worker"]))
    except BaseException:  # noqa: ASYNC103 - no loop runs any more
        import traceback

        traceback.print_exc()
        os._exit(1)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(0)  # threads that steps left behind do not hold it up


if __name__ == "__main__":
    main()
