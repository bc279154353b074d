"""The functions of expressions as one table: what they do, what they take, what they give, and a line of documentation.

The program calls `call`, the checker reads `params` and `result`, the reference is generated from all of it. A function
is pure, takes the meter first, pays before it builds, and raises ExpressionError without a place: the program adds it.

`default` and `now_of_run` have no `call`: the program compiles them itself, since the one must not fail where its first
argument does, and the other reads a variable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve, frozen

from graft.expressions import library as do
from graft.plan.types import (
    Type,
    element_type,
    field_type,
    head,
    is_integer,
    is_number,
    join,
    render_type,
    required,
    union,
)

Rule = Callable[[Sequence[Type]], Type]


@frozen
class Parameter:
    """One parameter. `accepts` are the alternatives of its type."""

    name: str
    accepts: tuple[Type, ...]
    required: bool = True
    keyword: bool = False  # given by its name only
    many: bool = False  # takes all the positional arguments that are left

    @property
    def wanted(self) -> str:
        return " or ".join("number" if each == "float" else _plain(each) for each in self.accepts)


@frozen
class Function:
    """`result` is a type, or a rule that makes it from the types of the positional arguments."""

    name: str
    params: tuple[Parameter, ...]
    result: Type | Rule
    doc: str
    call: Callable[..., Any] | None = None
    gives: str = ""  # what the result is, for the documentation, where `result` is a rule

    @property
    def signature(self) -> str:
        """`sorted(items: list, *, reverse: bool = …) -> list`."""
        gives = render_type(self.result) if not callable(self.result) else self.gives
        shown = [_shown(each) for each in self.params]
        named = [index for index, each in enumerate(self.params) if each.keyword]
        if named and not any(each.many for each in self.params):
            shown.insert(named[0], "*")
        return f"{self.name}({', '.join(shown)}) -> {gives}"

    def type_of(self, arguments: Sequence[Type]) -> Type:
        return self.result(arguments) if callable(self.result) else self.result

    def misuse(self, positional: int, keywords: Sequence[str]) -> str | None:
        """What is wrong with the number of arguments or their names."""
        places = [each for each in self.params if not each.keyword]
        least = sum(each.required for each in places)
        most = None if any(each.many for each in places) else len(places)
        if positional < least or (most is not None and positional > most):
            return f"{self.name}() takes {_count(least, most)}, got {positional}"
        known = [each.name for each in self.params if each.keyword]
        for index, name in enumerate(keywords):
            if name not in known:
                return f"{self.name}() takes no keyword `{name}`" + (
                    f"; it takes `{'`, `'.join(known)}`" if known else ""
                )
            if name in keywords[:index]:
                return f"{self.name}() got `{name}` twice"
        return None

    def parameter(self, index: int) -> Parameter:
        """The parameter that takes positional argument `index`."""
        places = [each for each in self.params if not each.keyword]
        return places[min(index, len(places) - 1)]


def _plain(type_: Type) -> str:
    return "list" if type_ == ("list", "any") else render_type(type_)


def _count(least: int, most: int | None) -> str:
    if most is None:
        return f"at least {least} argument{'s' * (least != 1)}"
    if least == most:
        return f"{least or 'no'} argument{'s' * (least != 1)}"
    return f"{least} to {most} arguments"


def _shown(each: Parameter) -> str:
    star = "*" if each.many else ""
    return f"{star}{each.name}: {each.wanted}{'' if each.required or each.many else ' = …'}"


def _items(types: Sequence[Type]) -> Type:
    return element(types[0])


def element(type_: Type) -> Type:
    """The type of what iterating gives: the items of a list, the keys of a record."""
    plain = required(type_)
    if head(plain) in ("record", "table"):
        return "string"
    return (element_type(plain) if head(plain) == "list" else "any") or "any"


def _extreme(types: Sequence[Type]) -> Type:
    return element(types[0]) if len(types) == 1 else union(types)


def _sum(types: Sequence[Type]) -> Type:
    inner = element(types[0])
    if inner == "bool" or is_integer(inner):
        return "int"
    return "float" if is_number(inner) else "any"


def _absolute(types: Sequence[Type]) -> Type:
    if types[0] == "any":
        return "any"
    return "int" if is_integer(types[0]) or types[0] == "bool" else "float"


def _rounded(types: Sequence[Type]) -> Type:
    return "int" if len(types) == 1 else _absolute(types)


def _list_of_items(types: Sequence[Type]) -> Type:
    return ("list", "string") if required(types[0]) == "string" else ("list", _items(types))


def _dict(types: Sequence[Type]) -> Type:
    return types[0] if head(types[0]) in ("record", "table") else "record"


def _default(types: Sequence[Type]) -> Type:
    return join(*types[:2])


def _values(types: Sequence[Type]) -> Type:
    return ("list", types[0][1]) if head(types[0]) == "table" else ("list", "any")


def _one(*accepts: Type) -> Callable[[str], Parameter]:
    return lambda name: Parameter(name, accepts)


_text, _number, _list, _items_of, _any = (
    _one("string"),
    _one("float"),
    _one(("list", "any")),
    _one(("list", "any"), "record"),
    _one("any"),
)
_truth = Parameter("values", (("list", "any"), "record"))


def _optional(parameter: Parameter) -> Parameter:
    return evolve(parameter, required=False)


_EXTREMES = (
    Parameter("values", ("any",)),
    Parameter("more", ("any",), required=False, many=True),
    Parameter("default", ("any",), required=False, keyword=True),
)

_ALL = (
    Function(
        "len",
        (Parameter("x", ("string", ("list", "any"), "record")),),
        "int",
        "The number of characters, items or fields.",
        do.length,
    ),
    Function(
        "min",
        _EXTREMES,
        _extreme,
        "The smallest of the items of a list, or of the arguments. Of an empty list: `default`, or an error.",
        do.minimum,
        "any",
    ),
    Function(
        "max",
        _EXTREMES,
        _extreme,
        "The largest of the items of a list, or of the arguments. Of an empty list: `default`, or an error.",
        do.maximum,
        "any",
    ),
    Function("sum", (_list("numbers"),), _sum, "The sum of the items; 0 of an empty list.", do.total, "number"),
    Function(
        "sorted",
        (_items_of("items"), Parameter("reverse", ("bool",), required=False, keyword=True)),
        lambda types: ("list", _items(types)),
        "A list of the items from the smallest to the largest, or the other way round. The order of equal items stays.",
        do.ordered,
        "list",
    ),
    Function("abs", (_number("x"),), _absolute, "The number without its sign.", do.absolute, "number"),
    Function(
        "round",
        (_number("x"), _optional(Parameter("digits", ("int",)))),
        _rounded,
        "The nearest int, or the nearest number with so many digits behind the point. Halves go to the even neighbour.",
        do.rounded,
        "number",
    ),
    Function(
        "range",
        (
            Parameter("start_or_stop", ("int",)),
            _optional(Parameter("stop", ("int",))),
            _optional(Parameter("step", ("int",))),
        ),
        ("list", "int"),
        "The ints from 0, or from `start`, up to `stop` without it.",
        do.counted,
    ),
    Function(
        "any",
        (_truth,),
        "bool",
        "Whether one of the items is true. Every item of a comprehension is evaluated.",
        do.any_true,
    ),
    Function(
        "all",
        (_truth,),
        "bool",
        "Whether none of the items is false. Every item of a comprehension is evaluated.",
        do.all_true,
    ),
    Function(
        "int",
        (Parameter("x", ("string", "float", "bool")),),
        "int",
        "The int that a text says; a number without what is behind its point.",
        do.to_int,
    ),
    Function(
        "float",
        (Parameter("x", ("string", "float", "bool")),),
        "float",
        "The number that a text says; an int as a float.",
        do.to_float,
    ),
    Function("str", (_any("x"),), "string", "Text as it is, anything else as its JSON.", do.to_str),
    Function("bool", (_any("x"),), "bool", "Whether it is true: not null, not 0, not empty.", do.to_bool),
    Function(
        "list",
        (Parameter("x", (("list", "any"), "record", "string")),),
        _list_of_items,
        "A list of the items, of the names of a record's fields, of the characters of a text.",
        do.to_list,
        "list",
    ),
    Function(
        "dict",
        (_items_of("x"),),
        _dict,
        "A record from a list of `[name, value]` pairs; a record as it is.",
        do.to_dict,
        "record",
    ),
    Function(
        "default",
        (_any("x"), _any("otherwise")),
        _default,
        "`x`, or `otherwise` when evaluating `x` meets something that is not there: the `out` of a skipped node, "
        "a missing field or item, a field of null. A null that is there stays null.",
        None,
        "any",
    ),
    Function(
        "join",
        (_list("items"), _text("separator")),
        "string",
        "The items as text, with `separator` between them.",
        do.joined,
    ),
    Function(
        "split",
        (_text("text"), _optional(_text("separator"))),
        ("list", "string"),
        "The parts of a text between separators; without one, between white space.",
        do.parts,
    ),
    Function("lower", (_text("text"),), "string", "The text in lower case.", do.lowered),
    Function("upper", (_text("text"),), "string", "The text in upper case.", do.uppered),
    Function(
        "strip",
        (_text("text"), _optional(_text("characters"))),
        "string",
        "The text without the white space, or the given characters, at both ends.",
        do.stripped,
    ),
    Function(
        "replace",
        (_text("text"), _text("old"), _text("new")),
        "string",
        "The text with every `old` made `new`.",
        do.replaced,
    ),
    Function("starts_with", (_text("text"), _text("start")), "bool", "Whether the text starts so.", do.starts_with),
    Function("ends_with", (_text("text"), _text("end")), "bool", "Whether the text ends so.", do.ends_with),
    Function("json", (_any("x"),), "string", "Compact JSON.", do.as_json),
    Function("from_json", (_text("text"),), "any", "The value that JSON text says.", do.from_json),
    Function(
        "hash",
        (_any("x"),),
        "string",
        "The SHA-256 of the canonical JSON (sorted keys), in hexadecimal: the same everywhere and for ever. "
        "1 and 1.0 differ.",
        do.digest,
    ),
    Function(
        "count",
        (Parameter("items", (("list", "any"), "string")), _optional(_any("value"))),
        "int",
        "How many items equal `value`; without it, how many are true. Of a text: how often `value` occurs.",
        do.counted_items,
    ),
    Function(
        "keys",
        (Parameter("x", ("record",)),),
        ("list", "string"),
        "The names of a record's fields, in their order.",
        do.keys,
    ),
    Function(
        "values",
        (Parameter("x", ("record",)),),
        _values,
        "The values of a record's fields, in their order.",
        do.values,
        "list",
    ),
    Function(
        "column", (_list("records"), _text("name")), ("list", "any"), "The field `name` of every record.", do.column
    ),
    Function(
        "now_of_run", (), "datetime", "When the run started: the only clock there is. The same on every attempt.", None
    ),
)

FUNCTIONS: dict[str, Function] = {each.name: each for each in _ALL}


def column_type(records: Type, name: str) -> Type | None:
    """The type of `column(records, name)` for a known name; None when the records have no such field."""
    inner = element(records)
    found = field_type(inner, name)
    return None if found is None else ("list", found)
