"""`graft run`: a flow, here and durably. A cluster of one in this process, on the data directory."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from graft.cli import exits, looks
from graft.cli.data import INTERRUPTED, check_id
from graft.cli.flags import Flags, given, read_params_file
from graft.cli.flows import find_flow, too_short_secrets
from graft.cli.interrupts import Interrupts
from graft.cli.place import Place, place_options
from graft.cli.runcommand import COMPILED, FLAGS, INTERRUPTS, RunCommand
from graft.cli.terminal import Paint, note, out, out_json
from graft.cli.verbosity import verbosity_options
from graft.errors import InvalidParams, UsageError

if TYPE_CHECKING:
    from graft.cli.selection import Selection
    from graft.cli.sources import Engine
    from graft.cluster.views import RunView
    from graft.plan import Plan
    from graft_dsl import Compiled


def _not_yet(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        raise UsageError(f"{param.opts[0]} is not in this version")


@click.command("run", cls=RunCommand)
@click.argument("flow", metavar="FLOW")
@click.option("--params-file", metavar="FILE", help="Parameters from a TOML or JSON file; `-` is JSON on stdin.")
@click.option("--id", "run_id", metavar="KEY", help="Id of the run. The same id and parameters again: the same run.")
@click.option(
    "--from", "from_node", metavar="NODE", help="Run NODE and what follows; the rest is taken from an earlier run."
)
@click.option("--only", metavar="NODE", help="Run NODE alone; what it needs is taken from an earlier run.")
@click.option(
    "--accept-changed", is_flag=True, help="With --from and --only: take results of nodes that have changed since, too."
)
@click.option("--dry-run", is_flag=True, help="Print what would run, and run nothing.")
@click.option("--no-wait", is_flag=True, help="Do not wait for timers: exit 3 when only waiting steps remain.")
@click.option("--json", "as_json", is_flag=True, help="Events and the result as JSON, one object a line.")
@verbosity_options
@place_options
@click.option("--ephemeral", is_flag=True, help="Keep nothing: state in memory, logs only until it ends.")
@click.option("--detach", is_flag=True, help="Start it, print its id and come back; a process is left behind for it.")
@click.option("--ui", is_flag=True, expose_value=False, callback=_not_yet, hidden=True)
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Run a flow, here and durably, and wait for its end.

    FLOW is a .toml file, or a directory with a flow.toml. Its parameters are options: `graft run FLOW --help` lists
    them. The outputs of the flow go to standard output, all else to standard error.

    Ctrl-C cancels gracefully (exit code 4); Ctrl-C again stops at once, and `graft resume` goes on (exit code 130).
    A run that was killed at any moment goes on with `graft resume`, too.

    While another process holds the data directory, the run is given to that one and shown here all the same.

    \b
    Exit codes: 0 succeeded, 1 failed, 2 usage or invalid flow, 3 only waiting
    steps remain, 4 cancelled, 5 timed out, 6 no quorum or unreachable,
    7 uncertain, 130 interrupted
    """
    compiled: Compiled = ctx.meta[COMPILED]
    flags: Flags = ctx.meta[FLAGS]
    if options["ephemeral"] and (options["from_node"] or options["only"]):
        raise UsageError("--ephemeral has no earlier run, which --from and --only need")
    place: Place = options["place"]
    if options["ephemeral"] and (options["detach"] or place.is_remote):
        raise UsageError(f"--ephemeral and {'--detach' if options['detach'] else '--server'} exclude each other")
    if options["run_id"] is not None:
        check_id(options["run_id"])
    params = _params(ctx, compiled, flags, options["params_file"])
    for warning in compiled.warnings:
        from graft_dsl import render

        paint = Paint.of(sys.stderr)
        note(paint.adopt(render((warning,), color=paint.on)))
    for text in too_short_secrets(compiled.plan, find_flow(options["flow"]).parent, params):
        note(f"{Paint.of(sys.stderr)('warning:', 'yellow', 'bold')} {text}")
    selection = _select(compiled, params, options)
    if options["dry_run"]:
        print_dry_run(compiled, params, selection, as_json=options["as_json"])
        return exits.SUCCEEDED
    return _start(compiled, params, selection, options, ctx.meta[INTERRUPTS])


def _params(ctx: click.Context, compiled: Compiled, flags: Flags, params_file: str | None) -> dict[str, Any]:
    """All parameters, converted and checked. What stands on the command line wins over the file."""
    from graft_dsl import coerce_params

    values = read_params_file(params_file) if params_file is not None else {}
    try:
        return coerce_params(compiled.plan, values | given(ctx, flags))
    except InvalidParams as error:
        raise InvalidParams(error.message, hint=f"`graft run {ctx.params['flow']} --help` lists them") from None


