"""Writes the generated parts of the pages: `python docs/generate.py`, or `--check` to only compare.

A page marks such a part with a pair of comments::

    <!-- generated: step-states -->
    …
    <!-- end -->

What is between them comes from the table in the code that is also what the program uses, so the two cannot differ. The
result is committed, so that the pages can be read where they are; CI and the tests compare.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

import click

from graft.cli import app, exits
from graft.cluster.embedded import SLOTS
from graft.cluster.host import MAX_RESULT_BYTES
from graft.config import LEAVES
from graft.config.converting import kind_of
from graft.config.rendering import written
from graft.engine import lifecycle
from graft.engine.commands import COMMANDS
from graft.engine.joins import READY, RULES, Rule
from graft.engine.scopes import FINALLY_MS
from graft.expressions.budget import DEFAULT_BUDGET, MAX_VALUE_DEPTH
from graft.expressions.functions import FUNCTIONS
from graft.plan.error_types import FAMILIES, GROUP, PLAIN
from graft.plan.nesting import MAX_JSON_DEPTH
from graft.security.roles import METHOD_ROLES, WHO
from graft.storage.space import OF_DISK, OF_QUOTA
from graft.worker import WorkerSettings, logs
from graft.worker.capture import TAIL_LINES
from graft.worker.failures import DETAIL_CHARS
from graft.worker.files import MAX_DOWNLOAD_BYTES
from graft_dsl import CODES, explain, keys
from graft_dsl.shapes import Field, Fields, ListOf, Shape, TableOf, wanted

DOCS = Path(__file__).resolve().parent
PART = re.compile(r"(?P<head><!-- generated: (?P<name>[a-z-]+) -->\n).*?(?P<tail><!-- end -->)", re.DOTALL)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table. A `|` in a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def moves(states: dict[str, dict[str, str]]) -> str:
    rows = [
        (f"`{state}`", ", ".join(f"{name} → `{to}`" for name, to in out.items()) or "none: it is final")
        for state, out in states.items()
    ]
    return table(("from", "moves"), rows)


def meanings() -> str:
    return table(("status", "means"), [(f"`{name}`", text) for name, text in lifecycle.MEANING.items()])


def commands() -> str:
    rows = [(str(each.tag), f"`{each.__name__}`", (each.__doc__ or "").strip().partition("\n")[0]) for each in COMMANDS]
    return table(("tag", "command", "what it does"), rows)


def join_rules() -> str:
    """What each rule answers for two needs, made by asking it."""
    ends = ("succeeded", "failed", "skipped")
    pairs = [(a, b) for i, a in enumerate(ends) for b in ends[i:]]

    def answer(rule: Rule, pair: tuple[str, str]) -> str:
        counts = [pair.count(end) for end in ends]
        said = rule(2, *counts)
        return "runs" if said == READY else "skipped"

    rows = [(f"`{name}`", *(answer(rule, pair) for pair in pairs)) for name, rule in RULES.items()]
    return table(("join", *(f"{a}, {b}" for a, b in pairs)), rows)


def functions() -> str:
    rows = [(f"`{each.signature}`", each.doc) for each in FUNCTIONS.values()]
    return table(("function", "gives"), rows)


def budgets() -> str:
    rows = [
        ("operations of one evaluation", f"{DEFAULT_BUDGET.max_operations:,}"),
        ("bytes that one evaluation may build", f"{DEFAULT_BUDGET.max_bytes:,}"),
        ("levels of lists and tables in a value", f"{MAX_VALUE_DEPTH:,}"),
    ]
    return table(("limit", "is"), rows)


def code(text: str) -> str:
    """`text` as code, also when it holds a backtick of its own."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def fields(keys: dict[str, Field]) -> str:
    rows = [
        (f"`{name}`" + (" (required)" if field.required else ""), field.doc, wanted(field.shape))
        for name, field in keys.items()
    ]
    return table(("key", "is", "written as"), rows)


def fields_of(shape: Shape) -> str:
    inner = shape.element if isinstance(shape, ListOf | TableOf) else shape
    assert isinstance(inner, Fields), shape
    return f"`{inner.example}`\n\n{fields(inner.keys)}"


def kinds() -> str:
    rows = [(f"`{kind.name}`", kind.doc, code(kind.example)) for kind in keys.KINDS.values()]
    return table(("key", "the node is", "example"), rows)


