"""Names to nodes: who waits for whom.

An edge comes from `needs`, from a reference to `.out` (both join), or from one to another field of a node, such as
`.error` (which only orders) (R3). A node in a group that reads one outside lifts the edge to the group: in the block of
the node that is read, it is the group that waits. `catch` starts its target; for cycles it counts as an edge.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Literal

from attrs import define, field

from graft.expressions.trees import NODE_FIELDS
from graft_dsl.declarations import BlockDecl, Expr, FlowDecl, NodeDecl
from graft_dsl.diagnostics import MAX_SUGGESTIONS, At, NoteAt, Report
from graft_dsl.suggest import quoted

FIELDS = frozenset(NODE_FIELDS)
EdgeKind = Literal["need", "after", "catch"]


@define
class Edge:
    """`source` is the node that comes first. `at`: where the author asked for it."""

    kind: EdgeKind
    at: At
    part: Literal["key", "value"] = "value"


@define(eq=False)
class Links:
    """The edges that enter each node of a flow, by the name of the node that comes first."""

    flow: FlowDecl
    entering: dict[int, dict[str, Edge]] = field(factory=dict)

    def edges(self, node: NodeDecl) -> dict[str, Edge]:
        """Edges into `node`, by the name of their source in the same block."""
        return self.entering.setdefault(id(node), {})


def link(flow: FlowDecl) -> bool:
    """Find every edge and order every block. False when there are cycles; problems go to the flow's report."""
    links = Links(flow)
    blocks = flow.blocks()
    for block in blocks:
        for node in (*block.nodes.values(), *block.finals.values()):
            _need_edges(links, block, node)
            _catch_edges(links, block, node)
            for leaf in node.leaves:
                _reference_edges(links, block, node, leaf)
    acyclic = True
    for block in blocks:
        acyclic &= _order(links, block)
    return acyclic


def reader(block: BlockDecl, node: NodeDecl, name: str) -> tuple[NodeDecl | None, NodeDecl]:
    """Who is called `name` where `node` of `block` stands, and who waits for it: in its block, `node` or its group."""
    waiting = node
    inside: BlockDecl | None = block
    while inside is not None:
        found = inside.find(name)
        if found is not None:
            return found, waiting
        if inside.owner is not None:
            waiting = inside.owner
        inside = inside.parent
    return None, waiting


def item_names(block: BlockDecl, node: NodeDecl, key: str = "with") -> dict[str, NodeDecl]:
    """The names of items that a value under `key` of `node` can read, each with the node that is mapped."""
    found: dict[str, NodeDecl] = {}
    if "for_each" in node.keys and key not in ("for_each", "when"):
        found[node.keys.get("as", "item")] = node
    inside: BlockDecl | None = block
    while inside is not None and inside.owner is not None:
        if "for_each" in inside.owner.written:
            found.setdefault(inside.owner.keys.get("as", "item"), inside.owner)
        inside = inside.parent
    return found


def _need_edges(links: Links, block: BlockDecl, node: NodeDecl) -> None:
    report = links.flow.report
    edges = links.edges(node)
    for number, name in enumerate(node.keys.get("needs", ())):
        at = (*node.at, "needs", number)
        source = (block.finals if node.final else block.nodes).get(name)
        if source is node:
            report.error(
                "GR202", f"{quoted(name)} needs itself", at, suggestion="remove it, or name the node that was meant"
            )
        elif source is None:
            _unknown_need(report, block, node, name, at)
        elif name in edges:
            report.warning("GR208", f"{quoted(name)} is named twice", at)
        else:
            edges[name] = Edge("need", at)


def _unknown_need(report: Report, block: BlockDecl, node: NodeDecl, name: str, at: At) -> None:
    found, waiting = reader(block, node, name)
    if found is not None and found.final != node.final and waiting is node:
        text = (
            "is a `finally` node: nothing of the body can wait for it"
            if found.final
            else "is not a `finally` node; those start when all others have ended, so they need none"
        )
        report.error("GR207", f"{quoted(name)} {text}", at, suggestion="remove it")
        return
    if found is not None:
        hint = f'needs = ["{name}"] on the group {quoted(waiting.name)}'
        report.error(
            "GR207", f"{quoted(name)} is outside of the group: only the whole group can need it", at, suggestion=hint
        )
        return
    group = None if report.errors > MAX_SUGGESTIONS else _group_with(block, name)
    if group is not None:
        hint = f"need the group: `{group.name}`"
        report.error("GR207", f"{quoted(name)} is inside the group {quoted(group.name)}", at, suggestion=hint)
        return
    known = block.finals if node.final else block.nodes
    head = name.partition(".")[0]
    guess = head if head in known else report.closest(name, known)
    report.error(
        "GR201",
        f"{quoted(node.name)} needs {quoted(name)}, but there is no such node",
        at,
        suggestion=f"did you mean `{guess}`?" if guess not in (None, node.name) else None,
    )


