"""The keys of a flow file: the kind x modifier table, as data.

The reader, the JSON Schema, the reference page and completion all come from here; a new key is one new row. R2 groups
the modifiers by what they are about: once a node, once an item, once an attempt, anywhere.
"""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from graft.plan import JOINS
from graft_dsl.shapes import (
    Anything,
    Argv,
    Bool,
    Bound,
    Choice,
    Condition,
    Duration,
    ErrorType,
    Field,
    Fields,
    FilePath,
    Integer,
    Items,
    ListOf,
    Name,
    Nodes,
    Number,
    Pause,
    Shape,
    TableOf,
    Template,
    Text,
    Tolerance,
    TypeText,
)

Layer = Literal["of the kind", "once a node", "once an item", "once an attempt", "anywhere"]
Default = Literal["every", "kind", "never"]


@frozen
class Kind:
    """A row of the kind table: the key that makes a node what it is (R1)."""

    name: str
    shape: Shape
    doc: str
    example: str


@frozen
class Modifier:
    """A row of the modifier table: where a key may stand.

    `default`: `every` may stand in `[defaults]` and `[defaults.KIND]`, `kind` in the latter only.
    `wants`: a key that must be there too.
    """

    name: str
    shape: Shape
    kinds: tuple[str, ...]
    layer: Layer
    doc: str
    example: str
    default: Default = "never"
    wants: str | None = None


OUTPUTS = ("none", "text", "lines", "json", "file")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")

_HTTP = Fields(
    {
        "method": Field(Choice(METHODS, "GET"), "the method"),
        "url": Field(Template("a URL"), "where to", required=True),
        "headers": Field(TableOf(Template()), "more headers"),
        "query": Field(TableOf(Template()), "the query part of the URL"),
        "bearer": Field(Template(), "a token for the `Authorization` header"),
        "json": Field(Anything(), "the body, sent as JSON"),
        "body": Field(Template(), "the body, sent as text"),
    },
    shorthand="url",
    example='{ method = "POST", url = "https://example.com/orders", json = { id = "${ params.id }" } }',
    elsewhere={
        key: f"`{key}` stands on the node, beside `http`"
        for key in ("output", "timeout", "retry", "returns", "catch", "when", "needs")
    },
)
_FAIL = Fields(
    {
        "message": Field(Template("a message"), "what went wrong", required=True),
        "type": Field(Text("an error type such as `out_of_stock`"), "the error's type, for `catch` and `retry`"),
    },
    shorthand="message",
    example='"no stock left"',
)

_KINDS = (
    Kind(
        "run", Text("a shell command"), "a shell command; its text is never templated", """run = 'curl -fsS "$URL"'"""
    ),
    Kind("exec", Argv(), "a program and its arguments, without a shell", 'exec = ["convert", "${ item }", "out.png"]'),
    Kind("python", Text("`package.module:function`"), "a Python function", 'python = "shop.pricing:quote"'),
    Kind("http", _HTTP, "an HTTP request", 'http = { url = "https://example.com/orders/${ params.id }" }'),
    Kind("flow", Text("the path of a flow file"), "another flow file, as a scope of its own", 'flow = "pick.toml"'),
    Kind("sleep", Pause(), "a durable timer: it goes on through restarts", 'sleep = "15m"'),
    Kind("value", Anything(), "a value made from expressions", 'value = { total = "${ sum(prices.out) }" }'),
    Kind("nodes", Nodes(), "a group: a scope with nodes of its own", "[nodes.ship.nodes.label]"),
    Kind("fail", _FAIL, "fails on purpose", 'fail = "no stock left"'),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in _KINDS}

TASKS = ("run", "exec", "python", "http")
SCOPES = ("flow", "nodes")
ALL = tuple(KINDS)
COMMANDS = ("run", "exec")
MAPPABLE = tuple(name for name in ALL if name != "fail")

_RETRY = Fields(
    {
        "attempts": Field(Integer(1), "all attempts together, over all errors of the step's own code (3)"),
        "initial": Field(Duration(), 'the first delay ("1s")'),
        "factor": Field(Number(1.0, 1000.0), "how much longer each delay is (2)"),
        "max": Field(Duration(), 'the longest delay ("1m")'),
        "jitter": Field(Bool(), "draw each delay between nothing and its full length (true)"),
        "on": Field(ListOf(ErrorType()), 'error types that are tried again (["*"])'),
        "never": Field(ListOf(ErrorType()), "error types that are not"),
        "then": Field(
            Choice(("fail", "pause"), "fail"),
            "what to do when a step gives up; `pause` parks it, after errors that `on` names",
        ),
        "max_lost": Field(Integer(1), "how many times a member may be lost under the step (10)"),
    },
    example='{ attempts = 3, initial = "1s" }',
)
_CATCH = Fields(
    {
        "on": Field(ListOf(ErrorType(), least=1), "error types", required=True),
        "to": Field(Name(), "the node that the failure starts", required=True),
    },
    example='{ on = ["http.402"], to = "declined" }',
)

