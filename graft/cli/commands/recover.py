"""`graft recover`: a cluster out of one member, when the others are lost for ever."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from graft.cli.terminal import note, out, out_json

if TYPE_CHECKING:
    from graft.cluster.recovering import Outlook


@click.command("recover", short_help="Make one member the cluster, when the majority is lost for ever.")
@click.argument("directory", metavar="DIR")
@click.option("--yes", is_flag=True, help="Do it. Without it, say what it would do, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(directory: str, yes: bool, as_json: bool) -> int:
    """Make the member whose data directory is DIR a cluster of its own. It must not be running.

    Only when most of the voters are lost for ever: what only they knew is gone, and what they had not agreed on yet
    becomes true. Choose the directory of the voter that knows most: without --yes it is said how far its log goes. The
    lost members are refused if they come back; start them with empty directories, and they join.
    """
    import trio

    from graft.cluster.recovering import look, recover

    path = Path(directory)
    if not yes:
        _preview(look(path), as_json)
        return 0
    found = trio.run(recover, path)
    if as_json:
        out_json(
            {"cluster": found.cluster, "member": found.member, "lost": list(found.lost), "log_index": found.applied}
        )
        return 0
    note(f"{found.member} is the cluster {found.cluster} now, as of log index {found.applied}")
    note(f"  lost: {', '.join(found.lost) or 'nobody'}; with empty directories they can join")
    return 0


def _preview(found: Outlook, as_json: bool) -> None:
    if as_json:
        fields = {"cluster": found.cluster, "member": found.member, "lost": list(found.lost)}
        out_json(
            fields
            | {"log_term": found.last_term, "log_index": found.last, "runs": found.runs, "live_runs": found.live_runs}
        )
        return
    out(f"{found.member} of {found.cluster} would be the only member of a new cluster")
    out(f"  log    to {found.last}, the last entry of term {found.last_term}")
    out(f"  runs   {found.runs}, of which {found.live_runs} have not ended")
    out(f"  lost   {', '.join(found.lost)}")
    note("nothing was changed; when most voters are lost for ever, and no other voter's log has a later term, or")
    note("the same and goes further, say --yes")
