"""`graft schema`: what editors need to complete and check a flow file while it is typed."""

from __future__ import annotations

from pathlib import Path

import click

from graft.cli.files import replace_file
from graft.cli.terminal import note, out


@click.command("schema")
@click.option("-o", "--output", metavar="FILE", help="Write it to FILE instead.")
def command(output: str | None) -> None:
    """Print the JSON Schema of flow files.

    Editors that speak taplo use it: write `#:schema ./graft.schema.json` as the first line of the flow.
    """
    import json

    from graft_dsl import json_schema

    text = json.dumps(json_schema(), indent=2, ensure_ascii=False)
    if output is None:
        out(text)
        return
    replace_file(Path(output), text + "\n")
    note(f"wrote {output}; start a flow with `#:schema {output}`")
