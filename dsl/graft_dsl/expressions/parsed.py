"""The records that the expression front end hands out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

Tree = tuple[Any, ...]
Span = tuple[int, int]


@frozen
class Problem:
    """One thing that is wrong with a text. `start` and `end` are offsets in it, in characters; never empty."""

    code: str
    message: str
    start: int
    end: int
    wanted: str | None = None
    got: str | None = None
    suggestion: str | None = None


@frozen
class Parsed:
    """An expression or a template that was read.

    `tree` is always a tree; where the text is wrong, `problems` says so and a null stands in for the part that cannot
    be read. `refs` are the variables that the tree reads, by their full names (`fetch.out`, `params`, `secrets.TOKEN`).
    """

    text: str
    tree: Tree
    refs: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()
    # Trees are shared by nobody before they are handed out, so the identity of a part tells its place in the text.
    spans: Mapping[int, Span] = field(factory=dict, repr=False, eq=False)
    broken: frozenset[int] = field(default=frozenset(), repr=False, eq=False)

    def span(self, tree: Tree) -> Span:
        """Where a part of `self.tree` stands in the text."""
        return self.spans.get(id(tree), (0, max(1, len(self.text))))
