"""What to say about Python that is not part of expressions, and what to write instead."""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Callable, Iterable, Sequence

from graft.expressions.functions import FUNCTIONS
from graft.expressions.trees import NODE_FIELDS
from graft_dsl.habits import strange

Refusal = tuple[str, str | None]
"""A message and a suggestion."""

_FORMS: dict[str, Refusal] = {
    "Lambda": ("there is no `lambda`", "a comprehension: [x.a for x in items]"),
    "NamedExpr": ("there is no `:=`", None),
    "Set": ("there are no sets", "a list: [a, b]"),
    "SetComp": ("there are no sets", "a list: [x for x in items]"),
    "Starred": ("there is no `*`", "lists are joined by +: a + b"),
    "Await": ("there is no `await`", None),
    "Yield": ("there is no `yield`", None),
    "YieldFrom": ("there is no `yield`", None),
    "Slice": ("a slice stands behind a value", "x[start:stop]"),
}

_OPERATORS: dict[str, Refusal] = {
    "BitAnd": ("there is no operator `&`", "`and`"),
    "BitOr": ("there is no operator `|`", "`or`"),
    "BitXor": ("there is no operator `^`", "`**` is the power"),
    "LShift": ("there is no operator `<<`", None),
    "RShift": ("there is no operator `>>`", None),
    "MatMult": ("there is no operator `@`", None),
}

_NO_CLOCK = "an expression has no clock and no randomness"
_FUNCTIONS: dict[str, Refusal] = {
    "map": ("there is no function `map`", "a comprehension: [f(x) for x in items]"),
    "filter": ("there is no function `filter`", "a comprehension: [x for x in items if …]"),
    "set": ("there are no sets", "list(…)"),
    "tuple": ("there are no tuples", "list(…)"),
    "format": ("there is no function `format`", "an f-string: f'{x:.2f}'"),
    "repr": ("there is no function `repr`", "json(x)"),
    "type": ("there is no function `type`", None),
    "reversed": ("there is no function `reversed`", "sorted(items, reverse=true)"),
    "avg": ("there is no function `avg`", "sum(xs) / len(xs)"),
    "mean": ("there is no function `mean`", "sum(xs) / len(xs)"),
    "coalesce": ("there is no function `coalesce`", "default(x, y)"),
    "length": ("there is no function `length`", "len(x)"),
    "size": ("there is no function `size`", "len(x)"),
    "concat": ("there is no function `concat`", "a + b"),
    "contains": ("there is no function `contains`", "x in items"),
    "now": (_NO_CLOCK, "now_of_run() is when the run started"),
    "today": (_NO_CLOCK, "now_of_run() is when the run started"),
    "time": (_NO_CLOCK, "now_of_run() is when the run started"),
    "datetime": (_NO_CLOCK, "now_of_run() is when the run started"),
    "random": (_NO_CLOCK, None),
    "uuid": (_NO_CLOCK, "run.id is unique"),
    "env": ("an expression cannot read the environment", "declare a param, or a secret"),
    "getenv": ("an expression cannot read the environment", "declare a param, or a secret"),
    "open": ("an expression cannot read files", None),
    "print": ("an expression cannot print", None),
    "eval": ("a value is never parsed again", None),
    "exec": ("a value is never parsed again", None),
}

_METHODS: dict[str, str] = {
    "startswith": "starts_with({0}, {1})",
    "endswith": "ends_with({0}, {1})",
    "join": "join({1}, {0})",
    "get": "default({0}[{1}], {2})",
    "lstrip": "strip({0})",
    "rstrip": "strip({0})",
    "trim": "strip({0})",
    "splitlines": "split({0}, '\\n')",
    "items": "[… {0}[key] … for key in keys({0})]",
    "includes": "{1} in {0}",
    "contains": "{1} in {0}",
    "has_key": "{1} in {0}",
    "find": "{1} in {0}",
    "index": "{1} in {0}",
    "append": "{0} + [{1}]",
    "extend": "{0} + {1}",
    "format": "f'…'",
    "toLowerCase": "lower({0})",
    "toUpperCase": "upper({0})",
    "length": "len({0})",
    "size": "len({0})",
    "map": "[… for x in {0}]",
    "filter": "[x for x in {0} if …]",
    "sort": "sorted({0})",
    "sorted": "sorted({0})",
    "copy": "{0}",
    "mean": "sum({0}) / len({0})",
}


