"""What a step is given, worked out again from the state for people to see. Secrets are not among it, nor looked up.

What a step was given is recorded nowhere: it follows from the plan and from what was recorded before it. Once that
has changed (a retry began before the step), what is shown is what the step would be given now.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from attrs import frozen

from graft.cluster.secret_params import hide
from graft.cluster.values import Lookup
from graft.errors import GraftError
from graft.expressions import Tree, evaluate
from graft.plan import FailAction, FlowAction, HttpAction, Node, PythonAction, RunAction, SleepAction, ValueAction
from graft.worker.inputs import EVALUATED
from graft.worker.redaction import MASK_TEXT
from graft.worker.secrets import PREFIX

MAX_BYTES: Final = 256 * 1024  # of one input

LITERAL: Final[dict[type[Any], tuple[str, ...]]] = {
    RunAction: ("command",),
    PythonAction: ("target",),
    HttpAction: ("method",),
}
TREES: Final[dict[type[Any], tuple[str, ...]]] = EVALUATED | {
    FlowAction: ("with_",),
    SleepAction: ("duration",),
    ValueAction: ("value",),
    FailAction: ("message",),
}
"""The fields of an action that are evaluated before it begins, whoever does so."""
KEYS: Final = {"command": "run", "target": "python"}  # where a flow calls a field otherwise
CREDENTIALS: Final = frozenset({"bearer"})


@frozen
class Inputs:
    """By the key of the flow. `values`: what could be worked out; `unknown`: why the others could not."""

    values: dict[str, Any]
    unknown: dict[str, str]


NO_INPUTS: Final = Inputs({}, {})


def inputs_of(node: Node, lookup: Lookup) -> Inputs:
    values: dict[str, Any] = {name: getattr(node.action, field) for name, field in _fields(node, LITERAL)}
    unknown: dict[str, str] = {}
    for name, field in _fields(node, TREES):
        given = getattr(node.action, field)
        if given is None or given == ("dict",):
            continue
        try:
            values[name] = _shown(node, field, given, lookup)
        except (GraftError, RecursionError) as error:
            unknown[name] = error.message if isinstance(error, GraftError) else "it nests too deep"
    return Inputs(values, unknown)


def _fields(node: Node, table: dict[type[Any], tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    """(key in the flow, field of the action)."""
    for field in table.get(type(node.action), ()):
        yield KEYS.get(field, field.rstrip("_")), field


def _shown(node: Node, field: str, given: Tree | str, lookup: Lookup) -> Any:
    if isinstance(given, str):
        return given
    if field in CREDENTIALS:
        return MASK_TEXT
    value = evaluate(given, lambda name: _harmless(name, lookup))
    if isinstance(node.action, FlowAction) and isinstance(value, dict):
        value = hide(lookup.block(node.action.block).params, value)
    if len(msgspec.json.encode(value)) > MAX_BYTES:
        raise GraftError(f"it is larger than {MAX_BYTES} bytes")
    return value


def _harmless(name: str, lookup: Lookup) -> Any:
    if name.startswith(PREFIX):
        return MASK_TEXT
    return lookup.shown_params() if name == "params" else lookup(name)
