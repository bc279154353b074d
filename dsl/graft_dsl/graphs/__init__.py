"""Drawing a plan: as text, Mermaid, Graphviz, SVG or JSON; in the colours of a run when its statuses are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graft.plan import Plan
from graft_dsl.graphs.dot import draw_dot
from graft_dsl.graphs.mermaid import draw_mermaid
from graft_dsl.graphs.model import Graph, graph_of
from graft_dsl.graphs.record import draw_json
from graft_dsl.graphs.svg import draw_svg
from graft_dsl.graphs.text import draw_text

__all__ = ["FORMATS", "Graph", "graph_of", "render_graph"]

FORMATS: dict[str, Callable[[Graph], str]] = {
    "text": draw_text,
    "mermaid": draw_mermaid,
    "dot": draw_dot,
    "svg": draw_svg,
    "json": draw_json,
}


def render_graph(plan: Plan, format: str, statuses: Mapping[str, str] | None = None) -> str:
    """`plan` drawn in one of `FORMATS`. `statuses` are those of a run's steps by path (`pick[3]/pack`).

    Maps are folded: their items share a node, which shows how many are done. Raises KeyError for an unknown format.
    """
    return FORMATS[format](graph_of(plan, statuses))
