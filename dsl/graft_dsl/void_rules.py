"""Rules that another rule makes void: they read as if they did something, and never do (GR212, a warning).

Only what an author wrote on the node itself is looked at. A default is for many nodes, and void on some of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graft.plan.error_types import matches
from graft_dsl.declarations import BlockDecl, Expr, FlowDecl, NodeDecl
from graft_dsl.suggest import quoted
from graft_dsl.units import render_duration

Found = tuple[tuple[str | int, ...], str, str | None]
"""The path of a rule from its node, what makes it void, and what to do."""


def report_void_rules(flow: FlowDecl) -> None:
    """Warn of every void rule of a checked flow."""
    for block in flow.blocks():
        for node in block.order:
            for path, message, suggestion in _void(flow, block, node):
                flow.report.warning("GR212", message, (*node.at, *path), suggestion=suggestion)


def _void(flow: FlowDecl, block: BlockDecl, node: NodeDecl) -> Iterator[Found]:
    yield from _retry(node)
    yield from _catches(node)
    yield from _skips(node)
    yield from _tolerance(node)
    yield from _deadlines(flow, block, node)


def _retry(node: NodeDecl) -> Iterator[Found]:
    retry, written = node.keys.get("retry", {}), node.written.get("retry")
    if not isinstance(written, dict):
        return
    for number, pattern in enumerate(retry.get("on", ()) if "on" in written else ()):
        by = next((each for each in retry.get("never", ()) if matches(each, pattern)), None)
        if by is not None:
            yield ("retry", "on"), f"{quoted(pattern)} is never tried again: `never` has {quoted(by)}", None
        elif pattern == "lost_member":
            yield (
                ("retry", "on", number),
                "losing the member is no failure of the step: it starts again by itself",
                "`max_lost` says how often",
            )


def _catches(node: NodeDecl) -> Iterator[Found]:
    catches = node.keys.get("catch", ()) if "catch" in node.written else ()
    for number, catch in enumerate(catches):
        on = catch.get("on", ())
        for earlier in catches[:number] if on else ():
            if all(any(matches(one, each) for one in earlier.get("on", ())) for each in on):
                to = quoted(earlier.get("to", "?"))
                yield ("catch", number, "on"), f"all of these go to {to}: the first catch that matches is taken", None
                break


def _skips(node: NodeDecl) -> Iterator[Found]:
    """An exit code that skips the step is no failure of it."""
    codes = {f"exit.{code}" for code in node.keys.get("skip_on", ())}
    retry = node.keys.get("retry", {}) if isinstance(node.written.get("retry"), dict) else {}
    rules = [(("retry", key), retry.get(key, ())) for key in ("on", "never")]
    catches = node.keys.get("catch", ()) if "catch" in node.written else ()
    for place, patterns in (*rules, *((("catch", i, "on"), each.get("on", ())) for i, each in enumerate(catches))):
        for number, pattern in enumerate(patterns):
            if pattern in codes:
                yield (*place, number), f"{quoted(pattern)} is no failure here: `skip_on` has it", None


def _tolerance(node: NodeDecl) -> Iterator[Found]:
    count, percent = node.keys.get("tolerate", (0, False))
    items: Expr | None = node.keys.get("for_each")
    if "tolerate" not in node.written or items is None or items.items is None or not items.items:
        return
    total = len(items.items)
    if percent and count and not total * count // 100:
        yield (
            ("tolerate",),
            f"{count}% of {total} item{'s' * (total != 1)} is none: the first failure fails the map",
            "`tolerate = 1`",
        )
    elif not percent and count >= total:
        yield ("tolerate",), f"the map has {total} item{'s' * (total != 1)}: it succeeds whatever happens", None


def _deadlines(flow: FlowDecl, block: BlockDecl, node: NodeDecl) -> Iterator[Found]:
    """A time that is over later than one around it ends nothing."""
    around = _times_around(flow, block, node)
    for key in ("timeout", "total_timeout"):
        if key not in node.written or key not in node.keys:
            continue
        limits = [*around, *_own_total(node, key)]
        longer = [(time, what) for time, what in limits if time < node.keys[key]]
        if longer:
            time, what = min(longer)
            yield (key,), f"{render_duration(node.keys[key])} is longer than {what}, {render_duration(time)}", None


def _own_total(node: NodeDecl, key: str) -> list[tuple[int, str]]:
    total: Any = node.keys.get("total_timeout")
    return [(total, "the step's own `total_timeout`")] if key == "timeout" and total is not None else []


def _times_around(flow: FlowDecl, block: BlockDecl, node: NodeDecl) -> list[tuple[int, str]]:
    """The deadlines of the scopes that a node is in. A `finally` runs after the deadline of its scope."""
    found: list[tuple[int, str]] = []
    inside: BlockDecl | None = block
    inner = node
    while inside is not None and not inner.final:
        if inside.owner is None:
            found += [(flow.timeout_ms, "the `timeout` of the flow")] if flow.timeout_ms is not None else []
            break
        for key in ("timeout", "total_timeout"):
            if key in inside.owner.keys:
                found.append((inside.owner.keys[key], f"the `{key}` of the group {quoted(inside.owner.name)}"))
        inner, inside = inside.owner, inside.parent
    return found
