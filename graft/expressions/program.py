"""Compiled expressions: a tree becomes closures once, and is then evaluated many times.

A closure takes the meter and gives the value; its parts are closures in its cells, so evaluating makes no dispatch and
no lookup by form. Parts that read nothing are computed when compiling. A variable is looked up at most once in an
evaluation, and comprehension variables are slots of a list.

Rejected: compiling to Python source and `exec` (about 1.5 times as fast, but then safety rests on quoting), and a loop
over byte code (slower in Python than calls).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graft.errors import AbsentValue, ExpressionError
from graft.expressions import operators
from graft.expressions.budget import DEFAULT_BUDGET, Budget, Meter
from graft.expressions.comprehensions import compile_dict, compile_list
from graft.expressions.functions import FUNCTIONS
from graft.expressions.text import spec_problem, to_formatted, to_text
from graft.expressions.trees import COMPARE, Tree, brief, free_vars, walk

Run = Callable[[Meter], Any]

FOLDING_BUDGET = Budget(max_operations=10_000, max_bytes=64 * 1024)
"""Of each part that is computed when compiling. A part that costs more is computed when it is needed."""

FAILURES = (ExpressionError, ArithmeticError, TypeError, ValueError, LookupError)
"""What an operation on values may raise. MemoryError and RecursionError are no results: they go through."""

MAX_COPIES = 16


class Program:
    """A compiled expression. It holds no state: it may run in several threads at once."""

    __slots__ = ("_copies", "_run", "_slots", "tree", "variables")

    def __init__(self, tree: Tree, run: Run, slots: int, copies: int, variables: frozenset[str]) -> None:
        self.tree = tree
        self.variables = variables
        self._run = run
        self._slots = slots
        self._copies = copies

    def __call__(self, lookup: Callable[[str], Any], budget: Budget | None = None) -> Any:
        """The value, a JSON value that may share parts with what `lookup` gave. Treat it as immutable.

        `lookup` gives the value of a variable and raises AbsentValue when it has none; it is called at most once per
        variable. Raises ExpressionError: AbsentValue when something that is read is not there, BudgetExceeded when the
        expression does or builds too much. `where` is the text of the part that failed.
        """
        meter = Meter(lookup, budget or DEFAULT_BUDGET, self._slots)
        value = self._run(meter)
        if self._copies > MAX_COPIES and isinstance(value, (list, dict)):
            self._check_size(meter, value)
        return value

    def _check_size(self, meter: Meter, value: Any) -> None:
        """A value that holds the same part many times is as large as its JSON, not as it is in memory."""
        meter.operations, meter.size = meter.budget.max_operations, meter.budget.max_bytes
        try:
            meter.spend(0, meter.visit(value))
        except ExpressionError as error:
            raise located(error, self.tree) from None

    def __repr__(self) -> str:
        return f"<Program {brief(self.tree)}>"


def compile_tree(tree: Tree) -> Program:
    """The program of `tree`. Raises ExpressionError when it is not an expression tree, or nests too deep."""
    try:
        variables = free_vars(tree)
        compiler = Compiler()
        run = compiler.compile(tree)
    except (TypeError, ValueError, LookupError) as error:
        raise ExpressionError(f"not an expression: {error}") from None
    return Program(tree, run, compiler.slots, _copies(tree), variables)


def evaluate(tree: Tree, lookup: Callable[[str], Any], budget: Budget | None = None) -> Any:
    """The value of `tree`, for one use. See `Program`."""
    return compile_tree(tree)(lookup, budget)


class ProgramCache:
    """The programs of the trees of one plan, by the identity of the tree; it keeps the trees alive."""

    def __init__(self) -> None:
        self._programs: dict[int, Program] = {}

    def __getitem__(self, tree: Tree) -> Program:
        program = self._programs.get(id(tree))
        if program is None or program.tree is not tree:
            program = self._programs[id(tree)] = compile_tree(tree)
        return program

    def __len__(self) -> int:
        return len(self._programs)


def located(error: BaseException, tree: Tree) -> ExpressionError:
    """`error` with the text of the part that failed, unless it has one already."""
    if not isinstance(error, ExpressionError):
        return ExpressionError(f"{error} in `{brief(tree)}`", where=brief(tree))
    if error.where is not None:
        return error
    return type(error)(f"{error.message} in `{brief(tree)}`", where=brief(tree), hint=error.hint)


def _copies(tree: Tree) -> int:
    """How often one value that is looked up may be part of the result, at most; a large number where that is open.

    Where it is small, the result needs no second look: its size is that of what was there before.
    """
    return sum(1 for each in walk(tree) if each[0] == "var") + sum(
        1000 for each in walk(tree) if each[0] in ("listcomp", "dictcomp") or each[:2] == ("binary", "*")
    )


class Compiler:
    """Makes closures of one tree. `slots` counts the comprehension variables."""

    def __init__(self) -> None:
        self.slots = 0
        self.names: dict[str, int] = {}  # comprehension variable in scope -> its slot
        self.reads = 0  # variables and comprehension variables read so far

    def compile(self, tree: Tree) -> Run:
        """The closure of `tree`, which is constant when nothing in it reads a variable."""
        before = self.reads
        run: Run = _COMPILERS[tree[0]](self, tree)
        if self.reads == before and tree[0] != "const":
            return _folded(run, self.slots)
        return run

    def bind(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """New slots for comprehension variables, in scope from now on."""
        slots = tuple(range(self.slots, self.slots + len(names)))
        self.slots += len(names)
        self.names = self.names | dict(zip(names, slots, strict=True))
        return slots


def _nothing(name: str) -> Any:
    raise AssertionError(f"a constant part reads {name}")


def _folded(run: Run, slots: int) -> Run:
    """A closure that gives what `run` gives; `run` itself when that fails or is large: evaluation will tell."""
    try:
        value = run(Meter(_nothing, FOLDING_BUDGET, slots))
        Meter(_nothing, FOLDING_BUDGET, 0).visit(value)
    except FAILURES:
        return run
    return lambda meter: value


def _const(compiler: Compiler, tree: Tree) -> Run:
    _, value = tree
    if not (value is None or isinstance(value, (str, int, float))):
        raise ValueError(f"{type(value).__name__} is not a literal")
    if isinstance(value, (int, float)):
        operators.number(value)
    return lambda meter: value


def _var(compiler: Compiler, tree: Tree) -> Run:
    _, name = tree
    compiler.reads += 1

    def var(meter: Meter) -> Any:
        memo = meter.memo
        if name in memo:
            return memo[name]
        try:
            value = memo[name] = meter.lookup(name)
        except ExpressionError as error:
            raise located(error, tree) from None
        return value

    return var


def _local(compiler: Compiler, tree: Tree) -> Run:
    slot = compiler.names[tree[1]]
    compiler.reads += 1
    return lambda meter: meter.locals[slot]


def _attr(compiler: Compiler, tree: Tree) -> Run:
    _, inner, name = tree
    if not isinstance(name, str):
        raise ValueError("the name of a field is text")
    base = compiler.compile(inner)

    def attr(meter: Meter) -> Any:
        value = base(meter)
        try:
            return value[name]
        except (TypeError, LookupError):
            pass
        try:
            return operators.field(value, name)
        except ExpressionError as error:
            raise located(error, tree) from None

    return attr


def _index(compiler: Compiler, tree: Tree) -> Run:
    base, index = compiler.compile(tree[1]), compiler.compile(tree[2])

    def item(meter: Meter) -> Any:
        value, at = base(meter), index(meter)
        try:
            return operators.item(value, at)
        except ExpressionError as error:
            raise located(error, tree) from None

    return item


def _slice(compiler: Compiler, tree: Tree) -> Run:
    _, inner, *bounds = tree
    base = compiler.compile(inner)
    start, stop = ((lambda meter: None) if each is None else compiler.compile(each) for each in bounds)

    def part(meter: Meter) -> Any:
        value, first, last = base(meter), start(meter), stop(meter)
        try:
            return operators.part(meter, value, first, last)
        except FAILURES as error:
            raise located(error, tree) from None

    return part


def _unary(compiler: Compiler, tree: Tree) -> Run:
    _, op, inner = tree
    operand = compiler.compile(inner)
    if op == "not":
        return lambda meter: not operand(meter)
    operate = {"-": operators.negate, "+": operators.keep_sign}[op]

    def unary(meter: Meter) -> Any:
        value = operand(meter)
        try:
            return operate(meter, value)
        except FAILURES as error:
            raise located(error, tree) from None

    return unary


def _binary(compiler: Compiler, tree: Tree) -> Run:
    _, op, left_tree, right_tree = tree
    operate = operators.BINARY[op]
    left, right = compiler.compile(left_tree), compiler.compile(right_tree)

    def binary(meter: Meter) -> Any:
        one, other = left(meter), right(meter)
        try:
            return operate(meter, one, other)
        except FAILURES as error:
            raise located(error, tree) from None

    return binary


def _compare(compiler: Compiler, tree: Tree) -> Run:
    _, first_tree, rest = tree
    first = compiler.compile(first_tree)
    steps = [(operators.COMPARE[op], compiler.compile(operand)) for op, operand in rest]
    if not steps or not {op for op, _ in rest} <= COMPARE:
        raise ValueError("a comparison without operators")

    def compare(meter: Meter) -> Any:
        left = first(meter)
        for operate, operand in steps:
            right = operand(meter)
            try:
                if not operate(meter, left, right):
                    return False
            except FAILURES as error:
                raise located(error, tree) from None
            left = right
        return True

    return compare


def _several(compiler: Compiler, trees: tuple[Tree, ...]) -> list[Run]:
    if not trees:
        raise ValueError("an operator without operands")
    return [compiler.compile(each) for each in trees]


def _and(compiler: Compiler, tree: Tree) -> Run:
    *most, last = _several(compiler, tree[1:])

    def both(meter: Meter) -> Any:
        for each in most:
            if not (value := each(meter)):
                return value
        return last(meter)

    return both


def _or(compiler: Compiler, tree: Tree) -> Run:
    *most, last = _several(compiler, tree[1:])

    def either(meter: Meter) -> Any:
        for each in most:
            if value := each(meter):
                return value
        return last(meter)

    return either


def _if(compiler: Compiler, tree: Tree) -> Run:
    condition, then, otherwise = (compiler.compile(each) for each in tree[1:])
    return lambda meter: then(meter) if condition(meter) else otherwise(meter)


def _list(compiler: Compiler, tree: Tree) -> Run:
    items = [compiler.compile(each) for each in tree[1:]]
    size = 56 + 8 * len(items)

    def build(meter: Meter) -> list[Any]:
        meter.size -= size
        return [each(meter) for each in items]

    return build


def _dict(compiler: Compiler, tree: Tree) -> Run:
    pairs = [(compiler.compile(key), compiler.compile(value)) for key, value in tree[1:]]
    size = 64 + 100 * len(pairs)
    if all(key[0] == "const" and isinstance(key[1], str) for key, _ in tree[1:]):
        named = [(key[1], run) for (key, _), (_, run) in zip(tree[1:], pairs, strict=True)]

        def build(meter: Meter) -> dict[str, Any]:
            meter.size -= size
            return {name: run(meter) for name, run in named}

        return build

    def build_computed(meter: Meter) -> dict[str, Any]:
        meter.size -= size
        made = {}
        for key, run in pairs:
            name = key(meter)
            if type(name) is not str:
                raise located(ExpressionError("the keys of a table are text"), tree)
            made[name] = run(meter)
        return made

    return build_computed


def _format(compiler: Compiler, tree: Tree) -> Run:
    parts = [compiler.compile(each) for each in tree[1:]]

    def build(meter: Meter) -> str:
        values = [each(meter) for each in parts]
        try:
            texts = [to_text(meter, each) for each in values]
            meter.spend(0, 49 + sum(map(len, texts)))
        except FAILURES as error:
            raise located(error, tree) from None
        return "".join(texts)

    return build


def _fmt(compiler: Compiler, tree: Tree) -> Run:
    _, inner, spec = tree
    if problem := spec_problem(spec):
        raise ValueError(problem)
    operand = compiler.compile(inner)

    def build(meter: Meter) -> str:
        value = operand(meter)
        try:
            return to_formatted(meter, value, spec)
        except FAILURES as error:
            raise located(error, tree) from None

    return build


def _call(compiler: Compiler, tree: Tree) -> Run:
    _, name, argument_trees, keyword_trees = tree
    function = FUNCTIONS[name]
    if misuse := function.misuse(len(argument_trees), [key for key, _ in keyword_trees]):
        raise ValueError(misuse)
    if name == "now_of_run":
        return compiler.compile(("attr", ("var", "run"), "started_at"))
    arguments = [compiler.compile(each) for each in argument_trees]
    keywords = [(key, compiler.compile(value)) for key, value in keyword_trees]
    if function.call is None:
        return _default(*arguments)
    if not keywords and len(arguments) == 1:
        return _call_one(function.call, arguments[0], tree)
    return _call_many(function.call, arguments, keywords, tree)


def _default(value: Run, otherwise: Run) -> Run:
    def default(meter: Meter) -> Any:
        try:
            return value(meter)
        except AbsentValue:
            return otherwise(meter)

    return default


def _call_one(call: Callable[..., Any], argument: Run, tree: Tree) -> Run:
    def called(meter: Meter) -> Any:
        value = argument(meter)
        try:
            return call(meter, value)
        except FAILURES as error:
            raise located(error, tree) from None

    return called


def _call_many(call: Callable[..., Any], arguments: list[Run], keywords: list[tuple[str, Run]], tree: Tree) -> Run:
    def called(meter: Meter) -> Any:
        values = [each(meter) for each in arguments]
        named = {key: each(meter) for key, each in keywords}
        try:
            return call(meter, *values, **named)
        except FAILURES as error:
            raise located(error, tree) from None

    return called


_COMPILERS: dict[str, Callable[[Compiler, Tree], Run]] = {
    "const": _const,
    "var": _var,
    "local": _local,
    "attr": _attr,
    "index": _index,
    "slice": _slice,
    "unary": _unary,
    "binary": _binary,
    "compare": _compare,
    "and": _and,
    "or": _or,
    "if": _if,
    "list": _list,
    "dict": _dict,
    "listcomp": compile_list,
    "dictcomp": compile_dict,
    "format": _format,
    "fmt": _fmt,
    "call": _call,
}
