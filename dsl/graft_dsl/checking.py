"""Types along the edges: what each node gives, and whether it fits where it goes (R14).

Every expression is checked once, in the order of the blocks, so that the type of a node's `out` is known before it is
read. What a type is made of and which types fit is said by `graft.plan.types`; expressions are checked by
`graft_dsl.expressions`. Where nothing is known the type is `any`, which fits everywhere and is checked when a value is
there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from attrs import define, field

from graft.errors import ExpressionError
from graft.expressions import evaluate, free_vars
from graft.expressions.trees import ROOTS
from graft.plan.error_types import FAMILIES, PLAIN, WrongErrorType, canonical_pattern, matches, own_type_problem
from graft.plan.limits import limit_problems
from graft.plan.signature import Signature, SignatureResolver
from graft.plan.types import assignable, element_type, head, optional, problems, render_type
from graft_dsl.declarations import MISSING, BlockDecl, Expr, FlowDecl, NodeDecl
from graft_dsl.expression_types import Typing
from graft_dsl.habits import FOREIGN
from graft_dsl.keys import TASKS
from graft_dsl.linking import item_names, reader
from graft_dsl.param_reader import record
from graft_dsl.reach import mark
from graft_dsl.suggest import a, listed, quoted
from graft_dsl.units import render_duration

FILE: Any = ("record", (("path", "string"), ("size", "int"), ("sha256", "string")))
OUTPUT_TYPES: dict[str, Any] = {
    "text": "string",
    "lines": ("list", "string"),
    "json": "any",
    "none": "none",
    "file": FILE,
}

_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_IN_SHELL = re.compile(r"(?<!\\)\$\{(\s*)([A-Za-z_]\w*)((?:\.\w+|\[[^\]{}]*\])*)\s*\}")
_FOR_SHELL = frozenset({*ROOTS, "nodes"})


def check_flow(flow: FlowDecl, python: SignatureResolver | None) -> None:
    """Check every expression of a linked flow and fill in what its nodes give. Problems go to its report."""
    checker = _Checker(flow, python, Typing(flow))
    checker.defaults()
    checker.block(flow.root)
    flow.result = checker.outputs()


@define(eq=False)
class _Checker:
    flow: FlowDecl
    python: SignatureResolver | None
    typing: Typing
    signatures: dict[str, Signature | str] = field(factory=dict)

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
            self.typing.type_of(block, node, keys["when"], "bool")
        items = self.for_each(block, node)
        check_kind = _KIND_CHECKS.get(node.kind)
        out = check_kind(self, block, node) if check_kind is not None else "any"
        if "returns" in keys:
            out = self.returns(node, out)
        if "retry" in keys:
            self.retry(node, keys["retry"])
        self.patterns(node)
        node.out = out if items is None else self.mapped(node, items, out)

    def retry(self, node: NodeDecl, retry: dict[str, Any]) -> None:
        first, longest = retry.get("initial"), retry.get("max")
        if first is not None and longest is not None and longest < first and "retry" in node.written:
            self.flow.report.error(
                "GR014",
                f"the longest delay, {render_duration(longest)}, is shorter than the first, {render_duration(first)}",
                (*node.at, "retry", "max"),
            )

    def patterns(self, node: NodeDecl) -> None:
        """Warn of error types that the node names itself, and can never fail with."""
        for at, pattern in _written_patterns(node.written):
            why = self.never_given(node, pattern)
            if why is not None:
                guess = self.flow.report.closest(pattern, PLAIN)
                self.flow.report.warning(
                    "GR210",
                    f"{quoted(pattern)} never matches: {why}",
                    (*node.at, *at),
                    suggestion=guess and f'did you mean "{guess}"?',
                )

    def never_given(self, node: NodeDecl, pattern: str) -> str | None:
        """Why no error of the node is meant by a pattern; None when one may be."""
        family = pattern.partition(".")[0]
        if family in FAMILIES:
            kinds = FAMILIES[family].kinds
            return None if node.kind not in TASKS or node.kind in kinds else f"a `{node.kind}` node has no such errors"
        if pattern == "*" or pattern in PLAIN or any(matches(pattern, each) for each in self.flow.own_types()):
            return None
        return "it is not a built-in type, and no `fail` node gives it"

    def mapped(self, node: NodeDecl, items: Any, out: Any) -> Any:
        """The type of a map's result: an item that `tolerate` let fail, or that skipped itself, is null."""
        one = optional(out) if node.keys.get("tolerate", (0, False))[0] or "skip_on" in node.keys else out
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
        found = self.typing.type_of(block, node, expr)
        if element_type(found) is None:
            self.flow.report.error(
                "GR307",
                f"{quoted(node.name)} cannot be mapped over {a(render_type(found))}",
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
                self.typing.texts(block, node, argv.items, "an argument")
            else:
                self.typing.type_of(block, node, argv, ("list", "any"))
        env = keys.get("env")
        if env is not None:
            self.env_names(node, env)
            self.typing.texts(block, node, env.items.values(), "a variable")
        if "stdin" in keys:
            self.typing.texts(block, node, [keys["stdin"]], "the standard input")
        if isinstance(keys.get("cwd"), Expr):
            self.typing.texts(block, node, [keys["cwd"]], "`cwd`")
        return self.output(block, node, "text")

    def output(self, block: BlockDecl, node: NodeDecl, default: str) -> Any:
        """The type that `output` gives, `default` where it is not said."""
        if isinstance(node.keys.get("output_path"), Expr):
            self.typing.texts(block, node, [node.keys["output_path"]], "`output_path`")
        output = node.keys.get("output", default)
        at, report = (*node.at, "output_path"), self.flow.report
        if "output_path" in node.keys and output != "file" and "output" in node.written:
            report.error("GR023", '`output_path` makes sense only with `output = "file"`', at, part="key")
        if output == "file" and "output_path" not in node.written:
            hint = 'output_path = "result.bin"'
            report.error(
                "GR019", '`output = "file"` needs the path of that file', (*node.at, "output"), suggestion=hint
            )
        return OUTPUT_TYPES[output]

    def env_names(self, node: NodeDecl, env: Expr) -> None:
        for name, each in env.items.items() if isinstance(env.items, dict) else ():
            if not name or not name.isprintable() or any(c in name for c in "= "):
                self.flow.report.error("GR017", f"{quoted(name)} cannot be the name of a variable", each.at, part="key")

    def shell_text(self, block: BlockDecl, node: NodeDecl, text: str) -> None:
        """`${params.x}` in a shell text can only be meant for us, and would never be filled in (R15)."""
        foreign = FOREIGN.search(text) if "{{" in text else None
        if foreign is not None:
            self.flow.report.warning(
                "GR211",
                f"{quoted(foreign[0])} is only text here",
                (*node.at, "run"),
                span=foreign.span(),
                suggestion=f'hand the value in as a variable: env = {{ VALUE = "${{ {foreign[1]} }}" }}',
            )
        if "${" not in text:
            return
        names = {*_FOR_SHELL, *item_names(block, node)}
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
                self.typing.texts(block, node, [request[key]], f"`{key}`")
        for key in ("headers", "query"):
            if key in request:
                self.typing.texts(block, node, request[key].items.values(), f"`{key}`")
        if "json" in request:
            self.typing.type_of(block, node, request["json"])
            if "body" in request:
                self.flow.report.error(
                    "GR020", "a request has one body: `json` or `body`", (*node.at, "http", "body"), part="key"
                )
        return self.output(block, node, "json")

    def call(self, block: BlockDecl, node: NodeDecl) -> Any:
        target = node.keys.get("python")
        signature = None if target is None else self.signature(node, target)
        given = node.keys.get("with")
        if not isinstance(signature, Signature):
            if given is not None:
                self.typing.type_of(block, node, given)
            return "any"
        wanted = {name: (type_, required) for name, type_, required in signature.params}
        self.arguments(block, node, wanted, signature.accepts_any, f"{quoted(target)}", "python")
        return "any" if signature.returns is None else signature.returns

    def signature(self, node: NodeDecl, target: str) -> Signature | str | None:
        at = (*node.at, "python")
        if not _TARGET.fullmatch(target):
            guess = _target_help(target)
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
                self.signatures[target] = self.python(target, str(self.flow.base))
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
                self.typing.type_of(block, node, given)
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
                self.typing.type_of(block, node, expr)
                guess = report.closest(name, wanted)
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
            self.typing.type_of(block, node, expr, expected, f"{word} {quoted(name)} of {what}")
        if key == "flow" and node.flow is not None:
            self.limits(node.flow, items)
        if given is not None:
            given.tree = ("dict", *((("const", name), each.tree) for name, each in items.items()))
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

    def limits(self, flow: FlowDecl, items: dict[str, Expr]) -> None:
        """What reads nothing is checked against `values pattern min max` of the params that it is for."""
        for name, expr in items.items():
            param = flow.params.get(name)
            if param is None or expr.type is None or free_vars(expr.tree):
                continue
            try:
                value = evaluate(expr.tree, _nothing)
            except ExpressionError:
                continue
            # A value of a wrong type was told when the type was checked.
            for problem in () if problems(param.type, value) else limit_problems(record(param, None), value):
                self.flow.report.error(
                    "GR308",
                    f"param {quoted(name)} of the flow {quoted(flow.name)} does not take this: {problem}",
                    expr.at,
                    notes=[("its limits are here", param.at, "key", flow.source)],
                )

    def sleep(self, block: BlockDecl, node: NodeDecl) -> Any:
        expr = node.keys.get("sleep")
        if expr is None or expr.constant:
            return "none"
        found = self.typing.type_of(block, node, expr)
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
        return "any" if expr is None else self.typing.type_of(block, node, expr)

    def fail(self, block: BlockDecl, node: NodeDecl) -> Any:
        keys = node.keys.get("fail", {})
        if "message" in keys:
            self.typing.texts(block, node, [keys["message"]], "a message")
        problem = own_type_problem(keys["type"]) if "type" in keys else None
        if problem is not None:
            self.flow.report.error(
                "GR027",
                f"an error cannot have the type {quoted(keys['type'])}: {problem}",
                (*node.at, "fail", "type"),
                wanted="a name such as `out_of_stock`, by which `catch` can find it",
            )
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
            f'`output = "{output}"` gives {a(render_type(out))}'
            if command
            else f"the function returns {a(render_type(out))}",
            (*node.at, "returns"),
            wanted=render_type(declared),
            got=render_type(out),
            suggestion='output = "json"' if command and output != "none" else None,
        )
        return declared

    # The rest of the flow

    def defaults(self) -> None:
        """Defaults are for many nodes: they can read what all of these see."""
        for leaf in self.flow.default_leaves:
            self.typing.type_of(None, None, leaf)

    def outputs(self) -> Any:
        outputs = self.flow.outputs
        return ("record", ()) if outputs is None else self.typing.type_of(self.flow.root, None, outputs)


def _nothing(name: str) -> Any:
    raise AssertionError(f"a constant reads {name}")


def _written_patterns(written: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The error types that stand on a node itself, with their places in it. A default is for many kinds."""
    retry, catches = written.get("retry"), written.get("catch")
    lists: list[tuple[tuple[str | int, ...], Any]] = []
    if isinstance(retry, dict):
        lists += [(("retry", key), retry.get(key)) for key in ("on", "never")]
    if isinstance(catches, list):
        lists += [(("catch", n, "on"), each.get("on")) for n, each in enumerate(catches) if isinstance(each, dict)]
    for at, patterns in lists:
        for number, each in enumerate(patterns if isinstance(patterns, list) else ()):
            with suppress(WrongErrorType):
                yield (*at, number), canonical_pattern(each) if isinstance(each, str) else "*"


def _target_help(target: str) -> str | None:
    path = target.replace("/", ".")
    module, _, name = path.rpartition(".")
    guess = f"{path.removesuffix('.py')}:FUNCTION" if name == "py" else f"{module}:{name}"
    return f'"{guess}"' if ":" not in target and _TARGET.fullmatch(guess) else None


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
