"""From Python's syntax trees to expression trees: a method per form, and a problem for every form that is not ours."""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Iterable
from string import ascii_lowercase
from typing import Any

from graft.expressions.functions import FUNCTIONS
from graft.expressions.text import spec_problem
from graft.expressions.trees import CONSTANTS, NODE_FIELDS, WORDS, node_text
from graft.plan.quantities import MAX_INT_BITS
from graft_dsl.expressions import refusals
from graft_dsl.expressions.parsed import Parsed, Problem, Span, Tree
from graft_dsl.expressions.scanning import (
    Field,
    FString,
    ScanError,
    fstring_pieces,
    is_flat,
    literal_source,
    scan,
    texts,
)
from graft_dsl.names import TAKEN
from graft_dsl.suggest import closest

MAX_DEPTH = 80
"""Levels of one expression; the tables and texts around it may add some more."""

_PATH = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*(?:\.[A-Za-z][A-Za-z0-9_]*)*)\s*")
_RISKY = re.compile(
    r"\\|\d[A-Za-z_]"
)  # Python warns about odd escapes and about `1or 2`: an error here, in every version
SURROGATE = re.compile("[\ud800-\udfff]")
_FIXED_NAMES = frozenset({"params", "run", "secrets"})
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")  # as Python counts lines; str.splitlines knows more ends
_VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

_BINARY = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
}
_COMPARE = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
}
_UNARY = {ast.USub: "-", ast.UAdd: "+", ast.Not: "not"}


class TooDeep(Exception):
    """The expression nests deeper than MAX_DEPTH. `code`, `message`, `start`, `end` are those of its problem."""

    code = "GR102"
    suggestion = None

    def __init__(self, start: int, end: int) -> None:
        self.message = f"the expression nests deeper than {MAX_DEPTH} levels"
        super().__init__(self.message)
        self.start, self.end = start, end


