"""A plan as an outline: what would run, in an order in which it could."""

from __future__ import annotations

import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

from graft.cli.looks import Piece, value_text
from graft.plan import Block, HttpAction, Node, Plan, PythonAction, RunAction

if TYPE_CHECKING:
    from graft.cli.selection import Selection

MAX_DETAIL = 60
_INDEX = re.compile(r"\[[^\]]*\]")  # of an item
HIDDEN = "***"


def outline(plan: Plan, selection: Selection | None = None) -> Iterator[list[Piece]]:
    for depth, path, node, is_final in walk(plan):
        fate = fate_of(path, selection)
        style = "" if fate == "run" else "dim"
        pieces: list[Piece] = [("  " * (depth + 1), ""), (node.name, style or "bold"), (f"  {node.kind}", "dim")]
        if detail := summary(node):
            pieces.append((f"  {detail}", "dim"))
        if fate != "run":
            pieces.append((f"  {fate}", "yellow"))
        elif node.needs and not is_final:
            pieces.append((f"  after {', '.join(node.needs)}", "dim"))
        if is_final:
            pieces.append(("  finally", "dim"))
        yield pieces


def outline_records(plan: Plan, selection: Selection | None = None) -> Iterator[dict[str, Any]]:
    """`graft run --dry-run --json`: one object a node, in an order in which they could run."""
    for _, path, node, is_final in walk(plan):
        yield {
            "type": "node",
            "path": path,
            "kind": node.kind,
            "needs": list(node.needs),
            "finally": is_final,
            "mapped": node.for_each is not None,
            "fate": fate_of(path, selection),
        }


def walk(plan: Plan) -> Iterator[tuple[int, str, Node, bool]]:
    """(depth, path, node, is_final) of every node: what a node needs comes before it, what is in it right after."""
    waiting = [_entries(plan.root, 0, "")]
    while waiting:
        entry = next(waiting[-1], None)
        if entry is None:
            waiting.pop()
            continue
        yield entry
        depth, path, node, _ = entry
        block = getattr(node.action, "block", None)
        if block is not None:
            waiting.append(_entries(plan.blocks[block], depth + 1, path + "/"))


def plan_nodes(plan: Plan) -> dict[str, Node]:
    """Every node by its path, which is that of its steps without the items of maps."""
    return {path: node for _, path, node, _ in walk(plan)}


def plan_path(path: str) -> str:
    """The path of a step's node."""
    return _INDEX.sub("", path)


def _entries(block: Block, depth: int, prefix: str) -> Iterator[tuple[int, str, Node, bool]]:
    for nodes, is_final in ((block.nodes, False), (block.finals, True)):
        for node in in_order(nodes):
            yield depth, prefix + node.name, node, is_final


def in_order(nodes: tuple[Node, ...]) -> list[Node]:
    """Nodes so that what a node needs, or is started by, stands before it; else as they are written."""
    names = {node.name: node for node in nodes}
    before = {node.name: [each for each in (*node.needs, *node.after) if each in names] for node in nodes}
    for node in nodes:
        for catch in node.catch:
            before[catch.to].append(node.name)
    return [names[name] for name in TopologicalSorter(before).static_order()]


def fate_of(path: str, selection: Selection | None) -> str:
    if selection is None:
        return "run"
    top = path.partition("/")[0]
    if top in selection.given:
        assert selection.source is not None
        return f"taken from {selection.source.run_id}"
    return "left out" if top in selection.excluded else "run"


def summary(node: Node) -> str:
    """What a node does, in a few words."""
    from graft.cli.terminal import clip

    match node.action:
        case RunAction(command=command):
            text = " ".join(command.split())
        case PythonAction(target=target):
            text = target
        case HttpAction(method=method):
            text = method
        case _:
            text = ""
    each = "once an item" if node.for_each is not None else ""
    return "  ".join(part for part in (clip(text, MAX_DETAIL), each) if part)


def shown_params(plan: Plan, params: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, value on one line) of the parameters; a secret one is not shown."""
    secret = {param.name for param in plan.root.params if param.secret}
    for name, value in params.items():
        yield name, HIDDEN if name in secret else value_text(value)
