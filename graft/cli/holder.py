"""`python -m graft.cli.holder DIRECTORY`: the process that `graft run --detach` leaves behind."""

from __future__ import annotations

import sys
from pathlib import Path


def main(data: Path) -> int:
    from graft.cli.holding import hold
    from graft.cli.interrupts import Interrupts
    from graft.cli.session import run_in_loop

    with Interrupts() as interrupts:
        return run_in_loop(lambda: hold(data), interrupts)


if __name__ == "__main__":
    from graft.cli.failure import report

    directory = Path(sys.argv[1])
    sys.argv[:] = ["graft", "run", "--detach"]  # what other processes are told who holds the directory
    try:
        code = main(directory)
    except BaseException as error:  # noqa: ASYNC103 - outside of every event loop
        code = report(error)  # noqa: ASYNC104
    sys.exit(code)
