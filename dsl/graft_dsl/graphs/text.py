"""A plan's drawing for the terminal: a tree of scopes, nodes in an order in which they could run."""

from __future__ import annotations

from collections.abc import Iterator

from graft_dsl.graphs.model import Box, Graph, Picture

SYMBOLS: dict[str, str] = {
    "succeeded": "✓",
    "failed": "✗",
    "timed_out": "✗",
    "cancelled": "⊘",
    "cancelling": "⊘",
    "skipped": "↷",
    "running": "▶",
    "backing_off": "↻",
    "waiting": "…",
    "uncertain": "?",
    "queued": "○",
    "ready": "○",
    "pending": "·",
}
MAX_SOURCES = 6


def draw_text(graph: Graph) -> str:
    """The tree. `←` what a node waits for, `⇠` what only orders, `⚡` whose failure starts it."""
    rows = list(_rows(graph.picture, ""))
    head = max((len(tree) for tree, *_ in rows), default=0)
    kinds = max((len(kind) for _, kind, *_ in rows), default=0)
    lines = [graph.name]
    for tree, kind, edges, detail in rows:
        columns = [f"{tree:<{head}}", f"{kind:<{kinds}}", edges, f"({detail})" if detail else ""]
        lines.append("  ".join(column for column in columns if column).rstrip())
    return "\n".join(lines) + "\n"


def _rows(picture: Picture, indent: str) -> Iterator[tuple[str, str, str, str]]:
    arriving = _arriving(picture)
    count = len(picture.boxes) + (picture.finals is not None)
    for number, box in enumerate(picture.boxes, 1):
        last = number == count
        kind = "group" if box.kind == "nodes" else box.kind
        yield f"{indent}{'└─' if last else '├─'} {_title(box)}", kind, arriving.get(box.name, ""), box.note
        if box.inner is not None:
            yield from _rows(box.inner, indent + ("   " if last else "│  "))
        elif box.folded:
            yield f"{indent}{'   ' if last else '│  '}└─ …", "", "", ""
    if picture.finals is not None:
        yield f"{indent}└─ finally", "", "", ""
        yield from _rows(picture.finals, indent + "   ")


def _title(box: Box) -> str:
    return box.title if box.status is None else f"{SYMBOLS.get(box.status, ' ')} {box.title}"


def _arriving(picture: Picture) -> dict[str, str]:
    sources: dict[str, dict[str, list[str]]] = {}
    for edge in picture.edges:
        sources.setdefault(edge.target, {}).setdefault(edge.kind, []).append(edge.source)
    marks = {"need": "←", "after": "⇠", "catch": "⚡"}
    return {
        target: "  ".join(f"{marks[kind]} {_some(names)}" for kind, names in kinds.items())
        for target, kinds in sources.items()
    }


def _some(names: list[str]) -> str:
    more = len(names) - MAX_SOURCES
    return ", ".join(names[:MAX_SOURCES]) + (f" and {more} more" if more > 0 else "")