def _group_with(block: BlockDecl, name: str) -> NodeDecl | None:
    """A group of the block that has a node of this name."""
    groups = (node for node in block.nodes.values() if node.block is not None)
    return next((group for group in groups if group.block is not None and group.block.find(name)), None)


def _catch_edges(links: Links, block: BlockDecl, node: NodeDecl) -> None:
    report = links.flow.report
    for number, catch in enumerate(node.keys.get("catch", ())):
        name, at = catch.get("to"), (*node.at, "catch", number, "to")
        target = (block.finals if node.final else block.nodes).get(name)
        if name is None:
            continue
        if target is node:
            report.error(
                "GR206",
                f"{quoted(name)} cannot handle its own failure",
                at,
                suggestion="name another node, or use `retry`",
            )
        elif target is None:
            guess = report.closest(name, block.nodes)
            elsewhere = reader(block, node, name)[0]
            text = "but it is in another block" if elsewhere else "but there is no such node"
            report.error(
                "GR205",
                f"a failure of {quoted(node.name)} goes to {quoted(name)}, {text}",
                at,
                suggestion=f"did you mean `{guess}`?" if guess not in (None, node.name) else None,
            )
        elif node not in target.caught:
            target.caught.append(node)
            links.edges(target)[node.name] = Edge("catch", at)


def _reference_edges(links: Links, block: BlockDecl, node: NodeDecl, leaf: Expr) -> None:
    for ref in leaf.parsed.refs:
        name, _, what = ref.partition(".")
        if what not in FIELDS:
            continue
        source, waiting = reader(block, node, name)
        if source is None:
            continue
        if source is waiting:
            _self_reference(links.flow.report, node, waiting, leaf, ref)
        elif source.final and not waiting.final:
            links.flow.report.error(
                "GR209",
                f"{quoted(name)} is a `finally` node: it runs when all others have ended",
                leaf.at,
                span=ref_span(leaf, ref),
            )
        elif source.final == waiting.final:
            _join_edge(links.edges(waiting), name, "need" if what == "out" else "after", leaf.at)


def _join_edge(edges: dict[str, Edge], name: str, kind: EdgeKind, at: At) -> None:
    """A joining edge is more than an ordering one; a catch is more than both."""
    old = edges.get(name)
    if old is None or (old.kind == "after" and kind == "need"):
        edges[name] = Edge(kind, at)


def _self_reference(report: Report, node: NodeDecl, waiting: NodeDecl, leaf: Expr, ref: str) -> None:
    if node is waiting:
        text = f"{quoted(node.name)} reads its own {quoted(ref)}, which is there only when it has ended"
    else:
        text = f"{quoted(node.name)} is inside the group {quoted(waiting.name)} and cannot read its {quoted(ref)}"
    report.error("GR202", text, leaf.at, span=ref_span(leaf, ref))


def ref_span(leaf: Expr, ref: str) -> tuple[int, int] | None:
    """Where a variable stands in the text of a leaf."""
    stack = [leaf.parsed.tree]
    while stack:
        tree = stack.pop()
        if not isinstance(tree, tuple):
            continue
        if tree[:1] == ("var",) and tree[1] == ref:
            span: tuple[int, int] = leaf.parsed.span(tree)
            return span
        stack.extend(tree[1:])
    return None


# Order


def _order(links: Links, block: BlockDecl) -> bool:
    """Sort the nodes so that each stands after what it waits for; fill in their `needs` and `after`."""
    acyclic = True
    for group in (block.nodes, block.finals):
        nodes = list(group.values())
        for node in nodes:
            _fill(links, node)
        ordered = _sorted(links, nodes, group)
        if len(ordered) < len(nodes):
            acyclic = False
            done = set(map(id, ordered))
            rest = [node for node in nodes if id(node) not in done]
            for cycle in _cycles(links, rest, group):
                _report_cycle(links, cycle)
            ordered += rest
        block.order += ordered
    for index, node in enumerate(block.order):
        node.index = index
    return acyclic


def _fill(links: Links, node: NodeDecl) -> None:
    edges = links.edges(node)
    if not edges:
        return
    if node.caught:  # started by the catch alone: what it reads only orders
        node.after = sorted(edges)
        return
    node.needs = sorted(name for name, edge in edges.items() if edge.kind == "need")
    node.after = sorted(name for name, edge in edges.items() if edge.kind == "after")


