"""Compiling comprehensions: nested loops over lists, their variables in slots of the meter.

A loop pays before it runs, for the whole of it: the number of its items times the size of its body. So a body costs the
same whether it is cheap or not, and nothing is counted item by item. All items are evaluated, also for `any` and `all`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from graft.errors import ExpressionError
from graft.expressions.budget import Meter
from graft.expressions.operators import iterate
from graft.expressions.trees import Tree, brief, walk
from graft.plan.types import kind

if TYPE_CHECKING:
    from graft.expressions.program import Compiler, Run

Emit = Callable[[Meter, Any], None]
"""Evaluate the element for the present values of the variables and put it into what is built."""

ITEM_BYTES = 40  # a place in a list and a small value
PAIR_BYTES = 140  # a place in a dict, a short key and a small value


def compile_list(compiler: Compiler, tree: Tree) -> Run:
    _, element, generators = tree

    def emitter() -> Emit:
        run = compiler.compile(element)
        return lambda meter, made: made.append(run(meter))

    loop = _compile(compiler, tree, generators, emitter, ITEM_BYTES)

    def build(meter: Meter) -> list[Any]:
        made: list[Any] = []
        loop(meter, made)
        return made

    return build


def compile_dict(compiler: Compiler, tree: Tree) -> Run:
    _, key, value, generators = tree

    def emitter() -> Emit:
        name_of, run = compiler.compile(key), compiler.compile(value)

        def emit(meter: Meter, made: Any) -> None:
            name = name_of(meter)
            if type(name) is not str:
                raise _located(f"the keys of a table are text, not {kind(name)}", key)
            made[name] = run(meter)

        return emit

    loop = _compile(compiler, tree, generators, emitter, PAIR_BYTES)

    def build(meter: Meter) -> dict[str, Any]:
        made: dict[str, Any] = {}
        loop(meter, made)
        return made

    return build


def _compile(
    compiler: Compiler, tree: Tree, generators: tuple[Any, ...], emitter: Callable[[], Emit], item_bytes: int
) -> Emit:
    """The loops of `generators` around what `emitter` compiles, once the variables are in scope."""
    if not generators:
        raise ValueError("a comprehension without a loop")
    scope = compiler.names
    parts = []
    for names, items, conditions in generators:
        run_items = compiler.compile(items)
        slots = compiler.bind(names)
        parts.append((slots, items, run_items, [compiler.compile(each) for each in conditions]))
    body = emitter()
    compiler.names = scope
    # What stands before the innermost body is counted by each loop for its own rounds; too much rather than too little.
    operations = 2 + sum(1 for _ in walk(tree))
    for slots, items, run_items, conditions in reversed(parts):
        body = _loop(slots, items, run_items, conditions, body, operations, item_bytes)
    return body


def _loop(
    slots: tuple[int, ...], items: Tree, run_items: Run, conditions: list[Run], body: Emit, operations: int, size: int
) -> Emit:
    single = slots[0] if len(slots) == 1 else None
    if not slots:
        raise ValueError("a loop without a variable")

    def loop(meter: Meter, made: Any) -> None:
        found = run_items(meter)
        try:
            iterate(found)
            meter.spend(operations * len(found), size * len(found))
        except ExpressionError as error:
            raise _located(error.message, items, type(error)) from None
        variables = meter.locals
        for item in found:
            if single is not None:
                variables[single] = item
            else:
                _unpack(variables, slots, item, items)
            for condition in conditions:
                if not condition(meter):
                    break
            else:
                body(meter, made)
                if meter.size < 0:
                    raise _located(meter.exceeded().message, items, type(meter.exceeded()))

    return loop


def _unpack(variables: list[Any], slots: tuple[int, ...], item: Any, items: Tree) -> None:
    if type(item) is not list or len(item) != len(slots):
        got = f"a list of {len(item)}" if type(item) is list else kind(item)
        raise _located(f"an item is not a list of {len(slots)}, but {got}", items)
    for slot, value in zip(slots, item, strict=True):
        variables[slot] = value


def _located(message: str, tree: Tree, error: type[ExpressionError] = ExpressionError) -> ExpressionError:
    return error(f"{message} in `{brief(tree)}`", where=brief(tree))
