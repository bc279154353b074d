"""`graft snapshot`: let a member write its state to a file, and shorten its log by that."""

from __future__ import annotations

import click

from graft.cli.cluster import ask, say_change
from graft.cli.place import Place, place_options


@click.command("snapshot")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@place_options
def command(as_json: bool, place: Place) -> None:
    """Take a snapshot of the state at the member that answers. It does so by itself when its log grows.

    `graft backup FILE` brings one here.
    """
    say_change(ask(place, lambda client: client.take_snapshot()), "took a snapshot", as_json=as_json)
