"""`graft restore FILE DIR`: a data directory out of a backup."""

from __future__ import annotations

from pathlib import Path

import click

from graft.cli.terminal import note, out_json


@click.command("restore")
@click.argument("file", metavar="FILE")
@click.argument("directory", metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(file: str, directory: str, as_json: bool) -> None:
    """Make the data directory DIR of the backup FILE (`graft backup`). DIR must be empty, or not there.

    What starts on it is the first member of a new cluster, with all runs of the old one. `graft serve` goes on at once
    with those that had not ended, `graft run` holds them until `graft resume`. The members of the old cluster must be
    gone for good, or both would run the same steps.
    """
    from graft.cluster.restoring import restore

    made = restore(Path(file), Path(directory))
    if as_json:
        out_json({"directory": directory, "runs": made.runs, "log_index": made.applied, "made_by": made.made_by})
        return
    runs = "1 run" if made.runs == 1 else f"{made.runs} runs"
    note(f"made {directory}: {runs}, as of log index {made.applied} (written by {made.made_by})")
    note(f"  `graft runs --data {directory}` lists them; `graft serve` on it is the first member of a new cluster")
