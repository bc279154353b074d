"""Hypothesis strategies for expression trees and for the values that they read.

`trees()` draws trees of every form exactly as the parser makes them, so that text and tree can be compared. They lean
towards parts that fit together: an operator mostly gets operands that it knows.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from graft.errors import AbsentValue
from graft.expressions import Tree
from graft.plan.types import Type, parse_type

TYPES: dict[str, Type] = {
    "params": parse_type(
        {
            "n": "int",
            "x": "float",
            "who": "string",
            "flag": "bool",
            "xs": "list[int]",
            "names": "list[string]",
            "rows": [{"sku": "string", "count": "int", "note": "string?"}],
            "limits": "table[int]",
            "maybe": "int?",
            "env": 'enum["dev", "prod"]',
            "day": "date",
            "wait": "duration",
            "size": "bytes",
        }
    ),
    "run": parse_type({"id": "string", "name": "string", "started_at": "datetime"}),
    "fetch.out": parse_type({"total": "int", "risk": "float", "lines": "list[record]"}),
    "fetch.status": "string",
    "free.out": "any",
    "gone.out": parse_type({"id": "string"}),
    "build-wheel.out": "int",
    "count.out": "string",
    "import.status": "string",
    "item": parse_type({"sku": "string", "count": "int"}),
}
"""The variables of the trees and their types. `gone.out` is absent."""

NODES = ("fetch", "free", "gone", "build-wheel", "count", "import")


def absent(name: str) -> Any:
    raise AbsentValue(f"`{name}` is absent: the node was skipped")


def values_of(type_: Type) -> st.SearchStrategy[Any]:
    """Values that conform to a type."""
    match type_ if isinstance(type_, str) else type_[0]:
        case "list":
            return st.lists(values_of(type_[1]), max_size=4)
        case "table":
            return st.dictionaries(short_texts, values_of(type_[1]), max_size=3)
        case "optional":
            return st.none() | values_of(type_[1])
        case "enum":
            return st.sampled_from(type_[1])
        case "record" if not isinstance(type_, str):
            return st.fixed_dictionaries({name: values_of(field) for name, field in type_[1]})
    return _PLAIN[type_]


short_texts = st.text(st.sampled_from("abAZ 0'\"\\{}$ß\n€"), max_size=6)
small_ints = st.integers(-20, 20)
floats = st.floats(-100, 100, allow_subnormal=False).map(lambda value: round(value, 3))
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | small_ints | floats | short_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(short_texts, inner, max_size=3),
    max_leaves=6,
)
_PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "string": short_texts,
    "int": small_ints,
    "float": floats | small_ints,
    "bool": st.booleans(),
    "date": st.dates().map(lambda day: day.isoformat()),
    "datetime": st.datetimes().map(lambda moment: moment.isoformat()),
    "duration": st.floats(0, 1e6) | st.integers(0, 100),
    "bytes": st.integers(0, 1 << 40),
    "none": st.none(),
    "any": json_values,
    "record": st.dictionaries(short_texts, json_values, max_size=3),
}


@st.composite
def environments(draw: st.DrawFn) -> dict[str, Any]:
    """Values for all variables of `TYPES` but `gone.out`."""
    return {name: draw(values_of(type_)) for name, type_ in TYPES.items() if name != "gone.out"}


def const(value: Any) -> Tree:
    return ("const", value)


PATHS: dict[str, list[Tree]] = {}
"""Kind of value -> the paths that give it."""


def _path(kind: str, name: str, *fields: str) -> None:
    tree: Tree = ("var", name)
    for field in fields:
        tree = ("attr", tree, field)
    PATHS.setdefault(kind, []).append(tree)


for _kind, _name, *_fields in (
    ("number", "params", "n"),
    ("number", "params", "x"),
    ("number", "params", "size"),
    ("number", "fetch.out", "total"),
    ("number", "fetch.out", "risk"),
    ("number", "item", "count"),
    ("number", "params", "maybe"),
    ("number", "params", "wait"),
    ("text", "params", "who"),
    ("text", "params", "day"),
    ("text", "params", "env"),
    ("text", "fetch.status"),
    ("text", "item", "sku"),
    ("text", "run", "id"),
    ("text", "gone.out", "id"),
    ("truth", "params", "flag"),
    ("list", "params", "xs"),
    ("list", "params", "names"),
    ("list", "params", "rows"),
    ("list", "fetch.out", "lines"),
    ("record", "item"),
    ("record", "params"),
    ("record", "params", "limits"),
    ("record", "gone.out"),
    ("any", "free.out"),
    ("any", "free.out", "a"),
    ("number", "build-wheel.out"),
    ("text", "count.out"),
    ("text", "import.status"),
):
    _path(_kind, _name, *_fields)

LOCALS = ("a", "b", "item")
SPECS = (">8", "<5", "^9", ",", "+", ".2f", "08.3f", "d", "e", "x", "*>6", "s")
FIELDS = ("sku", "count", "note", "a", "out", "status")


@st.composite
def trees(draw: st.DrawFn, kind: str | None = None, depth: int = 4, scope: tuple[str, ...] = ()) -> Tree:
    """A tree as the parser makes it. `kind`: number text truth list record any; None draws one."""
    chosen = kind or draw(st.sampled_from(("number", "text", "truth", "list", "record", "any")))
    if draw(st.integers(0, 19)) == 0:
        chosen = draw(st.sampled_from(("number", "text", "truth", "list", "record")))  # one that does not fit, at times
    if depth <= 0:
        return draw(_leaf(chosen, scope))
    makers = _MAKERS.get(chosen, []) + _ANYWHERE
    if draw(st.integers(0, 2)) == 0:
        return draw(_leaf(chosen, scope))
    return draw(draw(st.sampled_from(makers))(chosen, depth - 1, scope))


def _leaf(kind: str, scope: tuple[str, ...]) -> st.SearchStrategy[Tree]:
    literal = {
        "number": small_ints | floats,
        "text": short_texts,
        "truth": st.booleans() | st.none(),
        "any": st.none() | small_ints | short_texts,
    }.get(kind)
    choices: list[st.SearchStrategy[Tree]] = [st.sampled_from(PATHS[kind])]
    if literal is not None:
        choices.append(literal.map(const))
    if kind == "list":
        choices.append(st.lists(small_ints.map(const), max_size=4).map(lambda items: ("list", *items)))
    if scope:
        choices.append(st.sampled_from(scope).map(lambda name: ("local", name)))
    return st.one_of(choices)


@st.composite
def _conditional(draw: st.DrawFn, kind: str, depth: int, scope: tuple[str, ...]) -> Tree:
    return (
        "if",
        draw(trees("truth", depth, scope)),
        draw(trees(kind, depth, scope)),
        draw(trees(kind, depth, scope)),
    )


@st.composite
def _logic(draw: st.DrawFn, kind: str, depth: int, scope: tuple[str, ...]) -> Tree:
    form = draw(st.sampled_from(("and", "or")))
    return (form, *(draw(trees(kind, depth, scope)) for _ in range(draw(st.integers(2, 3)))))


@st.composite
def _default(draw: st.DrawFn, kind: str, depth: int, scope: tuple[str, ...]) -> Tree:
    return ("call", "default", (draw(trees(kind, depth, scope)), draw(trees(kind, depth, scope))), ())


@st.composite
def _item(draw: st.DrawFn, kind: str, depth: int, scope: tuple[str, ...]) -> Tree:
    if draw(st.booleans()):
        return ("index", draw(trees("list", depth, scope)), const(draw(st.integers(-2, 2))))
    base = draw(trees("record", depth, scope))
    field = draw(st.sampled_from(FIELDS))
    if draw(st.booleans()) or base[0] == "var" or (base[0] == "const" and not isinstance(base[1], str)):
        return ("index", base, const(field))
    return ("attr", base, field)


@st.composite
def _arithmetic(draw: st.DrawFn, kind: str, depth: int, scope: tuple[str, ...]) -> Tree:
    op = draw(st.sampled_from(("+", "-", "*", "/", "//", "%", "**")))
    left = draw(trees("number", depth, scope))
    return ("binary", op, left, const(draw(st.integers(0, 3))) if op == "**" else draw(trees("number", depth, scope)))


@st.composite
def _sign(draw: st.DrawFn, kind: str, depth: int, scope: tuple[str, ...]) -> Tree:
    op = draw(st.sampled_from(("-", "+")))
    operand = draw(trees("number", depth, scope))
    if op == "-" and operand[0] == "const" and type(operand[1]) in (int, float):
        return const(-operand[1])
    return ("unary", op, operand)


@st.composite
def _numeric_call(draw: st.DrawFn, kind: str, depth: int, scope: tuple[str, ...]) -> Tree:
    name = draw(st.sampled_from(("len", "sum", "min", "max", "abs", "round", "int", "float", "count")))
    argument_kind = {"len": "list", "sum": "list", "min": "list", "max": "list", "count": "list"}.get(name, "number")
    return ("call", name, (draw(trees(argument_kind, depth, scope)),), ())


@st.composite
def _joined_text(draw: st.DrawFn, kind: str, depth: int, scope: tuple[str, ...]) -> Tree:
    if draw(st.booleans()):
        return ("binary", "*", draw(trees("text", depth, scope)), const(draw(st.integers(0, 3))))
    return ("binary", "+", draw(trees("text", depth, scope)), draw(trees("text", depth, scope)))


@st.composite
def _text_call(draw: st.DrawFn, kind: str, depth: int, scope: tuple[str, ...]) -> Tree:
    name = draw(st.sampled_from(("lower", "upper", "strip", "replace", "join", "str", "json", "hash")))
    if name == "join":
        return ("call", name, (draw(trees("list", depth, scope)), const(draw(short_texts))), ())
    if name == "replace":
        return (
            "call",
            name,
            (draw(trees("text", depth, scope)), const(draw(short_texts)), const(draw(short_texts))),
            (),
        )
    return ("call", name, (draw(trees("any" if name in ("str", "json", "hash") else "text", depth, scope)),), ())


@st.composite
def _format(draw: st.DrawFn, kind: str, depth: int, scope: tuple[str, ...]) -> Tree:
    parts: list[Tree] = []
    for _ in range(draw(st.integers(1, 3))):
        literal = draw(short_texts)
        if literal:
            parts.append(const(literal))
        inner = draw(trees(None, depth, scope))
        if draw(st.integers(0, 3)) == 0:
            parts.append(("fmt", inner, draw(st.sampled_from(SPECS))))
        elif not (inner[0] == "const" and isinstance(inner[1], str)):
            parts.append(inner)
    merged = [part for at, part in enumerate(parts) if not (_is_text(part) and at and _is_text(parts[at - 1]))]
    return const("".join(part[1] for part in merged)) if all(map(_is_text, merged)) else ("format", *merged)


def _is_text(tree: Tree) -> bool:
    return tree[0] == "const" and isinstance(tree[1], str)


@st.composite
def _comparison(draw: st.DrawFn, kind: str, depth: int, scope: tuple[str, ...]) -> Tree:
    of = draw(st.sampled_from(("number", "text", "any", "list")))
    ops = ("==", "!=") if of == "any" else ("==", "!=", "<", "<=", ">", ">=")
    rest = tuple((draw(st.sampled_from(ops)), draw(trees(of, depth, scope))) for _ in range(draw(st.integers(1, 2))))
    return ("compare", draw(trees(of, depth, scope)), rest)


@st.composite
def _containment(draw: st.DrawFn, kind: str, depth: int, scope: tuple[str, ...]) -> Tree:
    item, container = draw(st.sampled_from((("number", "list"), ("text", "text"), ("text", "record"), ("any", "list"))))
    op = draw(st.sampled_from(("in", "not in")))
    return ("compare", draw(trees(item, depth, scope)), ((op, draw(trees(container, depth, scope))),))


@st.composite
def _truth(draw: st.DrawFn, kind: str, depth: int, scope: tuple[str, ...]) -> Tree:
    if draw(st.booleans()):
        return ("unary", "not", draw(trees(None, depth, scope)))
    if draw(st.booleans()):
        return ("compare", draw(trees("any", depth, scope)), ((draw(st.sampled_from(("==", "!="))), const(None)),))
    name, of = draw(st.sampled_from((("any", "list"), ("all", "list"), ("bool", "any"))))
    return ("call", name, (draw(trees(of, depth, scope)),), ())


@st.composite
def _list(draw: st.DrawFn, kind: str, depth: int, scope: tuple[str, ...]) -> Tree:
    of = draw(st.sampled_from(("number", "text", "any", "record")))
    return ("list", *(draw(trees(of, depth, scope)) for _ in range(draw(st.integers(0, 3)))))


@st.composite
def _list_call(draw: st.DrawFn, kind: str, depth: int, scope: tuple[str, ...]) -> Tree:
    name = draw(st.sampled_from(("sorted", "list", "keys", "values", "split", "range", "column", "slice", "add")))
    items = draw(trees("list", depth, scope))
    match name:
        case "slice":
            bounds = [None if draw(st.booleans()) else const(draw(st.integers(-3, 3))) for _ in range(2)]
            return ("slice", items, *bounds)
        case "add":
            return ("binary", "+", items, draw(trees("list", depth, scope)))
        case "sorted":
            keywords = (("reverse", const(True)),) if draw(st.booleans()) else ()
            return ("call", name, (items,), keywords)
        case "keys" | "values":
            return ("call", name, (draw(trees("record", depth, scope)),), ())
        case "split":
            return ("call", name, (draw(trees("text", depth, scope)), const("a")), ())
        case "range":
            return ("call", name, (const(draw(st.integers(-2, 5))),), ())
        case "column":
            return ("call", name, (items, const(draw(st.sampled_from(FIELDS)))), ())
    return ("call", name, (items,), ())


@st.composite
def _generators(draw: st.DrawFn, depth: int, scope: tuple[str, ...]) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    made = []
    for _ in range(draw(st.integers(1, 2))):
        names = draw(st.lists(st.sampled_from(LOCALS), min_size=1, max_size=2, unique=True))
        items = draw(trees("list", depth, scope))
        if len(names) == 2:  # an item is a pair then
            items = ("list", *(("list", draw(_leaf("number", scope)), draw(_leaf("text", scope))) for _ in range(2)))
        scope = (*scope, *names)
        conditions = tuple(draw(trees("truth", depth, scope)) for _ in range(draw(st.integers(0, 1))))
        made.append((tuple(names), items, conditions))
    return tuple(made), scope


@st.composite
def _listcomp(draw: st.DrawFn, kind: str, depth: int, scope: tuple[str, ...]) -> Tree:
    generators, inner = draw(_generators(depth, scope))
    tree = ("listcomp", draw(trees(None, depth, inner)), generators)
    return tree if "item" not in inner else _with_local_item(tree)


@st.composite
def _dictcomp(draw: st.DrawFn, kind: str, depth: int, scope: tuple[str, ...]) -> Tree:
    generators, inner = draw(_generators(depth, scope))
    key = ("call", "str", (draw(trees("any", depth, inner)),), ())
    tree = ("dictcomp", key, draw(trees(None, depth, inner)), generators)
    return tree if "item" not in inner else _with_local_item(tree)


def _with_local_item(tree: Any, bound: bool = False) -> Any:
    """`tree` with the variable `item` made the comprehension variable wherever one hides it, as a parser reads it."""
    if not isinstance(tree, tuple):
        return tree
    if tree == ("var", "item") and bound:
        return ("local", "item")
    if tree and tree[0] in ("listcomp", "dictcomp"):
        made, inner = [], bound
        for names, items, conditions in tree[-1]:
            items = _with_local_item(items, inner)
            inner = inner or "item" in names
            made.append((names, items, tuple(_with_local_item(each, inner) for each in conditions)))
        return (tree[0], *(_with_local_item(each, inner) for each in tree[1:-1]), tuple(made))
    return tuple(_with_local_item(each, bound) for each in tree)


@st.composite
def _dict(draw: st.DrawFn, kind: str, depth: int, scope: tuple[str, ...]) -> Tree:
    names = draw(st.lists(st.sampled_from(FIELDS), max_size=3))
    return ("dict", *((const(name), draw(trees(None, depth, scope))) for name in names))


_ANYWHERE: list[Any] = [_conditional, _logic, _default, _item]
_MAKERS: dict[str, list[Any]] = {
    "number": [_arithmetic, _arithmetic, _sign, _numeric_call],
    "text": [_joined_text, _text_call, _format],
    "truth": [_comparison, _comparison, _containment, _truth],
    "list": [_list, _list_call, _listcomp],
    "record": [_dict, _dict, _dictcomp],
    "any": [_comparison, _list, _dict, _arithmetic, _joined_text],
}


def as_json(value: Any) -> str:
    """Text that tells 1, 1.0 and true apart, for comparisons."""
    return json.dumps(value, sort_keys=True)