class Lowering:
    """One text on its way to a tree. `expression` may be called for several parts of it."""

    def __init__(self, text: str, names: frozenset[str], depth: int = 0) -> None:
        self.text = text
        self.names = names
        self.refs: set[str] = set()
        self.problems: list[Problem] = []
        self.spans: dict[int, Span] = {}
        self.broken: set[int] = set()
        self.kept: list[Tree] = []  # every tree made here, so that identities stay theirs
        self.scopes: list[frozenset[str]] = []  # variables of the comprehensions around
        self.depth = 0
        self.fstring_depth = 0
        self.source = _Source(text, "", 0, len(text), [])

    # Results

    def parsed(self, tree: Tree) -> Parsed:
        problems = tuple(sorted(self.problems, key=lambda each: (each.start, each.end)))
        return Parsed(self.text, tree, frozenset(self.refs), problems, self.spans, frozenset(self.broken))

    def made(self, tree: Tree, start: int, end: int) -> Tree:
        self.kept.append(tree)
        self.spans[id(tree)] = (start, max(end, start + 1))
        return tree

    def constant(self, value: Any, start: int, end: int) -> Tree:
        return self.made(("const", value), start, end)

    def problem(self, code: str, message: str, start: int, end: int, suggestion: str | None = None) -> Tree:
        """Record a problem; a null that stands in for what cannot be read."""
        end = max(end, start + 1)
        self.problems.append(Problem(code, message, start, end, suggestion=suggestion))
        tree = self.constant(None, start, end)
        self.broken.add(id(tree))
        return tree

    def refuse(self, code: str, refusal: refusals.Refusal, start: int, end: int) -> Tree:
        message, suggestion = refusal
        return self.problem(code, message, start, end, suggestion)

    def failed(self, error: ScanError | TooDeep) -> Tree:
        return self.problem(error.code, error.message, error.start, error.end, error.suggestion)

    def format(self, parts: Iterable[Tree], start: int, end: int) -> Tree:
        """A `format` of `parts`: texts side by side become one, and a format of nothing but text is that text."""
        merged: list[Tree] = []
        for part in parts:
            if _is_text(part) and id(part) not in self.broken and merged and _is_text(merged[-1]):
                part = self.constant(merged.pop()[1] + part[1], start, end)
            merged.append(part)
        if all(_is_text(part) for part in merged):
            return self.constant(merged[0][1] if merged else "", start, end)
        return self.made(("format", *merged), start, end)

    # One expression

    def expression(self, start: int, end: int, limit: int) -> Tree:
        """The tree of the expression at these offsets. Raises ScanError, TooDeep."""
        if end - start > limit:
            raise ScanError("GR102", f"the expression has more than {limit:,} characters", start, end)
        if path := _PATH.fullmatch(self.text, start, end):
            if not WORDS.intersection(path[1].split(".")):
                return self.path(path[1], path.start(1))
        elif not self.text[start:end].strip():
            raise ScanError("GR110", "there is no expression", start, end)
        outer, depth = self.source, self.depth
        try:
            self.source = self.read(start, end)
            return self.lower(_body(self.source))
        finally:
            self.source, self.depth = outer, depth

    def read(self, start: int, end: int) -> _Source:
        fstrings: list[FString] = []
        if not is_flat(self.text, start, end):
            _, fstrings = scan(self.text, start, end, depth=self.fstring_depth)
        code = self.text[start:end]
        for index, each in enumerate(fstrings):
            length = each.end - each.start
            code = code[: each.start - start] + _placeholder(index, length) + code[each.end - start :]
        return _Source(self.text, code, start, end, fstrings)

    def path(self, path: str, start: int) -> Tree:
        """`name.field.field` without the help of Python's parser: most expressions are just that."""
        first, *fields = path.split(".")
        end = start + len(first)
        owner = self.owner(first, fields[0]) if fields else None
        if owner is not None:
            end += 1 + len(fields.pop(0))
        tree = (
            self.variable(owner or first, start, end)
            if owner or not self.is_local(first)
            else self.local(first, start, end)
        )
        for field in fields:
            end += 1 + len(field)
            tree = self.made(("attr", tree, field), start, end)
            self.check_depth(tree, len(fields))
        return tree

    def check_depth(self, tree: Tree, levels: int) -> None:
        if self.depth + levels > MAX_DEPTH:
            raise TooDeep(*self.spans[id(tree)])

    # Names

    def is_local(self, name: str) -> bool:
        return any(name in scope for scope in self.scopes)

    def local(self, name: str, start: int, end: int) -> Tree:
        return self.made(("local", name), start, end)

    def variable(self, name: str, start: int, end: int) -> Tree:
        self.refs.add(name)
        return self.made(("var", name), start, end)

    def owner(self, name: str, field: str) -> str | None:
        """The variable that `name.field` is, when it is one: a secret, or a field of a node."""
        if self.is_local(name) or name in self.names:
            return None
        if name == "secrets" or (field in NODE_FIELDS and name not in TAKEN):
            return f"{name}.{field}"
        return None

    # Forms

    def lower(self, node: ast.AST) -> Tree:
        self.depth += 1
        start, end = self.source.span(node)
        if self.depth > MAX_DEPTH:
            raise TooDeep(start, end)
        method = _FORMS.get(type(node))
        if method is None:
            foreign = refusals.braces(self.text, start, end) if isinstance(node, ast.Set) else None
            tree = (
                self.refuse("GR110", foreign, start, end)
                if foreign is not None
                else self.refuse("GR103", refusals.form(node), start, end)
            )
        else:
            tree = method(self, node, start, end)
        self.depth -= 1
        return tree

    def literal(self, node: ast.Constant, start: int, end: int) -> Tree:
        value = node.value
        if problem := _literal_problem(value):
            return self.problem("GR108", problem, start, end)
        return self.constant(value, start, end)

    def name(self, node: ast.Name, start: int, end: int) -> Tree:
        name = node.id
        if name in CONSTANTS:
            return self.constant(CONSTANTS[name], start, end)
        if name.startswith("_"):
            if (index := self.source.placeholder(name, start)) is not None:
                return self.fstring(self.source.fstrings[index])
            return self.problem("GR107", f"`{name}`: names do not begin with `_`", start, end)
        if not name.isascii() or self.text[start:end] != name:
            return self.problem("GR101", "names are made of ASCII letters, digits and `_`", start, end)
        if self.is_local(name):
            return self.local(name, start, end)
        return self.variable(name, start, end)

    def attribute(self, node: ast.Attribute, start: int, end: int) -> Tree:
        field = node.attr
        if field.startswith("_"):
            self.lower(node.value)
            return self.problem(
                "GR107", f"`{field}`: fields that begin with `_` are read as `x['{field}']`", start, end
            )
        if not field.isascii() or not self.text[:end].endswith(field):
            return self.problem("GR101", "names are made of ASCII letters, digits and `_`", start, end)
        if (named := self.named_node(node.value)) is not None:
            return self.field_of_node(named, field, start, end)
        if (
            isinstance(node.value, ast.Name)
            and node.value.id not in CONSTANTS
            and (owner := self.owner(node.value.id, field))
        ):
            return self.variable(owner, start, end)
        return self.made(("attr", self.lower(node.value), field), start, end)

    def named_node(self, node: ast.expr) -> ast.expr | None:
        """What stands between the brackets of `nodes[…]`, if `node` is that."""
        if not (isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "nodes"):
            return None
        return None if self.is_local("nodes") or "nodes" in self.names else node.slice

    def field_of_node(self, name: ast.expr, field: str, start: int, end: int) -> Tree:
        """`nodes['build-wheel'].out`: a node by a name that an expression could not write otherwise."""
        if not (isinstance(name, ast.Constant) and isinstance(name.value, str)):
            where = self.source.span(name)
            return self.problem("GR101", "a node is named by a text", *where, "nodes['build-wheel'].out")
        if field not in NODE_FIELDS:
            text = node_text(name.value)
            return self.problem("GR122", f"`{text}` is a node, not a value", start, end, f"{text}.out.{field}")
        return self.variable(f"{name.value}.{field}", start, end)

    def subscript(self, node: ast.Subscript, start: int, end: int) -> Tree:
        if (named := self.named_node(node)) is not None:
            text = self.text[start:end]
            what = "is a node, not a value" if isinstance(named, ast.Constant) else "does not name a node"
            return self.problem("GR122", f"`{text}` {what}", start, end, f"{text}.out")
        value = self.lower(node.value)
        if isinstance(node.slice, ast.Tuple):
            return self.problem("GR103", "one index at a time", start, end, "write x[a][b]")
        if not isinstance(node.slice, ast.Slice):
            return self.made(("index", value, self.lower(node.slice)), start, end)
        if node.slice.step is not None:
            return self.problem("GR103", "a slice has no step", start, end, "x[start:stop]")
        bounds = [None if each is None else self.lower(each) for each in (node.slice.lower, node.slice.upper)]
        return self.made(("slice", value, *bounds), start, end)

    def unary(self, node: ast.UnaryOp, start: int, end: int) -> Tree:
        operand = self.lower(node.operand)
        op = _UNARY.get(type(node.op))
        if op is None:
            return self.problem("GR109", "there is no operator `~`", start, end, "`not` negates")
        if op == "-" and operand[0] == "const" and type(operand[1]) in (int, float):
            return self.constant(-operand[1], start, end)
        return self.made(("unary", op, operand), start, end)

    def binary(self, node: ast.BinOp, start: int, end: int) -> Tree:
        left, right = self.lower(node.left), self.lower(node.right)
        op = _BINARY.get(type(node.op))
        if op is None:
            return self.refuse("GR109", refusals.operator(node.op), start, end)
        return self.made(("binary", op, left, right), start, end)

    def logic(self, node: ast.BoolOp, start: int, end: int) -> Tree:
        form = "and" if isinstance(node.op, ast.And) else "or"
        return self.made((form, *map(self.lower, node.values)), start, end)

    def compare(self, node: ast.Compare, start: int, end: int) -> Tree:
        first = self.lower(node.left)
        rest = []
        for op, operand in zip(node.ops, node.comparators, strict=True):
            if type(op) not in _COMPARE:
                word, instead = ("is", "==") if isinstance(op, ast.Is) else ("is not", "!=")
                return self.problem("GR109", f"there is no operator `{word}`", start, end, f"write `{instead}`")
            rest.append((_COMPARE[type(op)], self.lower(operand)))
        return self.made(("compare", first, tuple(rest)), start, end)

    def conditional(self, node: ast.IfExp, start: int, end: int) -> Tree:
        parts = [self.lower(each) for each in (node.test, node.body, node.orelse)]
        return self.made(("if", *parts), start, end)

    def list(self, node: ast.List | ast.Tuple, start: int, end: int) -> Tree:
        return self.made(("list", *map(self.lower, node.elts)), start, end)

    def dict(self, node: ast.Dict, start: int, end: int) -> Tree:
        if None in node.keys:
            return self.problem("GR103", "there is no `**`", start, end)
        pairs = zip(node.keys, node.values, strict=True)
        made = tuple((self.lower(key), self.lower(value)) for key, value in pairs if key is not None)
        return self.made(("dict", *made), start, end)

    def comprehension(self, node: ast.ListComp | ast.GeneratorExp | ast.DictComp, start: int, end: int) -> Tree:
        before = len(self.scopes)
        generators = tuple(map(self.generator, node.generators))
        elements = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)
        made = tuple(map(self.lower, elements))
        del self.scopes[before:]
        form = "dictcomp" if isinstance(node, ast.DictComp) else "listcomp"
        return self.made((form, *made, generators), start, end)

    def generator(self, node: ast.comprehension) -> Tree:
        """One `for … in … if …`. Its variables stay in scope: the comprehension removes them."""
        items = self.lower(node.iter)
        targets = node.target.elts if isinstance(node.target, ast.Tuple) else [node.target]
        names = [self.target(each) for each in targets]
        start, end = self.source.span(node.target)
        if len(set(names)) < len(names) or (isinstance(node.target, ast.Tuple) and len(names) < 2):
            self.problem("GR112", "the variables of a `for` are different names: `for a, b in …`", start, end)
        if node.is_async:
            self.problem("GR103", "there is no `async`", start, end)
        self.scopes.append(frozenset(names))
        return (tuple(names), items, tuple(map(self.lower, node.ifs)))

    def target(self, node: ast.expr) -> str:
        start, end = self.source.span(node)
        name = node.id if isinstance(node, ast.Name) else ""
        if not name:
            self.problem("GR112", "the variable of a `for` is a plain name", start, end)
        elif name in FUNCTIONS or name in CONSTANTS or name in _FIXED_NAMES or not _VARIABLE.fullmatch(name):
            self.problem("GR112", f"`{name}` cannot be the variable of a `for`", start, end)
        return name

    def call(self, node: ast.Call, start: int, end: int) -> Tree:
        if not isinstance(node.func, ast.Name):
            return self.not_a_function(node, start, end)
        name = node.func.id
        function = FUNCTIONS.get(name)
        if function is None or self.is_local(name):
            self.arguments(node)
            refusal = refusals.function(name, self.is_local(name), closest)
            return self.refuse("GR105", refusal, *self.source.span(node.func))
        arguments, keywords = self.arguments(node)
        if misuse := function.misuse(len(arguments), [key for key, _ in keywords]):
            return self.problem("GR106", misuse, start, end, function.signature)
        if name == "now_of_run":
            self.refs.add("run")
        return self.made(("call", name, arguments, keywords), start, end)

    def arguments(self, node: ast.Call) -> tuple[tuple[Tree, ...], tuple[tuple[str, Tree], ...]]:
        keywords = []
        for each in node.keywords:
            start, end = self.source.span(each)
            value = self.lower(each.value)
            if each.arg is None:
                self.problem("GR103", "there is no `**`", start, end)
            keywords.append((each.arg or "", value))
        return tuple(map(self.lower, node.args)), tuple(keywords)

    def not_a_function(self, node: ast.Call, start: int, end: int) -> Tree:
        self.arguments(node)
        if not isinstance(node.func, ast.Attribute):
            return self.problem("GR105", "only a function can be called, by its name", start, end)
        texts = [self.text[slice(*self.source.span(each))] for each in (node.func.value, *node.args)]
        return self.refuse("GR104", refusals.method(node.func.attr, texts), start, end)

    def fstring(self, fstring: FString) -> Tree:
        self.fstring_depth += 1
        parts = []
        for piece in fstring_pieces(self.text, fstring, self.fstring_depth - 1):
            if isinstance(piece, Field):
                parts.append(self.field(piece))
            else:
                parts.append(self.fstring_text(fstring, piece))
        self.fstring_depth -= 1
        return self.format(parts, fstring.start, fstring.end)

    def fstring_text(self, fstring: FString, piece: str) -> Tree:
        source = literal_source(self.text, fstring, piece)
        try:
            node = _compiled(source).body
        except (SyntaxError, ValueError) as error:
            message, suggestion, _ = refusals.syntax("", str(error))
            return self.problem("GR101", message, fstring.start, fstring.end, suggestion)
        assert isinstance(node, ast.Constant), "a text without fields"
        return self.literal(node, fstring.start, fstring.end)

    def field(self, field: Field) -> Tree:
        if self.text[field.start : field.end].rstrip().endswith("="):
            return self.problem("GR111", "there is no `{x=}`", field.start, field.end)
        tree = self.expression(field.start, field.end, len(self.text))
        if not field.spec:
            return tree
        if problem := spec_problem(field.spec):
            return self.problem("GR111", f"`{field.spec[:40]}`: {problem}", field.end, field.end + 1 + len(field.spec))
        return self.made(("fmt", tree, field.spec), field.start, field.end)


