"""The live view: the tree of a run on a terminal, drawn by rich, at most ten times a second.

`auto_refresh=False`: rich would draw from a thread of its own. The frame is cut to the terminal, whose size is asked
anew for each; what does not fit is counted (see `graft.cli.board`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import IO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from graft.cli import looks
from graft.cli.board import Board, label_of, row_pieces
from graft.cli.looks import Piece
from graft.cluster.views import active_ms

FRAME_SECONDS = 0.1
MARGIN = 4  # lines of the terminal that the tree leaves free: header, footer, prompt
MIN_ROWS, MAX_ROWS = 3, 40
MAX_COLUMN = 40


class LiveTree:
    """Use as a context manager; `draw` makes a frame. Leaving removes the view and gives the terminal back."""

    def __init__(
        self,
        board: Board,
        run_id: str,
        stream: IO[str],
        *,
        color: bool,
        unicode: bool,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.footer: list[Piece] = []
        self._board = board
        self._run_id = run_id
        self._unicode = unicode
        self._now = now
        self._console = Console(
            file=stream, no_color=not color, color_system="standard" if color else None, highlight=False, markup=False
        )
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )

    def __enter__(self) -> LiveTree:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.update(Group(), refresh=False)
        self._live.stop()

    def draw(self) -> None:
        self._live.update(self.frame(self._console.size.width, self._console.size.height), refresh=True)

    def print_above(self, lines: list[list[Piece]]) -> None:
        """Lines that stay, as wide as they are."""
        self._console.print(*map(_whole, lines), sep="\n", soft_wrap=True)

    def frame(self, columns: int, lines: int) -> Group:
        now = int(self._now() * 1000)
        rows = self._board.rows(min(MAX_ROWS, max(MIN_ROWS, lines - MARGIN)))
        labels = [len(label_of(row.line)) + 2 * row.depth for row in rows if row.line is not None]
        column = min(MAX_COLUMN, columns // 2, max(labels, default=0) + 4)
        body = [row_pieces(row, now, column, idle=self._board.idle, unicode=self._unicode) for row in rows]
        return Group(*(_text(pieces) for pieces in (self._header(now), *body, self.footer) if pieces))

    def _header(self, now: int) -> list[Piece]:
        root = self._board.root
        pieces: list[Piece] = [(root.label, "bold"), (f"  {self._run_id}  ", "dim")]
        if root.started_at is not None:
            pieces += [(looks.duration(active_ms(root.started_at, now, self._board.idle)), ""), ("  ", "")]
        if root.status != "running":
            pieces += [(looks.words(root.status), looks.style(root.status)), ("  ", "")]
        return [*pieces, *looks.counted(list(self._board.counts.items()))]


def _whole(pieces: list[Piece]) -> Text:
    return Text.assemble(*((looks.one_line(text), style) for text, style in pieces))


def _text(pieces: list[Piece]) -> Text:
    return Text.assemble(*((looks.one_line(text), style) for text, style in pieces), no_wrap=True, overflow="ellipsis")