_MODIFIERS = (
    Modifier("needs", ListOf(Name()), ALL, "once a node", "nodes that come before this one", 'needs = ["fetch"]'),
    Modifier(
        "when", Condition(), ALL, "once a node", "skip the node when this is false", 'when = "fetch.out.risk > 0.8"'
    ),
    Modifier("join", Choice(JOINS, "none_failed"), ALL, "once a node", "when several needs end", 'join = "all_done"'),
    Modifier("for_each", Items(), MAPPABLE, "once a node", "once for each item", 'for_each = "${ params.warehouses }"'),
    Modifier("as", Name("item"), MAPPABLE, "once a node", "what the item is called", 'as = "wh"', wants="for_each"),
    Modifier(
        "max_parallel", Integer(1), MAPPABLE, "once a node", "items at a time", "max_parallel = 8", wants="for_each"
    ),
    Modifier(
        "tolerate", Tolerance(), MAPPABLE, "once a node", "items that may fail", 'tolerate = "10%"', wants="for_each"
    ),
    Modifier(
        "on_failure",
        Choice(("fail", "continue"), "fail"),
        ALL,
        "once a node",
        "`continue` records a failure and goes on",
        'on_failure = "continue"',
        "every",
    ),
    Modifier(
        "catch",
        ListOf(_CATCH),
        ALL,
        "once a node",
        "failures that are contained, and the node that each starts",
        'catch = [{ on = ["http.402"], to = "declined" }]',
    ),
    Modifier(
        "total_timeout",
        Duration(positive=True),
        (*TASKS, *SCOPES),
        "once a node",
        "for all attempts and waits together",
        'total_timeout = "10m"',
        "every",
    ),
    Modifier(
        "ends", Choice(("failed",)), ALL, "once a node", "on a `catch` target: the scope's result", 'ends = "failed"'
    ),
    Modifier(
        "runs_on",
        TableOf(Text(empty=True), "name of a label"),
        TASKS,
        "once an item",
        'labels that the member must have; `"*"` is any value',
        'runs_on = { gpu = "*", zone = "eu" }',
        "every",
    ),
    Modifier(
        "retry", _RETRY, TASKS, "once an item", "try again; `{}` is three attempts", "retry = { attempts = 3 }", "every"
    ),
    Modifier(
        "timeout",
        Duration(positive=True),
        (*TASKS, *SCOPES),
        "once an attempt",
        "for one attempt; on a group or sub-flow its deadline",
        'timeout = "20s"',
        "every",
    ),
    Modifier(
        "isolation",
        Choice(("thread", "process"), "thread"),
        ("python",),
        "once an attempt",
        "where a plain `def` runs",
        'isolation = "process"',
        "every",
    ),
    Modifier(
        "with",
        TableOf(Anything(), "name of an argument"),
        ("python", "flow"),
        "of the kind",
        "arguments of the function, or params of the flow",
        'with = { order = "${ fetch.out }" }',
        "kind",
    ),
    Modifier(
        "env",
        TableOf(Template(), "name of a variable"),
        COMMANDS,
        "of the kind",
        "environment variables",
        'env = { ID = "${ params.id }" }',
        "every",
    ),
    Modifier(
        "stdin", Template(), COMMANDS, "of the kind", "text for the standard input", 'stdin = "${ json(fetch.out) }"'
    ),
    Modifier(
        "cwd", FilePath("a directory"), COMMANDS, "of the kind", "the directory to run in", 'cwd = "build"', "every"
    ),
    Modifier(
        "shell",
        ListOf(Text("a program or an argument", plain=True), least=1),
        ("run",),
        "of the kind",
        "the program, and its arguments before the text of `run`",
        'shell = ["python3", "-c"]',
        "kind",
    ),
    Modifier(
        "output",
        Choice(OUTPUTS, "text"),
        (*COMMANDS, "http"),
        "of the kind",
        "how the output becomes the result",
        'output = "json"',
        "kind",
    ),
    Modifier(
        "output_path",
        FilePath(),
        (*COMMANDS, "http"),
        "of the kind",
        'the file that is the result, for `output = "file"`; of `http`, where the body is written',
        'output_path = "report.pdf"',
        wants="output",
    ),
    Modifier(
        "skip_on",
        ListOf(Integer(1, 255), least=1),
        COMMANDS,
        "of the kind",
        "exit codes by which the command skips its own step",
        "skip_on = [99]",
        "every",
    ),
    Modifier("returns", TypeText(), TASKS, "of the kind", "the type of the result", 'returns = { total = "int" }'),
    Modifier(
        "finally",
        Nodes(),
        ("nodes",),
        "of the kind",
        "nodes that run when the group ended",
        "finally.tidy.run = 'rm x'",
    ),
    Modifier("doc", Text(empty=True), ALL, "anywhere", "what the node is for", 'doc = "Fetch the order"'),
    Modifier(
        "labels", TableOf(Text(empty=True)), ALL, "anywhere", "free labels", 'labels = { team = "shop" }', "every"
    ),
    Modifier(
        "effect",
        Choice(("idempotent",)),
        TASKS,
        "anywhere",
        "what a repeated attempt means",
        'effect = "idempotent"',
        "every",
    ),
)
MODIFIERS: dict[str, Modifier] = {modifier.name: modifier for modifier in _MODIFIERS}

