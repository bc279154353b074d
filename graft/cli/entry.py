"""From the process to the command and back: arguments in, exit code out.

`Command.main` of click is not used: it turns a broken pipe into exit code 1 and an interrupt into `Abort`, and both
have a meaning of their own here (see `graft.cli.failure`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from graft.cli import exits

COMPLETE_VAR = "_GRAFT_COMPLETE"
SWITCH_SECONDS = 0.001
"""How long a thread may keep the interpreter when another wants it. The storage thread wants it once after every sync,
and a step waits for that: see docs/decisions/0003."""


def run(argv: Sequence[str] | None = None) -> int:
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        _tolerate_odd_encodings()
        sys.setswitchinterval(SWITCH_SECONDS)
        code = _dispatch(args)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, not at exit, where a broken pipe could no longer be handled
        return code
    except KeyboardInterrupt:  # may have cut an import short, so nothing that imports can tell of it
        if sys.stderr is not None:
            print("interrupted", file=sys.stderr, flush=True)
        return exits.INTERRUPTED
    except BaseException as error:  # noqa: ASYNC103 - outside of every event loop
        from graft.cli.failure import report

        return report(error)  # noqa: ASYNC104


def _dispatch(args: list[str]) -> int:
    from graft.cli.app import cli

    if instruction := os.environ.get(COMPLETE_VAR):
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, "graft", COMPLETE_VAR, instruction)
    with cli.make_context("graft", args) as context:
        code = cli.invoke(context)
    return code if isinstance(code, int) else 0


def _tolerate_odd_encodings() -> None:
    """A stream whose encoding lacks a character gets its number; that is no reason to fail, nor to lose it."""
    from graft.cli.terminal import ESCAPE

    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=ESCAPE)
