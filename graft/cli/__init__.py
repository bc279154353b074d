"""The command line. Importing this costs nothing; `main` brings in what the command needs and no more."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, `sys.argv[1:]` by default. Gives the exit code; prints, never raises."""
    from graft.cli.entry import run

    return run(argv)
