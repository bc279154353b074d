"""`graft new`: a directory with a flow that runs."""

from __future__ import annotations

import re
from pathlib import Path

import click

from graft.cli import exits
from graft.cli.files import replace_file
from graft.cli.terminal import note, out
from graft.errors import UsageError

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@click.command("new")
@click.argument("name", required=False)
@click.option("--template", metavar="NAME", default="hello", show_default=True, help="Which one to begin with.")
@click.option("--list", "list_them", is_flag=True, help="List the templates.")
def command(name: str | None, template: str, list_them: bool) -> int:
    """Make the directory NAME with a flow in it that runs as it is."""
    from graft_dsl import TEMPLATES

    if list_them:
        for key, each in TEMPLATES.items():
            out(f"{key.ljust(max(map(len, TEMPLATES)))}  {each.about}")
        return exits.SUCCEEDED
    if name is None:
        raise UsageError("what is the new flow called?", hint="graft new NAME; `graft new --list` lists templates")
    directory = Path(name)
    if not NAME.fullmatch(directory.name):
        raise UsageError(f"{name!r} is no name for a flow", hint="a letter, then letters, digits, - and _")
    if template not in TEMPLATES:
        raise UsageError(f"there is no template {template}", hint=f"there are {', '.join(TEMPLATES)}")
    files = TEMPLATES[template].files(directory.name)
    taken = [path for path in files if (directory / path).exists()]
    if taken:
        raise UsageError(f"{directory / taken[0]} is there already", hint="nothing was written; choose another name")
    for path, text in files.items():
        _write(directory / path, text)
        note(f"wrote {directory / path}")
    note(f"run it with `graft run {directory / 'flow.toml'}`")
    return exits.SUCCEEDED


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path.parent} cannot be made: {error.strerror or error}") from error
    replace_file(path, text)
