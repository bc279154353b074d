"""A plan's drawing as a Mermaid flowchart, which GitHub and many wikis show."""

from __future__ import annotations

from collections.abc import Iterator

from graft_dsl.graphs.model import COLORS, Box, Graph, Picture

_SHAPES: dict[str, tuple[str, str]] = {
    "sleep": ("([", "])"),
    "value": ("[/", "/]"),
    "fail": ("{{", "}}"),
    "python": ("[", "]"),
    "http": ("[", "]"),
}
_ARROWS = {"need": "-->", "after": "-.->", "catch": "-.->"}


def draw_mermaid(graph: Graph) -> str:
    ids: dict[str, str] = {}
    lines = ["flowchart TD", *_picture(graph.picture, "  ", "", ids)]
    used = sorted({box.status for box in _boxes(graph.picture) if box.status})
    for status in used:
        fill, line = COLORS.get(status, ("#ffffff", "#333333"))
        lines.append(f"  classDef {status} fill:{fill},stroke:{line},color:#1f2933")
    for status in used:
        members = ",".join(ids[box.path] for box in _boxes(graph.picture) if box.status == status)
        lines.append(f"  class {members} {status}")
    return "\n".join(lines) + "\n"


def _boxes(picture: Picture) -> Iterator[Box]:
    for part in (picture, *([picture.finals] if picture.finals else [])):
        for box in part.boxes:
            yield box
            if box.inner is not None:
                yield from _boxes(box.inner)


def _picture(picture: Picture, indent: str, prefix: str, ids: dict[str, str]) -> Iterator[str]:
    for box in picture.boxes:
        name = ids[box.path] = f"n{len(ids)}"
        if box.inner is None:
            opening, closing = _SHAPES.get(box.kind, ("[", "]"))
            if box.mapped and opening == "[":
                opening, closing = "[[", "]]"
            yield f"{indent}{name}{opening}{_label(box.title, box.detail)}{closing}"
        else:
            yield f"{indent}subgraph {name}[{_label(box.title, '' if box.kind == 'nodes' else box.detail)}]"
            yield from _picture(box.inner, indent + "  ", f"{box.path}/", ids)
            yield f"{indent}end"
    for edge in picture.edges:
        label = f"|{_label(edge.label)}|" if edge.label else ""
        yield f"{indent}{ids[prefix + edge.source]} {_ARROWS[edge.kind]}{label} {ids[prefix + edge.target]}"
    if picture.finals is not None:
        yield f"{indent}subgraph f{len(ids)}[{_label('finally')}]"
        yield from _picture(picture.finals, indent + "  ", prefix, ids)
        yield f"{indent}end"


def _label(title: str, detail: str = "") -> str:
    """Quoted, with everything that Mermaid or HTML would read as more than text written as an entity."""
    text = _escape(title)
    return f'"{text}<br/><small>{_escape(detail)}</small>"' if detail else f'"{text}"'


_PLAIN = frozenset(" _-.,:/+*()[]{}!?=$%@'…×")


def _escape(text: str) -> str:
    return "".join(c if c.isalnum() or c in _PLAIN else f"#{ord(c)};" for c in text if c.isprintable())