def _is_text(tree: Tree) -> bool:
    return tree[0] == "const" and isinstance(tree[1], str)


def _literal_problem(value: Any) -> str | None:
    if isinstance(value, str):
        return "a text holds no surrogates" if SURROGATE.search(value) else None
    if isinstance(value, float):
        return None if math.isfinite(value) else "this number is too large for a float"
    if isinstance(value, int) and not isinstance(value, bool):
        return None if value.bit_length() <= MAX_INT_BITS else f"this integer has more than {MAX_INT_BITS} bits"
    if value is None or isinstance(value, bool):
        return None
    kinds: dict[type, str] = {bytes: "bytes", complex: "complex numbers"}
    return f"there are no {kinds.get(type(value), '`...`')}"


_FORMS: dict[type[ast.AST], Any] = {
    ast.Constant: Lowering.literal,
    ast.Name: Lowering.name,
    ast.Attribute: Lowering.attribute,
    ast.Subscript: Lowering.subscript,
    ast.UnaryOp: Lowering.unary,
    ast.BinOp: Lowering.binary,
    ast.BoolOp: Lowering.logic,
    ast.Compare: Lowering.compare,
    ast.IfExp: Lowering.conditional,
    ast.List: Lowering.list,
    ast.Tuple: Lowering.list,
    ast.Dict: Lowering.dict,
    ast.ListComp: Lowering.comprehension,
    ast.GeneratorExp: Lowering.comprehension,
    ast.DictComp: Lowering.comprehension,
    ast.Call: Lowering.call,
}