def braces(text: str, start: int, end: int) -> Refusal | None:
    """For `${{ x }}` and `{{ x }}`, as other tools write it: `text[start:end]` is a set."""
    before = text[:start].rstrip(" ")
    inner = text[start:end].strip("{} \n")
    if before.endswith(("${", "{")) or text[start:end].startswith("{{"):
        return "this is how another tool writes it: Graft has one pair of braces", f"`${{ {inner} }}`"
    return None


def form(node: ast.AST) -> Refusal:
    return _FORMS.get(type(node).__name__, (f"{type(node).__name__} is not part of expressions", None))


def operator(op: ast.operator) -> Refusal:
    return _OPERATORS.get(type(op).__name__, ("there is no such operator", None))


def function(name: str, is_local: bool, closest: Callable[[str, Iterable[str]], str | None]) -> Refusal:
    """For a call of something that is no function."""
    if is_local:
        return f"`{name}` is a variable here, not a function", None
    if name in _FUNCTIONS:
        return _FUNCTIONS[name]
    near = closest(name, FUNCTIONS)
    return f"there is no function `{name}`", f"did you mean `{near}`?" if near else None


def method(name: str, texts: Sequence[str]) -> Refusal:
    """For `x.name(…)`: `texts` are those of `x` and of the arguments."""
    shown = [text if len(text) <= 40 else "…" for text in texts]
    pattern = _METHODS.get(name)
    if pattern is not None:
        return f"values have no methods: `.{name}()`", pattern.format(*shown, "…", "…", "…")
    if name in FUNCTIONS:
        return f"values have no methods: `.{name}()`", f"{name}({', '.join(shown)})"
    return f"values have no methods: `.{name}()`", None


_FIELDS = "|".join(NODE_FIELDS)
_DASHED = "a name with a dash is read as nodes['build-wheel'].out"
_HINTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(rf"[A-Za-z]\w*(?:-\w+)+\.(?:{_FIELDS})\b"), _DASHED),
    (
        re.compile(rf"\b(?:{'|'.join(keyword.kwlist)})\.(?:{_FIELDS})\b"),
        "write nodes['import'].out for a node `import`",
    ),
    (re.compile(r"&&"), "`and`"),
    (re.compile(r"\|\|"), "`or`"),
    (re.compile(r"\$"), "an expression is already inside `${…}`: names stand for themselves"),
    (re.compile(r"!(?!=)"), "`not`"),
    (re.compile(r"\?"), "a if condition else b"),
    (re.compile(r"<>"), "`!=`"),
    (re.compile(r"===+"), "`==`"),
    (re.compile(r"(?<![=!<>:*/+%-])=(?!=)"), "`==` compares"),
    (re.compile(r"\b(?:AND|OR|NOT|IN)\b"), "`and`, `or`, `not` and `in` are written small"),
)
ESCAPE = ("this text has an escape that does not exist", "write `\\\\` for a backslash")
_WORD_FIELD = re.compile(rf"\.\s*({'|'.join(keyword.kwlist)})\b")
_TEXT = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"")


def syntax(code: str, reason: str) -> tuple[str, str | None, tuple[int, int] | None]:
    """For text that Python's parser refuses: a message, a suggestion, and the offsets in `code` that it is about.

    `reason` is what the parser says; it differs between versions, as does where it points. So what is well known is
    looked for here.
    """
    plain = _TEXT.sub(lambda found: "_" * len(found[0]), code)
    if found := _WORD_FIELD.search(plain):
        return f"`.{found[1]}` is a word of the language", f"write ['{found[1]}']", found.span(1)
    if (odd := strange(plain)) is not None:
        what, instead, at = odd
        return f"this is {what}", instead, (at, at + 1)
    if "leading zeros" in reason:
        return "a number has no leading zeros", None, None
    if "escape" in reason:
        return *ESCAPE, None
    for pattern, hint in _HINTS:
        if found := pattern.search(plain):
            return "this is not an expression", hint, found.span()
    return "this is not an expression", None, None