def _select(compiled: Compiled, params: dict[str, Any], options: dict[str, Any]) -> Selection | None:
    if options["from_node"] is None and options["only"] is None:
        if options["accept_changed"]:
            raise UsageError("--accept-changed belongs to --from and --only")
        return None
    if options["from_node"] is not None and options["only"] is not None:
        raise UsageError("--from and --only exclude each other")
    from graft.cli.selection import select
    from graft.cli.sources import read

    assert compiled.path is not None  # a file was named
    wanted = {name: options[name] for name in ("from_node", "only", "accept_changed")}
    base = compiled.path.parent
    return read(options["place"], lambda source: select(source, compiled.plan, params, base=base, **wanted))


def print_dry_run(compiled: Compiled, params: dict[str, Any], selection: Selection | None, *, as_json: bool) -> None:
    """What would run: the parameters, then the nodes in an order in which they could run."""
    from graft.cli.outline import outline, outline_records, shown_params

    if as_json:
        for record in outline_records(compiled.plan, selection):
            out_json(record)
        return
    paint = Paint.of(sys.stdout)
    out(f"{paint(compiled.plan.name, 'bold')} would run:")
    for name, text in shown_params(compiled.plan, params):
        out(paint(f"  {name} = {text}", "dim"))
    for line in outline(compiled.plan, selection):
        out(looks.paint_line(line, paint))


def _start(
    compiled: Compiled,
    params: dict[str, Any],
    selection: Selection | None,
    options: dict[str, Any],
    interrupts: Interrupts,
) -> int:
    import secrets
    import time

    from graft.cli.holding import with_detached, with_engine
    from graft.cli.session import run_in_loop
    from graft.cluster.run_ids import new_run_id

    plan = compiled.plan if selection is None else selection.plan
    assert compiled.path is not None  # a file was named
    base = compiled.path.parent
    # Chosen here, so that the start may be repeated, at another process if need be.
    run_id = options["run_id"] or new_run_id(plan.name, time.time_ns() // 1_000_000, secrets.randbits(20))
    place: Place = options["place"]
    if selection is not None and selection.source is not None:
        note(f"takes the results of {', '.join(selection.given) or 'no node'} {_from_when(selection.source)}")

    async def start(engine: Engine) -> None:
        if options["run_id"] is None:
            await _tell_of_interrupted(engine, plan.name, run_id, place)
        await engine.start_run(
            plan,
            params,
            run_id=run_id,
            base=base,
            given=selection.given if selection else None,
            excluded=frozenset(selection.excluded if selection else ()),
        )
        await _warn_of_labels(engine, plan)

    async def leave(engine: Engine) -> int:
        await start(engine)
        if options["as_json"]:
            out_json({"type": "started", "run": run_id})
        else:
            out(run_id)
            note(f"started; `graft show {run_id}{place.flags}` shows how it goes")
        return exits.SUCCEEDED

    async def body(engine: Engine) -> int:
        await start(engine)
        return await _until_its_end(engine, run_id, options, interrupts)

    if options["detach"]:
        return run_in_loop(lambda: with_detached(place, leave), interrupts)
    return run_in_loop(lambda: with_engine(place, interrupts, body, ephemeral=options["ephemeral"]), interrupts)


def _from_when(source: RunView) -> str:
    return f"from run {source.run_id}, which began {looks.moment(source.started_at)}"


async def _tell_of_interrupted(engine: Engine, name: str, run_id: str, place: Place) -> None:
    """A run that was killed is not forgotten: whoever repeats its command may think that this goes on with it."""
    found = [each for each in await engine.interrupted() if each.name == name and each.run_id != run_id]
    if found:
        others = f", as were {len(found) - 1} older ones" if len(found) > 1 else ""
        note(f"run {found[0].run_id} of this flow was interrupted{others}; this is a new run")
        note(f"  `graft resume {found[0].run_id}{place.flags}` goes on with it; `--id` makes a repeated command do so")


async def _warn_of_labels(engine: Engine, plan: Plan) -> None:
    """Say at once what would only be seen when the run comes to it."""
    if not any(node.runs_on for block in plan.blocks for node in (*block.nodes, *block.finals)):
        return
    from graft.cli.labels import lacking, warning

    lacks = lacking(plan, await engine.labels())
    if lacks:
        paint = Paint.of(sys.stderr)
        for line in warning(lacks):
            note(looks.paint_line(line, paint))


async def _until_its_end(engine: Engine, run_id: str, options: dict[str, Any], interrupts: Interrupts) -> int:
    from graft.cli.session import attend

    interrupted = (await engine.run_view(run_id)).paused == INTERRUPTED
    if interrupted:
        note(f"run {run_id} was interrupted: going on with it")
        await engine.resume(run_id)
    return await attend(
        engine,
        run_id,
        interrupts,
        as_json=options["as_json"],
        wait=not options["no_wait"],
        fresh=not interrupted,
        flags="" if options["ephemeral"] else options["place"].flags,
        kept=not options["ephemeral"],
        verbosity=options["verbosity"],
    )
