"""`graft dev`: a cluster on this machine, to try it out."""

from __future__ import annotations

from pathlib import Path

import click

from graft.errors import UsageError

MOST = 9


@click.command("dev", short_help="Run a cluster on this machine, to try it out.")
@click.option("--members", default=3, show_default=True, metavar="N", help="How many members (1 to 9).")
@click.option("--data", default=".graft-dev", show_default=True, metavar="DIR", help="Where it keeps everything.")
@click.option(
    "--restart", default="10s", show_default=True, metavar="TIME", help="A member that died is back after so long."
)
def command(members: int, data: str, restart: str) -> int:
    """Run a cluster of several members on this machine, and show how it does.

    The members are processes of their own, with certificates of their own, listening on loopback. Another terminal
    reaches them after `. DIR/env`: `graft run flow.toml`, `graft member ls`, `kill -9 PID`. A member that died comes
    back after a while. Ctrl-C ends them all; what they did is still there the next time.
    """
    from graft.plan.conversion import parse_duration

    if not 1 <= members <= MOST:
        raise UsageError(f"--members {members} is not between 1 and {MOST}", hint="three survive the loss of one")
    try:
        pause = parse_duration(restart)
    except ValueError as error:
        raise UsageError(f"--restart {restart!r}: {error}", hint="write a time such as 10s") from None
    from graft.cli.dev import run_dev

    return run_dev(Path(data), members, pause)
