"""`graft fmt`: one way to write a flow."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

import click

from graft.cli import exits
from graft.cli.files import replace_file
from graft.cli.flows import find_flow, read_text
from graft.cli.terminal import Paint, note, out


@click.command("fmt")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--check", "check_only", is_flag=True, help="Write nothing; exit code 1 when a file would change.")
@click.option("--diff", "show_diff", is_flag=True, help="Write nothing; print what would change.")
def command(files: tuple[str, ...], check_only: bool, show_diff: bool) -> int:
    """Format flow files in place. Comments stay; the plan of a flow does not change.

    FILE `-` reads standard input and writes standard output.
    """
    changed = 0
    for name in files:
        if name == "-":
            changed += _format_stdin(write=not check_only)
        else:
            changed += _format_file(find_flow(name), check_only=check_only, show_diff=show_diff)
    return exits.FAILED if check_only and changed else exits.SUCCEEDED


def _format_stdin(*, write: bool) -> bool:
    from graft_dsl import format_text

    before = sys.stdin.read()
    after = format_text(before, filename="<stdin>")
    if write:
        sys.stdout.write(after)
    return before != after


def _format_file(path: Path, *, check_only: bool, show_diff: bool) -> bool:
    from graft_dsl import format_text

    before = read_text(path)
    after = format_text(before, filename=str(path))
    if before == after:
        return False
    if show_diff:
        _print_diff(path, before, after)
    if check_only:
        note(f"{path} would change")
    elif not show_diff:
        replace_file(path, after)
        note(f"{path} formatted")
    return True


COLORS = {"+": "green", "-": "red", "@": "cyan"}


def _print_diff(path: Path, before: str, after: str) -> None:
    paint = Paint.of(sys.stdout)
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), str(path), f"{path} (formatted)", lineterm="")
    for line in lines:
        color = COLORS.get(line[:1])
        out(paint(line, color) if color else line)