class _Source:
    """The source that Python's parser gets: a part of the text between parentheses, its f-strings made names.

    A name takes exactly the place of its f-string, so positions stay those of the text.
    """

    def __init__(self, text: str, code: str, start: int, end: int, fstrings: list[FString]) -> None:
        self.text = text
        self.code = code
        self.start = start
        self.end = end
        self.fstrings = fstrings
        self.lines: list[tuple[int, str]] = []  # offset of a line in `text`, the line
        if "\n" in code or "\r" in code or not code.isascii():
            at = start - 1
            for line in _LINE.findall(f"({code})"):
                self.lines.append((at, line))
                at += len(line)

    def span(self, node: Any) -> Span:
        if not self.lines:
            start, end = self.start - 1 + node.col_offset, self.start - 1 + node.end_col_offset
        else:
            start = self.offset(node.lineno, node.col_offset)
            end = self.offset(node.end_lineno, node.end_col_offset)
        # A tuple or a generator without parentheses of its own has those that were put around the text.
        return max(start, self.start), max(min(end, self.end), start + 1)

    def offset(self, line: int, column: int) -> int:
        """The offset in the text of a position that `ast` gives: lines from 1, columns in bytes of UTF-8."""
        if not self.lines:
            return self.start - 1 + column
        at, content = self.lines[min(line, len(self.lines)) - 1]
        return at + (
            column if content.isascii() else len(content.encode("utf-8", "replace")[:column].decode("utf-8", "ignore"))
        )

    def placeholder(self, name: str, start: int) -> int | None:
        """The index of the f-string that stands at `start`, if `name` is its placeholder."""
        for index, each in enumerate(self.fstrings):
            if each.start == start and name == _placeholder(index, each.end - each.start):
                return index
        return None


