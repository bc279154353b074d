"""Which names may be given, and why some may not."""

from __future__ import annotations

import keyword
import re

from graft.expressions.functions import FUNCTIONS
from graft.expressions.trees import ROOTS

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
FLOW_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
MAX_NAME = 100

WORDS = frozenset(keyword.kwlist) | {"true", "false", "null", "none"}


def name_problem(name: str) -> str | None:
    """Why `name` cannot be the name of a param or a secret: the end of a sentence that begins with it."""
    if not NAME.fullmatch(name):
        return "is not a name"
    if len(name) > MAX_NAME:
        return f"is longer than {MAX_NAME} characters"
    return "is a word of the expression language" if name in WORDS else None


def node_name_problem(name: str) -> str | None:
    """Why `name` cannot be the name of a node, which stands at the head of expressions."""
    if name in ROOTS:
        return "is a root of expressions"
    if name in FUNCTIONS:
        return "is a function of expressions"
    return name_problem(name)


def item_name_problem(name: str) -> str | None:
    """Why `name` cannot be the name of an item (`as`)."""
    return None if name == "item" else node_name_problem(name)


def repaired(name: str, what: str = "step") -> str:
    """A legal name that is close to `name`."""
    made = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")[:MAX_NAME]
    if not made or not made[0].isalpha():
        made = f"n_{made}".rstrip("_")
    return made if node_name_problem(made) is None else f"{made}_{what}"


def flow_name(stem: str) -> str:
    """The name of a flow whose file has this stem."""
    made = re.sub(r"[^A-Za-z0-9_.\-]+", "-", stem).strip("-._")[:MAX_NAME]
    return made if made and FLOW_NAME.fullmatch(made) else "flow"
