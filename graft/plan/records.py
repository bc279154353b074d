"""The records of a plan. All are frozen, hashable, and made of JSON values, strings, integers and tuples only.

Expressions are trees of nested tuples (`Tree`); `graft.expressions` defines their forms and evaluates them. A value
that an author may compute (`with`, `env`, `argv`, …) is one tree, even where it is a whole table: then its head is
`"dict"`. Durations are integer milliseconds, sizes integer bytes.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from attrs import field, frozen

Tree = tuple[Any, ...]
"""`("const", 3)`, `("var", "fetch.out")`, `("binary", "+", a, b)` …: see `graft.expressions`."""

Type = Any
"""A value's type as a tree: `"int"`, `("list", T)`, `("record", (("name", T), …))`, …: see `graft.plan.types`."""

Join = Literal["none_failed", "all_succeeded", "all_done", "any_succeeded", "any_failed"]
JOINS: tuple[Join, ...] = ("none_failed", "all_succeeded", "all_done", "any_succeeded", "any_failed")

Output = Literal["none", "text", "lines", "json", "file"]


@frozen
class ErrorRecord:
    """Why a step failed (R9). `type` is one of the built-in types or a type that the flow's author raised."""

    type: str
    title: str
    detail: str = ""
    node: str = ""  # path of the step
    attempt: int = 0
    cause: tuple[ErrorRecord, ...] = ()


@frozen
class Param:
    """One parameter of a flow (R25). `type` is a type tree; `default` is JSON text, None when it is required."""

    name: str
    type: Type
    default: str | None = None
    doc: str = ""
    pattern: str | None = None
    min: float | int | None = None
    max: float | int | None = None
    values: tuple[Any, ...] = ()
    secret: bool = False


@frozen
class Secret:
    """A declared secret (R16): where the member that runs a step finds its text."""

    name: str
    source: Literal["env", "file"]
    ref: str  # name of the variable, or path of the file (relative paths: to the flow's directory)


@frozen
class Retry:
    """How often and when a step is tried again (R7). `attempts` is the total over all errors of its own code.

    `then`: a step that gives up fails, or is parked until a person decides. `pause_on` parks only after errors that
    `on` names (and `never` does not); plans made before it came say `pause`, which parks after every error.
    """

    attempts: int = 3
    initial_ms: int = 1000
    factor: float = 2.0
    max_ms: int = 60_000
    jitter: bool = True  # full jitter: a delay is drawn uniformly from [0, backoff]
    on: tuple[str, ...] = ("*",)
    never: tuple[str, ...] = ()
    then: Literal["fail", "pause", "pause_on"] = "fail"
    max_lost: int = 10


@frozen
class Catch:
    """A failure of one of the types `on` is contained and starts the node `to` of the same block (R6)."""

    on: tuple[str, ...]
    to: str


@frozen
class ForEach:
    """The node is mapped over `items`, a tree that gives a list or a table (R10)."""

    items: Tree
    name: str = "item"
    max_parallel: int | None = None  # slots; None is as many as there are items
    tolerate: int = 0  # failed items that the map still takes as success
    tolerate_percent: bool = False  # `tolerate` is a percentage of the items


# Actions: what a node executes. `kind` is the key of the flow file that chose it.


@frozen
class RunAction:
    """A shell command. `command` is never templated (R15). `shell`: the program and arguments that it is handed to as
    the last one; () is the shell of the member that runs it. `skip_on`: exit codes that skip the step; sorted."""

    kind: ClassVar[str] = "run"
    command: str
    env: Tree = ("dict",)
    stdin: Tree | None = None
    output: Output = "text"
    output_path: str | Tree | None = None  # for `output = "file"`; a text is taken as it is
    cwd: str | Tree | None = None
    shell: tuple[str, ...] = ()
    skip_on: tuple[int, ...] = ()


@frozen
class ExecAction:
    """A program without a shell. `argv` gives a list of strings."""

    kind: ClassVar[str] = "exec"
    argv: Tree
    env: Tree = ("dict",)
    stdin: Tree | None = None
    output: Output = "text"
    output_path: str | Tree | None = None
    cwd: str | Tree | None = None
    skip_on: tuple[int, ...] = ()


