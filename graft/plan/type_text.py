"""The text of types: what an author writes in `type = "list[string]"` and `returns = { total = "int" }`.

::

    type   = name | list[type] | table[type] | optional[type] | type "?" | enum[json, …] | record[name: type, …]

In TOML a table is a record and an array with one element is a list: `{ lines = [{ sku = "string", count = "int" }] }`.
"""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from typing import Any, NoReturn

from graft.plan.quantities import number_problem
from graft.plan.type_trees import MAX_TYPE_DEPTH, PLAIN, Type, kind, optional

MAX_TYPE_TEXT = 4096

_TOKEN = re.compile(
    r"""\s*(?: (?P<name>[A-Za-z_][\w-]*) | (?P<string>"(?:[^"\\\n]|\\.)*"|'[^'\n]*')
        | (?P<number>-?\d[\d.eE+-]*) | (?P<mark>[][:,?|]) | (?P<end>\Z) )""",
    re.VERBOSE,
)
_ALIASES = {
    "str": "string",
    "text": "string",
    "integer": "int",
    "number": "float",
    "double": "float",
    "boolean": "bool",
    "time": "datetime",
    "timestamp": "datetime",
    "timedelta": "duration",
    "size": "bytes",
    "dict": "record",
    "object": "record",
    "map": "table",
    "array": "list",
    "tuple": "list",
    "null": "none",
    "None": "none",
}
_GENERIC = ("list", "table", "optional")


def parse_type(value: Any) -> Type:
    """The type that a text or a TOML value says. Raises ValueError with a text for its author."""
    return _from_value(value, 0)


def _from_value(value: Any, depth: int) -> Type:
    if depth > MAX_TYPE_DEPTH:
        raise ValueError("the type nests too deep")
    if isinstance(value, str):
        return _Reader(value, depth).whole()
    if isinstance(value, dict):
        return ("record", tuple((str(name), _named(str(name), each, depth)) for name, each in value.items()))
    if isinstance(value, list) and len(value) == 1:
        return ("list", _from_value(value[0], depth + 1))
    if isinstance(value, list):
        raise ValueError('a list of something is written with one element: `["int"]`')
    raise ValueError(f'expected a type such as "int" or "list[string]", got {kind(value)}')


def _named(name: str, value: Any, depth: int) -> Type:
    try:
        return _from_value(value, depth + 1)
    except ValueError as error:
        raise ValueError(f"`{name}`: {error}") from None


class _Reader:
    """Recursive descent over one text, of bounded length and depth."""

    def __init__(self, text: str, depth: int) -> None:
        if len(text) > MAX_TYPE_TEXT:
            raise ValueError(f"the type is longer than {MAX_TYPE_TEXT} characters")
        self.text = text
        self.depth = depth
        self.at = 0
        self.kind = ""
        self.token = ""
        self.advance()

    def advance(self) -> str:
        """Go to the next token; the text of the one that was left."""
        left = self.token
        found = _TOKEN.match(self.text, self.at)
        if found is None:
            self.fail(f"unexpected {self.text[self.at :].strip()[:1]!r}")
        self.kind, self.token, self.at = found.lastgroup or "", found[found.lastgroup or 0], found.end()
        return left

    def fail(self, message: str) -> NoReturn:
        shown = self.text if len(self.text) <= 60 else self.text[:59] + "…"
        raise ValueError(f"{message} in the type `{shown}`")

    def expect(self, mark: str) -> None:
        if self.token != mark:
            self.fail(f"expected `{mark}`, got {f'`{self.token}`' if self.token else 'the end'}")
        self.advance()

    def whole(self) -> Type:
        type_ = self.type()
        if self.kind != "end":
            self.fail(f"unexpected `{self.token}`")
        return type_

    def type(self) -> Type:
        self.depth += 1
        if self.depth > MAX_TYPE_DEPTH:
            raise ValueError("the type nests too deep")
        if self.kind != "name":
            self.fail("expected the name of a type" if self.token else "the type ends too early")
        type_ = self.named(self.advance())
        while self.token == "?":
            self.advance()
            type_ = optional(type_)
        self.depth -= 1
        return type_

    def named(self, name: str) -> Type:
        if name in _GENERIC:
            return self.generic(name)
        if name == "record" and self.token == "[":
            return ("record", self.fields())
        if name == "enum":
            return ("enum", self.values())
        if name not in PLAIN:
            self.fail(f"unknown type `{name}`{_suggestion(name)}")
        if self.token == "[":
            self.fail(f"`{name}` takes no `[…]`")
        return name

    def generic(self, name: str) -> Type:
        if self.token != "[":
            if name == "optional":
                self.fail("`optional` needs to say of what: `optional[string]`")
            return (name, "any")
        self.advance()
        inner = self.type()
        self.expect("]")
        return optional(inner) if name == "optional" else (name, inner)

    def fields(self) -> tuple[tuple[str, Type], ...]:
        found: dict[str, Type] = {}
        self.advance()
        while self.token != "]" or self.kind != "mark":
            if self.kind not in ("name", "string"):
                self.fail("expected the name of a field")
            name = self.scalar() if self.kind == "string" else self.advance()
            if name in found:
                self.fail(f"two fields `{name}`")
            self.expect(":")
            found[name] = self.type()
            if self.token != "]":
                self.expect(",")
        self.advance()
        return tuple(found.items())

    def values(self) -> tuple[Any, ...]:
        if self.token != "[":
            self.fail('`enum` needs its values: `enum["dev", "prod"]`')
        self.advance()
        found: list[Any] = []
        while self.token != "]" or self.kind != "mark":
            found.append(self.scalar())
            if self.token != "]" or self.kind != "mark":
                self.expect(",")
        self.advance()
        if not found:
            self.fail("an `enum` has at least one value")
        return tuple(found)

    def scalar(self) -> Any:
        token_kind, token = self.kind, self.advance()
        if token_kind == "string" and token[0] == "'":
            return token[1:-1]
        try:
            value = json.loads(token, parse_constant=lambda _: {})
        except ValueError:
            value = {}
        if type(value) in (int, float) and (problem := number_problem("a number", value)):
            self.fail(problem)
        if isinstance(value, dict) or value in (float("inf"), float("-inf")):
            self.fail(f"expected a text, a number, true, false or null, got `{token}`")
        return value


def _suggestion(name: str) -> str:
    known = [*PLAIN, *_GENERIC, "enum"]
    close = _ALIASES.get(name) or next(iter(get_close_matches(name.lower()[:40], known, n=1)), None)
    return f"; did you mean `{close}`?" if close else f"; the types are {', '.join(known)}"


def render_type(type_: Type) -> str:
    """The text that `parse_type` reads as `type_`."""
    if isinstance(type_, str):
        return type_
    match type_[0]:
        case "optional":
            return f"{render_type(type_[1])}?"
        case "enum":
            return f"enum[{', '.join(json.dumps(value, ensure_ascii=False) for value in type_[1])}]"
        case "record":
            return f"record[{', '.join(f'{_field_name(name)}: {render_type(each)}' for name, each in type_[1])}]"
    return f"{type_[0]}[{render_type(type_[1])}]"


_NAME = re.compile(r"[A-Za-z_][\w-]*")


def _field_name(name: str) -> str:
    return name if _NAME.fullmatch(name) else json.dumps(name, ensure_ascii=False)
