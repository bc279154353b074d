"""Problems with names: a variable that nobody can see from here, a field that a record does not have."""

from __future__ import annotations

import re

from attrs import frozen

from graft.expressions.functions import FUNCTIONS
from graft.expressions.trees import NODE_FIELDS, ROOTS, is_plain, node_text
from graft.plan.types import Type, field_type, head, render_type, required
from graft_dsl.expressions.scope import Scope
from graft_dsl.suggest import closest, listed

MAX_SHOWN_TYPE = 80
_DASHED = re.compile(r"[A-Za-z]\w*(?:-\w+)+", re.ASCII)


@frozen
class Complaint:
    """A problem without its place."""

    code: str
    message: str
    suggestion: str | None = None
    wanted: str | None = None
    got: str | None = None


def shown(type_: Type) -> str:
    """A type in a message."""
    text = render_type(type_)
    return text if len(text) <= MAX_SHOWN_TYPE else head(type_)


def unknown_variable(name: str, scope: Scope) -> Complaint:
    """`name` is not among the variables of `scope`."""
    first, _, field = name.partition(".")
    if first == "secrets":
        return _unknown_secret(field, scope)
    if not field and first in scope.nodes:
        return _bare_node(first, "")
    if field and first not in scope.nodes:
        return _unknown_node(first, field, scope)
    if field == "errors":
        text = node_text(first)
        return Complaint("GR121", f"`{text}` is not mapped: it has one error, not many", f"`{text}.error`")
    if field:
        return Complaint("GR120", f"`{node_text(first)}.{field}` cannot be read here")
    return _unknown_name(first, scope)


def field_of_node(node: str, field: str) -> Complaint:
    """For `fetch.total`: an author who forgot `.out`."""
    return _bare_node(node, f".{field}")


def _bare_node(node: str, rest: str) -> Complaint:
    near = closest(rest[1:], NODE_FIELDS) if rest else None
    text = node_text(node)
    suggestion = f"did you mean `{text}.{near}`?" if near else f"`{text}.out{rest}`"
    return Complaint(
        "GR122", f"`{text}` is a node, not a value", suggestion, wanted=listed([f".{each}" for each in NODE_FIELDS])
    )


def _unknown_secret(name: str, scope: Scope) -> Complaint:
    known = [each.partition(".")[2] for each in scope.types if each.startswith("secrets.")]
    near = closest(name, known)
    if not name:
        return Complaint(
            "GR120", "`secrets` is not a value: name one of them", listed([f"secrets.{each}" for each in known])
        )
    return Complaint(
        "GR120",
        f"there is no secret `{name}`",
        f"did you mean `secrets.{near}`?" if near else "declare it in [secrets]",
    )


def _unknown_node(first: str, field: str, scope: Scope) -> Complaint:
    near = closest(first, scope.nodes)
    if near:
        return Complaint("GR120", f"there is no node `{first}`", f"did you mean `{node_text(near)}.{field}`?")
    return Complaint("GR120", f"there is no node `{first}` that can be seen from here")


def _unknown_name(name: str, scope: Scope) -> Complaint:
    if name in ("item", "index"):
        return Complaint("GR120", f"`{name}` exists only in a node with `for_each`")
    if name == "nodes":
        return Complaint("GR120", "`nodes` is not a value", "name one of them: `fetch.out`, `nodes['build-wheel'].out`")
    if name in FUNCTIONS:
        return Complaint("GR120", f"`{name}` is a function", f"call it: {FUNCTIONS[name].signature}")
    params = scope.types.get("params", "any")
    if field_type(params, name) is not None and params not in ("any", "record"):
        return Complaint("GR120", f"there is nothing called `{name}`", f"did you mean `params.{name}`?")
    variables = [each for each in scope.types if "." not in each]
    near = closest(name, [*ROOTS, *variables, *scope.nodes])
    if near is not None and near in scope.nodes:
        near = f"{node_text(near)}.out"
    return Complaint("GR120", f"there is nothing called `{name}`", f"did you mean `{near}`?" if near else None)


def _field_text(base: str, name: str) -> str:
    return f"{base}.{name}" if is_plain(name) else f"{base}[{name!r}]"


def dashed_node(text: str, scope: Scope) -> Complaint | None:
    """For `build-wheel.out`, which reads as `build` minus `wheel.out`, where there is a node of that name."""
    found = _DASHED.match(text)
    if found is None or found[0].partition("-")[0] in scope.types or found[0] not in scope.nodes:
        return None
    name = node_text(found[0])
    return Complaint("GR120", f"`{found[0]}` reads as a subtraction", f"`{name}{text[found.end() :] or '.out'}`")


def unknown_field(base: str, type_: Type, name: str) -> Complaint:
    """`base` is the text of the value, of a type that has no field `name`."""
    plain = required(type_)
    if head(plain) == "record":
        known = [field for field, _ in plain[1]]
        near = closest(name, known)
        what = f"there is no param `{name}`" if base == "params" else f"`{base}` has no field `{name}`"
        got = None if near else listed(known) if known else "no fields"
        return Complaint("GR121", what, f"did you mean `{_field_text(base, near)}`?" if near else None, wanted=got)
    suggestion = None
    if head(plain) == "list":
        suggestion = f"`column({base}, '{name}')` for the field of every item, or `{base}[0].{name}`"
    elif plain == "string":
        suggestion = f'`from_json({base}).{name}` if it is JSON; a `run` node with `output = "json"` reads it itself'
    return Complaint("GR121", f"`{base}` has no fields", suggestion, wanted="record", got=shown(plain))
