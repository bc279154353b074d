"""`python -m graft.cli.holder DIRECTORY LOCK`: the process that `graft run --detach` leaves behind.

LOCK is the descriptor of a lock that says that it begins."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(data: Path, lock: int) -> int:
    from graft.cli.holding import hold
    from graft.cli.interrupts import Interrupts
    from graft.cli.session import run_in_loop
    from graft.errors import StoreHeld

    os.set_inheritable(lock, False)
    with Interrupts() as interrupts:
        try:
            return run_in_loop(lambda: hold(data, lock), interrupts)
        except StoreHeld:
            return 0  # another process came first, and takes what this one was started for


if __name__ == "__main__":
    from graft.cli.failure import report

    directory, lock = Path(sys.argv[1]), int(sys.argv[2])
    sys.argv[:] = [
        "graft",
        "run --detach",
    ]  # one word, as options are not told; what other processes are told who holds the directory
    try:
        code = main(directory, lock)
    except BaseException as error:  # noqa: ASYNC103 - outside of every event loop
        code = report(error)  # noqa: ASYNC104
    sys.exit(code)
