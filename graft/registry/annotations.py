"""Python annotations as type trees of `graft.plan.types`.

A type means what its values look like as JSON: a `datetime` is ISO text, a `timedelta` seconds, a class a record of
its fields. What has no counterpart is `"any"`: the check is then left to run time. Direction matters for a class: an
argument may leave out a field that has a default (`("optional", T)`), a result always has it.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import pathlib
import types
import typing
import uuid
from typing import Any, Literal, Union

import attrs
import msgspec

from graft.registry.secret import Secret

_SCALARS: dict[Any, Any] = {
    str: "string",
    int: "int",
    float: "float",
    bool: "bool",
    None: "none",
    type(None): "none",
    datetime.date: "date",
    datetime.datetime: "datetime",
    datetime.timedelta: "duration",
    # As JSON these are text. ("bytes" as a type of Graft is a size, an integer.)
    bytes: "string",
    bytearray: "string",
    uuid.UUID: "string",
    decimal.Decimal: "string",
    datetime.time: "string",
    pathlib.Path: "string",
    Secret: "string",
    pathlib.PurePath: "string",
    dict: "record",
    list: ("list", "any"),
    tuple: ("list", "any"),
    set: ("list", "any"),
    frozenset: ("list", "any"),
}
_LISTS = (
    list,
    set,
    frozenset,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Iterable,
    collections.abc.Collection,
    collections.abc.Set,
)
_TABLES = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def type_tree(annotation: Any, *, argument: bool) -> Any:
    """The type tree of `annotation`; `argument`: of a value that goes in, not of one that comes out."""
    return _tree(annotation, argument, ())


def _tree(annotation: Any, argument: bool, seen: tuple[Any, ...]) -> Any:
    try:
        if annotation in _SCALARS:
            return _SCALARS[annotation]
    except TypeError:  # not hashable
        return "any"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Annotated, typing.Required, typing.NotRequired, typing.Final):
        return _tree(arguments[0], argument, seen)
    if origin is Literal:
        return ("enum", tuple(arguments)) if all(isinstance(each, (str, int)) for each in arguments) else "any"
    if origin in (Union, types.UnionType):
        return _union(arguments, argument, seen)
    if origin is tuple:
        return ("list", _tree(arguments[0], argument, seen) if len(set(arguments) - {...}) == 1 else "any")
    if origin in _LISTS:
        return ("list", _tree(arguments[0], argument, seen))
    if origin in _TABLES:
        return ("table", _tree(arguments[1], argument, seen)) if arguments[0] is str else "record"
    if isinstance(annotation, typing.NewType):
        return _tree(annotation.__supertype__, argument, seen)
    return _class(annotation, argument, seen) if isinstance(annotation, type) else "any"


def _union(members: tuple[Any, ...], argument: bool, seen: tuple[Any, ...]) -> Any:
    rest = [each for each in members if each is not type(None)]
    inner = _tree(rest[0], argument, seen) if len(rest) == 1 else "any"
    if len(rest) == len(members) or inner in ("any", "none"):
        return inner
    return inner if isinstance(inner, tuple) and inner[0] == "optional" else ("optional", inner)


def _class(cls: type[Any], argument: bool, seen: tuple[Any, ...]) -> Any:
    if issubclass(cls, enum.Enum):
        values = tuple(member.value for member in cls)
        return ("enum", values) if values and all(isinstance(each, (str, int)) for each in values) else "any"
    for scalar in (bool, int, float, str, datetime.datetime, datetime.date):
        if issubclass(cls, scalar):
            return _SCALARS[scalar]
    if cls in seen:  # a tree-shaped class: its type is not a finite tree
        return "record"
    fields = class_fields(cls)
    if fields is None:
        return "record" if issubclass(cls, dict) else ("list", "any") if issubclass(cls, (list, tuple, set)) else "any"
    return ("record", tuple((name, _field(hint, gap, argument, (*seen, cls))) for name, hint, gap in fields))


def _field(hint: Any, may_lack: Literal["never", "argument", "always"], argument: bool, seen: tuple[Any, ...]) -> Any:
    tree = _tree(hint, argument, seen)
    absent = may_lack == "always" or (argument and may_lack == "argument")
    if not absent or tree in ("any", "none") or (isinstance(tree, tuple) and tree[0] == "optional"):
        return tree
    return ("optional", tree)


Field = tuple[str, Any, Literal["never", "argument", "always"]]


def class_fields(cls: type[Any]) -> list[Field] | None:
    """`(name, annotation, may the value lack it)` of a record class; None when `cls` is not one."""
    if not (attrs.has(cls) or dataclasses.is_dataclass(cls) or typing.is_typeddict(cls) or _is_struct(cls)):
        return None
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except Exception:  # a forward reference that nobody can resolve
        hints = {}
    if typing.is_typeddict(cls):
        return [(name, hint, "never" if _is_required(cls, name, hint) else "always") for name, hint in hints.items()]
    return [(name, hints.get(name, Any), "argument" if default else "never") for name, default in _defaults(cls)]


def _is_required(cls: Any, name: str, hint: Any) -> bool:
    """`__required_keys__` misses a NotRequired that is text (`from __future__ import annotations`); the hint has it."""
    origin = typing.get_origin(hint)
    if origin in (typing.Required, typing.NotRequired):
        return origin is typing.Required
    return name in cls.__required_keys__


def _is_struct(cls: type[Any]) -> bool:
    return issubclass(cls, msgspec.Struct)


def _defaults(cls: type[Any]) -> list[tuple[str, bool]]:
    """Names of the fields, and whether each has a default."""
    if attrs.has(cls):
        return [(each.name, each.default is not attrs.NOTHING) for each in attrs.fields(cls) if each.init]
    if dataclasses.is_dataclass(cls):
        missing = dataclasses.MISSING
        return [
            (each.name, each.default is not missing or each.default_factory is not missing)
            for each in dataclasses.fields(cls)
            if each.init
        ]
    return [(each.encode_name, not each.required) for each in msgspec.structs.fields(cls)]