def _placeholder(index: int, length: int) -> str:
    """The name that stands for an f-string of so many characters, and takes as many itself.

    Two letters reach beyond MAX_FSTRINGS, so it fits into the shortest one: `f""`. It has no digits, which Python might
    warn about.
    """
    letters = ascii_lowercase[index] if index < 26 else ascii_lowercase[index // 26 - 1] + ascii_lowercase[index % 26]
    return f"_{letters}".ljust(length, "_")


def _body(source: _Source) -> ast.expr:
    """The syntax tree of `source`. Raises ScanError for what is not an expression."""
    try:
        body = _compiled(f"({source.code})").body
    except SyntaxError as error:
        start = source.offset(error.lineno or 1, 0) + max(0, (error.offset or 1) - 1)
        stop = start + 1
        if error.end_offset and error.end_lineno == error.lineno:
            stop = start + max(1, error.end_offset - (error.offset or 1))
        start = min(max(start, source.start), max(source.start, source.end - 1))
        message, suggestion, place = refusals.syntax(source.code, error.msg)
        if suggestion == refusals.ESCAPE[1]:
            place = _unreadable_text(source.code)
        if place is not None:
            start, stop = source.start + place[0], source.start + place[1]
        raise ScanError("GR101", message, start, min(max(stop, start + 1), source.end), suggestion) from None
    except (RecursionError, MemoryError):
        raise TooDeep(source.start, source.end) from None
    except ValueError as error:
        raise ScanError("GR101", f"not an expression: {error}", source.start, source.end) from None
    if isinstance(body, (ast.Tuple, ast.GeneratorExp)) and body.col_offset == 0 and body.lineno == 1:
        what = "a list of values" if isinstance(body, ast.Tuple) else "a comprehension"
        raise ScanError("GR101", f"{what} stands in brackets", source.start, source.end, "write [ … ]")
    return body


def _unreadable_text(code: str) -> tuple[int, int] | None:
    """The first text literal that Python refuses. Where Python points, at it or into it, differs between versions."""
    for start, end in texts(code):
        try:
            _compiled(code[start:end])
        except SyntaxError:
            return start, end
    return None


def _compiled(source: str) -> ast.Expression:
    """Python's syntax tree of an expression; what it would only warn about is a SyntaxError."""
    if not _RISKY.search(source):
        return _parse(source)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return _parse(source)


def _parse(source: str) -> ast.Expression:
    made = compile(source, "<expression>", "eval", ast.PyCF_ONLY_AST, dont_inherit=True)
    assert isinstance(made, ast.Expression)
    return made
