"""The forms of expression trees, their variables, and their canonical text.

A tree is nested tuples, its head says the form. `FORMS` is the whole list. Trees come from a parser or from a stored
plan, so nothing here trusts their depth: walks are iterative, or stop at `MAX_DEPTH`.

`render` gives text that the parser reads as the same tree. Names of variables hold dots (`fetch.out`), because a parser
resolves them: a node's field is one variable, and what follows is an `attr`.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from typing import Any

from graft.errors import ExpressionError

Tree = tuple[Any, ...]

FORMS: dict[str, str] = {
    "const": "a literal: null, bool, int, float or text",
    "var": "a variable by its full name: `params`, `fetch.out`, `secrets.TOKEN`",
    "local": "a variable of the comprehension around it",
    "attr": "a field of a record",
    "index": "an item of a list, a field of a record, a character of a text",
    "slice": "a part of a list or of a text",
    "unary": "- + not",
    "binary": "+ - * / // % **",
    "compare": "== != < <= > >= in, not in; chained as in Python",
    "and": "the first operand that is false, else the last",
    "or": "the first operand that is true, else the last",
    "if": "condition, then, otherwise",
    "list": "a list",
    "dict": "a table; its keys are text",
    "listcomp": "element, generators",
    "dictcomp": "key, value, generators",
    "format": "text built from parts",
    "fmt": "a part of a `format` with a format specification",
    "call": "a function of the table `FUNCTIONS`",
}

ROOTS: tuple[str, ...] = ("params", "run", "item", "index", "secrets")
NODE_FIELDS: tuple[str, ...] = ("out", "error", "errors", "status", "attempts")
CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
WORDS = frozenset(keyword.kwlist) | CONSTANTS.keys()
"""What stands for itself in an expression, and for no name."""

_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

UNARY = frozenset({"-", "+", "not"})
BINARY = frozenset({"+", "-", "*", "/", "//", "%", "**"})
COMPARE = frozenset({"==", "!=", "<", "<=", ">", ">=", "in", "not in"})

MAX_DEPTH = 128
"""Levels of a tree. Evaluating takes a few Python frames a level, and must fit beside whatever called it."""


def children(tree: Tree) -> Iterator[Tree]:
    """The trees directly inside `tree`. Raises ExpressionError when it has no known form."""
    try:
        yield from _children(tree)
    except (IndexError, ValueError, TypeError, KeyError):
        raise ExpressionError(
            f"not an expression: {_short(repr(tree[:1]) if isinstance(tree, tuple) else tree)}"
        ) from None


def _children(tree: Tree) -> Iterator[Tree]:
    match tree[0]:
        case "const" | "var" | "local":
            pass
        case "attr" | "fmt":
            yield tree[1]
        case "unary":
            yield tree[2]
        case "binary":
            yield from (tree[2], tree[3])
        case "index" | "slice" | "if" | "and" | "or" | "list" | "format":
            yield from (each for each in tree[1:] if each is not None)
        case "compare":
            yield tree[1]
            yield from (operand for _, operand in tree[2])
        case "dict":
            for key, value in tree[1:]:
                yield key
                yield value
        case "listcomp" | "dictcomp":
            yield from tree[1:-1]
            for _, items, conditions in tree[-1]:
                yield items
                yield from conditions
        case "call":
            yield from tree[2]
            yield from (value for _, value in tree[3])
        case form:
            raise KeyError(form)


def walk(tree: Tree) -> Iterator[Tree]:
    """`tree` and every tree inside it. Raises ExpressionError when it is malformed or nests deeper than MAX_DEPTH."""
    stack = [(tree, 1)]
    while stack:
        each, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise ExpressionError(f"the expression nests deeper than {MAX_DEPTH} levels")
        yield each
        stack += [(child, depth + 1) for child in children(each)]


def free_vars(tree: Tree) -> frozenset[str]:
    """The variables that evaluating `tree` may read. `now_of_run()` reads `run`."""
    found = set()
    for each in walk(tree):
        if each[0] == "var":
            found.add(each[1])
        elif each[0] == "call" and each[1] == "now_of_run":
            found.add("run")
    return frozenset(found)


# Rendering. A form's strength says how tightly it binds; a weaker one inside a stronger place gets parentheses.

_IF, _OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _SIGN, _POWER, _POSTFIX = range(1, 11)
_STRENGTH = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "//": _PRODUCT, "%": _PRODUCT}


def render(tree: Tree) -> str:
    """The canonical text of `tree`. A tree that nests deeper than MAX_DEPTH is cut there: `…`."""
    return _render(tree, 0, 0)


def brief(tree: Tree, limit: int = 120) -> str:
    """The canonical text for a message, shortened."""
    return _short(render(tree), limit)


def _short(text: object, limit: int = 120) -> str:
    shown = str(text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _render(tree: Tree, least: int, depth: int) -> str:
    if depth > MAX_DEPTH:
        return "…"
    text, strength = _RENDER[tree[0]](tree, depth + 1)
    return f"({text})" if strength < least else text


def _const(tree: Tree, depth: int) -> tuple[str, int]:
    value = tree[1]
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value], _POSTFIX
    text = repr(value)
    return text, _SIGN if text.startswith("-") else _POSTFIX


def _name(tree: Tree, depth: int) -> tuple[str, int]:
    name, dot, field = tree[1].partition(".")
    return f"{node_text(name)}.{field}" if dot else name, _POSTFIX


def is_plain(name: str) -> bool:
    """Whether an expression can write `name` as it is."""
    return _PLAIN_NAME.fullmatch(name) is not None and name not in WORDS


def node_text(name: str) -> str:
    """How an expression names a node: `fetch`, or `nodes['build-wheel']` where the name alone says another thing."""
    return name if is_plain(name) else f"nodes[{name!r}]"


def _attr(tree: Tree, depth: int) -> tuple[str, int]:
    base = _render(tree[1], _POSTFIX, depth)
    return f"({base}).{tree[2]}" if base[0].isdigit() else f"{base}.{tree[2]}", _POSTFIX


def _index(tree: Tree, depth: int) -> tuple[str, int]:
    return f"{_render(tree[1], _POSTFIX, depth)}[{_render(tree[2], _IF, depth)}]", _POSTFIX


def _slice(tree: Tree, depth: int) -> tuple[str, int]:
    start, stop = ("" if each is None else _render(each, _IF, depth) for each in tree[2:4])
    return f"{_render(tree[1], _POSTFIX, depth)}[{start}:{stop}]", _POSTFIX


def _unary(tree: Tree, depth: int) -> tuple[str, int]:
    if tree[1] == "not":
        return f"not {_render(tree[2], _NOT, depth)}", _NOT
    return f"{tree[1]}{_render(tree[2], _SIGN, depth)}", _SIGN


def _binary(tree: Tree, depth: int) -> tuple[str, int]:
    _, op, left, right = tree
    if op == "**":
        return f"{_render(left, _POSTFIX, depth)} ** {_render(right, _SIGN, depth)}", _POWER
    strength = _STRENGTH[op]
    return f"{_render(left, strength, depth)} {op} {_render(right, strength + 1, depth)}", strength


def _compare(tree: Tree, depth: int) -> tuple[str, int]:
    rest = [f" {op} {_render(operand, _SUM, depth)}" for op, operand in tree[2]]
    return _render(tree[1], _SUM, depth) + "".join(rest), _COMPARE


def _logic(tree: Tree, depth: int) -> tuple[str, int]:
    strength = _AND if tree[0] == "and" else _OR
    return f" {tree[0]} ".join(_render(each, strength + 1, depth) for each in tree[1:]), strength


def _if(tree: Tree, depth: int) -> tuple[str, int]:
    _, condition, then, otherwise = tree
    text = f"{_render(then, _OR, depth)} if {_render(condition, _OR, depth)} else {_render(otherwise, _IF, depth)}"
    return text, _IF


def _list(tree: Tree, depth: int) -> tuple[str, int]:
    return f"[{', '.join(_render(each, _IF, depth) for each in tree[1:])}]", _POSTFIX


def _dict(tree: Tree, depth: int) -> tuple[str, int]:
    pairs = (f"{_render(key, _IF, depth)}: {_render(value, _IF, depth)}" for key, value in tree[1:])
    return f"{{{', '.join(pairs)}}}", _POSTFIX


def _generators(generators: tuple[Any, ...], depth: int) -> str:
    parts = []
    for names, items, conditions in generators:
        parts.append(f" for {', '.join(names)} in {_render(items, _OR, depth)}")
        parts += [f" if {_render(condition, _OR, depth)}" for condition in conditions]
    return "".join(parts)


def _listcomp(tree: Tree, depth: int) -> tuple[str, int]:
    return f"[{_render(tree[1], _IF, depth)}{_generators(tree[2], depth)}]", _POSTFIX


def _dictcomp(tree: Tree, depth: int) -> tuple[str, int]:
    pair = f"{_render(tree[1], _IF, depth)}: {_render(tree[2], _IF, depth)}"
    return f"{{{pair}{_generators(tree[3], depth)}}}", _POSTFIX


def _format(tree: Tree, depth: int) -> tuple[str, int]:
    """An f-string between single quotes; the parser lets the expressions inside use quotes of their own."""
    return f"f'{''.join(_part(part, depth) for part in tree[1:])}'", _POSTFIX


def _part(part: Tree, depth: int) -> str:
    if part[0] == "const" and isinstance(part[1], str):
        # A double quote at the end makes repr choose single quotes around it, and escape those inside.
        return repr(part[1] + '"')[1:-2].replace("{", "{{").replace("}", "}}")
    spec = f":{part[2]}" if part[0] == "fmt" else ""
    text = _render(part[1] if part[0] == "fmt" else part, 0, depth)
    return f"{{ {text} {spec}}}" if text.startswith("{") else f"{{{text}{spec}}}"


def _fmt(tree: Tree, depth: int) -> tuple[str, int]:
    return f"f'{_part(tree, depth)}'", _POSTFIX


def _call(tree: Tree, depth: int) -> tuple[str, int]:
    _, name, arguments, keywords = tree
    texts = [_render(each, _IF, depth) for each in arguments]
    texts += [f"{key}={_render(value, _IF, depth)}" for key, value in keywords]
    return f"{name}({', '.join(texts)})", _POSTFIX


_RENDER = {
    "const": _const,
    "var": _name,
    "local": _name,
    "attr": _attr,
    "index": _index,
    "slice": _slice,
    "unary": _unary,
    "binary": _binary,
    "compare": _compare,
    "and": _logic,
    "or": _logic,
    "if": _if,
    "list": _list,
    "dict": _dict,
    "listcomp": _listcomp,
    "dictcomp": _dictcomp,
    "format": _format,
    "fmt": _fmt,
    "call": _call,
}
