"""The type of every expression of a flow, at its place: what it can see, and what may be absent there.

Types come from `params`, `returns`, Python annotations and from what the nodes before give; `graft_dsl.expressions`
checks one expression against them. Each expression is checked once and keeps its type.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from attrs import define, field

from graft.expressions.trees import walk
from graft.plan.types import assignable, convert, element_type, field_type, head, infer, render_type, required, union
from graft_dsl.declarations import BlockDecl, Expr, FlowDecl, NodeDecl
from graft_dsl.diagnostics import MAX_SUGGESTIONS, NoteAt
from graft_dsl.expressions import Problem, Scope, check
from graft_dsl.linking import FIELDS, item_names, reader
from graft_dsl.reach import Presence
from graft_dsl.suggest import a, quoted

ERROR: Any = (
    "record",
    (
        ("type", "string"),
        ("title", "string"),
        ("detail", "string"),
        ("node", "string"),
        ("attempt", "int"),
        ("cause", ("list", "record")),
    ),
)
STATUS: Any = ("enum", ("succeeded", "failed", "skipped", "cancelled", "timed_out", "pending"))
"""`pending`: seen from a `finally`, a node that was never started."""
RUN_STATUS: Any = ("enum", ("succeeded", "failed", "cancelled", "timed_out", "running"))
"""`running`: seen from the `finally` of a group."""
RUN: Any = ("record", (("id", "string"), ("name", "string"), ("started_at", "datetime")))
RUN_IN_FINALLY: Any = ("record", (*RUN[1], ("status", RUN_STATUS), ("error", ("optional", ERROR))))
TEXT_HEADS = frozenset({"string", "int", "float", "bool", "date", "datetime", "duration", "bytes", "enum", "any"})
SECRET_KEYS = frozenset({"env", "stdin", "http.headers", "http.bearer", "headers", "bearer"})
"""Where a secret may go (R16)."""
_NAMED_NODE = re.compile(r"nodes\[\s*['\"]([^'\"]*)")
NO_SECRETS = {"secrets": "secrets may stand only in `env`, `headers`, `bearer`, `stdin` and the `with` of a function"}


def _is_argument(node: NodeDecl | None, expr: Expr) -> bool:
    """Whether `expr` is what a function in Python gets."""
    return node is not None and node.kind == "python" and expr.key.partition(".")[0] == "with"


@define
class Visible:
    """The names of the nodes that an expression in `block` can see, the nearest first. Copies nothing.

    `quiet`: there are too many errors already to look for suggestions among the names.
    """

    block: BlockDecl | None
    quiet: bool = False

    def __contains__(self, name: object) -> bool:
        return any(name in block.nodes or name in block.finals for block in self._blocks())

    def __iter__(self) -> Iterator[str]:
        for block in () if self.quiet else self._blocks():
            yield from block.nodes
            yield from block.finals

    def __len__(self) -> int:
        return sum(len(block.nodes) + len(block.finals) for block in self._blocks())

    def _blocks(self) -> Iterator[BlockDecl]:
        block = self.block
        while block is not None:
            yield block
            block = block.parent


@define(eq=False)
class Typing:
    """Checks the expressions of one flow, whose nodes are linked. Problems go to the flow's report."""

    flow: FlowDecl
    params: Any = None
    presence: Presence = field(factory=Presence)

    def __attrs_post_init__(self) -> None:
        self.params = ("record", tuple((param.name, param.type) for param in self.flow.params.values()))

    def texts(self, block: BlockDecl, node: NodeDecl | None, exprs: Iterable[Expr], what: str) -> None:
        """Each of `exprs` must be something that has one obvious text."""
        for expr in exprs:
            if expr.constant:
                continue
            found = self.type_of(block, node, expr)
            if head(found) not in TEXT_HEADS:
                self.flow.report.error(
                    "GR304",
                    f"{what} is a text, and {a(head(found))} has no obvious one",
                    expr.at,
                    wanted="a text, a number or a boolean",
                    got=render_type(found),
                    suggestion=_text_help(expr, found),
                )

    def type_of(
        self, block: BlockDecl | None, node: NodeDecl | None, expr: Expr, expected: Any = None, what: str = ""
    ) -> Any:
        """The type of an expression; reports it where it does not fit `expected`, the type of `what`."""
        if expr.type is None:
            if expr.parsed is not None:
                expr.type = self.leaf(block, node, expr, expected, what)
            elif expr.items is None:
                expr.type = self.constant(expr, expected, what)
            else:
                expr.type = self.container(block, node, expr, expected, what)
        return expr.type

    def constant(self, expr: Expr, expected: Any, what: str) -> Any:
        """A constant becomes a value of the type that is wanted: `"90s"` for a duration is 90.0."""
        value = expr.tree[1]
        found = infer(value)
        if expected is None:
            return found
        try:
            expr.tree = _constant_tree(convert(expected, value))
        except ValueError as error:
            told = str(error) if assignable(found, expected) else render_type(found)
            self.mismatch(expr, expected, told, what)
            return expected
        return found if assignable(found, expected) else expected

    def container(self, block: BlockDecl | None, node: NodeDecl | None, expr: Expr, expected: Any, what: str) -> Any:
        before = self.flow.report.errors
        plain = required(expected) if expected is not None else "any"
        if isinstance(expr.items, list):
            inner = plain[1] if head(plain) == "list" else None
            made: Any = ("list", union([self.type_of(block, node, each, inner, what) for each in expr.items]))
            expr.tree = ("list", *(each.tree for each in expr.items))
        else:
            assert expr.items is not None
            found = []
            for name, each in expr.items.items():
                inner = field_type(plain, name) if plain not in ("any", "record") else None
                found.append((name, self.type_of(block, node, each, inner, what)))
            made = ("record", tuple(found))
            expr.tree = ("dict", *((("const", name), each.tree) for name, each in expr.items.items()))
        if expected is not None and self.flow.report.errors == before and not assignable(made, expected):
            expr.type = made
            self.mismatch(expr, expected, render_type(made), what)
        return made

    def mismatch(self, expr: Expr, expected: Any, got: str, what: str) -> None:
        self.flow.report.error(
            "GR303",
            f"{what or quoted(expr.key)} takes another type",
            expr.at,
            wanted=render_type(expected),
            got=got,
            notes=_differences(expr.type, expected) if expr.type is not None else [],
        )

    def leaf(self, block: BlockDecl | None, node: NodeDecl | None, expr: Expr, expected: Any, what: str = "") -> Any:
        parsed = expr.parsed
        types: dict[str, Any] = {"params": self.params}
        absent: set[str] = set()
        for ref in parsed.refs:
            self.variable(block, node, expr, ref, types, absent)
        allowed = expr.key in SECRET_KEYS or _is_argument(node, expr)
        forbidden = {} if allowed else NO_SECRETS
        nodes = Visible(block, quiet=self.flow.report.errors > MAX_SUGGESTIONS)
        checked = check(parsed, Scope(types, absent, nodes, forbidden), expected)
        for problem in checked.problems:
            self.problem(block, node, expr, problem, what)
        if block is not None and node is not None and not checked.problems:
            self.void_defaults(block, node, expr, absent)
        return checked.type

    def void_defaults(self, block: BlockDecl, node: NodeDecl, expr: Expr, absent: set[str]) -> None:
        """Warn of `default(x.out, …)` where a node that reads the `out` of another is skipped with it (R5)."""
        for tree in walk(expr.parsed.tree):
            if tree[:2] != ("call", "default") or tree[2][0][0] != "var" or tree[2][0][1] in absent:
                continue
            name, _, what = tree[2][0][1].partition(".")
            source, waiting = reader(block, node, name)
            if what == "out" and source is not None and source is not waiting and source.partial:
                self.flow.report.warning(
                    "GR212",
                    f"this `default()` never takes effect: without a result of {quoted(name)}, "
                    f"{quoted(waiting.name)} is skipped",
                    expr.at,
                    span=expr.parsed.span(tree),
                    suggestion=f'`join = "all_done"` on {quoted(waiting.name)} starts it whatever happened',
                )

    def problem(self, block: BlockDecl | None, node: NodeDecl | None, expr: Expr, problem: Problem, what: str) -> None:
        """Report a problem of an expression, with what only the flow around it knows."""
        code, message = problem.code, problem.message
        notes: list[NoteAt] = []
        if code == "GR132" and what:
            code, message = "GR303", f"{what} takes another type"
        if code == "GR123" and block is not None:
            notes = self.absence(block, node, expr.parsed.text[problem.start : problem.end])
        self.flow.report.error(
            code,
            message,
            expr.at,
            span=(problem.start, problem.end),
            wanted=problem.wanted,
            got=problem.got,
            suggestion=problem.suggestion,
            notes=notes,
        )

    def absence(self, block: BlockDecl, node: NodeDecl | None, ref: str) -> list[NoteAt]:
        """Why the `out` of a node may be absent."""
        named = _NAMED_NODE.match(ref)
        name = named[1] if named else ref.partition(".")[0]
        source, waiting = (block.nodes.get(name), None) if node is None else reader(block, node, name)
        if source is None:
            return []
        if waiting is not None and waiting.final and not source.final:
            return [f"`finally` also runs when {quoted(name)} has failed or was never started"]
        cause = source.fate or source
        if "when" in cause.written:
            return [(f"{quoted(cause.name)} is skipped when this is false", (*cause.at, "when"), "value", None)]
        if cause.caught:
            return [f"{quoted(cause.name)} runs only after a failure of {quoted(cause.caught[0].name)}"]
        if "skip_on" in cause.written:
            skips = f"{quoted(cause.name)} is skipped when it exits with one of these"
            return [(skips, (*cause.at, "skip_on"), "value", None)]
        if "skip_on" in cause.keys:
            return [f"{quoted(cause.name)} is skipped when it exits with a code that the default of `skip_on` names"]
        for key in ("catch", "on_failure"):
            if key in cause.written:
                return [(f"a failure of {quoted(cause.name)} goes no further", (*cause.at, key), "key", None)]
        return [f"{quoted(cause.name)} is skipped when not all of what it needs succeeds"]

    def variable(
        self,
        block: BlockDecl | None,
        node: NodeDecl | None,
        expr: Expr,
        ref: str,
        types: dict[str, Any],
        absent: set[str],
    ) -> None:
        """Put the type of one variable into `types`, if there is one; its name into `absent` if it may lack one."""
        name, _, what = ref.partition(".")
        if what in FIELDS and block is not None:
            self.node_variable(block, node, ref, name, what, types, absent)
        elif ref == "run":
            types[ref] = RUN_IN_FINALLY if node is not None and _in_finally(block, node) else RUN
        elif name == "secrets":
            types |= {f"secrets.{each}": "string" for each in self.flow.secrets}
        elif block is not None and node is not None:
            self.item_variable(block, node, expr, ref, types)

    def item_variable(self, block: BlockDecl, node: NodeDecl, expr: Expr, ref: str, types: dict[str, Any]) -> None:
        names = item_names(block, node, expr.key)
        if ref in names:
            items = names[ref].keys.get("for_each")
            types[ref] = "any" if items is None else element_type(items.type or "any") or "any"
        elif ref == "index" and names:
            nearest = next(iter(names.values())).keys.get("for_each")
            over = "any" if nearest is None else nearest.type or "any"
            types[ref] = {"list": "int", "any": "any"}.get(head(over), "string")

    def node_variable(
        self,
        block: BlockDecl,
        node: NodeDecl | None,
        ref: str,
        name: str,
        what: str,
        types: dict[str, Any],
        absent: set[str],
    ) -> None:
        if node is None:  # the outputs of the flow
            source, waiting = block.nodes.get(name), None
        else:
            source, waiting = reader(block, node, name)
        if source is None or source is waiting:
            if source is not None:
                types[ref] = "any"  # told when it was linked
            return
        if what == "errors" and "for_each" not in source.written:
            return  # told when the expression is checked
        types[ref] = self.node_field(source, waiting, what)
        if what != "out":
            return
        if waiting is None:
            sure = not source.partial
        elif waiting.final and not source.final:
            sure = False
        else:
            sure = self.presence.sure(_block_of(block, source), waiting, source)
        if not sure:
            absent.add(ref)

    def node_field(self, source: NodeDecl, waiting: NodeDecl | None, what: str) -> Any:
        match what:
            case "out":
                return source.out or "any"
            case "status":
                return STATUS
            case "attempts":
                return "int"
            case "errors":
                return _errors_type(source)
        caught = waiting is not None and waiting.caught == [source]
        failed = waiting is not None and waiting.keys.get("join") == "any_failed" and waiting.needs == [source.name]
        return ERROR if caught or failed else ("optional", ERROR)


