"""Which values a node reads: what has to be sent along when another process evaluates its expressions."""

from __future__ import annotations

from typing import Any

from graft.expressions import Tree, free_vars
from graft.plan import ExecAction, HttpAction, Node, PythonAction, RunAction
from graft.worker.secrets import PREFIX

EVALUATED: dict[type[Any], tuple[str, ...]] = {
    RunAction: ("env", "stdin", "cwd", "output_path"),
    ExecAction: ("argv", "env", "stdin", "cwd", "output_path"),
    PythonAction: ("with_",),
    HttpAction: ("url", "headers", "bearer", "query", "json", "body", "output_path"),
}
"""The fields of an action that are trees, and that its executor evaluates. A path may be a plain text."""


def trees_of(node: Node) -> list[Tree]:
    action = node.action
    trees = (getattr(action, name) for name in EVALUATED[type(action)])
    return [tree for tree in trees if isinstance(tree, tuple)]


def secret_arguments(action: PythonAction) -> tuple[str, ...]:
    """Names of the arguments of a function that a declared secret is part of."""
    entries = action.with_[1:] if action.with_[0] == "dict" else ()
    return tuple(str(name[1]) for name, tree in entries if any(each.startswith(PREFIX) for each in free_vars(tree)))


def names_read(node: Node) -> tuple[str, ...]:
    """The names of values that an attempt at `node` may look up, sorted; without secrets, which it finds by itself."""
    names = set().union(*map(free_vars, trees_of(node)))
    if node.for_each is not None and isinstance(node.action, PythonAction):
        names |= {node.for_each.name, "index"}  # for the function's `ctx`
    return tuple(sorted(name for name in names if not name.startswith(PREFIX)))
