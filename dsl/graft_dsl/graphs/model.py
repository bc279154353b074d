"""What a drawing shows: boxes inside of boxes, and arrows between boxes of the same block.

A plan's blocks are flat and may be shared by nodes; here every node with a block has a copy of its own, because a run
gives each its own statuses. A plan that would become too large that way is drawn with its innermost blocks folded.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Mapping
from typing import Literal

from attrs import define, field, frozen

from graft.plan import (
    Block,
    ExecAction,
    FlowAction,
    GroupAction,
    HttpAction,
    Node,
    Plan,
    PythonAction,
    RunAction,
    SleepAction,
)
from graft_dsl.units import render_duration

EdgeKind = Literal["need", "after", "catch"]
MAX_BOXES = 20_000
MAX_DETAIL = 60

SEVERITY: tuple[str, ...] = (
    "failed",
    "timed_out",
    "uncertain",
    "cancelling",
    "cancelled",
    "running",
    "backing_off",
    "waiting",
    "queued",
    "ready",
    "succeeded",
    "skipped",
    "pending",
)
"""Statuses; of several items of a map, the first in this order is the one that is shown."""

DONE = frozenset({"succeeded", "skipped", "failed", "timed_out", "cancelled"})

COLORS: dict[str, tuple[str, str]] = {
    "succeeded": ("#dcf5e3", "#2b8a4b"),
    "failed": ("#fde0e0", "#c92a2a"),
    "timed_out": ("#fde0e0", "#c92a2a"),
    "cancelled": ("#eceef1", "#6b7280"),
    "cancelling": ("#eceef1", "#6b7280"),
    "skipped": ("#f6f7f9", "#a3aab5"),
    "running": ("#dbeafe", "#1d5fd0"),
    "backing_off": ("#fff1d6", "#b7791f"),
    "waiting": ("#fff1d6", "#b7791f"),
    "uncertain": ("#fbe3f4", "#a61e80"),
    "queued": ("#e9effb", "#5b7fc0"),
    "ready": ("#e9effb", "#5b7fc0"),
    "pending": ("#ffffff", "#8a93a2"),
}
"""Status -> (fill, line)."""
PLAIN = ("#ffffff", "#6b7686")


@frozen
class Edge:
    """From what comes first to what comes after; both are names in the same block. `label`: types of a catch."""

    source: str
    target: str
    kind: EdgeKind
    label: str = ""


@define(eq=False)
class Box:
    """A node. `detail` is what it does, in a few words; `done` and `total` count the items of a map in a run."""

    name: str
    path: str
    kind: str
    detail: str
    mapped: bool
    status: str | None = None
    done: int = 0
    total: int = 0
    inner: Picture | None = None
    folded: bool = False
    note: str = ""

    @property
    def colors(self) -> tuple[str, str]:
        return PLAIN if self.status is None else COLORS.get(self.status, PLAIN)

    @property
    def title(self) -> str:
        """The name, with how many items are done."""
        if self.total > 1 or (self.mapped and self.total):
            return f"{self.name} {self.done}/{self.total}"
        return f"{self.name} ×" if self.mapped else self.name


@define(eq=False)
class Picture:
    """One block. Invariant: `boxes` are in an order in which each stands after what it waits for."""

    boxes: list[Box] = field(factory=list)
    edges: list[Edge] = field(factory=list)
    finals: Picture | None = None


@define(eq=False)
class Graph:
    name: str
    doc: str
    picture: Picture
    has_statuses: bool


def graph_of(plan: Plan, statuses: Mapping[str, str] | None = None) -> Graph:
    """The drawing of a plan. `statuses`: path of a step -> its status."""
    folded = _fold(statuses or {})
    top = Picture()
    made = 0
    todo: deque[tuple[Block, Picture, str]] = deque([(plan.root, top, "")])
    while todo:  # breadth first, so that a plan that is too large loses its innermost blocks
        block, picture, prefix = todo.popleft()
        parts = [(picture, block.nodes)]
        if block.finals:
            picture.finals = Picture()
            parts.append((picture.finals, block.finals))
        for part, nodes in parts:
            part.edges = _edges(nodes)
            for node in _ordered(nodes, part.edges):
                box = _box(plan, node, prefix, folded)
                part.boxes.append(box)
                made += 1
                if isinstance(node.action, (GroupAction, FlowAction)):
                    box.folded = made > MAX_BOXES
                    if not box.folded:
                        box.inner = Picture()
                        todo.append((plan.blocks[node.action.block], box.inner, f"{box.path}/"))
    return Graph(plan.name, plan.doc, top, statuses is not None)


_INDEX = re.compile(r"\[[^\]]*\]")


def _fold(statuses: Mapping[str, str]) -> dict[str, Counter[str]]:
    """Path without the indexes of maps -> how many steps have which status. The map's own step is not an item."""
    found: dict[str, Counter[str]] = {}
    items = {path.rpartition("[")[0] for path in statuses if path.endswith("]")}
    for path, status in statuses.items():
        if path not in items:
            found.setdefault(_INDEX.sub("", path), Counter())[status] += 1
    return found


