"""Mutants of a room: one statement removed, one condition negated, or one result dropped, in one function.

A mutant takes the place of the code of a function that is imported already, so every name that refers to the function
has it, and no file changes.
"""

from __future__ import annotations

import ast
import gc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType

from attrs import frozen

REMOVABLE = (ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Delete, ast.Raise, ast.Continue, ast.Break)


@frozen
class Mutant:
    """`name` says file, function and change. It is the same while these are, wherever the lines are."""

    name: str
    path: Path
    line: int
    function: str  # qualified name of the outermost function
    number: int  # of the change in its file

    def apply(self) -> None:
        """Put it in the place of its function, in this process."""
        code = self._compile()
        for each in gc.get_objects():
            if isinstance(each, FunctionType) and _place(each.__code__) == _place(code):
                each.__code__ = code
                return
        raise LookupError(f"{self.function} of {self.path} is not imported")

    def _compile(self) -> CodeType:
        tree = ast.parse(self.path.read_text())
        change = list(_changes(tree))[self.number]
        ast.copy_location(change.new, change.old)
        change.body[change.body.index(change.old)] = change.new
        return _function_code(compile(ast.fix_missing_locations(tree), str(self.path), "exec"), self.function)


@frozen(eq=False)
class Change:
    """`old` in `body`, a list of statements, becomes `new`."""

    function: str
    what: str
    body: list[ast.stmt]
    old: ast.stmt
    new: ast.stmt


def find_mutants(path: Path, root: Path) -> list[Mutant]:
    """All mutants of a file."""
    seen: Counter[str] = Counter()
    found: list[Mutant] = []
    for number, change in enumerate(_changes(ast.parse(path.read_text()))):
        name = f"{path.relative_to(root)} {change.function}: {change.what} {_head(change.old)}"
        seen[name] += 1
        if seen[name] > 1:
            name += f" ({seen[name]})"
        found.append(Mutant(name, path, change.old.lineno, change.function, number))
    return found


def _changes(tree: ast.Module) -> Iterator[Change]:
    for function, outer in _functions(tree, ""):
        for node in ast.walk(outer):
            for body in _bodies(node):
                for old in body:
                    for what, new in _edits(old):
                        yield Change(function, what, body, old, new)


def _bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """The lists of statements in a node."""
    for _, value in ast.iter_fields(node):
        if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            yield value


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST]]:
    """The outermost functions, with their qualified names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.")
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{prefix}{child.name}", child


def _edits(old: ast.stmt) -> Iterator[tuple[str, ast.stmt]]:
    if isinstance(old, REMOVABLE) and not _is_idle(old):
        yield "remove", ast.Pass()
    elif isinstance(old, ast.If):
        yield "negate", ast.If(ast.UnaryOp(ast.Not(), old.test), old.body, old.orelse)
        if not old.orelse:
            yield "remove", ast.Pass()
    elif isinstance(old, (ast.For, ast.While)):
        yield "remove", ast.Pass()
    elif isinstance(old, ast.Return) and old.value is not None and not _is_none(old.value):
        yield "drop", ast.Return(None)


def _is_idle(old: ast.stmt) -> bool:
    """A docstring, `...`, or a declaration without a value: removing it changes nothing."""
    if isinstance(old, ast.AnnAssign):
        return old.value is None
    return isinstance(old, ast.Expr) and isinstance(old.value, ast.Constant)


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _function_code(code: CodeType, function: str) -> CodeType:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_qualname == function:
                return constant
            if function.startswith(f"{constant.co_qualname}."):
                return _function_code(constant, function)
    raise LookupError(function)


def _place(code: CodeType) -> tuple[str, str]:
    return code.co_filename, code.co_qualname


def _head(old: ast.stmt) -> str:
    return ast.unparse(old).splitlines()[0]


__all__ = ["Mutant", "find_mutants"]