@frozen
class PythonAction:
    """A function `package.module:function`. `with_` gives the table of its arguments."""

    kind: ClassVar[str] = "python"
    target: str
    with_: Tree = ("dict",)
    isolation: Literal["thread", "process"] = "thread"  # of a plain `def`; a coroutine runs on Trio


@frozen
class HttpAction:
    kind: ClassVar[str] = "http"
    url: Tree
    method: str = "GET"
    headers: Tree = ("dict",)
    query: Tree = ("dict",)
    bearer: Tree | None = None
    json: Tree | None = None
    body: Tree | None = None
    output: Output = "json"
    output_path: str | Tree | None = None


@frozen
class FlowAction:
    """A sub-flow: its block has its own params; nothing else of the outer flow is visible in it."""

    kind: ClassVar[str] = "flow"
    block: int
    with_: Tree = ("dict",)


@frozen
class SleepAction:
    """A durable timer on wall time. `duration` gives milliseconds, or a text such as "15m"."""

    kind: ClassVar[str] = "sleep"
    duration: Tree


@frozen
class ValueAction:
    kind: ClassVar[str] = "value"
    value: Tree


@frozen
class FailAction:
    kind: ClassVar[str] = "fail"
    message: Tree
    type: str = "failed"


@frozen
class GroupAction:
    """A group of nodes: a scope of its own. Its nodes see the nodes of the blocks around it."""

    kind: ClassVar[str] = "nodes"
    block: int


Action = (
    RunAction
    | ExecAction
    | PythonAction
    | HttpAction
    | FlowAction
    | SleepAction
    | ValueAction
    | FailAction
    | GroupAction
)

ACTIONS: dict[str, type[Any]] = {
    action.kind: action
    for action in (
        RunAction,
        ExecAction,
        PythonAction,
        HttpAction,
        FlowAction,
        SleepAction,
        ValueAction,
        FailAction,
        GroupAction,
    )
}
KINDS: tuple[str, ...] = tuple(ACTIONS)
TASK_KINDS = frozenset({"run", "exec", "python", "http"})  # kinds with attempts, run by a worker
SCOPE_KINDS = frozenset({"flow", "nodes"})


@frozen
class Node:
    """A vertex of the plan. `needs`, `after`, `catch.to` name nodes of the same block.

    Invariant: `needs` and `after` are sorted, without repeats, disjoint, and acyclic together.
    `needs` are the joining edges: the author's `needs` plus every reference to `.out` (for a group: those of the nodes
    inside it to nodes outside). `after` are edges that only order (`.error`, `.status`, `.attempts`).
    """

    name: str
    action: Action
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    join: Join = "none_failed"
    when: Tree | None = None
    for_each: ForEach | None = None
    on_failure: Literal["fail", "continue"] = "fail"
    catch: tuple[Catch, ...] = ()
    ends: Literal["failed"] | None = None  # on the target of a catch: the scope's result when this node ended
    retry: Retry | None = None  # None: one attempt
    timeout_ms: int | None = None  # of one attempt; on a scope kind: deadline of the scope
    total_timeout_ms: int | None = None  # all attempts and waits of the node
    returns: Type | None = None
    doc: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    runs_on: tuple[tuple[str, str], ...] = ()  # labels that its member must have, by name; "*" is any value

    @property
    def kind(self) -> str:
        return self.action.kind


@frozen
class Block:
    """The nodes of one scope: of a flow (the root or a sub-flow), or of a group.

    `outputs` gives the table that is the scope's `out`; None on a group, whose `out` is the table of its nodes' `out`s.
    `finals` run after all `nodes` ended, whatever happened to them. `directory` is where the flow's file stands, seen
    from that of the root flow ("" is the same): its relative paths begin there.
    """

    kind: Literal["flow", "group"]
    name: str
    nodes: tuple[Node, ...]
    finals: tuple[Node, ...] = ()
    params: tuple[Param, ...] = ()
    secrets: tuple[Secret, ...] = ()
    outputs: Tree | None = None
    timeout_ms: int | None = None
    directory: str = ""


@frozen
class Plan:
    """A compiled flow. Invariant: `blocks[0].kind == "flow"`; actions refer only to blocks with a higher index."""

    name: str
    blocks: tuple[Block, ...]
    version: str = ""
    doc: str = ""
    labels: tuple[tuple[str, str], ...] = field(default=())

    @property
    def root(self) -> Block:
        return self.blocks[0]