LATER_KINDS: dict[str, str] = {
    "wait": "waits for an approval or a signal",
    "until": "a durable timer that ends at a time",
}
LATER_KIND_KEYS = frozenset({"ask", "on_timeout", "timeout", "signal"})
"""Keys of the kinds of `LATER_KINDS`: not reported beside such a kind."""

LATER_KEYS: dict[str, str] = {
    "matrix": "maps over every combination",
    "each_key": "gives the items of a map a stable identity",
    "cache": "takes the result of an earlier run",
    "concurrency": "limits how many run at once",
    "uses": "takes slots of a resource pool",
    "priority": "decides who is next",
    "queue_timeout": "limits the wait for a slot",
    "undo": "compensates when the scope fails",
    "repeat": "runs again until a condition holds",
    "heartbeat": "limits a step's silence",
    "executor": "chooses where an attempt runs",
    "resources": "declares or takes resources",
    "artifacts": "keeps files of a step",
    "check": "probes whether an effect happened",
    "use": "takes keys from a template",
    "expands": "lets a step add nodes",
    "ask": "is the question of an approval",
    "on_timeout": "decides what an approval does when nobody answers",
}
LATER_TOP: dict[str, str] = {
    "include": "reads other files",
    "templates": "names sets of keys",
    "resources": "declares resource pools",
    "concurrency": "limits runs of this flow",
    "schedules": "starts runs by the clock",
    "on": "calls hooks",
    "state": "declares shared state",
}
LATER_VALUES: dict[str, tuple[str, ...]] = {"effect": ("pure", "once")}

PARAM = Fields(
    {
        "type": Field(TypeText(), "the type; taken from `default` when it is left out"),
        "default": Field(Anything(), "the value when none is given; without it the param is required"),
        "doc": Field(Text(empty=True), "the help of the flag"),
        "pattern": Field(Text("a regular expression"), "what the whole of a string must match"),
        "min": Field(Bound(), "the least value; for strings and lists the least length"),
        "max": Field(Bound(), "the greatest value; for strings and lists the greatest length"),
        "values": Field(ListOf(Anything(), least=1), "the only values that are allowed"),
        "secret": Field(Bool(), "never show the value"),
    },
    example='{ type = "int", default = 3, min = 1 }',
)
SECRET = Fields(
    {
        "env": Field(Text("the name of a variable"), "an environment variable of the member that runs the step"),
        "file": Field(Text("a path"), "a file; relative paths start at the flow's directory"),
    },
    example='{ env = "API_TOKEN" }',
)

TOP: dict[str, Field] = {
    "graft": Field(Integer(1, 1), "the version of the language: 1"),
    "name": Field(Text("a name"), "the flow's name; the file's name when it is left out"),
    "version": Field(Text(empty=True), "the flow's own version"),
    "doc": Field(Text(empty=True), "what the flow is for"),
    "labels": Field(TableOf(Text(empty=True)), "free labels"),
    "timeout": Field(Duration(positive=True), "the deadline of the whole run"),
    "params": Field(TableOf(PARAM), "what the flow is given"),
    "secrets": Field(TableOf(SECRET), "secrets that steps may use"),
    "defaults": Field(Anything(), "modifiers for every `run exec python http` node; `[defaults.KIND]` for one kind"),
    "nodes": Field(Nodes(), "the nodes"),
    "finally": Field(Nodes(), "nodes that run when the rest has ended, whatever happened"),
    "outputs": Field(TableOf(Anything()), "the result of the flow"),
    "sim": Field(Anything(), "read by `graft sim`, ignored when the flow runs"),
}


HTTP_DEFAULTS = ("headers", "query", "bearer")
"""Keys inside of `http` that `[defaults.http]` may set."""


def keys_of(kind: str) -> tuple[str, ...]:
    """The modifiers that may stand on a node of `kind`, in the order in which they nest."""
    return _KEYS_OF[kind]


_LAYERS: tuple[Layer, ...] = ("of the kind", "once a node", "once an item", "once an attempt", "anywhere")
_KEYS_OF = {
    kind: tuple(m.name for layer in _LAYERS for m in _MODIFIERS if m.layer == layer and kind in m.kinds)
    for kind in KINDS
}
