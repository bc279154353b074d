"""What authors know from other tools, and what to write here instead. Used for suggestions only, never accepted."""

from __future__ import annotations

import re

SYNONYMS: dict[str, str] = {
    "depends_on": "needs",
    "depends": "needs",
    "dependencies": "needs",
    "after": "needs",
    "requires": "needs",
    "if": "when",
    "condition": "when",
    "unless": "when",
    "command": "run",
    "cmd": "run",
    "script": "run",
    "bash": "run",
    "sh": "run",
    "argv": "exec",
    "function": "python",
    "call": "python",
    "args": "with",
    "arguments": "with",
    "kwargs": "with",
    "inputs": "with",
    "environment": "env",
    "variables": "env",
    "vars": "env",
    "retries": "retry",
    "max_retries": "retry",
    "foreach": "for_each",
    "map": "for_each",
    "with_items": "for_each",
    "loop": "for_each",
    "parallel": "max_parallel",
    "deadline": "total_timeout",
    "timeout_seconds": "timeout",
    "timeout_minutes": "timeout",
    "working_directory": "cwd",
    "working_dir": "cwd",
    "workdir": "cwd",
    "dir": "cwd",
    "input": "stdin",
    "tags": "labels",
    "description": "doc",
    "help": "doc",
    "returns_type": "returns",
    "steps": "nodes",
    "tasks": "nodes",
    "jobs": "nodes",
    "stages": "nodes",
    "delay": "sleep",
    "on_error": "on_failure",
    "continue_on_error": "on_failure",
    "allow_failure": "on_failure",
    "parameters": "params",
    "default": "defaults",
    "result": "outputs",
    "output": "outputs",
}
"""What other tools call a key. A guess only where the key on the right may stand."""

EXAMPLES: dict[str, str] = {
    "retries": "retry = { attempts = 3 }",
    "max_retries": "retry = { attempts = 3 }",
    "cmd": "run = 'make test'",
    "command": "run = 'make test'",
    "continue_on_error": 'on_failure = "continue"',
    "allow_failure": 'on_failure = "continue"',
    "timeout_seconds": 'timeout = "90s"',
    "timeout_minutes": 'timeout = "15m"',
    "depends_on": 'needs = ["fetch"]',
    "unless": 'when = "not params.fast"',
}
"""How the synonym is written, where its value has another form than the author's."""

_LOOP = 'a step that fails until it is done, with `retry = { attempts = 100, initial = "30s", factor = 1 }`'
_CLOCK = "cron or a systemd timer that calls `graft run FLOW --detach`"
_TWO_FLOWS = "end this flow before it, and start the rest as a second flow when the answer is there"
ADVICE: dict[str, str] = {
    "while": f"there is no loop yet; until then: {_LOOP}",
    "schedule": f"schedules come with a later version; until then: {_CLOCK}",
    "cron": f"schedules come with a later version; until then: {_CLOCK}",
    "triggers": f"schedules come with a later version; until then: {_CLOCK}",
    "else": "a second node with the opposite `when`",
    "switch": "a node with `when` for each case",
    "image": "a command that starts the container: run = 'docker run --rm IMAGE make test'",
    "container": "a command that starts the container: run = 'docker run --rm IMAGE make test'",
    "services": "a node that starts the service, and a `finally` node that stops it",
    "name": "a node is called by its table: `[nodes.NAME]`; `doc` says what it is for",
    "id": "a node is called by its table: `[nodes.NAME]`",
    "type": "the key itself says the kind: run, exec, python, http, flow, sleep, value, nodes or fail",
    "kind": "the key itself says the kind: run, exec, python, http, flow, sleep, value, nodes or fail",
    "secret": 'declare it in `[secrets]` and hand it in: env = { TOKEN = "${ secrets.TOKEN }" }',
}
"""Keys of other tools that are no key here at all, and what to do instead."""

