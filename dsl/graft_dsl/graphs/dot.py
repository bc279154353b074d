"""A plan's drawing for Graphviz. Scopes are clusters; an arrow to a scope ends at its frame."""

from __future__ import annotations

from collections.abc import Iterator

from graft_dsl.graphs.model import Box, Graph, Picture

_STYLES = {
    "need": "",
    "after": "style=dashed, arrowhead=empty",
    "catch": 'style=dashed, color="#c92a2a", fontcolor="#c92a2a"',
}
_SHAPES = {"sleep": "ellipse", "value": "note", "fail": "octagon"}


def draw_dot(graph: Graph) -> str:
    lines = [
        f"digraph {_quoted(graph.name)} {{",
        "  compound=true; rankdir=TB; nodesep=0.35; ranksep=0.45;",
        f'  graph [fontname="Helvetica", label={_quoted(graph.name)}, labelloc=t, fontsize=16];',
        '  node [shape=box, style="rounded,filled", fillcolor=white, color="#6b7686"];',
        '  node [fontname="Helvetica", fontsize=11];',
        '  edge [color="#6b7686", fontname="Helvetica", fontsize=9];',
        *_picture(graph.picture, "  ", ""),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _picture(picture: Picture, indent: str, prefix: str) -> Iterator[str]:
    for box in picture.boxes:
        if box.inner is None:
            yield f"{indent}{_quoted(box.path)} [{_attributes(box)}];"
            continue
        fill, line = box.colors
        yield f"{indent}subgraph {_quoted('cluster_' + box.path)} {{"
        yield f'{indent}  label={_quoted(_title(box))}; style="rounded,filled"; fillcolor="{fill}66"; color="{line}";'
        yield from _picture(box.inner, indent + "  ", f"{box.path}/")
        yield f"{indent}}}"
    by_name = {box.name: box for box in picture.boxes}
    for edge in picture.edges:
        yield f"{indent}{_edge(by_name[edge.source], by_name[edge.target], _STYLES[edge.kind], edge.label)}"
    if picture.finals is not None:
        yield f"{indent}subgraph {_quoted('cluster_finally_' + prefix)} {{"
        yield f'{indent}  label="finally"; style="rounded,dashed"; color="#6b7686";'
        yield from _picture(picture.finals, indent + "  ", prefix)
        yield f"{indent}}}"


def _title(box: Box) -> str:
    return box.title if box.kind == "nodes" else f"{box.title} · {box.detail}"


def _attributes(box: Box) -> str:
    fill, line = box.colors
    parts = [f"label={_quoted(box.title + chr(10) + box.detail)}", f'fillcolor="{fill}"', f'color="{line}"']
    if box.kind in _SHAPES:
        parts.append(f"shape={_SHAPES[box.kind]}")
    if box.mapped:
        parts.append("peripheries=2")
    return ", ".join(parts)


def _edge(source: Box, target: Box, style: str, label: str) -> str:
    parts = [style] if style else []
    first, last = source, target
    while first.inner is not None and first.inner.boxes:
        first = first.inner.boxes[-1]
    while last.inner is not None and last.inner.boxes:
        last = last.inner.boxes[0]
    if first is not source:
        parts.append(f"ltail={_quoted('cluster_' + source.path)}")
    if last is not target:
        parts.append(f"lhead={_quoted('cluster_' + target.path)}")
    if label:
        parts.append(f"label={_quoted(label)}")
    attributes = f" [{', '.join(parts)}]" if parts else ""
    return f"{_quoted(first.path)} -> {_quoted(last.path)}{attributes};"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + "".join(c for c in escaped if c.isprintable()) + '"'
