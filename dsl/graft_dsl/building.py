"""From checked declarations to the plan. Nothing is decided here any more."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from graft.plan import (
    Action,
    Block,
    Catch,
    ExecAction,
    FailAction,
    FlowAction,
    ForEach,
    GroupAction,
    HttpAction,
    Node,
    Plan,
    PythonAction,
    Retry,
    RunAction,
    Secret,
    SleepAction,
    Tree,
    ValueAction,
)
from graft_dsl.declarations import MISSING, BlockDecl, Expr, FlowDecl, NodeDecl, ParamDecl
from graft_dsl.param_reader import record

EMPTY: Tree = ("dict",)
_RETRY_FIELDS = {"initial": "initial_ms", "max": "max_ms"}
_DEFAULT_RETRY = Retry()


def build_plan(flows: list[FlowDecl]) -> Plan:
    """The plan of `flows[0]`. Every flow stands before the flows it includes, so block numbers only grow."""
    blocks = [(flow, block) for flow in flows for block in flow.blocks()]
    numbers = {id(block): number for number, (_, block) in enumerate(blocks)}
    root = flows[0]
    return Plan(
        name=root.name,
        blocks=tuple(_block(flow, block, numbers, root.base) for flow, block in blocks),
        version=root.version,
        doc=root.doc,
        labels=root.labels,
    )


def _block(flow: FlowDecl, block: BlockDecl, numbers: dict[int, int], root: Path) -> Block:
    nodes = tuple([_node(node, numbers) for node in block.nodes.values()])
    finals = tuple([_node(node, numbers) for node in block.finals.values()])
    if block.owner is not None:
        return Block("group", block.name, nodes, finals)
    return Block(
        kind="flow",
        name=flow.name,
        nodes=nodes,
        finals=finals,
        params=tuple(map(_param, flow.params.values())),
        secrets=tuple(Secret(each.name, each.source, each.ref) for each in flow.secrets.values()),  # type: ignore[arg-type]
        outputs=EMPTY if flow.outputs is None else flow.outputs.tree,
        timeout_ms=flow.timeout_ms,
        directory=_directory(flow.base, root),
    )


def _directory(base: Path, root: Path) -> str:
    relative = Path(os.path.relpath(base, root)).as_posix()
    return "" if relative == "." else relative


def _param(param: ParamDecl) -> Any:
    # In the author's order: `for_each` goes through it. The plan's hash is that of this text as it stands.
    default = None if param.default is MISSING else msgspec.json.encode(param.default).decode()
    return record(param, default)


def _node(node: NodeDecl, numbers: dict[int, int]) -> Node:
    get = node.keys.get
    retry, catch = get("retry"), get("catch")
    return Node(
        name=node.name,
        action=_ACTIONS[node.kind](node, numbers),
        needs=tuple(node.needs),
        after=tuple(node.after),
        join=get("join", "none_failed"),
        when=_tree(get("when")),
        for_each=_for_each(node) if "for_each" in node.keys else None,
        on_failure=get("on_failure", "fail"),
        catch=tuple(Catch(tuple(each["on"]), each["to"]) for each in catch) if catch else (),
        ends=get("ends"),
        retry=_retry(retry) if retry is not None else None,
        timeout_ms=get("timeout"),
        total_timeout_ms=get("total_timeout"),
        returns=get("returns"),
        doc=get("doc", ""),
        labels=_labels(get("labels")),
        runs_on=_labels(get("runs_on")),
    )


def _labels(given: dict[str, str] | None) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(given.items())) if given else ()


def _tree(expr: Expr | None) -> Tree | None:
    return None if expr is None else expr.tree


def _for_each(node: NodeDecl) -> ForEach:
    tolerate, percent = node.keys.get("tolerate", (0, False))
    return ForEach(
        items=node.keys["for_each"].tree,
        name=node.keys.get("as", "item"),
        max_parallel=node.keys.get("max_parallel"),
        tolerate=tolerate,
        tolerate_percent=percent,
    )


def _retry(given: dict[str, Any]) -> Retry:
    fields: dict[str, Any] = {
        _RETRY_FIELDS.get(key, key): tuple(value) if isinstance(value, list) else value for key, value in given.items()
    }
    if "max_ms" not in fields:
        fields["max_ms"] = max(_DEFAULT_RETRY.max_ms, fields.get("initial_ms", 0))
    if fields.get("then") == "pause":
        fields["then"] = "pause_on"
    return Retry(**fields)


def _command(node: NodeDecl) -> dict[str, Any]:
    get = node.keys.get
    return {
        "env": _tree(get("env")) or EMPTY,
        "stdin": _tree(get("stdin")),
        "output": get("output", "text"),
        "output_path": _path(get("output_path")),
        "cwd": _path(get("cwd")),
        "skip_on": tuple(sorted(set(get("skip_on", ())))),
    }


def _path(given: Expr | str | None) -> Tree | str | None:
    return given.tree if isinstance(given, Expr) else given


def _run(node: NodeDecl, numbers: dict[int, int]) -> Action:
    return RunAction(command=node.keys["run"], **_command(node), shell=tuple(node.keys.get("shell", ())))


def _exec(node: NodeDecl, numbers: dict[int, int]) -> Action:
    return ExecAction(argv=node.keys["exec"].tree, **_command(node))


def _python(node: NodeDecl, numbers: dict[int, int]) -> Action:
    get = node.keys.get
    return PythonAction(node.keys["python"], _tree(get("with")) or EMPTY, get("isolation", "thread"))


def _http(node: NodeDecl, numbers: dict[int, int]) -> Action:
    request = node.keys["http"]
    fields: dict[str, Any] = {key: value.tree if isinstance(value, Expr) else value for key, value in request.items()}
    get = node.keys.get
    return HttpAction(**fields, output=get("output", "json"), output_path=_path(get("output_path")))


def _flow(node: NodeDecl, numbers: dict[int, int]) -> Action:
    assert node.flow is not None
    return FlowAction(numbers[id(node.flow.root)], _tree(node.keys.get("with")) or EMPTY)


def _sleep(node: NodeDecl, numbers: dict[int, int]) -> Action:
    return SleepAction(node.keys["sleep"].tree)


def _value(node: NodeDecl, numbers: dict[int, int]) -> Action:
    return ValueAction(node.keys["value"].tree)


def _group(node: NodeDecl, numbers: dict[int, int]) -> Action:
    return GroupAction(numbers[id(node.block)])


def _fail(node: NodeDecl, numbers: dict[int, int]) -> Action:
    keys = node.keys["fail"]
    return FailAction(keys["message"].tree, keys.get("type", "failed"))


_ACTIONS: dict[str, Callable[[NodeDecl, dict[int, int]], Action]] = {
    "run": _run,
    "exec": _exec,
    "python": _python,
    "http": _http,
    "flow": _flow,
    "sleep": _sleep,
    "value": _value,
    "nodes": _group,
    "fail": _fail,
}
