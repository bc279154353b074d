"""`--from NODE` and `--only NODE`: a run that takes over results of an earlier one.

The nodes that are not run are *given* their recorded results. These come from the newest run of the same flow with the
same parameters that has all of them, so that nothing is mixed that does not belong together; and what made them must
still be the same, in the flow and in the files that it runs. NODE is a node of the
flow itself, not one inside a group or a sub-flow: those run as a whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from graft.cli.changed import changed_files, changed_nodes
from graft.cli.guess import closest
from graft.cli.looks import BAD
from graft.cluster.secret_params import hide
from graft.errors import UsageError
from graft.plan import Block, FlowAction, GroupAction, Node, Plan

if TYPE_CHECKING:
    from graft.cli.sources import Source
    from graft.cluster.views import RunView, StepView

MAX_LOOKED_AT = 100
ENDED_WELL = frozenset({"succeeded", "skipped"})


@frozen
class Selection:
    """`given`: node name -> its result. `excluded`: nodes that are skipped. `plan`: what is run."""

    plan: Plan
    run: tuple[str, ...]
    given: dict[str, Any]
    excluded: tuple[str, ...]
    source: RunView | None  # the run that the results come from; None when none is needed


async def select(
    source: Source,
    plan: Plan,
    params: dict[str, Any],
    *,
    base: Path,
    from_node: str | None,
    only: str | None,
    accept_changed: bool,
) -> Selection:
    """Raises UsageError: no such node, no earlier run that has what is needed, or one of other nodes or files.

    `base` is the directory of the flow; `accept_changed` takes results of what has changed since, too.
    """
    name = from_node if from_node is not None else only
    assert name is not None
    block = plan.root
    _check_name(block, name)
    if only is not None:
        chosen, wanted = {name}, _needs(block, name)
        plan = _alone(plan, name)
    else:
        chosen = {name} | followers(block, name)
        wanted = {node.name for node in block.nodes} - chosen
    rest = {node.name for node in block.nodes} - chosen - wanted
    if not wanted:
        return Selection(plan, _ordered(block, chosen), {}, _ordered(block, rest), None)
    earlier = await _source(source, plan, params, wanted)
    if not accept_changed:
        _refuse_changed(earlier, plan, base, _ordered(block, wanted))
    steps = {step.path: step for step in earlier.steps}
    _refuse_lost_errors(earlier, plan, chosen, [steps[name] for name in _ordered(block, wanted)])
    succeeded = [each for each in wanted if steps[each].status == "succeeded"]
    given = {each: await source.output(earlier.run_id, each) for each in succeeded}
    skipped = {each for each in wanted if steps[each].status == "skipped"}
    return Selection(plan, _ordered(block, chosen), given, _ordered(block, rest | skipped), earlier)


def _refuse_changed(earlier: RunView, plan: Plan, base: Path, wanted: tuple[str, ...]) -> None:
    nodes = changed_nodes(earlier.plan, plan, wanted)
    steps = [step for step in earlier.steps if step.node in wanted]
    files = {node: file for node, file in changed_files(plan, base, steps) if node not in nodes}
    if not nodes and not files:
        return
    what = [f"the definition of {name}" for name in nodes]
    what += [f"{os.path.relpath(file, base)}, which {name} runs," for name, file in files.items()]
    raise UsageError(
        f"{' and '.join(what)} changed after run {earlier.run_id}, whose results would be taken",
        hint=f"begin there: --from {next(name for name in wanted if name in {*nodes, *files})};"
        " or take the results as they are: --accept-changed",
    )


def _refuse_lost_errors(earlier: RunView, plan: Plan, chosen: set[str], kept: list[StepView]) -> None:
    """Results are taken, errors are not: what asks for those of a map's items would find none."""
    read = {name for node in plan.root.nodes if node.name in chosen for name in _names_read(plan, node)}
    for step in kept:
        if f"{step.node}.errors" in read and any(item.status in BAD for item in step.children):
            raise UsageError(
                f"items of {step.node} failed in run {earlier.run_id}, and their errors are not taken over",
                hint=f"begin there: --from {step.node}; `graft retry {earlier.run_id} --from NODE` keeps them",
            )


def _names_read(plan: Plan, node: Node) -> set[str]:
    """Every name in the expressions of a node and of what is in it: `fetch.out`, `tests.errors`, …"""
    found: set[str] = set()
    waiting: list[Any] = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, tuple):
            found.update(each[1:] if each[:1] == ("var",) else ())
            waiting += each
        elif attrs.has(type(each)):
            waiting += (getattr(each, field.name) for field in attrs.fields(type(each)))
        if isinstance(each, FlowAction | GroupAction):
            block = plan.blocks[each.block]
            waiting += (*block.nodes, *block.finals)
    return found


def _alone(plan: Plan, name: str) -> Plan:
    """The plan whose only output is the result of one node, and in which nothing else is started by it."""
    nodes = tuple(attrs.evolve(node, catch=()) if node.name == name else node for node in plan.root.nodes)
    result = ("call", "default", (("var", f"{name}.out"), ("const", None)), ())
    root = attrs.evolve(plan.root, nodes=nodes, outputs=("dict", (("const", name), result)))
    return attrs.evolve(plan, blocks=(root, *plan.blocks[1:]))


def followers(block: Block, name: str) -> set[str]:
    """Every node that can only run after `name`: by an edge, or started by a catch."""
    after: dict[str, list[str]] = {}
    for node in block.nodes:
        for before in (*node.needs, *node.after):
            after.setdefault(before, []).append(node.name)
        for catch in node.catch:
            after.setdefault(node.name, []).append(catch.to)
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for each in after.get(waiting.pop(), ()):
            if each not in found:
                found.add(each)
                waiting.append(each)
    return found - {name}


def _needs(block: Block, name: str) -> set[str]:
    node = _node(block, name)
    return set(node.needs) | set(node.after)


def _node(block: Block, name: str) -> Node:
    return next(node for node in block.nodes if node.name == name)


def _check_name(block: Block, name: str) -> None:
    names = [node.name for node in block.nodes]
    if name in names:
        return
    if "/" in name or "[" in name:
        raise UsageError(f"{name} is inside another node", hint="name a node of the flow itself; it runs as a whole")
    close = closest(name, names, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(names[:8])}"
    raise UsageError(f"the flow {block.name} has no node {name}", hint=hint)


async def _source(source: Source, plan: Plan, params: dict[str, Any], wanted: set[str]) -> RunView:
    lacking: list[str] = []  # in the newest
    for summary in await source.runs(MAX_LOOKED_AT, name=plan.name):
        view = await source.run_view(summary.run_id)
        if view.params != hide(plan.root.params, params):
            continue
        statuses = {step.path: step.status for step in view.steps}
        without = sorted(name for name in wanted if statuses.get(name) not in ENDED_WELL)
        if not without:
            return view
        lacking = lacking or [f"{name} ({statuses[name]})" if name in statuses else name for name in without]
    raise UsageError(
        f"no earlier run of {plan.name} with these parameters has results of "
        + ", ".join((lacking or sorted(wanted))[:8]),
        hint="run the whole flow once; `graft runs` lists the runs",
    )


def _ordered(block: Block, names: Iterable[str]) -> tuple[str, ...]:
    chosen = set(names)
    return tuple(node.name for node in block.nodes if node.name in chosen)
