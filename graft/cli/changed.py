"""What has changed since a run: the definition of a node, the files that it runs, the flow's file.

A result that is taken from an earlier run is worth something only while the node that made it is still the same.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from graft.plan import Block, ExecAction, FlowAction, GroupAction, Node, Plan, PythonAction, RunAction, plan_hash

if TYPE_CHECKING:
    from graft.cluster.views import RunView, StepView

SCRIPTS = (".py", ".sh")
MAX_FLOWS = 50  # files that are looked at for the flow of a run


def changed_nodes(old: Plan, new: Plan, names: Iterable[str]) -> list[str]:
    """Those of the root nodes `names` that `old` defines otherwise than `new`, with all that is in them."""
    before, after = ({node.name: node for node in plan.root.nodes} for plan in (old, new))
    return [name for name in names if _definition(old, before[name]) != _definition(new, after[name])]


def _definition(plan: Plan, node: Node) -> tuple[Any, ...]:
    """All that decides what a node does. The number of a block is no part of it: other nodes change that."""
    own = attrs.evolve(node, doc="", labels=())
    if not isinstance(node.action, FlowAction | GroupAction):
        return (own,)
    block = plan.blocks[node.action.block]
    inner = tuple(_definition(plan, each) for each in (*block.nodes, *block.finals))
    own = attrs.evolve(own, action=attrs.evolve(node.action, block=0))
    return own, attrs.evolve(block, nodes=(), finals=()), inner


def changed_files(plan: Plan, base: Path, steps: Iterable[StepView]) -> Iterator[tuple[str, Path]]:
    """(node, file) for each script or module that was written after the root step that runs it began."""
    nodes = {node.name: node for node in plan.root.nodes}
    for step in steps:
        for file in _files(plan, plan.root, nodes[step.node], base):
            if step.started_at is not None and file.stat().st_mtime * 1000 > step.started_at:
                yield step.node, file


def _files(plan: Plan, block: Block, node: Node, base: Path) -> Iterator[Path]:
    if isinstance(node.action, FlowAction | GroupAction):
        inner = plan.blocks[node.action.block]
        for each in (*inner.nodes, *inner.finals):
            yield from _files(plan, inner, each, base)
        return
    for name in _names(node):
        file = base / block.directory / name
        if file.is_file() and (file.suffix in SCRIPTS or file.stat().st_mode & 0o111):
            yield file


def _names(node: Node) -> Iterator[str]:
    """What may be the names of the scripts and modules of a node, seen from the flow's directory."""
    match node.action:
        case PythonAction(target=target):
            module = target.partition(":")[0].replace(".", "/")
            yield from (f"{module}.py", f"{module}/__init__.py")
        case RunAction(command=command):
            try:
                yield from shlex.split(command, comments=True)
            except ValueError:  # a quote of the shell that shlex does not know
                yield from command.split()
        case ExecAction(argv=("list", *items)):
            yield from (item[1] for item in items if item[0] == "const" and isinstance(item[1], str))


def changed_flow(view: RunView) -> Path | None:
    """The flow's file, if it is here and says something else than the plan of the run. Imports none of its code."""
    file = _flow_file(view)
    if file is None:
        return None
    from graft.errors import GraftError
    from graft_dsl import compile_file

    try:
        return None if plan_hash(compile_file(file).plan) == view.plan_hash else file
    except (GraftError, OSError):
        return file


def _flow_file(view: RunView) -> Path | None:
    """The one file in the directory of a run that has a flow of its name; None where that is not clear."""
    import tomli

    found = []
    for file in sorted(Path(view.flow_base).glob("*.toml"))[:MAX_FLOWS]:
        try:
            name = tomli.loads(file.read_text("utf-8")).get("name")
        except (OSError, ValueError):
            continue
        if name == view.name:
            found.append(file)
    return found[0] if len(found) == 1 else None
