"""The static check: the type of an expression, and every problem that can be known before a value is there.

It goes through the tree once, from the inside out. Where a type is not known (`any`), nothing is complained about; the
evaluator will tell. Where a problem was found, the part counts as `any`, so that one mistake is one problem.

A value that may be null has to be dealt with before it is used, and tests for it are understood: `x != null`, `x`
itself, `and`, `or`, `not`, `if`. This is the usual flow typing over paths; there are no assignments, so nothing
invalidates a fact.

A sound type is promised: a value that the evaluator gives has the type that the check found without problems.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import frozen

from graft.expressions.functions import FUNCTIONS, Parameter, column_type, element
from graft.expressions.trees import brief, walk
from graft.plan.types import (
    Type,
    assignable,
    field_type,
    head,
    infer,
    is_integer,
    is_number,
    is_text,
    join,
    problems,
    required,
    union,
)
from graft_dsl.expressions import names, operands
from graft_dsl.expressions.names import Complaint, shown
from graft_dsl.expressions.parsed import Parsed, Problem, Tree
from graft_dsl.expressions.scope import Scope

_PATHS = frozenset({"var", "local", "attr", "index"})


@frozen
class Checked:
    """What is known of an expression: its type, and the problems that `check` found beside those of parsing."""

    type: Type
    problems: tuple[Problem, ...] = ()


def check(parsed: Parsed, scope: Scope, expected: Type | None = None) -> Checked:
    """Check `parsed` at a place with `scope`, where a value of type `expected` is wanted (None: any will do)."""
    checker = _Checker(parsed, scope)
    type_ = checker.expect(parsed.tree, "any" if expected is None else expected)
    found = sorted(checker.problems, key=lambda each: (each.start, each.end))
    return Checked("any" if checker.problems and type_ is None else type_, tuple(found))


class _Checker:
    def __init__(self, parsed: Parsed, scope: Scope) -> None:
        self.parsed = parsed
        self.scope = scope
        self.problems: list[Problem] = []
        self.locals: dict[str, Type] = {}
        self.not_null: frozenset[Tree] = frozenset()  # paths that were tested
        self.guarded = 0  # how many first arguments of default() we are in

    # Problems

    def complain(self, complaint: Complaint, tree: Tree, last: int | None = None) -> Type:
        """Record a problem at `tree`, or at its `last` characters; the type that stands in."""
        start, end = self.parsed.span(tree)
        if last is not None:
            start = max(start, end - last)
        self.problems.append(
            Problem(
                complaint.code, complaint.message, start, end, complaint.wanted, complaint.got, complaint.suggestion
            )
        )
        return "any"

    def text(self, tree: Tree) -> str:
        return brief(tree, 60)

    def written(self, tree: Tree) -> str:
        """`tree` as the author wrote it."""
        start, end = self.parsed.span(tree)
        return self.parsed.text[start:end]

    # Types

    def of(self, tree: Tree) -> Type:
        """The type of `tree`."""
        if id(tree) in self.parsed.broken:
            return "any"
        form = tree[0]
        type_ = getattr(self, f"_{form}")(tree)
        if self.not_null and form in _PATHS and tree in self.not_null:
            return required(type_)
        return type_

    def present(self, tree: Tree) -> Type:
        """The type of `tree` where a null is of no use."""
        type_ = self.of(tree)
        if head(type_) == "optional":
            if not self.guarded:
                text = self.text(tree)
                self.complain(Complaint("GR125", f"`{text}` may be null", f"`{text} or …`, or test it first"), tree)
            return type_[1]
        return type_

    def expect(self, tree: Tree, expected: Type) -> Type:
        """The type of `tree`, which goes where `expected` is wanted. Literals are checked part by part."""
        wanted = required(expected)
        if expected == "any" or id(tree) in self.parsed.broken:
            return self.of(tree)
        if tree[0] == "const":
            if found := problems(expected, tree[1]):
                self.mismatch(tree, expected, infer(tree[1]), found[0])
            return infer(tree[1])
        if tree[0] == "list" and head(wanted) == "list":
            return ("list", union([self.expect(each, wanted[1]) for each in tree[1:]]))
        if tree[0] == "dict" and head(wanted) in ("record", "table") and wanted != "record":
            return self.expect_fields(tree, wanted)
        if tree[0] == "if":
            return self.branches(tree, expected)
        type_ = self.of(tree)
        if not assignable(type_, expected):
            self.mismatch(tree, expected, type_)
        return type_

    def expect_fields(self, tree: Tree, wanted: Type) -> Type:
        for key, value in tree[1:]:
            self.key(key)
            field = field_type(wanted, key[1]) if key[0] == "const" and isinstance(key[1], str) else None
            self.expect(value, "any" if field is None else field)
        quiet, self.problems = self.problems, []
        type_ = self.of(tree)
        self.problems = quiet
        if wanted[0] == "record":
            known = {key[1] for key, _ in tree[1:] if key[0] == "const"}
            computed = any(key[0] != "const" for key, _ in tree[1:])
            for name, field in wanted[1]:
                if name not in known and not computed and field != "any" and head(field) != "optional":
                    self.complain(Complaint("GR132", f"the field `{name}` is missing", wanted=shown(wanted)), tree)
        return type_

    def mismatch(self, tree: Tree, expected: Type, got: Type, detail: str | None = None) -> None:
        if head(got) == "optional" and assignable(got[1], expected):
            text = self.text(tree)
            suggestion = f"`{text} or …`, or `… if {text} != null else …`"
            self.complain(Complaint("GR125", f"`{text}` may be null", suggestion, shown(expected), shown(got)), tree)
            return
        message = detail or f"expected {shown(expected)}, got {shown(got)}"
        instead = operands.conversion(self.text(tree), expected, got)
        self.complain(Complaint("GR132", message, instead, shown(expected), shown(got)), tree)

    # Names and paths

    def _const(self, tree: Tree) -> Type:
        return infer(tree[1])

    def _local(self, tree: Tree) -> Type:
        return self.locals.get(tree[1], "any")

    def _var(self, tree: Tree) -> Type:
        return self.variable(tree, tree)

    def variable(self, tree: Tree, path: Tree) -> Type:
        """The type of variable `tree`; `path` is what is read of it."""
        name = tree[1]
        if reason := self.scope.reason(name):
            return self.complain(Complaint("GR124", f"`{name}` may not be read here: {reason}"), tree)
        type_ = self.scope.types.get(name)
        if type_ is None:
            return self.complain(names.unknown_variable(name, self.scope), tree)
        if name in self.scope.maybe_absent and not self.guarded:
            text = self.text(path)
            self.complain(Complaint("GR123", f"`{name}` may be absent here", f"`default({text}, …)`"), path)
        return type_

    def base(self, tree: Tree) -> Type:
        """The type of what `attr` or `index` reads from. An absent variable is told for the whole path."""
        inner = tree[1]
        root = inner
        while root[0] in ("attr", "index"):
            root = root[1]
        if root[0] != "var" or root[1] not in self.scope.maybe_absent or self.guarded:
            return self.present(inner)
        self.variable(root, tree)
        with self.guard():
            return self.present(inner)

    @contextmanager
    def guard(self) -> Iterator[None]:
        self.guarded += 1
        yield
        self.guarded -= 1

    def _attr(self, tree: Tree) -> Type:
        _, inner, name = tree
        if inner[0] == "var" and inner[1] in self.scope.nodes and inner[1] not in self.scope.types:
            return self.complain(names.field_of_node(inner[1], name), tree)
        type_ = self.base(tree)
        field = field_type(type_, name)
        if field is None:
            return self.complain(names.unknown_field(self.text(inner), type_, name), tree, len(name))
        return field

    def _index(self, tree: Tree) -> Type:
        _, inner, index = tree
        type_ = self.base(tree)
        index_type = self.present(index)
        if type_ == "any":
            return "any"
        if head(type_) in ("record", "table"):
            return self.key_of(tree, type_, index_type)
        if head(type_) == "list" or is_text(type_):
            if not assignable(index_type, "int"):
                what = "list" if head(type_) == "list" else "text"
                complaint = Complaint("GR130", f"the index of a {what} is an int", None, "int", shown(index_type))
                return self.complain(complaint, index)
            return type_[1] if head(type_) == "list" else "string"
        return self.complain(
            Complaint("GR130", f"`{self.text(inner)}` has no items", None, "list or record", shown(type_)), tree
        )

    def key_of(self, tree: Tree, type_: Type, index_type: Type) -> Type:
        _, inner, index = tree
        if not assignable(index_type, "string"):
            return self.complain(
                Complaint("GR130", "the keys of a record are text", None, "string", shown(index_type)), index
            )
        if head(type_) == "table":
            return type_[1]
        if index[0] != "const":
            return "any"
        field = field_type(type_, index[1])
        if field is None:
            return self.complain(names.unknown_field(self.text(inner), type_, index[1]), index)
        return field

    def _slice(self, tree: Tree) -> Type:
        _, inner, *bounds = tree
        type_ = self.present(inner)
        for bound in bounds:
            if bound is not None and not assignable(got := self.present(bound), "int"):
                self.complain(Complaint("GR130", "a bound of a slice is an int", None, "int", shown(got)), bound)
        if type_ == "any" or head(type_) == "list":
            return type_
        if is_text(type_):
            return "string"
        return self.complain(
            Complaint("GR130", f"`{self.text(inner)}` cannot be sliced", None, "list or string", shown(type_)), tree
        )

    # Operators

    def _unary(self, tree: Tree) -> Type:
        _, op, operand = tree
        if op == "not":
            self.of(operand)
            return "bool"
        type_ = self.present(operand)
        if type_ == "any" or is_number(type_):
            return type_ if type_ == "any" else operands.number_type(type_)
        return self.complain(Complaint("GR130", f"`{op}` needs a number", None, "number", shown(type_)), operand)

    def _binary(self, tree: Tree) -> Type:
        _, op, left, right = tree
        if op == "-" and (complaint := names.dashed_node(self.written(tree), self.scope)) is not None:
            return self.complain(complaint, tree)
        left_type, right_type = self.present(left), self.present(right)
        exponent = right[1] if op == "**" and right[0] == "const" else None
        result = operands.binary(op, left_type, right_type, exponent)
        if isinstance(result, Complaint):
            return self.complain(result, tree)
        if op in ("/", "//", "%") and right[0] == "const" and right[1] == 0 and right[1] is not False:
            self.complain(Complaint("GR130", "division by zero"), tree)
        return result

    def _compare(self, tree: Tree) -> Type:
        left = tree[1]
        for op, right in tree[2]:
            if op in ("==", "!="):
                complaint = self.equality(op, left, right)
            elif op in ("in", "not in"):
                complaint = operands.containment(self.of(left), self.present(right))
            else:
                complaint = operands.ordering(op, self.present(left), self.present(right))
            if complaint is not None:
                self.complain(complaint, tree)
            left = right
        return "bool"

    def equality(self, op: str, left: Tree, right: Tree) -> Complaint | None:
        for one, other in ((left, right), (right, left)):
            if other[0] == "const" and id(other) not in self.parsed.broken:
                return operands.equality_with(op, self.text(one), self.of(one), other[1])
        return operands.equality(op, self.of(left), self.of(right))

    def _and(self, tree: Tree) -> Type:
        return self.logic(tree, True)

    def _or(self, tree: Tree) -> Type:
        return self.logic(tree, False)

    def logic(self, tree: Tree, truth: bool) -> Type:
        """An operand is evaluated when all before it were true (`and`), or false (`or`)."""
        before, types = self.not_null, []
        for each in tree[1:]:
            types.append(self.of(each))
            self.not_null |= _facts(each, truth)
        self.not_null = before
        if truth:
            return union(types)
        # What `or` passes over is false, so a null of any operand but the last goes no further.
        return join(union([required(each) for each in types[:-1]]), types[-1]) if len(types) > 1 else types[0]

    def _if(self, tree: Tree) -> Type:
        return self.branches(tree, "any")

    def branches(self, tree: Tree, expected: Type) -> Type:
        _, condition, then, otherwise = tree
        self.of(condition)
        before, types = self.not_null, []
        for branch, truth in ((then, True), (otherwise, False)):
            self.not_null = before | _facts(condition, truth)
            types.append(self.expect(branch, expected))
        self.not_null = before
        return join(*types)

    # What is built

    def _list(self, tree: Tree) -> Type:
        return ("list", union([self.of(each) for each in tree[1:]]))

    def _dict(self, tree: Tree) -> Type:
        for key, _ in tree[1:]:
            self.key(key)
        types = [(key, self.of(value)) for key, value in tree[1:]]
        if all(key[0] == "const" and isinstance(key[1], str) for key, _ in types):
            return ("record", tuple({key[1]: type_ for key, type_ in types}.items()))
        return ("table", union([type_ for _, type_ in types]))

    def key(self, key: Tree) -> None:
        type_ = self.present(key)
        if not assignable(type_, "string"):
            suggestion = f"`str({self.text(key)})`"
            self.complain(Complaint("GR130", "the keys of a table are text", suggestion, "string", shown(type_)), key)

    def _listcomp(self, tree: Tree) -> Type:
        with self.generators(tree[2]):
            return ("list", self.of(tree[1]))

    def _dictcomp(self, tree: Tree) -> Type:
        with self.generators(tree[3]):
            self.key(tree[1])
            return ("table", self.of(tree[2]))

    @contextmanager
    def generators(self, generators: tuple[Any, ...]) -> Iterator[None]:
        """Bring the variables of a comprehension into scope, and what its conditions say about them."""
        before, known = self.locals, self.not_null
        for targets, items, conditions in generators:
            inner = self.iterated(items)
            # A variable of the same name further out is another one: forget what was known about it.
            self.not_null = frozenset(each for each in self.not_null if not _mentions(each, targets))
            self.locals = self.locals | dict.fromkeys(targets, self.unpacked(items, inner, len(targets)))
            for condition in conditions:
                self.of(condition)
                self.not_null |= _facts(condition, True)
        yield
        self.locals, self.not_null = before, known

    def iterated(self, items: Tree) -> Type:
        """The type of what a `for` gets from `items`."""
        type_ = self.present(items)
        if type_ == "any" or head(type_) in ("list", "record", "table"):
            return element(type_)
        return self.complain(
            Complaint("GR130", f"`{self.text(items)}` is not a list", None, "list", shown(type_)), items
        )

    def unpacked(self, items: Tree, inner: Type, count: int) -> Type:
        if count == 1 or inner == "any":
            return inner
        if head(inner) == "list":
            return inner[1]
        complaint = Complaint(
            "GR130", f"an item of `{self.text(items)}` is not a list of {count}", None, "list", shown(inner)
        )
        return self.complain(complaint, items)

    def _format(self, tree: Tree) -> Type:
        for part in tree[1:]:
            self.of(part)
        return "string"

    def _fmt(self, tree: Tree) -> Type:
        _, inner, spec = tree
        type_ = self.present(inner)
        if spec[-1:] in tuple("bdeEfFgGoxX%") and not (type_ == "any" or is_number(type_)):
            self.complain(
                Complaint("GR130", f"the format `{spec}` is for numbers", None, "number", shown(type_)), inner
            )
        elif spec[-1:] in tuple("bdoxX") and type_ != "any" and not is_integer(type_):
            self.complain(Complaint("GR130", f"the format `{spec}` is for ints", None, "int", shown(type_)), inner)
        elif spec[-1:] == "s" and is_number(type_):
            self.complain(Complaint("GR130", f"the format `{spec}` is for text", None, "string", shown(type_)), inner)
        return "string"

    # Functions

    def _call(self, tree: Tree) -> Type:
        _, name, arguments, keywords = tree
        function = FUNCTIONS[name]
        if name == "default":
            with self.guard():
                first = self.of(arguments[0])
            return join(first, self.of(arguments[1]))
        types = [self.argument(name, each, function.parameter(index)) for index, each in enumerate(arguments)]
        for key, value in keywords:
            types_of_keyword = self.argument(name, value, next(each for each in function.params if each.name == key))
            if key == "default":
                return join(function.type_of(types), types_of_keyword)
        if name == "now_of_run":
            return self.scope_of_run(tree)
        if complaint := operands.items(name, types):
            return self.complain(complaint, arguments[0])
        if name == "column" and arguments[1][0] == "const" and isinstance(arguments[1][1], str):
            return self.column(tree, types[0])
        return function.type_of(types)

    def argument(self, function: str, tree: Tree, parameter: Parameter) -> Type:
        if parameter.accepts == ("any",):
            return self.of(tree)
        type_ = self.present(tree)
        if not any(assignable(type_, each) for each in parameter.accepts):
            message = f"`{parameter.name}` of {function}() is {parameter.wanted}"
            return self.complain(Complaint("GR131", message, None, parameter.wanted, shown(type_)), tree)
        return type_

    def column(self, tree: Tree, records: Type) -> Type:
        _, _, (items, name), _ = tree
        found = column_type(records, name[1])
        if found is None:
            return self.complain(names.unknown_field(f"{self.text(items)}[0]", element(records), name[1]), name)
        return found

    def scope_of_run(self, tree: Tree) -> Type:
        if reason := self.scope.reason("run"):
            self.complain(Complaint("GR124", f"`run` may not be read here: {reason}"), tree)
        return field_type(self.scope.types.get("run", "any"), "started_at") or "datetime"


def _facts(condition: Tree, truth: bool) -> frozenset[Tree]:
    """The paths that are not null when `condition` came out as `truth`."""
    form = condition[0]
    if form in _PATHS:
        return frozenset({condition}) if truth else frozenset()
    if form == "unary" and condition[1] == "not":
        return _facts(condition[2], not truth)
    if (form == "and" and truth) or (form == "or" and not truth):
        return frozenset().union(*(_facts(each, truth) for each in condition[1:]))
    if form == "compare" and len(condition[2]) == 1:
        op, right = condition[2][0]
        if right == ("const", None) and op == ("!=" if truth else "=="):
            return frozenset({condition[1]})
    return frozenset()


def _mentions(path: Tree, targets: tuple[str, ...]) -> bool:
    """Whether a path reads one of the comprehension variables `targets`, in an index too."""
    return any(each[0] == "local" and each[1] in targets for each in walk(path))
