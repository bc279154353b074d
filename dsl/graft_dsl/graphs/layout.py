"""Where boxes and arrows go: a layered layout from top to bottom, one block at a time, the inner blocks first.

After Sugiyama, Tagawa and Toda 1981: rows by longest path, an order within the rows that has few crossings
(barycentres, swept up and down), then positions. Positions minimise the squared distance to the neighbours and keep the
order: that is isotonic regression, which pooling of adjacent violators solves in linear time.

A row that would become too wide is broken; an arrow over several rows gets a waypoint in each, as long as there are not
too many of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from attrs import define, field

from graft_dsl.graphs.model import Box, Edge, Picture

GAP_X = 26.0
GAP_Y = 44.0
PAD = 18.0
HEADER = 30.0
WAYPOINT_WIDTH = 12.0
MAX_ROW_WIDTH = 1500.0
MAX_WAYPOINTS = 20_000
SWEEPS = 6

Point = tuple[float, float]
Measure = Callable[[Box], tuple[float, float]]


@define(eq=False)
class Place:
    """A box, or a waypoint of an arrow (`box` is None). `x`, `y`: its centre and its top."""

    box: Box | None
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0
    above: list[Place] = field(factory=list)
    below: list[Place] = field(factory=list)
    inner: Drawing | None = None
    row: int = 0
    rank: float = 0.0


@define(eq=False)
class Arrow:
    """`places` from the source over its waypoints to the target."""

    edge: Edge
    places: list[Place]


@define(eq=False)
class Drawing:
    """A block that is laid out; coordinates start at its own top left corner."""

    places: list[Place]
    arrows: list[Arrow]
    width: float
    height: float
    finals: Drawing | None = None
    finals_y: float = 0.0


def lay_out(picture: Picture, measure: Measure) -> Drawing:
    """Lay out a picture and everything in it. `measure` gives width and height of a box without a block."""
    places = {box.name: _place(box, measure) for box in picture.boxes}
    rows = _rows(picture, places)
    arrows = _arrows(picture, places, rows)
    _order(rows)
    _positions(rows)
    y = 0.0
    for row in rows:
        height = max((place.height for place in row), default=0.0)
        for place in row:
            place.y = y + (height - place.height) / 2 if place.box is not None else y
            if place.box is None:
                place.height = height
        y += height + GAP_Y
    width = max((place.x + place.width / 2 for row in rows for place in row), default=0.0)
    drawing = Drawing(list(places.values()), arrows, width, max(0.0, y - GAP_Y))
    if picture.finals is not None:
        drawing.finals = lay_out(picture.finals, measure)
        drawing.finals_y = drawing.height + GAP_Y if places else 0.0
        drawing.height = drawing.finals_y + HEADER + drawing.finals.height + PAD
        drawing.width = max(drawing.width, drawing.finals.width + 2 * PAD)
    return drawing


def _place(box: Box, measure: Measure) -> Place:
    width, height = measure(box)
    if box.inner is None:
        return Place(box, width, height)
    inner = lay_out(box.inner, measure)
    return Place(box, max(inner.width + 2 * PAD, width), inner.height + HEADER + PAD, inner=inner)


def _rows(picture: Picture, places: dict[str, Place]) -> list[list[Place]]:
    """Rows by longest path; a row that is too wide becomes several."""
    arriving: dict[str, list[str]] = {}
    for edge in picture.edges:
        arriving.setdefault(edge.target, []).append(edge.source)
    depth: dict[str, int] = {}
    layers: dict[int, list[Place]] = {}
    for box in picture.boxes:  # in an order in which each stands after what it waits for
        depth[box.name] = max((depth[source] + 1 for source in arriving.get(box.name, ())), default=0)
        layers.setdefault(depth[box.name], []).append(places[box.name])
    rows: list[list[Place]] = []
    for layer in (layers[number] for number in sorted(layers)):
        rows += _broken(layer)
    for number, row in enumerate(rows):
        for place in row:
            place.row = number
    return rows


def _broken(layer: list[Place]) -> list[list[Place]]:
    total = sum(place.width + GAP_X for place in layer)
    count = max(1, round(total / MAX_ROW_WIDTH + 0.4))
    size = -(-len(layer) // count)
    return [layer[start : start + size] for start in range(0, len(layer), size)]


def _arrows(picture: Picture, places: dict[str, Place], rows: list[list[Place]]) -> list[Arrow]:
    spans = sum(places[edge.target].row - places[edge.source].row - 1 for edge in picture.edges)
    arrows = []
    for edge in picture.edges:
        source, target = places[edge.source], places[edge.target]
        way = [source]
        if spans <= MAX_WAYPOINTS:
            for row in range(source.row + 1, target.row):
                point = Place(None, WAYPOINT_WIDTH, 0.0, row=row)
                rows[row].append(point)
                way.append(point)
        way.append(target)
        for upper, lower in pairwise(way):
            upper.below.append(lower)
            lower.above.append(upper)
        arrows.append(Arrow(edge, way))
    return arrows


def _order(rows: list[list[Place]]) -> None:
    for sweep in range(SWEEPS):
        downward = sweep % 2 == 0
        for row in rows if downward else reversed(rows):
            for number, place in enumerate(row):
                near = place.above if downward else place.below
                place.rank = sum(each.rank for each in near) / len(near) if near else float(number)
            row.sort(key=lambda place: place.rank)
            for number, place in enumerate(row):
                place.rank = float(number)


def _positions(rows: list[list[Place]]) -> None:
    for row in rows:
        _settle(row, [0.0] * len(row))
    for sweep in range(SWEEPS):
        downward = sweep % 2 == 0
        for row in rows if downward else reversed(rows):
            wanted = []
            for place in row:
                near = place.above if downward else place.below
                wanted.append(sum(each.x for each in near) / len(near) if near else place.x)
            _settle(row, wanted)
    left = min((place.x - place.width / 2 for row in rows for place in row), default=0.0)
    for row in rows:
        for place in row:
            place.x -= left


def _settle(row: list[Place], wanted: Iterable[float]) -> None:
    """Put the places of a row as near as possible to where they want to be, in order and without touching."""
    offsets = []
    offset = 0.0
    for number, place in enumerate(row):
        if number:
            offset += (row[number - 1].width + place.width) / 2 + GAP_X
        offsets.append(offset)
    pools: list[list[float]] = []  # (sum of weighted wishes, weight, count)
    for place, wish, offset in zip(row, wanted, offsets, strict=True):
        weight = 1.0 if place.box is not None else 3.0
        pools.append([(wish - offset) * weight, weight, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] >= pools[-1][0] / pools[-1][1]:
            last = pools.pop()
            pools[-1] = [a + b for a, b in zip(pools[-1], last, strict=True)]
    number = 0
    for total, weight, count in pools:
        for _ in range(int(count)):
            row[number].x = total / weight + offsets[number]
            number += 1
