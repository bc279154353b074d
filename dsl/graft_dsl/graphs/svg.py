"""A plan's drawing as SVG: one file without scripts or fonts of its own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from xml.sax.saxutils import escape

from graft_dsl.graphs.layout import HEADER, PAD, Arrow, Drawing, Place, Point, lay_out
from graft_dsl.graphs.model import Box, Graph
from graft_dsl.graphs.text import SYMBOLS

MARGIN = 24.0
TITLE = 34.0
KIND_COLORS: dict[str, str] = {
    "run": "#3b7dd8",
    "exec": "#3b7dd8",
    "python": "#d69e2e",
    "http": "#2f9e8f",
    "flow": "#7c5cc4",
    "nodes": "#64748b",
    "sleep": "#94a3b8",
    "value": "#94a3b8",
    "fail": "#c92a2a",
}
EDGE_COLORS = {"need": "#7a8594", "after": "#a8b0bc", "catch": "#c92a2a"}
_STYLE = (
    "text{font-family:Inter,Segoe UI,Helvetica,Arial,sans-serif;fill:#1f2933}"
    ".t{font-size:13px;font-weight:600}.d{font-size:11px;fill:#5b6673;font-family:ui-monospace,Menlo,Consolas,"
    "DejaVu Sans Mono,monospace}.n{font-size:10px;font-weight:400;fill:#7a8594}.h{font-size:16px;font-weight:700}"
    ".e{font-size:10px;fill:#c92a2a}"
)
MAX_TITLE, MAX_DETAIL, MAX_NOTE = 30, 32, 38


def draw_svg(graph: Graph) -> str:
    drawing = lay_out(graph.picture, measure)
    width = max(drawing.width, text_width(graph.name, 16)) + 2 * MARGIN
    height = drawing.height + 2 * MARGIN + TITLE
    body = "\n".join(_drawing(drawing, MARGIN, MARGIN + TITLE))
    markers = "".join(
        f'<marker id="{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0,0.8 L7,4 L0,7.2 z" fill="{color}"/></marker>'
        for kind, color in EDGE_COLORS.items()
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img">\n'
        f"<title>{_text(graph.name)}</title>\n<style>{_STYLE}</style>\n<defs>{markers}</defs>\n"
        f'<rect width="100%" height="100%" rx="10" fill="#fbfcfd"/>\n'
        f'<text class="h" x="{MARGIN:.0f}" y="{MARGIN + 14:.0f}">{_text(graph.name)}</text>\n{body}\n</svg>\n'
    )


def measure(box: Box) -> tuple[float, float]:
    """Width and height of a box; of a scope, what its head needs."""
    widest = max(
        text_width(_cut(box.title, MAX_TITLE), 13) * 1.06 + (22 if box.status else 0),
        len(_cut(box.detail, MAX_DETAIL)) * 6.7,
        text_width(_cut(box.note, MAX_NOTE), 10),
    )
    return max(96.0, widest + 30), 60.0 if box.note else 46.0


def text_width(text: str, size: float) -> float:
    """About how wide a text is in a usual sans-serif font, in the unit of `size`."""
    return (
        sum(_WIDTHS.get(char, 0.62 if char.isupper() else 0.56 if ord(char) < 0x1100 else 1.0) for char in text) * size
    )


_WIDTHS = {**dict.fromkeys("il.,:;'|!", 0.28), **dict.fromkeys("frtj()[]/ ", 0.36), **dict.fromkeys("mwMW@%…", 0.88)}


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _text(text: str) -> str:
    return escape("".join(c if c.isprintable() else "\ufffd" for c in text), {'"': "&quot;"})


def _drawing(drawing: Drawing, x: float, y: float) -> Iterator[str]:
    for place in drawing.places:
        if place.inner is not None:
            yield from _scope(place, x, y)
    for arrow in drawing.arrows:
        yield from _arrow(arrow, x, y)
    for place in drawing.places:
        if place.inner is None:
            yield from _box(place, x, y)
    if drawing.finals is not None:
        top = y + drawing.finals_y
        finals = drawing.finals
        yield (
            f'<rect x="{x:.1f}" y="{top:.1f}" width="{finals.width + 2 * PAD:.1f}" '
            f'height="{finals.height + HEADER + PAD:.1f}" rx="9" fill="none" stroke="#a8b0bc" stroke-dasharray="5 4"/>'
        )
        yield f'<text class="n" x="{x + 12:.1f}" y="{top + 19:.1f}">finally</text>'
        yield from _drawing(finals, x + PAD, top + HEADER)


def _frame(place: Place, x: float, y: float) -> tuple[float, float]:
    return x + place.x - place.width / 2, y + place.y


def _scope(place: Place, x: float, y: float) -> Iterator[str]:
    box, inner = place.box, place.inner
    assert box is not None
    assert inner is not None
    left, top = _frame(place, x, y)
    _, line = box.colors
    fill = box.colors[0] if box.status else "#eef1f5"
    if box.mapped:
        yield _rect(left + 4, top + 4, place, "#ffffff", line, 'opacity="0.7"')
    yield _rect(left, top, place, fill, line, 'fill-opacity="0.45"')
    detail = "" if box.kind == "nodes" else box.detail
    symbol = f"{SYMBOLS.get(box.status, '')} " if box.status else ""
    yield (
        f'<text class="t" x="{left + 12:.1f}" y="{top + 20:.1f}">{_text(symbol + _cut(box.title, MAX_TITLE))}'
        f'<tspan class="n" dx="10">{_text(_cut(detail, MAX_DETAIL))}</tspan></text>'
    )
    yield from _drawing(inner, left + (place.width - inner.width) / 2, top + HEADER)


def _rect(left: float, top: float, place: Place, fill: str, line: str, more: str = "") -> str:
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{place.width:.1f}" height="{place.height:.1f}" rx="8" '
        f'fill="{fill}" stroke="{line}" {more}/>'
    )


def _box(place: Place, x: float, y: float) -> Iterator[str]:
    box = place.box
    assert box is not None
    left, top = _frame(place, x, y)
    fill, line = box.colors
    yield f"<g><title>{_text(f'{box.path}: {box.detail}')}{_text(f' ({box.status})') if box.status else ''}</title>"
    if box.mapped:
        yield _rect(left + 4, top + 4, place, fill, line, 'opacity="0.55"')
    yield _rect(left, top, place, fill, line, 'stroke-dasharray="4 3"' if box.status == "skipped" else "")
    bar = KIND_COLORS.get(box.kind, "#64748b")
    high = place.height - 16
    yield f'<rect x="{left + 5:.1f}" y="{top + 8:.1f}" width="3.5" height="{high:.1f}" rx="1.75" fill="{bar}"/>'
    yield f'<text class="t" x="{left + 17:.1f}" y="{top + 20:.1f}">{_text(_cut(box.title, MAX_TITLE))}</text>'
    yield f'<text class="d" x="{left + 17:.1f}" y="{top + 36:.1f}">{_text(_cut(box.detail, MAX_DETAIL))}</text>'
    if box.note:
        yield f'<text class="n" x="{left + 17:.1f}" y="{top + 51:.1f}">{_text(_cut(box.note, MAX_NOTE))}</text>'
    if box.status:
        yield (
            f'<text x="{left + place.width - 16:.1f}" y="{top + 20:.1f}" text-anchor="middle" font-size="13" '
            f'style="fill:{line}">{SYMBOLS.get(box.status, "")}</text>'
        )
    yield "</g>"


def _arrow(arrow: Arrow, x: float, y: float) -> Iterator[str]:
    points: list[tuple[Point, Point]] = []  # where the arrow enters and leaves each place
    for place in arrow.places:
        points.append(((x + place.x, y + place.y), (x + place.x, y + place.y + place.height)))
    path = f"M{points[0][1][0]:.1f},{points[0][1][1]:.1f}"
    for (_, (from_x, from_y)), ((to_x, to_y), leave) in pairwise(points):
        middle = (from_y + to_y) / 2
        path += f" C{from_x:.1f},{middle:.1f} {to_x:.1f},{middle:.1f} {to_x:.1f},{to_y:.1f}"
        if leave[1] > to_y and leave is not points[-1][1]:
            path += f" L{leave[0]:.1f},{leave[1]:.1f}"
    kind = arrow.edge.kind
    dash = "" if kind == "need" else ' stroke-dasharray="5 4"'
    color = EDGE_COLORS[kind]
    yield f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.4"{dash} marker-end="url(#{kind})"/>'
    if arrow.edge.label:
        end_x, end_y = points[-1][0]
        yield f'<text class="e" x="{end_x + 8:.1f}" y="{end_y - 9:.1f}">{_text(_cut(arrow.edge.label, 24))}</text>'
