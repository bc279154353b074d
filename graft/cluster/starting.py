"""What a member checks of a start that comes over the wire. Who sends it may be any program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from graft.errors import InvalidParams, UsageError
from graft.ids import RUN_ID
from graft.plan import Param, Plan
from graft.plan.limits import limit_problems
from graft.plan.nesting import MAX_JSON_DEPTH, nests_deeper
from graft.plan.types import convert, render_type

MAX_BASE: Final = 4095  # bytes of a path, of Linux


def checked_id(run_id: str) -> str:
    """Raises UsageError when `run_id` cannot be the id of a run."""
    if not RUN_ID.fullmatch(run_id):
        hint = "1 to 200 letters, digits and . _ : @ + = , -, the first of them a letter or a digit"
        raise UsageError(f"{run_id[:80]!r} cannot be the id of a run", hint=hint)
    return run_id


def checked_base(base: str) -> Path:
    """Raises UsageError when `base` cannot be the path of a directory."""
    if "\0" in base or len(base.encode()) > MAX_BASE:
        hint = f"a path has at most {MAX_BASE} bytes, and none of them is 0"
        raise UsageError(f"{base[:80]!r} cannot be the directory of a flow", hint=hint)
    return Path(base)


def checked_given(given: Mapping[str, bytes]) -> dict[str, Any]:
    """Results that are taken over, from JSON. Raises InvalidParams."""
    return {name: _read_json(data, f"the result given for {name[:80]}") for name, data in given.items()}


def _read_json(data: bytes, what: str) -> Any:
    if nests_deeper(data, MAX_JSON_DEPTH):
        raise InvalidParams(f"{what}: it nests deeper than {MAX_JSON_DEPTH} levels")
    try:
        return msgspec.json.decode(data)
    except ValueError as error:
        raise InvalidParams(f"{what}: not JSON: {error}") from None


def checked_nodes(plan: Plan, names: Iterable[str]) -> None:
    """Raises UsageError for a name that is no node of the flow itself."""
    known = {node.name for node in plan.root.nodes}
    for name in names:
        if name not in known:
            raise UsageError(f"the flow {plan.name} has no node {name[:80]}")


def checked_params(plan: Plan, data: bytes) -> dict[str, Any]:
    """The values of all params, defaults included, from a JSON table. Raises InvalidParams with every problem."""
    raw = _read_json(data or b"{}", "the params")
    if not isinstance(raw, dict):
        raise InvalidParams("the params are no table")
    known = {param.name: param for param in plan.root.params}
    problems = [f"there is no param `{name}`" for name in raw if name not in known]
    values: dict[str, Any] = {}
    for name, param in known.items():
        if name in raw:
            values[name], found = _converted(param, raw[name])
            problems += [f"`{name}`: {each}" for each in found]
        elif param.default is not None:
            values[name] = msgspec.json.decode(param.default)
        else:
            problems.append(f"`{name}` is missing ({render_type(param.type)})")
    if problems:
        head = f"the flow `{plan.name}` cannot start with these params:"
        raise InvalidParams("\n".join([head, *(f"  - {each}" for each in problems)]))
    return values


def _converted(param: Param, raw: Any) -> tuple[Any, list[str]]:
    try:
        value = convert(param.type, raw)
    except ValueError as error:
        return None, ["the value has another type" if param.secret else str(error)]
    found = limit_problems(param, value)
    return value, ["the value is outside of its limits"] if found and param.secret else found
