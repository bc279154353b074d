"""What an author declared, before anything is checked against anything else.

Both front ends build these; linking, checking and building the plan read nothing else. Values of keys are already what
the plan needs (milliseconds, type trees, `Expr`s); names are not resolved yet. `at` is a handle that the flow's
`source` can place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import define, field

from graft.plan import Tree
from graft_dsl.diagnostics import At, Report, Source

MISSING: Any = ("missing",)


@define(eq=False)
class Expr:
    """A value that is computed: one template, or a container of such, or a constant.

    `key` is the key it stands under (`with`, `when`, …). Only a template has `parsed`; only a container `items`.
    `type` is None until it has been checked.
    """

    tree: Tree
    at: At
    key: str = ""
    parsed: Any = None
    items: dict[str, Expr] | list[Expr] | None = None
    type: Any = None
    constant: bool = False


@define(eq=False)
class NodeDecl:
    """`keys`: the kind's key and the modifiers that were right, read; `written`: all that were there, right or not.

    `leaves`: every template of the node in the order of its text, those of defaults apart.
    """

    name: str
    at: At
    kind: str
    keys: dict[str, Any]
    written: dict[str, Any]
    leaves: list[Expr] = field(factory=list)
    block: BlockDecl | None = None  # of a group
    flow: FlowDecl | None = None  # of a sub-flow, once it is loaded
    final: bool = False
    needs: list[str] = field(factory=list, init=False)
    after: list[str] = field(factory=list, init=False)
    caught: list[NodeDecl] = field(factory=list, init=False)  # the nodes whose `catch` starts this one
    out: Any = field(default=None, init=False)  # type of `.out` for those who read it
    index: int = field(default=0, init=False)  # place in a topological order of its block
    skippable: bool = field(default=False, init=False)
    partial: bool = field(default=False, init=False)  # `.out` may be absent although the scope goes on
    fate: NodeDecl | None = field(default=None, init=False)  # the node that starts exactly when this one does


@define(eq=False)
class BlockDecl:
    """The nodes of one scope. `owner` is the group it belongs to, None for a flow."""

    name: str
    at: At
    nodes: dict[str, NodeDecl] = field(factory=dict)
    finals: dict[str, NodeDecl] = field(factory=dict)
    parent: BlockDecl | None = None
    owner: NodeDecl | None = None
    order: list[NodeDecl] = field(factory=list, init=False)  # nodes, then finals, each after what it waits for

    def find(self, name: str) -> NodeDecl | None:
        return self.nodes.get(name) or self.finals.get(name)


@define(eq=False)
class ParamDecl:
    name: str
    at: At
    type: Any
    default: Any = MISSING
    doc: str = ""
    pattern: str | None = None
    min: float | int | None = None
    max: float | int | None = None
    values: tuple[Any, ...] = ()
    secret: bool = False


@define(eq=False)
class SecretDecl:
    name: str
    at: At
    source: str
    ref: str


@define(eq=False)
class FlowDecl:
    """One flow file. `base` is the directory that relative paths in it start from."""

    name: str
    source: Source
    report: Report
    base: Path
    root: BlockDecl
    version: str = ""
    doc: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    timeout_ms: int | None = None
    params: dict[str, ParamDecl] = field(factory=dict)
    secrets: dict[str, SecretDecl] = field(factory=dict)
    outputs: Expr | None = None
    output_leaves: list[Expr] = field(factory=list)
    default_leaves: list[Expr] = field(factory=list)
    result: Any = field(default=None, init=False)  # type of the flow's outputs
    _own_types: frozenset[str] | None = field(default=None, init=False)

    def blocks(self) -> list[BlockDecl]:
        """The flow's block and those of its groups, each before the ones inside it."""
        found = [self.root]
        for block in found:
            found += [node.block for node in (*block.nodes.values(), *block.finals.values()) if node.block is not None]
        return found

    def nodes(self) -> list[NodeDecl]:
        """Every node of the flow, also those in groups."""
        return [node for block in self.blocks() for node in (*block.nodes.values(), *block.finals.values())]

    def own_types(self) -> frozenset[str]:
        """The error types that the `fail` nodes of this flow, and of the flows in it, give."""
        if self._own_types is None:
            nodes = self.nodes()
            mine = {node.keys["fail"].get("type", "failed") for node in nodes if "fail" in node.keys}
            self._own_types = frozenset(mine).union(*(node.flow.own_types() for node in nodes if node.flow is not None))
        return self._own_types
