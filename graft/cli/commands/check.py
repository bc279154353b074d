"""`graft check`: every error of every flow, and nothing else happens."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from graft.cli import exits
from graft.cli.flows import compile_flow, find_flow, too_short_secrets
from graft.cli.terminal import Paint, note, out, out_json
from graft.errors import GraftError, InvalidFlow

if TYPE_CHECKING:
    from graft_dsl import Compiled


@click.command("check")
@click.argument("flows", nargs=-1, required=True, metavar="FLOW…")
@click.option("--json", "as_json", is_flag=True, help="One problem a line, as JSON.")
@click.option("--no-python", is_flag=True, help="Do not import the Python functions that the flow names.")
def command(flows: tuple[str, ...], as_json: bool, no_python: bool) -> int:
    """Check flows and report every error of each. Nothing is run.

    Exit code 0 when all are valid, 2 otherwise.
    """
    code = exits.SUCCEEDED
    for target in flows:
        try:
            compiled = compile_flow(target, resolve_python=not no_python)
        except GraftError as error:
            code = max(code, error.exit_code)
            _show_error(target, error, as_json)
        else:
            _show_success(target, compiled, as_json)
    return code


def _show_success(target: str, compiled: Compiled, as_json: bool) -> None:
    nodes = sum(len(block.nodes) + len(block.finals) for block in compiled.plan.blocks)
    for warning in compiled.warnings:
        if as_json:
            out_json(problem(warning) | {"severity": "warning"})
        else:
            note(_rendered((warning,)))
    for text in too_short_secrets(compiled.plan, find_flow(target).parent):
        if as_json:
            out_json({"severity": "warning", "file": target, "code": "", "message": text})
        else:
            note(f"{Paint.of(sys.stderr)('warning:', 'yellow', 'bold')} {text}")
    if not as_json:
        paint = Paint.of(sys.stdout)
        out(f"{target}: {paint('ok', 'green')}, {nodes} node{'s' if nodes != 1 else ''}")


def _show_error(target: str, error: GraftError, as_json: bool) -> None:
    diagnostics: tuple[Any, ...] = error.diagnostics if isinstance(error, InvalidFlow) else ()
    if as_json:
        for each in diagnostics:
            out_json(problem(each) | {"severity": "error"})
        if not diagnostics:
            out_json({"severity": "error", "file": target, "code": "", "message": str(error)})
        return
    if not diagnostics:
        note(f"{Paint.of(sys.stderr)('error:', 'red', 'bold')} {error}")
        return
    note(_rendered(diagnostics) + "\n")


def _rendered(diagnostics: tuple[Any, ...]) -> str:
    from graft_dsl import render

    paint = Paint.of(sys.stderr)
    return paint.adopt(render(diagnostics, color=paint.on).rstrip("\n"))


FIELDS = ("code", "message", "file", "line", "column", "end_column", "wanted", "got", "suggestion")


def problem(diagnostic: Any) -> dict[str, Any]:
    """The stable fields of one diagnostic."""
    found = {name: getattr(diagnostic, name) for name in FIELDS}
    return found | {"file": str(found["file"])}
