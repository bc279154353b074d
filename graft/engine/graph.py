"""A plan, indexed for the engine: who follows whom, by number. Derived, never stored."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from graft.plan import Block, Node, Plan
from graft.plan.records import TASK_KINDS

NEED: Final = 0  # joins
AFTER: Final = 1  # orders
CATCH: Final = 2  # starts the target of a catch

Line = tuple[str, tuple[tuple[str, str], ...]]
"""What a step asks of a member: its kind of node, and the labels of `runs_on` ("*" is any value)."""

DECIDED_KINDS: Final = frozenset({"value", "sleep", "fail", "flow"})  # kinds with an expression and no attempt


@frozen
class BlockGraph:
    """One block. A node's ordinal is its index in `nodes`: first the body, then the `finally` nodes.

    `successors[i]` holds `(ordinal, edge kind)`, `need_sources[i]` the ordinals
    that node `i` needs; `needs[i]`, `afters[i]`, `catches[i]` count the edges that enter.
    `raced` are the nodes that an `any_succeeded` needs, and what else follows them: to cancel its losers the engine
    asks for their statuses, so they stay in memory. Edges from the body to a `finally` node are left out: those start
    when the whole body has ended.
    """

    block: Block
    nodes: tuple[Node, ...]
    lines: tuple[Line, ...]
    body: int
    ordinals: dict[str, int]
    successors: tuple[tuple[tuple[int, int], ...], ...]
    need_sources: tuple[tuple[int, ...], ...]
    needs: tuple[int, ...]
    afters: tuple[int, ...]
    catches: tuple[int, ...]
    raced: frozenset[int]
    sources: tuple[int, ...]
    final_sources: tuple[int, ...]


@frozen
class PlanGraph:
    plan: Plan
    hash: str
    blocks: tuple[BlockGraph, ...]


def plan_graph(plan: Plan, hash: str) -> PlanGraph:
    return PlanGraph(plan, hash, tuple(map(_block_graph, plan.blocks)))


def _block_graph(block: Block) -> BlockGraph:
    nodes = block.nodes + block.finals
    body = len(block.nodes)
    ordinals = {node.name: i for i, node in enumerate(nodes)}
    successors: list[list[tuple[int, int]]] = [[] for _ in nodes]
    need_sources: list[list[int]] = [[] for _ in nodes]
    entering = ([0] * len(nodes), [0] * len(nodes), [0] * len(nodes))

    def connect(source: int, target: int, kind: int) -> None:
        if (source < body) == (target < body):
            successors[source].append((target, kind))
            entering[kind][target] += 1
            if kind == NEED:
                need_sources[target].append(source)

    caught: dict[int, set[int]] = {}  # target -> its sources
    for i, node in enumerate(nodes):
        for catch in node.catch:
            caught.setdefault(ordinals[catch.to], set()).add(i)
    for i, node in enumerate(nodes):
        starts = caught.get(i, set())
        for source in sorted(starts):
            connect(source, i, CATCH)
        for name in node.needs:
            if ordinals[name] not in starts:
                connect(ordinals[name], i, NEED)
        for name in node.after:
            if ordinals[name] not in starts:
                connect(ordinals[name], i, AFTER)
    free = [i for i in range(len(nodes)) if not any(kind[i] for kind in entering)]
    return BlockGraph(
        block,
        nodes,
        tuple((node.kind, node.runs_on) for node in nodes),
        body,
        ordinals,
        tuple(map(tuple, successors)),
        tuple(map(tuple, need_sources)),
        needs=tuple(entering[NEED]),
        afters=tuple(entering[AFTER]),
        catches=tuple(entering[CATCH]),
        raced=_raced(nodes, need_sources, successors),
        sources=tuple(i for i in free if i < body),
        final_sources=tuple(i for i in free if i >= body),
    )


def _raced(
    nodes: tuple[Node, ...], need_sources: list[list[int]], successors: list[list[tuple[int, int]]]
) -> frozenset[int]:
    runners = {source for i, node in enumerate(nodes) if node.join == "any_succeeded" for source in need_sources[i]}
    return frozenset(runners | {target for runner in runners for target, _ in successors[runner]})


def needs_decision(node: Node, *, item: bool) -> bool:
    """Whether an expression has to be decided before the step can go on. An item's `when` was decided by its map."""
    if node.kind in DECIDED_KINDS and (item or node.for_each is None):
        return True
    return not item and (node.when is not None or node.for_each is not None)


def is_task(node: Node) -> bool:
    return node.kind in TASK_KINDS