UNTIL: dict[str, str] = {
    "wait": _TWO_FLOWS,
    "ask": _TWO_FLOWS,
    "on_timeout": _TWO_FLOWS,
    "until": "`sleep` takes a duration, also one that a step before has computed",
    "matrix": "`for_each` over the combinations: `${ [{'py': p, 'os': o} for p in ['3.11'] for o in ['a', 'b']] }`",
    "each_key": "`for_each` over a table: its keys are what the items are called",
    "cache": "let the command look whether its result is there already",
    "concurrency": "`max_parallel` limits a map; `flock FILE COMMAND` limits a command across runs",
    "uses": "`max_parallel` limits a map; `flock FILE COMMAND` limits a command across runs",
    "priority": "`needs` makes what matters more come first",
    "queue_timeout": "`total_timeout` counts the wait for a slot as well",
    "undo": "a node that compensates: the target of a `catch`, or a `finally` node that looks at `NODE.status`",
    "repeat": _LOOP,
    "heartbeat": "`timeout` limits the whole attempt",
    "executor": "`runs_on` chooses members by their labels",
    "resources": "`runs_on` chooses members by their labels, `max_parallel` how many items at a time",
    "artifacts": 'output = "file" with `output_path` records one file of a step',
    "check": "make the step one that may run twice: GRAFT_IDEMPOTENCY_KEY is the same on each of its attempts",
    "use": "`[defaults]` and `[defaults.KIND]` set keys for many nodes",
    "expands": "`for_each` over what a step returns",
    "include": "a sub-flow: flow = 'other.toml'",
    "templates": "`[defaults]` and `[defaults.KIND]` set keys for many nodes",
    "schedules": _CLOCK,
    "on": "a `finally` node with `when = \"run.status == 'failed'\"`",
    "state": "hand values from node to node: `NODE.out`",
    "effect": "leave it out; GRAFT_IDEMPOTENCY_KEY is the same on each attempt of a step",
}
"""Keys of the language that this version does not run, and what to do until it does."""

CHARACTERS: dict[str, tuple[str, str]] = {
    **dict.fromkeys("\u00a0\u202f\u2007", ("a no-break space", "write an ordinary space")),
    **dict.fromkeys("\u200b\u200c\u200d\u2060", ("an invisible zero-width character", "remove it")),
    "\ufeff": ("a byte order mark inside of the text", "remove it"),
    "\u3000": ("a wide space", "write an ordinary space"),
    **dict.fromkeys("“”„‟«»″", ("a typographic quote", 'write a straight quote, `"`')),
    **dict.fromkeys("‘’‚‛′", ("a typographic quote", "write a straight quote, `'`")),
    **dict.fromkeys("–—−‐‑", ("a typographic dash", "write a hyphen, `-`")),
    "…": ("an ellipsis", "write three dots"),
    "×": ("a multiplication sign", "write `*`"),
    "＝": ("a wide equals sign", "write `=`"),
    "\r": ("a carriage return", "save the file with Unix line ends"),
}
"""Characters that editors, chats and word processors put in place of others: what they are, what to do."""

STRANGE = re.compile(f"[{''.join(map(re.escape, CHARACTERS))}]")

FOREIGN = re.compile(
    r"(?<!\$)\{\{\s*((?:params|inputs|vars|env|steps|tasks|needs|secrets|item|run|outputs)\b[^{}]*?)\s*\}\}"
)
"""`{{ params.x }}`: a template of other tools, which is only text here."""


def normal(key: str) -> str:
    """A key as it stands in these tables: `retries` for `Retries`, `depends_on` for `depends-on`."""
    return key.lower().replace("-", "_")


def strange(text: str, at: int = 0) -> tuple[str, str, int] | None:
    """The first character from `at` on that was hardly meant: what it is, what to do, and its offset."""
    found = STRANGE.search(text, at)
    return None if found is None else (*CHARACTERS[found[0]], found.start())
