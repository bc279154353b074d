"""Which names may be given, and why some may not."""

from __future__ import annotations

import re

from graft.expressions.trees import ROOTS, WORDS

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
NODE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_\-]*")
FLOW_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
MAX_NAME = 100


def name_problem(name: str) -> str | None:
    """Why `name` cannot be the name of a param or a secret: the end of a sentence that begins with it."""
    if not NAME.fullmatch(name):
        return "is not a name"
    if len(name) > MAX_NAME:
        return f"is longer than {MAX_NAME} characters"
    return "is a word of the expression language" if name in WORDS or name == "none" else None


TAKEN = frozenset(ROOTS) - {"index"}
"""Roots that may have fields: `run.status` could not be told from the `status` of a node `run`. `index` has none."""


def node_name_problem(name: str) -> str | None:
    """Why `name` cannot be the name of a node.

    A name is a node first and a function only where it is called, so `count` and `split` are names. One with a dash,
    or that is a word of the expression language, is read as `nodes['build-wheel'].out`.
    """
    if name in TAKEN:
        return "is a root of expressions"
    if not NODE_NAME.fullmatch(name):
        return "is not a name"
    return f"is longer than {MAX_NAME} characters" if len(name) > MAX_NAME else None


def item_name_problem(name: str) -> str | None:
    """Why `name` cannot be the name of an item (`as`), which stands by itself at the head of expressions."""
    if name == "item":
        return None
    return "is a root of expressions" if name in ROOTS else name_problem(name)


def repaired(name: str, what: str = "step") -> str:
    """A legal name that is close to `name`."""
    made = re.sub(r"[^\w-]+" if what == "step" else r"\W+", "_", name, flags=re.ASCII).strip("_-")[:MAX_NAME]
    if not made or not made[0].isalpha():
        made = f"n_{made}".rstrip("_")
    problem = node_name_problem(made) if what == "step" else item_name_problem(made)
    return made if problem is None else f"{made}_{what}"


def flow_name(stem: str) -> str:
    """The name of a flow whose file has this stem."""
    made = re.sub(r"[^A-Za-z0-9_.\-]+", "-", stem).strip("-._")[:MAX_NAME]
    return made if made and FLOW_NAME.fullmatch(made) else "flow"
