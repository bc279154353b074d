"""Problems with names: a variable that nobody can see from here, a field that a record does not have."""

from __future__ import annotations

from attrs import frozen

from graft.expressions.functions import FUNCTIONS
from graft.expressions.trees import NODE_FIELDS, ROOTS
from graft.plan.types import Type, field_type, head, render_type, required
from graft_dsl.expressions.scope import Scope
from graft_dsl.suggest import closest, listed

MAX_SHOWN_TYPE = 80


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
    if field:
        return Complaint("GR120", f"`{name}` cannot be read here")
    return _unknown_name(first, scope)


def field_of_node(node: str, field: str) -> Complaint:
    """For `fetch.total`: an author who forgot `.out`."""
    return _bare_node(node, f".{field}")


def _bare_node(node: str, rest: str) -> Complaint:
    near = closest(rest[1:], NODE_FIELDS) if rest else None
    suggestion = f"did you mean `{node}.{near}`?" if near else f"`{node}.out{rest}`"
    return Complaint(
        "GR122", f"`{node}` is a node, not a value", suggestion, wanted=listed([f".{each}" for each in NODE_FIELDS])
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
        return Complaint("GR120", f"there is no node `{first}`", f"did you mean `{near}.{field}`?")
    return Complaint("GR120", f"there is no node `{first}` that can be seen from here")


def _unknown_name(name: str, scope: Scope) -> Complaint:
    if name in ("item", "index"):
        return Complaint("GR120", f"`{name}` exists only in a node with `for_each`")
    if name in FUNCTIONS:
        return Complaint("GR120", f"`{name}` is a function", f"call it: {FUNCTIONS[name].signature}")
    params = scope.types.get("params", "any")
    if field_type(params, name) is not None and params not in ("any", "record"):
        return Complaint("GR120", f"there is nothing called `{name}`", f"did you mean `params.{name}`?")
    variables = [each for each in scope.types if "." not in each]
    near = closest(name, [*ROOTS, *variables, *scope.nodes])
    if near in scope.nodes:
        near = f"{near}.out"
    return Complaint("GR120", f"there is nothing called `{name}`", f"did you mean `{near}`?" if near else None)


def unknown_field(base: str, type_: Type, name: str) -> Complaint:
    """`base` is the text of the value, of a type that has no field `name`."""
    plain = required(type_)
    if head(plain) == "record":
        known = [field for field, _ in plain[1]]
        near = closest(name, known)
        what = f"there is no param `{name}`" if base == "params" else f"`{base}` has no field `{name}`"
        got = None if near else listed(known) if known else "no fields"
        return Complaint("GR121", what, f"did you mean `{base}.{near}`?" if near else None, wanted=got)
    suggestion = None
    if head(plain) == "list":
        suggestion = f"`column({base}, '{name}')` for the field of every item, or `{base}[0].{name}`"
    elif plain == "string":
        suggestion = f'`from_json({base}).{name}` if it is JSON; a `run` node with `output = "json"` reads it itself'
    return Complaint("GR121", f"`{base}` has no fields", suggestion, wanted="record", got=shown(plain))
