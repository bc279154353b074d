"""A plan's drawing as JSON, for other programs: nodes and edges by path."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from graft_dsl.graphs.model import Graph, Picture


def draw_json(graph: Graph) -> str:
    """`{"name", "nodes": [{"path", "kind", "detail", …}], "edges": [{"source", "target", "kind", "label"}]}`."""
    rows = list(_walk(graph.picture, "", False))
    document = {
        "name": graph.name,
        "nodes": [row for is_node, row in rows if is_node],
        "edges": [row for is_node, row in rows if not is_node],
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _walk(picture: Picture, prefix: str, final: bool) -> Iterator[tuple[bool, dict[str, Any]]]:
    for box in picture.boxes:
        yield (
            True,
            {
                "path": box.path,
                "name": box.name,
                "kind": box.kind,
                "detail": box.detail,
                "mapped": box.mapped,
                "final": final,
                "parent": prefix.removesuffix("/") or None,
                "status": box.status,
                "done": box.done,
                "total": box.total,
            },
        )
    for edge in picture.edges:
        source, target = prefix + edge.source, prefix + edge.target
        yield False, {"source": source, "target": target, "kind": edge.kind, "label": edge.label}
    for box in picture.boxes:
        if box.inner is not None:
            yield from _walk(box.inner, f"{box.path}/", final)
    if picture.finals is not None:
        yield from _walk(picture.finals, prefix, True)