def _errors_type(source: NodeDecl) -> Any:
    """The type of a map's `errors`: for each item an error, or null."""
    items = source.keys.get("for_each")
    over = "any" if items is None else head(items.type or "any")
    return {"list": ("list", ("optional", ERROR)), "any": "any"}.get(over, ("table", ("optional", ERROR)))


def _differences(source: Any, target: Any) -> list[str]:
    """Which fields keep one record from being the other."""
    if head(source) != "record" or head(target) != "record" or "record" in (source, target):
        return []
    fields = dict(source[1])
    found = []
    for name, type_ in target[1]:
        if name not in fields and type_ != "any" and head(type_) != "optional":
            found.append(f"{quoted(name)} is missing")
        elif name in fields and not assignable(fields[name], type_):
            found.append(f"{quoted(name)} is {render_type(fields[name])}, not {render_type(type_)}")
    return found[:8]


def _constant_tree(value: Any) -> tuple[Any, ...]:
    if isinstance(value, list):
        return ("list", *map(_constant_tree, value))
    if isinstance(value, dict):
        return ("dict", *((("const", key), _constant_tree(each)) for key, each in value.items()))
    return ("const", value)


def _block_of(block: BlockDecl, source: NodeDecl) -> BlockDecl:
    inside: BlockDecl | None = block
    while inside is not None and inside.find(source.name) is not source:
        inside = inside.parent
    assert inside is not None, "reader() found it in one of these blocks"
    return inside


def _in_finally(block: BlockDecl | None, node: NodeDecl) -> bool:
    if node.final:
        return True
    while block is not None and block.owner is not None:
        if block.owner.final:
            return True
        block = block.parent
    return False


def _text_help(expr: Expr, found: Any) -> str:
    inside = expr.parsed.text.strip() if expr.parsed is not None else ""
    inside = inside[2:-1].strip() if inside.startswith("${") and inside.endswith("}") else "…"
    if head(found) in ("optional", "none"):
        return f"\"${{ {inside} or '' }}\" takes an empty text for null"
    text = f'"${{ json({inside}) }}" for JSON'
    return f"{text}, \"${{ join({inside}, ' ') }}\" for words" if found == ("list", "string") else text