def _sorted(links: Links, nodes: list[NodeDecl], group: dict[str, NodeDecl]) -> list[NodeDecl]:
    """Kahn's algorithm; among those that could come next, the one declared first."""
    waiting = {id(node): len(links.edges(node)) for node in nodes}
    followers: dict[str, list[NodeDecl]] = {}
    for node in nodes:
        for name in links.edges(node):
            followers.setdefault(name, []).append(node)
    free = deque(node for node in nodes if not waiting[id(node)])
    ordered = []
    while free:
        node = free.popleft()
        ordered.append(node)
        for follower in followers.get(node.name, ()):
            waiting[id(follower)] -= 1
            if not waiting[id(follower)]:
                free.append(follower)
    return ordered


def _cycles(links: Links, rest: list[NodeDecl], group: dict[str, NodeDecl]) -> Iterable[list[NodeDecl]]:
    """One short cycle of every knot in `rest`, the nodes that no order was found for; its first declared node first."""
    position = {id(node): number for number, node in enumerate(rest)}
    for knot in _knots(links, rest, group, position):
        cycle = _cycle_through(links, min(knot, key=lambda node: position[id(node)]), set(map(id, knot)), group)
        if cycle is not None:
            yield cycle


def _knots(
    links: Links, rest: list[NodeDecl], group: dict[str, NodeDecl], position: dict[int, int]
) -> Iterable[list[NodeDecl]]:
    """The strongly connected components of more than one node (Tarjan 1972, with a stack instead of recursion)."""
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    path: list[NodeDecl] = []
    on_path: set[int] = set()
    for start in rest:
        work: list[tuple[NodeDecl, Iterator[NodeDecl]]] = [] if id(start) in number else [(start, iter(()))]
        while work:
            node, sources = work[-1]
            key = id(node)
            if key not in number:
                number[key] = low[key] = len(number)
                path.append(node)
                on_path.add(key)
                sources = iter([group[name] for name in links.edges(node) if id(group[name]) in position])
                work[-1] = (node, sources)
            for source in sources:
                if id(source) not in number:
                    work.append((source, iter(())))
                    break
                if id(source) in on_path:
                    low[key] = min(low[key], number[id(source)])
            else:
                work.pop()
                if work:
                    above = id(work[-1][0])
                    low[above] = min(low[above], low[key])
                if low[key] == number[key]:
                    knot = _cut(path, node)
                    on_path -= set(map(id, knot))
                    if len(knot) > 1:
                        yield knot


def _cut(path: list[NodeDecl], node: NodeDecl) -> list[NodeDecl]:
    """Take everything from `node` on off the end of `path`."""
    knot: list[NodeDecl] = []
    while not knot or knot[-1] is not node:
        knot.append(path.pop())
    return knot


def _cycle_through(links: Links, start: NodeDecl, left: set[int], group: dict[str, NodeDecl]) -> list[NodeDecl] | None:
    """The shortest way from `start` over what it waits for back to itself."""
    came: dict[int, NodeDecl] = {}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for name in links.edges(node):
            source = group[name]
            if source is start:
                way = [node]
                while way[-1] is not start:
                    way.append(came[id(way[-1])])
                return way[::-1]
            if id(source) in left and id(source) not in came:
                came[id(source)] = node
                queue.append(source)
    return None


MAX_CYCLE_SHOWN = 12


def _report_cycle(links: Links, cycle: list[NodeDecl]) -> None:
    ring = [*cycle, cycle[0]]
    names = [node.name for node in ring]
    if len(names) > MAX_CYCLE_SHOWN:
        names = [*names[: MAX_CYCLE_SHOWN - 2], f"… ({len(names) - MAX_CYCLE_SHOWN} more)", *names[-2:]]
    steps = list(pairwise(ring))
    edges = [links.edges(node)[source.name] for node, source in steps]
    said = {"need": "waits for", "after": "waits for", "catch": "is started by a failure of"}
    notes: list[NoteAt] = [
        (f"{quoted(node.name)} {said[edge.kind]} {quoted(source.name)}", edge.at, "value", None)
        for (node, source), edge in list(zip(steps, edges, strict=True))[:MAX_CYCLE_SHOWN]
    ]
    links.flow.report.error(
        "GR203",
        f"these nodes wait for each other: {' -> '.join(names)}",
        edges[0].at,
        label=str(notes[0][0]),
        suggestion="one of these edges has to go",
        notes=notes[1:],
    )
