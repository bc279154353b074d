"""Columns of text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graft.cli.looks import Piece
from graft.cli.terminal import clip

GAP = "  "


def table(
    head: Sequence[str], rows: Sequence[Sequence[Piece]], columns: int, *, give_way: int
) -> Iterator[list[Piece]]:
    """Lines of at most `columns` characters. Column number `give_way` is cut first when they do not fit."""
    widths = [max(len(title), *(len(row[at][0]) for row in rows), 0) for at, title in enumerate(head)]
    over = sum(widths) + len(GAP) * (len(head) - 1) - columns
    if over > 0:
        widths[give_way] = max(len(head[give_way]), 8, widths[give_way] - over)
    yield _line([(title, "dim") for title in head], widths)
    for row in rows:
        yield _line(row, widths)


def _line(cells: Sequence[Piece], widths: Sequence[int]) -> list[Piece]:
    pieces: list[Piece] = []
    for at, ((text, style), width) in enumerate(zip(cells, widths, strict=True)):
        text = clip(text, width)
        last = at == len(cells) - 1
        pieces += [(text, style), ("" if last else " " * (width - len(text)) + GAP, "")]
    return [piece for piece in pieces if piece[0]]
