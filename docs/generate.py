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
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from graft.cli import exits
from graft.engine import lifecycle
from graft.engine.commands import COMMANDS
from graft.engine.joins import READY, RULES, Rule

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


EXITS = {
    "SUCCEEDED": "the run succeeded, or the command did what it was asked",
    "FAILED": "the run failed, or the command could not do its work",
    "USAGE": "wrong usage, wrong params, or a flow that does not compile",
    "WAITING": "only waiting steps remain, and nobody is there to wait for them",
    "CANCELLED": "the run was cancelled",
    "TIMED_OUT": "the run's deadline was over",
    "UNREACHABLE": "no quorum, or no server: kept for clusters, not used by this version",
    "UNCERTAIN": 'a step may or may not have had its effect: kept for `effect = "once"`, not used by this version',
    "INTERRUPTED": "stopped; the run is on disk and `graft resume` goes on with it",
}


def exit_codes() -> str:
    codes = {name: code for name, code in vars(exits).items() if name.isupper() and isinstance(code, int)}
    return table(("code", "means"), [(str(code), EXITS[name]) for name, code in codes.items()])


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "exit-codes": exit_codes,
    "join-rules": join_rules,
    "run-states": lambda: moves(lifecycle.RUN),
    "scope-states": lambda: moves(lifecycle.SCOPE),
    "step-meanings": meanings,
    "step-states": lambda: moves(lifecycle.STEP),
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