def _box(plan: Plan, node: Node, prefix: str, statuses: Mapping[str, Counter[str]]) -> Box:
    path = prefix + node.name
    box = Box(node.name, path, node.kind, _detail(plan, node), node.for_each is not None)
    counts = statuses.get(path)
    if counts:
        box.status = next((status for status in SEVERITY if status in counts), next(iter(counts)))
        box.total = sum(counts.values())
        box.done = sum(count for status, count in counts.items() if status in DONE)
    elif statuses:
        box.status = "pending"
    box.note = ", ".join(_notes(node))
    return box


def _notes(node: Node) -> list[str]:
    found = []
    if node.when is not None:
        found.append("when …")
    if node.join != "none_failed":
        found.append(node.join)
    if node.for_each is not None and node.for_each.max_parallel:
        found.append(f"{node.for_each.max_parallel} at a time")
    if node.retry is not None and node.retry.attempts > 1:
        found.append(f"{node.retry.attempts} attempts")
    if node.timeout_ms is not None:
        found.append(f"timeout {render_duration(node.timeout_ms)}")
    if node.on_failure == "continue":
        found.append("may fail")
    if node.ends:
        found.append(f"ends {node.ends}")
    return found


def _detail(plan: Plan, node: Node) -> str:
    action = node.action
    text = {"nodes": "group"}.get(node.kind, node.kind)
    match action:
        case RunAction():
            text = action.command
        case ExecAction():
            text = " ".join(str(part[1]) if part[0] == "const" else "…" for part in action.argv[1:] if part)
        case PythonAction():
            text = action.target
        case HttpAction():
            text = f"{action.method} {action.url[1] if action.url[0] == 'const' else '…'}"
        case FlowAction():
            text = f"flow {plan.blocks[action.block].name}"
        case SleepAction() if action.duration[0] == "const":
            text = f"sleep {render_duration(action.duration[1])}"
    text = " ".join(text.split())
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"


def _edges(nodes: tuple[Node, ...]) -> list[Edge]:
    known = {node.name for node in nodes}
    found = []
    caught = {(node.name, catch.to) for node in nodes for catch in node.catch}
    for node in nodes:
        for source in node.needs:
            if source in known:
                found.append(Edge(source, node.name, "need"))
        for source in node.after:
            if source in known and (source, node.name) not in caught:
                found.append(Edge(source, node.name, "after"))
        labels: dict[str, list[str]] = {}
        for catch in node.catch:
            labels.setdefault(catch.to, []).extend(catch.on)
        found += [Edge(node.name, to, "catch", ", ".join(on)) for to, on in labels.items() if to in known]
    return found


def _ordered(nodes: tuple[Node, ...], edges: list[Edge]) -> list[Node]:
    """Each node after what it waits for; otherwise in the order of the file. Plans have no cycles."""
    by_name = {node.name: node for node in nodes}
    waiting = {node.name: 0 for node in nodes}
    followers: dict[str, list[str]] = {}
    for edge in edges:
        waiting[edge.target] += 1
        followers.setdefault(edge.source, []).append(edge.target)
    free = deque(name for name, count in waiting.items() if not count)
    ordered = []
    while free:
        name = free.popleft()
        ordered.append(by_name[name])
        for follower in followers.get(name, ()):
            waiting[follower] -= 1
            if not waiting[follower]:
                free.append(follower)
    return ordered
