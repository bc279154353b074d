"""A plot as SVG: bars from the bottom, and a band of two lines over them. No library needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

WIDTH, HEIGHT, MARGIN = 960, 360, 40


def bars_and_bands(names: Sequence[str], bars: Sequence[float], bands: Sequence[tuple[float, float]]) -> str:
    """`names`, `bars` and `bands` have one element a column; a band is (low, high) on an axis of its own."""
    column = (WIDTH - 2 * MARGIN) / len(names)
    top = max(bars) or 1.0
    low, high = min(band[0] for band in bands), max(band[1] for band in bands)

    def x(index: float) -> float:
        return MARGIN + index * column

    def y(value: float, least: float, most: float) -> float:
        return HEIGHT - MARGIN - (value - least) / ((most - least) or 1) * (HEIGHT - 2 * MARGIN)

    def rectangle(index: int, name: str, bar: float) -> str:
        size = f'x="{x(index):.1f}" y="{y(bar, 0, top):.1f}" width="{column - 2:.1f}"'
        height = HEIGHT - MARGIN - y(bar, 0, top)
        return f'<rect {size} height="{height:.1f}" fill="#9ac"><title>{name}: {bar} mm</title></rect>'

    def line(values: Iterable[float], colour: str) -> str:
        points = " ".join(f"{x(i + 0.5):.1f},{y(value, low, high):.1f}" for i, value in enumerate(values))
        return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'

    def label(index: int, name: str) -> str:
        return f'<text x="{x(index):.1f}" y="{HEIGHT - MARGIN + 16}" font-size="12">{name}</text>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        *(rectangle(index, name, bar) for index, (name, bar) in enumerate(zip(names, bars, strict=True))),
        line((band[0] for band in bands), "#36c"),
        line((band[1] for band in bands), "#c33"),
        *(label(index, name) for index, name in enumerate(names) if index % 6 == 0),
        f'<text x="{MARGIN}" y="20" font-size="12">bars: rain, up to {top} mm a month; '
        f"lines: mean low and high, {low} to {high} °C</text>",
        "</svg>",
    ]
    return "\n".join(parts)
