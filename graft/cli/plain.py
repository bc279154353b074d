"""A run as lines: one a change that a reader wants, for terminals that are none, for CI and for files.

::

       0.00s  fulfil-3f2a  running
       0.01s  fetch        running
       0.84s  fetch        succeeded in 0.8s
       1.10s  charge       backing off after attempt 1: http.503

Steps of a map tell only how they end, and nothing when they are skipped; `verbose` tells every change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from graft.cli import looks
from graft.cli.board import Board, Line
from graft.cli.looks import Piece

if TYPE_CHECKING:
    from graft.cluster.views import EventView

QUIET = frozenset({"pending", "ready", "queued"})
COLUMN, MAX_COLUMN = 24, 40  # where the words begin: at first, and at most


class PlainLines:
    """`write` takes a line; `zero` is the wall time (ms) that the lines count from."""

    def __init__(
        self, board: Board, run_id: str, zero: int, write: Callable[[list[Piece]], None], *, verbose: bool = False
    ) -> None:
        self._board = board
        self._run_id = run_id
        self._zero = zero
        self._write = write
        self._verbose = verbose
        names = [node.name + "[0]" * (node.for_each is not None) for node in board.plan.root.nodes[:200]]
        self._column = min(COLUMN, max(map(len, [run_id, *names])))

    def event(self, event: EventView, line: Line) -> None:
        said = sentence(event, line, verbose=self._verbose)
        if said is None:
            return
        since = max(0, event.at - self._zero) / 1000
        name = event.path or self._run_id
        self._column = max(self._column, min(MAX_COLUMN, len(name)))
        pieces: list[Piece] = [(f"{since:8.2f}s  ", "dim"), (name.ljust(self._column), ""), ("  ", ""), *said]
        self._write(pieces)


def sentence(event: EventView, line: Line, *, verbose: bool = False) -> list[Piece] | None:
    """What an event says; None when it is not worth a line."""
    what = event.what
    if event.path == "" and what in looks.FINAL:  # the last screen says it
        return None
    if not verbose and _is_small(event):
        return None
    pieces: list[Piece] = [(looks.words(what), looks.style(what))]
    if what in looks.FINAL and what != "skipped" and line.started_at is not None:
        pieces.append((f" in {looks.duration(event.at - line.started_at)}", "dim"))
    if what == "backing_off":
        pieces.append((f" after attempt {event.attempt}", "dim"))
    elif event.attempt > 1 and what in looks.FINAL and event.path:
        pieces.append((f" (attempt {event.attempt})", "dim"))
    if event.reason:
        pieces.append((f": {event.reason}", ""))
    return pieces


def _is_small(event: EventView) -> bool:
    if event.what in QUIET and not event.reason:
        return True
    in_map = "[" in event.path
    return (event.what == "running" and (in_map or event.attempt > 1)) or (event.what == "skipped" and in_map)
