"""A run as a tree, as `graft show` prints it: every step, but of a large map only what is not simply done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from graft.cli import looks
from graft.cli.board import ACTIVE, Board, Line, Row, label_of, row_pieces
from graft.cli.looks import Piece

SMALL_MAP = 12
MAX_ITEMS = 50
MAX_COLUMN = 44


def tree_lines(board: Board, now: int, *, everything: bool = False, unicode: bool = True) -> list[list[Piece]]:
    rows = list(tree_rows(board.root, everything=everything))
    widths = [len(label_of(row.line)) + 2 * row.depth for row in rows if row.line is not None]
    column = min(MAX_COLUMN, max(widths, default=0) + 4)
    return [row_pieces(row, now, column, idle=board.idle, unicode=unicode) for row in rows]


def tree_rows(root: Line, *, everything: bool = False) -> Iterator[Row]:
    waiting: list[Iterator[Row]] = [_below(root, 0, everything)]
    while waiting:
        row = next(waiting[-1], None)
        if row is None:
            waiting.pop()
            continue
        yield row
        if row.line is not None and row.line.children:
            waiting.append(_below(row.line, row.depth + 1, everything))


def _below(scope: Line, depth: int, everything: bool) -> Iterator[Row]:
    lines = list(scope.children.values())
    if everything or not scope.is_map or len(lines) <= SMALL_MAP:
        yield from (Row(depth, line) for line in lines)
        return
    worth = [line for line in lines if line.status in looks.BAD or line.status in ACTIVE][:MAX_ITEMS]
    yield from (Row(depth, line) for line in worth)
    hidden = Counter(line.status for line in lines)
    hidden.subtract(Counter(line.status for line in worth))
    yield Row(depth, None, tuple((status, number) for status, number in hidden.items() if number > 0))
