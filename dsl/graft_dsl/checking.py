"""Types along the edges: what each node gives, and whether it fits where it goes (R14).

Every expression is checked once, in the order of the blocks, so that the type of a node's `out` is known before it is
read. What a type is made of and which types fit is said by `graft.plan.types`; expressions are checked by
`graft_dsl.expressions`. Where nothing is known the type is `any`, which fits everywhere and is checked when a value is
there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from attrs import define, field

from graft.expressions.trees import ROOTS
from graft.plan.signature import Signature, SignatureResolver
from graft.plan.types import assignable, convert, element_type, head, infer, optional, render_type, union
from graft_dsl.declarations import MISSING, BlockDecl, Expr, FlowDecl, NodeDecl
from graft_dsl.expressions import Scope, check
from graft_dsl.linking import FIELDS, item_names, reader
from graft_dsl.reach import Presence, mark
from graft_dsl.suggest import closest, listed, quoted

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
STATUS: Any = ("enum", ("succeeded", "failed", "skipped", "cancelled", "timed_out"))
RUN: Any = ("record", (("id", "string"), ("name", "string"), ("started_at", "datetime")))
RUN_IN_FINALLY: Any = ("record", (*RUN[1], ("status", STATUS), ("error", ("optional", ERROR))))
FILE: Any = ("record", (("path", "string"), ("size", "int"), ("sha256", "string")))
OUTPUT_TYPES: dict[str, Any] = {
    "text": "string",
    "lines": ("list", "string"),
    "json": "any",
    "none": "none",
    "file": FILE,
}

TEXT_HEADS = frozenset({"string", "int", "float", "bool", "date", "datetime", "duration", "bytes", "enum", "any"})
SECRET_KEYS = frozenset({"env", "stdin", "http.headers", "http.bearer", "headers", "bearer"})
"""Where a secret may go (R16)."""
NO_SECRETS = {"secrets": "secrets may stand only in `env`, `headers`, `bearer` and `stdin`"}

_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_IN_SHELL = re.compile(r"(?<!\\)\$\{(\s*)([A-Za-z_]\w*)((?:\.\w+|\[[^\]{}]*\])*)\s*\}")


@define
class Visible:
    """The names of the nodes that an expression in `block` can see, the nearest first. Copies nothing."""

    block: BlockDecl | None

    def __contains__(self, name: object) -> bool:
        return any(name in block.nodes or name in block.finals for block in self._blocks())

    def __iter__(self) -> Iterator[str]:
        for block in self._blocks():
            yield from block.nodes
            yield from block.finals

    def __len__(self) -> int:
        return sum(len(block.nodes) + len(block.finals) for block in self._blocks())

    def _blocks(self) -> Iterator[BlockDecl]:
        block = self.block
        while block is not None:
            yield block
            block = block.parent


def check_flow(flow: FlowDecl, python: SignatureResolver | None) -> None:
    """Check every expression of a linked flow and fill in what its nodes give. Problems go to its report."""
    checker = _Checker(flow, python)
    checker.defaults()
    checker.block(flow.root)
    flow.result = checker.outputs()


@define(eq=False)
class _Checker:
    flow: FlowDecl
    python: SignatureResolver | None
    params: Any = None
    presence: Presence = field(factory=Presence)
    signatures: dict[str, Signature | str] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.params = ("record", tuple((param.name, param.type) for param in self.flow.params.values()))

    # Blocks and nodes

    def block(self, block: BlockDecl) -> None:
        mark(block)
        for node in block.order:
            if node.block is not None:
                self.for_each(block, node)
                self.block(node.block)
            self.node(block, node)

    def node(self, block: BlockDecl, node: NodeDecl) -> None:
        keys = node.keys
        if "when" in keys:
            self.type_of(block, node, keys["when"], "bool")
        items = self.for_each(block, node)
        check_kind = _KIND_CHECKS.get(node.kind)
        out = check_kind(self, block, node) if check_kind is not None else "any"
        if "returns" in keys:
            out = self.returns(node, out)
        node.out = out if items is None else self.mapped(node, items, out)

    def mapped(self, node: NodeDecl, items: Any, out: Any) -> Any:
        """The type of a map's result: an item that `tolerate` let fail is null."""
        one = optional(out) if node.keys.get("tolerate", (0, False))[0] else out
        match head(items):
            case "list":
                return ("list", one)
            case "table":
                return ("table", one)
            case "record" if not isinstance(items, str):
                return ("record", tuple((name, one) for name, _ in items[1]))
            case "record":
                return ("table", one)
        return "any"

    def for_each(self, block: BlockDecl, node: NodeDecl) -> Any:
        """The type of what a node is mapped over; None when it is not."""
        expr = node.keys.get("for_each")
        if expr is None:
            return "any" if "for_each" in node.written else None
        if expr.type is not None:
            return expr.type
        self.item_name(block, node)
        found = self.type_of(block, node, expr)
        if element_type(found) is None:
            self.flow.report.error(
                "GR307",
                f"{quoted(node.name)} cannot be mapped over a {render_type(found)}",
                expr.at,
                wanted="a list or a table",
                got=render_type(found),
                suggestion="`x or []` takes an empty list for null" if head(found) == "optional" else None,
            )
            expr.type = "any"
        return expr.type

    def item_name(self, block: BlockDecl, node: NodeDecl) -> None:
        name = node.keys.get("as")
        if name is None:
            return
        found = reader(block, node, name)[0]
        if found is not None:
            self.flow.report.error(
                "GR018",
                f"the item has the name of the node {quoted(name)}",
                (*node.at, "as"),
                suggestion="another name",
                notes=[("the node is here", found.at, "key", None)],
            )

    # Kinds

    def command(self, block: BlockDecl, node: NodeDecl) -> Any:
        keys = node.keys
        if node.kind == "run" and "run" in keys:
            self.shell_text(block, node, keys["run"])
        if node.kind == "exec" and "exec" in keys:
            argv = keys["exec"]
            if isinstance(argv.items, list):
                self.texts(block, node, argv.items, "an argument")
            else:
                self.type_of(block, node, argv, ("list", "any"))
        env = keys.get("env")
        if env is not None:
            self.env_names(node, env)
            self.texts(block, node, env.items.values(), "a variable")
        if "stdin" in keys:
            self.texts(block, node, [keys["stdin"]], "the standard input")
        output = keys.get("output", "text")
        self.output_path(node, output)
        return OUTPUT_TYPES[output]

    def output_path(self, node: NodeDecl, output: str) -> None:
        if "output_path" in node.keys and output != "file" and "output" in node.written:
            self.flow.report.error(
                "GR023", '`output_path` makes sense only with `output = "file"`', (*node.at, "output_path"), part="key"
            )

    def env_names(self, node: NodeDecl, env: Expr) -> None:
        for name, each in env.items.items() if isinstance(env.items, dict) else ():
            if not name or not name.isprintable() or any(c in name for c in "= "):
                self.flow.report.error("GR017", f"{quoted(name)} cannot be the name of a variable", each.at, part="key")

    def shell_text(self, block: BlockDecl, node: NodeDecl, text: str) -> None:
        """`${params.x}` in a shell text can only be meant for us, and would never be filled in (R15)."""
        if "${" not in text:
            return
        names = {*ROOTS, *item_names(block, node)}
        for found in _IN_SHELL.finditer(text):
            space, root, rest = found[1], found[2], found[3]
            if not (space or "." in rest) or not (root in names or reader(block, node, root)[0] is not None):
                continue
            reference = f"{root}{rest}"
            variable = re.sub(r"\W+", "_", rest.rpartition(".")[2] or root).upper().strip("_") or "VALUE"
            self.flow.report.error(
                "GR025",
                f"the text of `run` is never templated: {quoted(found[0])} reaches the shell as it stands",
                (*node.at, "run"),
                span=found.span(),
                suggestion=f'hand the value in as a variable, and write "${variable}" in the text:\n'
                f'env = {{ {variable} = "${{ {reference} }}" }}',
            )

    def http(self, block: BlockDecl, node: NodeDecl) -> Any:
        request = node.keys.get("http", {})
        for key in ("url", "bearer", "body"):
            if key in request:
                self.texts(block, node, [request[key]], f"`{key}`")
        for key in ("headers", "query"):
            if key in request:
                self.texts(block, node, request[key].items.values(), f"`{key}`")
        if "json" in request:
            self.type_of(block, node, request["json"])
            if "body" in request:
                self.flow.report.error(
                    "GR020", "a request has one body: `json` or `body`", (*node.at, "http", "body"), part="key"
                )
        return OUTPUT_TYPES[node.keys.get("output", "json")]

    def call(self, block: BlockDecl, node: NodeDecl) -> Any:
        target = node.keys.get("python")
        signature = None if target is None else self.signature(node, target)
        given = node.keys.get("with")
        if not isinstance(signature, Signature):
            if given is not None:
                self.type_of(block, node, given)
            return "any"
        wanted = {name: (type_, required) for name, type_, required in signature.params}
        self.arguments(block, node, wanted, signature.accepts_any, f"{quoted(target)}", "python")
        return "any" if signature.returns is None else signature.returns

    def signature(self, node: NodeDecl, target: str) -> Signature | str | None:
        at = (*node.at, "python")
        if not _TARGET.fullmatch(target):
            module, _, name = target.replace("/", ".").removesuffix(".py").rpartition(".")
            guess = (
                f'"{module}:{name}"' if module and ":" not in target and _TARGET.fullmatch(f"{module}:{name}") else None
            )
            self.flow.report.error(
                "GR029",
                f"{quoted(target)} does not name a function",
                at,
                wanted="package.module:function",
                suggestion=guess,
            )
            return None
        if self.python is None:
            return None
        if target not in self.signatures:
            try:
                self.signatures[target] = self.python(target)
            except LookupError as error:
                self.signatures[target] = str(error.args[0] if error.args else error)
        found = self.signatures[target]
        if isinstance(found, str):
            self.flow.report.error("GR306", f"{quoted(target)} cannot be called", at, notes=[found])
        return found

    def sub_flow(self, block: BlockDecl, node: NodeDecl) -> Any:
        given = node.keys.get("with")
        if node.flow is None:
            if given is not None:
                self.type_of(block, node, given)
            return "any"
        wanted = {name: (param.type, param.default is MISSING) for name, param in node.flow.params.items()}
        self.arguments(block, node, wanted, False, f"the flow {quoted(node.flow.name)}", "flow")
        return node.flow.result or "any"

    def arguments(
        self, block: BlockDecl, node: NodeDecl, wanted: dict[str, tuple[Any, bool]], open_: bool, what: str, key: str
    ) -> None:
        """`with` against the parameters of what is called: name -> (type or None, required)."""
        report = self.flow.report
        given = node.keys.get("with")
        items: dict[str, Expr] = given.items if given is not None and isinstance(given.items, dict) else {}
        word = "param" if key == "flow" else "parameter"
        for name, expr in items.items():
            if name not in wanted and not open_:
                self.type_of(block, node, expr)
                guess = closest(name, wanted)
                report.error(
                    "GR302",
                    f"{what} has no {word} {quoted(name)}",
                    expr.at,
                    part="key",
                    wanted=listed(wanted, "and", limit=12) if not guess and wanted else None,
                    suggestion=f"did you mean `{guess}`?" if guess else None,
                )
                continue
            expected = wanted.get(name, (None, False))[0]
            self.argument(block, node, expr, expected, f"{word} {quoted(name)} of {what}")
        missing = [name for name, (_, required) in wanted.items() if required and name not in items]
        if missing and (given is not None or "with" not in node.written):
            report.error(
                "GR301",
                f"{what} needs {listed(missing, 'and')}",
                (*node.at, "with") if "with" in node.written else (*node.at, key),
                part="key" if "with" in node.written else "value",
                wanted=", ".join(f"{name}: {render_type(wanted[name][0] or 'any')}" for name in missing[:8]),
                suggestion=f'with = {{ {missing[0]} = "${{ … }}" }}',
            )

    def argument(self, block: BlockDecl, node: NodeDecl, expr: Expr, expected: Any, what: str) -> None:
        if expr.constant and expected is not None:
            try:
                expr.tree = _constant_tree(convert(expected, expr.tree[1]))
            except ValueError as error:
                self.flow.report.error(
                    "GR303", f"{what} takes another type", expr.at, wanted=render_type(expected), got=str(error)
                )
            return
        self.type_of(block, node, expr, expected, what)

    def sleep(self, block: BlockDecl, node: NodeDecl) -> Any:
        expr = node.keys.get("sleep")
        if expr is None or expr.constant:
            return "none"
        found = self.type_of(block, node, expr)
        if found in ("duration", "int", "float"):
            expr.tree = ("binary", "*", expr.tree, ("const", 1000))  # values count seconds, the plan milliseconds
        elif found == "any":
            self.flow.report.error(
                "GR132",
                "it is not known whether this is a number of seconds or a text",
                expr.at,
                wanted="a duration",
                suggestion="`float(…)` for seconds, `str(…)` for a text such as 15m",
            )
        elif found != "string":
            self.flow.report.error("GR132", "this is no duration", expr.at, wanted="a duration", got=render_type(found))
        return "none"

    def value(self, block: BlockDecl, node: NodeDecl) -> Any:
        expr = node.keys.get("value")
        return "any" if expr is None else self.type_of(block, node, expr)

    def fail(self, block: BlockDecl, node: NodeDecl) -> Any:
        keys = node.keys.get("fail", {})
        if "message" in keys:
            self.texts(block, node, [keys["message"]], "a message")
        return "none"

    def group(self, block: BlockDecl, node: NodeDecl) -> Any:
        if node.block is None:
            return "any"
        inner = node.block.nodes.values()
        return (
            "record",
            tuple((each.name, optional(each.out or "any") if each.partial else each.out or "any") for each in inner),
        )

    def returns(self, node: NodeDecl, out: Any) -> Any:
        declared = node.keys["returns"]
        if assignable(out, declared):
            return declared
        output = node.keys.get("output", "text")
        command = node.kind in ("run", "exec", "http")
        self.flow.report.error(
            "GR305",
            f'`output = "{output}"` gives a {render_type(out)}'
            if command
            else f"the function returns a {render_type(out)}",
            (*node.at, "returns"),
            wanted=render_type(declared),
            got=render_type(out),
            suggestion='output = "json"' if command and output != "none" else None,
        )
        return declared

    # Expressions

    def texts(self, block: BlockDecl, node: NodeDecl | None, exprs: Iterable[Expr], what: str) -> None:
        """Each of `exprs` must be something that has one obvious text."""
        for expr in exprs:
            if expr.constant:
                continue
            found = self.type_of(block, node, expr)
            if head(found) not in TEXT_HEADS:
                self.flow.report.error(
                    "GR304",
                    f"{what} is a text, and a {render_type(found)} has no obvious one",
                    expr.at,
                    wanted="a text, a number or a boolean",
                    got=render_type(found),
                    suggestion=_text_help(expr, found),
                )

    def type_of(
        self, block: BlockDecl | None, node: NodeDecl | None, expr: Expr, expected: Any = None, what: str = ""
    ) -> Any:
        """The type of an expression; reports it where it does not fit `expected`. Checks each expression once."""
        if expr.type is not None:
            return expr.type
        if expr.parsed is not None:
            expr.type = self.leaf(block, node, expr, expected)
        elif expr.items is None:
            expr.type = infer(expr.tree[1])
            if expected is not None and not assignable(expr.type, expected):
                self.mismatch(expr, expected, what)
        else:
            expr.type = self.container(block, node, expr, expected, what)
        return expr.type

    def container(self, block: BlockDecl | None, node: NodeDecl | None, expr: Expr, expected: Any, what: str) -> Any:
        before = self.flow.report.errors
        if isinstance(expr.items, list):
            inner = expected[1] if head(expected or "any") == "list" else None
            made: Any = ("list", union([self.type_of(block, node, each, inner, what) for each in expr.items]))
        else:
            assert expr.items is not None
            fields = (
                dict(expected[1])
                if expected is not None and head(expected) == "record" and expected != "record"
                else {}
            )
            values = expected[1] if head(expected or "any") == "table" else None
            made = (
                "record",
                tuple(
                    (k, self.type_of(block, node, each, fields.get(k, values), what)) for k, each in expr.items.items()
                ),
            )
        if expected is not None and self.flow.report.errors == before and not assignable(made, expected):
            expr.type = made
            self.mismatch(expr, expected, what)
        return made

    def mismatch(self, expr: Expr, expected: Any, what: str) -> None:
        self.flow.report.error(
            "GR303",
            f"{what or quoted(expr.key)} takes another type",
            expr.at,
            wanted=render_type(expected),
            got=render_type(expr.type),
            notes=_differences(expr.type, expected),
        )

    def leaf(self, block: BlockDecl | None, node: NodeDecl | None, expr: Expr, expected: Any) -> Any:
        parsed = expr.parsed
        types: dict[str, Any] = {"params": self.params}
        absent: set[str] = set()
        for ref in parsed.refs:
            self.variable(block, node, expr, ref, types, absent)
        forbidden = {} if expr.key in SECRET_KEYS else NO_SECRETS
        checked = check(parsed, Scope(types, absent, Visible(block), forbidden), expected)
        for problem in checked.problems:
            self.flow.report.error(
                problem.code,
                problem.message,
                expr.at,
                span=(problem.start, problem.end),
                wanted=problem.wanted,
                got=problem.got,
                suggestion=problem.suggestion,
            )
        return checked.type

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
        types[ref] = self.field_type(source, waiting, what)
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

    def field_type(self, source: NodeDecl, waiting: NodeDecl | None, what: str) -> Any:
        match what:
            case "out":
                return source.out or "any"
            case "status":
                return STATUS
            case "attempts":
                return "int"
        caught = waiting is not None and waiting.caught == [source]
        failed = waiting is not None and waiting.keys.get("join") == "any_failed" and waiting.needs == [source.name]
        return ERROR if caught or failed else ("optional", ERROR)

    # The rest of the flow

    def defaults(self) -> None:
        """Defaults are for many nodes: they can read what all of these see."""
        for leaf in self.flow.default_leaves:
            self.type_of(None, None, leaf)

    def outputs(self) -> Any:
        outputs = self.flow.outputs
        return ("record", ()) if outputs is None else self.type_of(self.flow.root, None, outputs)


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


_KIND_CHECKS: dict[str, Any] = {
    "run": _Checker.command,
    "exec": _Checker.command,
    "python": _Checker.call,
    "http": _Checker.http,
    "flow": _Checker.sub_flow,
    "sleep": _Checker.sleep,
    "value": _Checker.value,
    "nodes": _Checker.group,
    "fail": _Checker.fail,
}