def modifiers() -> str:
    parts = []
    for layer in dict.fromkeys(modifier.layer for modifier in keys.MODIFIERS.values()):
        rows = [
            (f"`{each.name}`", each.doc, wanted(each.shape), code(each.example))
            for each in keys.MODIFIERS.values()
            if each.layer == layer
        ]
        parts.append(f"### {layer.capitalize()}\n\n{table(('key', 'is', 'written as', 'example'), rows)}")
    return "\n\n".join(parts)


def kinds_and_modifiers() -> str:
    rows = [
        (f"`{each.name}`", *("●" if kind in each.kinds else "" for kind in keys.KINDS), DEFAULTS[each.default])
        for each in keys.MODIFIERS.values()
    ]
    return table(("", *(f"`{kind}`" for kind in keys.KINDS), "in defaults"), rows)


def limits() -> str:
    slots, worker = dict(SLOTS), WorkerSettings()
    rows = [
        ("the result of one step, as JSON", f"{MAX_RESULT_BYTES:,} bytes"),
        ("a file that `http` downloads", f"{MAX_DOWNLOAD_BYTES:,} bytes"),
        ("levels of lists and tables in a result or a param", f"{MAX_JSON_DEPTH:,}"),
        ("the log of one step, over all its attempts", f"{logs.MAX_BYTES:,} bytes"),
        ("the logs of one run, on each member", f"{logs.MAX_RUN_BYTES:,} bytes"),
        ("what an error repeats of what its step printed", f"{TAIL_LINES} lines, {DETAIL_CHARS:,} characters"),
        ("attempts at once in one process", f"{slots['*']:,}"),
        *((f"of them `{kind}`", f"{number:,}") for kind, number in slots.items() if kind != "*"),
        ("plain Python functions at once, in threads", f"{worker.thread_limit:,}"),
        ("the time between SIGTERM and SIGKILL", f"{worker.grace_ms / 1000:g} s"),
        ("the time that a `finally` has", f"{FINALLY_MS / 60_000:g} minutes"),
    ]
    return table(("limit", "is"), rows)


ROOM = {
    "WARNING": "the member warns, in its log and in `graft status`; it keeps less of its log of commands",
    "REFUSING": "and no new runs are taken, nor final ones retried (`NoRoom`, exit code 1); those under way go on",
    "PAUSING": "and runs under way start no new steps, until there is room: `paused: store_full`",
}


def room() -> str:
    disk = dict(OF_DISK)
    rows = [(f"{part:.0%}", f"{disk[level] >> 20} MiB", ROOM[level.name]) for level, part in reversed(OF_QUOTA)]
    return table(("from so much of the quota", "or so little left on the disk", "what follows"), rows)


def command_line() -> str:
    """The help of every command, as the program prints it."""
    parts = []
    graft = click.Context(app.cli, info_name="graft", **app.cli.context_settings)
    for title, commands in app.SECTIONS.items():
        parts.append(f"## {title}")
        for name in commands:
            command = import_module(f"graft.cli.commands.{name}").command
            parts += _helps(command, graft, name)
    return "\n\n".join(parts)


def _helps(command: click.Command, parent: click.Context, name: str) -> Iterator[str]:
    """The help of a command, and of those below it."""
    context = click.Context(command, parent=parent, info_name=name, terminal_width=88, **command.context_settings)
    yield f"### {context.command_path}\n\n```\n{command.get_help(context)}\n```"
    if isinstance(command, click.Group):
        for inner, each in command.commands.items():
            yield from _helps(each, context, inner)


def settings() -> str:
    """Every setting of a member, a table a section."""
    parts = []
    for section in dict.fromkeys(leaf.path[:-1] for leaf in LEAVES.values()):
        rows = [
            (
                f"`{leaf.path[-1]}`",
                kind_of(leaf.type),
                leaf.meaning.shown_default or code(written(leaf.type, leaf.default)),
                "yes" if leaf.meaning.reload else "",
                leaf.meaning.about,
            )
            for leaf in LEAVES.values()
            if leaf.path[:-1] == section
        ]
        title = f"## `{'.'.join(section)}`" if section else "## Top level"
        parts.append(f"{title}\n\n{table(('key', 'type', 'default', 'reload', 'means'), rows)}")
    return "\n\n".join(parts)


def diagnostics() -> str:
    return "\n".join(explain(name).replace("# ", "## ", 1) for name in CODES)


DEFAULTS = {"every": "yes", "kind": "of a kind", "never": ""}


