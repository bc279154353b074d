"""What an expression can see at its place in the flow."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from attrs import frozen

from graft.plan.types import Type


@frozen
class Scope:
    """The variables of one place.

    `types`: full name of a variable -> its type: `params`, `run`, `fetch.out`, `secrets.TOKEN`, an `as` name.
    `maybe_absent`: variables that may have no value when the expression is evaluated; they need `default()`.
    `nodes`: names of the nodes that can be seen, for suggestions.
    `forbidden`: a variable, or the first part of its name (`secrets`), -> why it may not be read at this place. It wins
    over `types`.
    """

    types: Mapping[str, Type]
    maybe_absent: Collection[str] = frozenset()
    nodes: Collection[str] = ()
    forbidden: Mapping[str, str] = {}

    def reason(self, name: str) -> str | None:
        """Why variable `name` may not be read here; None when it may."""
        return self.forbidden.get(name) or self.forbidden.get(name.partition(".")[0])
