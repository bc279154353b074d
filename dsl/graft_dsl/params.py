"""From what a person gives for a flow's params to the values that a run begins with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from graft.errors import InvalidParams
from graft.plan import Param, Plan
from graft.plan.limits import limit_problems
from graft.plan.types import convert, render_type
from graft_dsl.suggest import closest, listed, quoted


def coerce_params(flow: Plan | Iterable[Param], raw: Mapping[str, Any], *, from_text: bool = True) -> dict[str, Any]:
    """The values of all params of a flow: those of `raw`, converted to their types, and defaults for the others.

    `raw` holds texts of the command line, values of a params file, or both. `from_text`: a text for a param of type
    `any` is read as JSON if it is JSON.

    Raises InvalidParams, which tells every problem at once.
    """
    params = {param.name: param for param in (flow.root.params if isinstance(flow, Plan) else flow)}
    problems = [_unknown(name, params) for name in raw if name not in params]
    values: dict[str, Any] = {}
    for name, param in params.items():
        if name in raw:
            value, found = _value(param, raw[name], from_text)
            values[name] = value
            problems += found
        elif param.default is not None:
            values[name] = msgspec.json.decode(param.default)
        else:
            doc = f": {param.doc}" if param.doc else ""
            problems.append(f"`{name}` is missing ({render_type(param.type)}){doc}")
    if problems:
        name = f"the flow {quoted(flow.name)}" if isinstance(flow, Plan) else "the flow"
        head = f"{name} cannot start with these params"
        raise InvalidParams("\n".join([f"{head}:", *(f"  - {problem}" for problem in problems)]))
    return values


def _unknown(name: str, params: Mapping[str, Param]) -> str:
    guess = closest(name, params)
    if guess:
        return f"there is no param {quoted(name)}; did you mean `{guess}`?"
    known = f"the params are {listed(params, 'and')}" if params else "the flow has none"
    return f"there is no param {quoted(name)}; {known}"


def _value(param: Param, raw: Any, from_text: bool) -> tuple[Any, list[str]]:
    try:
        value = convert(param.type, raw, from_text=from_text and isinstance(raw, str))
    except ValueError as error:
        told = "the value has another type" if param.secret else str(error)
        return None, [f"`{param.name}`: {told}"]
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError:  # half of a surrogate pair: from bytes on the command line, or a JSON escape
        return None, [f"`{param.name}`: not valid Unicode text"]
    return value, [f"`{param.name}`: {problem}" for problem in _limits(param, value)]


def _limits(param: Param, value: Any) -> list[str]:
    found = limit_problems(param, value)
    return ["the value is outside of its limits"] if found and param.secret else found