def later_keys() -> str:
    later = {**keys.LATER_KINDS, **keys.LATER_KEYS, **keys.LATER_TOP}
    return table(("key", "what it will do"), [(f"`{name}`", text) for name, text in sorted(later.items())])


EXITS = {
    "SUCCEEDED": "the run succeeded, or the command did what it was asked",
    "FAILED": "the run failed, or the command could not do its work",
    "USAGE": "wrong usage (also the name of a run or member that nobody knows), wrong settings, wrong params, "
    "or a flow that does not compile",
    "WAITING": "only waiting steps remain, and nobody is there to wait for them",
    "CANCELLED": "the run was cancelled",
    "TIMED_OUT": "the run's deadline was over",
    "UNREACHABLE": "no quorum, or nobody answered",
    "UNCERTAIN": 'a step may or may not have had its effect: kept for `effect = "once"`, not used by this version',
    "INTERRUPTED": "stopped; the run is on disk and `graft resume` goes on with it",
}


def exit_codes() -> str:
    codes = {name: code for name, code in vars(exits).items() if name.isupper() and isinstance(code, int)}
    return table(("code", "means"), [(str(code), EXITS[name]) for name, code in codes.items()])


def roles() -> str:
    return table(("role", "is for"), [(f"`{role}`", about) for role, about in WHO.items()])


def method_roles() -> str:
    rows = [(f"`{method}`", *("●" if role in may else "" for role in WHO)) for method, may in METHOD_ROLES.items()]
    return table(("method", *(f"`{role}`" for role in WHO)), rows)


def error_types() -> str:
    rows = [*((each.shown, each.doc) for each in FAMILIES.values()), *PLAIN.items()]
    rows.append((GROUP, "several errors of a scope; they are in `cause`. It is caught by the types of all of them"))
    return table(("type", "means"), [(f"`{name}`", text) for name, text in rows])


def deploy_file(name: str) -> str:
    """A file of `examples/deploy/`, as it is."""
    language = {".service": "ini", ".yaml": "yaml"}[Path(name).suffix]
    return f"```{language}\n{(DOCS.parent / 'examples' / 'deploy' / name).read_text()}```"


PARTS: dict[str, Callable[[], str]] = {
    "budgets": budgets,
    "command-line": command_line,
    "commands": commands,
    "deploy-kubernetes": lambda: deploy_file("kubernetes/graft.yaml"),
    "deploy-systemd": lambda: deploy_file("systemd/graft.service"),
    "diagnostics": diagnostics,
    "error-types": error_types,
    "exit-codes": exit_codes,
    "fields-of-catch": lambda: fields_of(keys.MODIFIERS["catch"].shape),
    "fields-of-fail": lambda: fields_of(keys.KINDS["fail"].shape),
    "fields-of-http": lambda: fields_of(keys.KINDS["http"].shape),
    "fields-of-param": lambda: fields_of(keys.PARAM),
    "fields-of-retry": lambda: fields_of(keys.MODIFIERS["retry"].shape),
    "fields-of-secret": lambda: fields_of(keys.SECRET),
    "functions": functions,
    "join-rules": join_rules,
    "limits": limits,
    "kinds": kinds,
    "kinds-and-modifiers": kinds_and_modifiers,
    "later-keys": later_keys,
    "method-roles": method_roles,
    "modifiers": modifiers,
    "roles": roles,
    "room": room,
    "settings": settings,
    "run-states": lambda: moves(lifecycle.RUN),
    "scope-states": lambda: moves(lifecycle.SCOPE),
    "step-meanings": meanings,
    "step-states": lambda: moves(lifecycle.STEP),
    "top-keys": lambda: fields(keys.TOP),
}


def renew(text: str) -> str:
    """`text` of a page with every generated part made anew. Raises KeyError for a part that is not in `PARTS`."""
    return PART.sub(lambda match: f"{match['head']}{PARTS[match['name']]()}\n{match['tail']}", text)


def main(check: bool) -> int:
    stale = []
    for page in sorted(DOCS.rglob("*.md")):
        if "_build" in page.parts:
            continue
        text = page.read_text(encoding="utf-8")
        if (fresh := renew(text)) != text:
            stale.append(page)
            if not check:
                page.write_text(fresh, encoding="utf-8")
    for page in stale:
        print(f"{page.relative_to(DOCS.parent)}: {'out of date, run docs/generate.py' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
