"""`graft graph`: a flow as a picture, or as text; with `--run`, in the colours of a run of it."""

from __future__ import annotations

from pathlib import Path

import click

from graft.cli.data import RunName
from graft.cli.files import replace_file
from graft.cli.flows import compile_flow
from graft.cli.place import Place, place_options
from graft.cli.records import every_step
from graft.cli.sources import find_run, read
from graft.cli.terminal import note, out
from graft.errors import UsageError
from graft.plan import Plan

FORMATS = ("text", "mermaid", "dot", "svg", "json")


@click.command("graph")
@click.argument("flow", metavar="[FLOW]", required=False)
@click.option("--format", "format_", type=click.Choice(FORMATS), help="Default: by the name of FILE, or text.")
@click.option("--run", metavar="RUN", type=RunName(), help="Colour it by the states of this run.")
@click.option("-o", "--output", metavar="FILE", help="Write it to FILE instead.")
@place_options
def command(flow: str | None, format_: str | None, run: str | None, output: str | None, place: Place) -> None:
    """Draw a flow. Nothing is run.

    With --run and without FLOW, it draws the plan that the run has. RUN is an id, the beginning of one, or `last`.
    """
    plan, statuses = _subject(flow, run, place)
    chosen = format_ or format_of(output)
    from graft_dsl import render_graph

    text = render_graph(plan, chosen, statuses)
    if output is None:
        out(text.rstrip("\n"))
        return
    replace_file(Path(output), text)
    note(f"wrote {output}")


def _subject(flow: str | None, run: str | None, place: Place) -> tuple[Plan, dict[str, str] | None]:
    if run is None:
        if flow is None:
            raise UsageError("which flow?", hint="graft graph FLOW, or graft graph --run RUN")
        return compile_flow(flow, resolve_python=False).plan, None
    view = read(place, lambda source: find_run(source, run))
    statuses = {step.path: step.status for step in every_step(view.steps)}
    return (view.plan if flow is None else compile_flow(flow, resolve_python=False).plan), statuses


SUFFIXES = {".mmd": "mermaid", ".mermaid": "mermaid", ".dot": "dot", ".gv": "dot", ".svg": "svg", ".json": "json"}


def format_of(output: str | None) -> str:
    return "text" if output is None else SUFFIXES.get(Path(output).suffix, "text")
