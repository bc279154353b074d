"""Types of values as trees: what they say, how they relate, which values they take.

::

    "string" "int" "float" "bool" "date" "datetime" "duration" "bytes" "record" "any" "none"
    ("list", T)   ("table", T)   ("optional", T)   ("enum", (value, …))   ("record", ((name, T), …))

A value is a JSON value. Some names say more about it than JSON does: a `date` and a `datetime` are ISO 8601 text, a
`duration` is a number of seconds, `bytes` is an int. A `float` takes an int too; nothing takes a bool but `bool`.

A record is open: a value may have fields that its type does not name, as the answers of other people's APIs do. A field
of an optional type, or of `any`, may be missing. `"record"` alone is a record of which nothing is known; a table has
the same type for every key.

The types are gradual. `any` goes everywhere and takes everything, and so does `"record"` among records: what cannot be
known is checked when it is there, by `problems`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from typing import Any

from graft.plan.quantities import number_problem

Type = Any

SCALARS: dict[str, str] = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "date": "a day as ISO 8601 text, `2026-03-01`",
    "datetime": "a moment as ISO 8601 text, `2026-03-01T12:00:00Z`",
    "duration": "a length of time in seconds; written `15m`, `1h 30m`, `500ms`",
    "bytes": "a size in bytes; written `10MiB`, `64kB`",
    "none": "nothing: null",
}
PLAIN: dict[str, str] = SCALARS | {"record": "a table of named fields of which nothing is known", "any": "any value"}
"""Every type that is only a name, with what it means."""

MAX_TYPE_DEPTH = 32
MAX_PROBLEMS = 20

_TEXTS = frozenset({"string", "date", "datetime"})
_INTEGERS = frozenset({"int", "bytes"})
_NUMBERS = frozenset({"int", "bytes", "float", "duration"})


def head(type_: Type) -> str:
    """`"list"` for `("list", T)`, the name itself for a plain type."""
    return type_ if isinstance(type_, str) else type_[0]


def kind(value: Any) -> str:
    """What a JSON value is, in the words of the types: `string int float bool none list record`."""
    return _KINDS.get(type(value), type(value).__name__)


_KINDS = {str: "string", bool: "bool", int: "int", float: "float", type(None): "none", list: "list", dict: "record"}


def is_text(type_: Type) -> bool:
    """Whether every value of the type is a string."""
    return type_ in _TEXTS or (head(type_) == "enum" and all(isinstance(value, str) for value in type_[1]))


def is_number(type_: Type) -> bool:
    return type_ in _NUMBERS or (head(type_) == "enum" and all(type(value) in (int, float) for value in type_[1]))


def is_integer(type_: Type) -> bool:
    return type_ in _INTEGERS or (head(type_) == "enum" and all(type(value) is int for value in type_[1]))


def required(type_: Type) -> Type:
    """`type_` without its null."""
    return type_[1] if head(type_) == "optional" else type_


def optional(type_: Type) -> Type:
    """`type_` or null."""
    return type_ if type_ in ("any", "none") or head(type_) == "optional" else ("optional", type_)


def field_type(type_: Type, name: str) -> Type | None:
    """The type of field `name`: None when there is no such field, or when such values have no fields at all."""
    match head(type_):
        case "any":
            return "any"
        case "optional" | "table":
            return type_[1] if type_[0] == "table" else field_type(type_[1], name)
        case "record" if isinstance(type_, str):
            return "any"
        case "record":
            return next((field for known, field in type_[1] if known == name), None)
    return None


def element_type(type_: Type) -> Type | None:
    """The type of one item of a map (`for_each`) over such a value: of a list's items, of a table's values.

    None when there is nothing to map over.
    """
    match head(type_):
        case "any":
            return "any"
        case "list" | "table":
            return type_[1]
        case "record":
            return "any"
    return None


def infer(value: Any, depth: int = 0) -> Type:
    """The most exact type of a JSON value. An empty list is a list of `any`."""
    if depth > MAX_TYPE_DEPTH:
        return "any"
    if isinstance(value, list):
        return ("list", union(infer(each, depth + 1) for each in value))
    if isinstance(value, dict):
        return ("record", tuple((name, infer(each, depth + 1)) for name, each in value.items()))
    return kind(value) if type(value) in _KINDS else "any"


def union(types: Iterable[Type]) -> Type:
    """The narrowest type that takes every value of all `types`; `any` of none at all."""
    found: Type | None = None
    for each in types:
        found = each if found is None else join(found, each)
        if found == "any":
            break
    return "any" if found is None else found


def join(left: Type, right: Type) -> Type:
    """The narrowest type that takes the values of both, `any` when there is none but that."""
    if _same(left, right):
        return left
    if "any" in (left, right):
        return "any"
    if "none" in (left, right):
        return optional(right if left == "none" else left)
    if "optional" in (head(left), head(right)):
        return optional(join(required(left), required(right)))
    if head(left) == head(right) == "enum":
        return ("enum", _distinct([*left[1], *right[1]]))
    if head(left) == head(right) and head(left) in ("list", "table"):
        return (left[0], join(left[1], right[1]))
    return _join_heads(left, right)


def _same(left: Type, right: Type) -> bool:
    """Whether two types are one. Trees of enums may be equal and not the same: 1, 1.0 and true are different values."""
    return bool(left == right) and (isinstance(left, str) or repr(left) == repr(right))


def _join_heads(left: Type, right: Type) -> Type:
    for test, name in ((is_text, "string"), (is_integer, "int"), (is_number, "float")):
        if test(left) and test(right):
            return name
    if head(left) == head(right) == "record" and "record" not in (left, right):
        return ("record", _shared_fields(dict(left[1]), dict(right[1])))
    return "record" if {head(left), head(right)} <= {"record", "table"} else "any"


def _shared_fields(left: dict[str, Type], right: dict[str, Type]) -> tuple[tuple[str, Type], ...]:
    """The fields of one record or the other; what only one of them has may be missing.

    A record is open, so the other one may have a field of that name with any type: nothing is known about it.
    """
    names = [*left, *(name for name in right if name not in left)]
    return tuple((name, join(left[name], right[name]) if name in left and name in right else "any") for name in names)


def _distinct(values: Iterable[Any]) -> tuple[Any, ...]:
    """`values` without repeats. 1, 1.0 and true are different ones."""
    return tuple({(type(value), value): value for value in values}.values())


def assignable(source: Type, target: Type) -> bool:
    """Whether a value of type `source` may go where a `target` is wanted.

    True means that it fits, or that it cannot be known (`any`, bare `record`, text where a date is wanted).
    """
    if "any" in (source, target) or _same(source, target):
        return True
    source_head, target_head = head(source), head(target)
    if target_head == "optional":
        return source == "none" or assignable(required(source), target[1])
    if source_head == "optional":
        return False
    if source_head == "enum":
        return all(not problems(target, value) for value in source[1])
    if source_head == target_head == "list":
        return assignable(source[1], target[1])
    if source_head in ("record", "table") and target_head in ("record", "table"):
        return _assignable_fields(source, target)
    return target in _WIDER.get(source, ())


_WIDER: dict[Any, tuple[str, ...]] = {
    "int": ("float", "bytes", "duration"),
    "bytes": ("int", "float", "duration"),
    "float": ("duration",),
    "duration": ("float",),
    "string": ("date", "datetime"),
    "date": ("string", "datetime"),
    "datetime": ("string",),
}
"""Scalar type -> the other scalar types that take its values."""


def _assignable_fields(source: Type, target: Type) -> bool:
    if isinstance(target, str) or isinstance(source, str):
        return True
    if target[0] == "table":
        values = [source[1]] if source[0] == "table" else [field for _, field in source[1]]
        return all(assignable(each, target[1]) for each in values)
    if source[0] == "table":
        return all(head(field) == "optional" and assignable(source[1], field) for _, field in target[1])
    fields = dict(source[1])
    return all(
        assignable(fields[name], field) if name in fields else field == "any" or head(field) == "optional"
        for name, field in target[1]
    )


def problems(type_: Type, value: Any, path: str = "") -> list[str]:
    """What keeps `value` from being a `type_`, each with its place: "`total`: expected int, got string".

    Empty when it is one. `path` names the value itself; at most 20 problems are told.
    """
    found: list[str] = []
    for problem in _problems(type_, value, path, 0):
        found.append(problem)
        if len(found) == MAX_PROBLEMS:
            break
    return found


def _problems(type_: Type, value: Any, path: str, depth: int) -> Iterator[str]:
    where = f"`{path}`: " if path else ""
    if depth > MAX_TYPE_DEPTH:
        yield f"{where}nested too deep"
        return
    match head(type_):
        case "optional":
            if value is not None:
                yield from _problems(type_[1], value, path, depth)
        case "list" if isinstance(value, list):
            for index, each in enumerate(value):
                yield from _problems(type_[1], each, f"{path}[{index}]", depth + 1)
        case "table" if isinstance(value, dict):
            for name, each in value.items():
                yield from _problems(type_[1], each, _field_path(path, name), depth + 1)
        case "record" if isinstance(value, dict):
            yield from _field_problems(() if isinstance(type_, str) else type_[1], value, path, depth)
        case "enum":
            if not any(type(each) is type(value) and each == value for each in type_[1]):
                yield f"{where}expected one of {', '.join(map(_shown, type_[1]))}, got {_shown(value)}"
        case "list" | "table" | "record":
            yield f"{where}expected {head(type_)}, got {kind(value)}"
        case _:
            if problem := _scalar_problem(type_, value):
                yield where + problem


def _field_problems(
    fields: tuple[tuple[str, Type], ...], value: dict[str, Any], path: str, depth: int
) -> Iterator[str]:
    for name, field in fields:
        if name in value:
            yield from _problems(field, value[name], _field_path(path, name), depth + 1)
        elif field != "any" and head(field) != "optional":
            yield f"`{_field_path(path, name)}`: missing; expected {head(field)}"


def _field_path(path: str, name: str) -> str:
    shown = name if name.isidentifier() else f"[{_shown(name)}]"
    return shown if not path else f"{path}{'' if shown[0] == '[' else '.'}{shown}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if kind(value) in ("bool", "none") else repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _scalar_problem(type_: str, value: Any) -> str | None:
    if type_ == "any":
        return None
    accepted = _PYTHON.get(type_)
    if accepted is None:
        return f"unknown type {type_!r}"
    if type(value) not in accepted:
        return f"expected {type_}, got {kind(value)}"
    if type(value) is float and not math.isfinite(value):
        return f"expected {type_}, got {value}"
    if type(value) in (int, float) and (problem := number_problem(type_, value)):
        return problem
    if type_ in ("date", "datetime") and parse_moment(type_, value) is None:
        return f"expected {type_} (ISO 8601 text), got {_shown(value)}"
    return None


_PYTHON: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "date": (str,),
    "datetime": (str,),
    "duration": (float, int),
    "bytes": (int,),
    "none": (type(None),),
}


def parse_moment(type_: str, text: str) -> date | None:
    """The `date` or `datetime` that a text says, None when it says none. A `datetime` may be a day alone: midnight."""
    if len(text) > 40:
        return None
    try:
        return date.fromisoformat(text) if type_ == "date" else datetime.fromisoformat(text)
    except ValueError:
        return None
