"""`graft recover`: a cluster out of one member, when the others are lost for ever."""

from __future__ import annotations

from pathlib import Path

import click

from graft.cli.terminal import note, out_json
from graft.errors import UsageError


@click.command("recover", short_help="Make one member the cluster, when the majority is lost for ever.")
@click.argument("directory", metavar="DIR")
@click.option("--yes", is_flag=True, help="Do it. Without it, say what it would do.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(directory: str, yes: bool, as_json: bool) -> int:
    """Make the member whose data directory is DIR a cluster of its own. It must not be running.

    Only when most of the voters are lost for ever: what only they knew is gone, and what they had not agreed on yet
    becomes true. Choose the directory of the voter that knows most (`graft status`, log). The lost members are refused
    if they come back; start them with empty directories, and they join.
    """
    import trio

    from graft.cluster.recovering import plan_recovery, recover

    path = Path(directory)
    identity = plan_recovery(path)
    if not yes:
        raise UsageError(
            f"this makes {identity.member} the only member of a new cluster, with what it knows of {identity.cluster}",
            hint="most voters must be lost for ever; then say --yes",
        )
    found = trio.run(recover, path)
    if as_json:
        out_json(
            {"cluster": found.cluster, "member": found.member, "lost": list(found.lost), "log_index": found.applied}
        )
        return 0
    note(f"{found.member} is the cluster {found.cluster} now, as of log index {found.applied}")
    note(f"  lost: {', '.join(found.lost) or 'nobody'}; with empty directories they can join")
    return 0
