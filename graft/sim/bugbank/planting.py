"""Planting a bug, and looking for it.

A bug is a small edit of the source of one or two functions, given as text. `planted` swaps the code of the function
for the edited one and back, so nothing of it is in the product, not even a switch. An edit whose old text is not found
exactly once is an error: then the code has moved on and the bug has to be planted anew.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from types import FunctionType
from typing import Any

from attrs import frozen

from graft.sim.faults import Plan, add_faults, draw
from graft.sim.world import Result, run

MORE = 4
"""Faults of `Bug.also` that a plan gets."""


@frozen
class Edit:
    """Replace `old` by `new` in the source of `target`, `module:function` or `module:Class.method`."""

    target: str
    old: str
    new: str


@frozen
class Bug:
    """`plan`: fields of every plan that the bug needs to be itself (say, lease reads). `also`: kinds of fault of which
    every plan has a few besides its own, for a bug that hardly anything else brings out. `harmless`: why nobody can
    tell the edited code from the other; such a one is not hunted."""

    name: str
    title: str
    seen: str
    edits: tuple[Edit, ...]
    plan: tuple[tuple[str, Any], ...] = ()
    also: str = ""
    harmless: str = ""

    def draw(self, seed: int) -> Plan:
        plan = draw(seed, **dict(self.plan))
        for kind in self.also.split():
            plan = add_faults(plan, kind, MORE)
        return plan


def edit(target: str, old: str, new: str) -> Edit:
    return Edit(f"graft.{target}", old, new)


def own(name: str, title: str, *edits: Edit, harmless: str = "", also: str = "", **plan: Any) -> Bug:
    """A bug that was thought of here. `plan`: as in `Bug`."""
    return Bug(name, title, "planted to make its kind seen", edits, tuple(plan.items()), also, harmless)


class BugLost(Exception):
    """The code that a bug edits has changed: plant it anew."""


def _function(target: str) -> FunctionType:
    module, path = target.split(":")
    found: Any = import_module(module)
    for name in path.split("."):
        found = vars(found)[name] if isinstance(found, type) else getattr(found, name)
    assert isinstance(found, FunctionType), target
    return found


def _edited(function: FunctionType, edits: list[Edit]) -> FunctionType:
    source = textwrap.dedent(inspect.getsource(function))
    for one in edits:
        if source.count(one.old) != 1:
            raise BugLost(f"{one.target} has {one.old!r} {source.count(one.old)} times")
        source = source.replace(one.old, one.new)
    space: dict[str, Any] = {}
    future = sys.modules["__future__"].annotations.compiler_flag  # annotations stay unevaluated, as in the module
    exec(compile(source, f"<planted in {function.__name__}>", "exec", flags=future), function.__globals__, space)
    (made,) = space.values()
    assert isinstance(made, FunctionType)
    return made


@contextmanager
def _swapped(function: FunctionType, edits: list[Edit]) -> Iterator[None]:
    made, before = _edited(function, edits), function.__code__
    function.__code__ = made.__code__
    try:
        yield
    finally:
        function.__code__ = before


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """Within the block the bug is there, in this process. Raises `BugLost`."""
    by_target: dict[str, list[Edit]] = {}
    for one in bug.edits:
        by_target.setdefault(one.target, []).append(one)
    with ExitStack() as stack:
        for target, edits in by_target.items():
            stack.enter_context(_swapped(_function(target), edits))
        yield


def hunt(bug: Bug, first: int, limit: int) -> Result | None:
    """The first run among the seeds `first` to `first + limit - 1` in which the bug shows; None if there is none."""
    with planted(bug):
        for seed in range(first, first + limit):
            result = run(bug.draw(seed))
            if not result.ok:
                return result
    return None
