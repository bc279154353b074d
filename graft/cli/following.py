"""Following a run, here or elsewhere: the screen, Ctrl-C, and when to stop waiting."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, aclosing, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import trio

from graft.cli import exits, looks
from graft.cli.board import Board, Line
from graft.cli.interrupts import Interrupts
from graft.cli.looks import Piece
from graft.cli.plain import PlainLines
from graft.cli.records import event_record, every_step
from graft.cli.terminal import Paint, is_terminal, let_go_of_broken_pipes, note, out_json, speaks_unicode
from graft.errors import RunConflict

if TYPE_CHECKING:
    from graft.cli.sources import Engine
    from graft.cluster.views import EventView, RunView

FRAME_SECONDS = 0.1
QUEUED_SECONDS = 1.0  # between two looks why what is queued does not start
IDLE_SECONDS = 0.1  # how long nothing may be active before the run counts as one that only waits


class Screen(Protocol):
    """What shows a run while it goes on. To `say` nothing takes back what was said, where that is possible."""

    def event(self, event: EventView, line: Line) -> None: ...

    def draw(self) -> None: ...

    def say(self, pieces: list[Piece]) -> None: ...


class NoScreen:
    """For a run whose reader went away: it goes on, unseen."""

    def event(self, event: EventView, line: Line) -> None: ...

    def draw(self) -> None: ...

    def say(self, pieces: list[Piece]) -> None: ...


class JsonScreen:
    def __init__(self, told: int) -> None:
        self._told = told  # events of the run so far

    def event(self, event: EventView, line: Line) -> None:
        self._told += 1
        out_json(event_record(event, self._told))

    def draw(self) -> None: ...

    def say(self, pieces: list[Piece]) -> None:
        if pieces:
            note("".join(text for text, _ in pieces))


class PlainScreen:
    def __init__(self, board: Board, run_id: str, zero: int) -> None:
        self._paint = Paint.of(sys.stderr)
        self._lines = PlainLines(board, run_id, zero, self._paint, note)

    def event(self, event: EventView, line: Line) -> None:
        self._lines.event(event, line)

    def draw(self) -> None: ...

    def say(self, pieces: list[Piece]) -> None:
        if pieces:
            note(looks.paint_line(pieces, self._paint))


class LiveScreen:
    """The live tree; what is said stands below it."""

    def __init__(self, board: Board, run_id: str) -> None:
        from graft.cli.live import LiveTree

        self.tree = LiveTree(
            board, run_id, sys.stderr, color=Paint.of(sys.stderr).on, unicode=speaks_unicode(sys.stderr)
        )

    def event(self, event: EventView, line: Line) -> None: ...

    def draw(self) -> None:
        self.tree.draw()

    def say(self, pieces: list[Piece]) -> None:
        self.tree.footer = pieces
        self.draw()


def choose_screen(
    board: Board, run_id: str, *, as_json: bool, told: int = 0
) -> tuple[Screen, AbstractContextManager[Any]]:
    """The screen that fits standard error, and what has to be entered while it is used. `told`: earlier events."""
    if as_json:
        return JsonScreen(told), nullcontext()
    import os

    if is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb":
        live = LiveScreen(board, run_id)
        return live, live.tree
    return PlainScreen(board, run_id, int(time.time() * 1000)), nullcontext()


async def follow(
    engine: Engine,
    view: RunView,
    after: int,
    interrupts: Interrupts,
    *,
    as_json: bool,
    wait: bool,
    also_ended: bool = False,
) -> tuple[RunView, int]:
    """Show the run until it ends, only waits, or is interrupted; gives it as it then is, and the exit code.

    `after`: the event from which on it is shown. `wait`: a timer is worth waiting for. What only a person can end is
    never waited for. `also_ended`: a run that has ended since then is shown, too.
    """
    board = Board.of(view)
    told = sum(event.seq <= after for event in await engine.events(view.run_id)) if as_json and after else 0
    screen, shown = choose_screen(board, view.run_id, as_json=as_json, told=told)
    follower = _Follower(engine, view.run_id, board, screen, wait)
    with shown:
        is_over = view.status in looks.FINAL and not also_ended
        interrupted = False if is_over else await follower.run(after, interrupts)
    final = await engine.run_view(view.run_id)
    from graft.cli.records import exit_code

    return final, exits.INTERRUPTED if interrupted else exit_code(final)


def parting_words(engine: Engine, run_id: str, flags: str = "", *, kept: bool = True) -> str:
    """What is said when a person leaves a run alone."""
    if engine.is_elsewhere:
        return f"left alone; the run goes on without this command: `graft show {run_id}{flags}`"
    return f"stopped; `graft resume {run_id}{flags}` goes on" if kept else "stopped"


def _say(pieces: list[Piece], screen: Screen) -> None:
    screen.say(pieces)


class _Follower:
    def __init__(self, engine: Engine, run_id: str, board: Board, screen: Screen, wait: bool) -> None:
        self._engine = engine
        self._run_id = run_id
        self._board = board
        self._screen = screen
        self._wait = wait
        self._cancel_wanted = trio.Event()
        self._stop = trio.CancelScope()
        self._over = trio.CancelScope()
        self._changed = False

    async def run(self, after: int, interrupts: Interrupts) -> bool:
        """Gives whether it was interrupted for good."""
        later = trio.lowlevel.current_trio_token().run_sync_soon
        interrupts.last_words = parting_words(self._engine, self._run_id) + "\n"
        interrupts.listen(lambda: later(self._cancel_wanted.set), lambda: later(self._stop.cancel))
        if interrupts.count:
            self._cancel_wanted.set()
        with self._stop, self._over:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, after)
                nursery.start_soon(self._cancel_when_wanted)
                nursery.start_soon(self._refresh)
                nursery.start_soon(self._tell_queued)
        return self._stop.cancelled_caught

    async def _watch(self, after: int) -> None:
        async with aclosing(self._engine.watch(self._run_id, after)) as events:
            async for event in events:
                await self._take(event)
        self._over.cancel()

    async def _take(self, event: EventView) -> None:
        self._changed = True
        line = self._board.apply(event)
        if line.is_map and line.total is None:
            self._board.set_items(line, await self._engine.map_items(self._run_id, line.path))
        self._show(lambda screen: screen.event(event, line))

    def _show(self, what: Callable[[Screen], None]) -> None:
        try:
            what(self._screen)
        except OSError:  # nobody reads, no space, no terminal any more: the run is not to suffer for it
            let_go_of_broken_pipes()
            self._screen = NoScreen()

    async def _cancel_when_wanted(self) -> None:
        await self._cancel_wanted.wait()
        text = "cancelling (Ctrl-C again stops now, to be resumed): what runs is stopped, `finally` runs"
        self._show(lambda screen: screen.say([(text, "yellow")]))
        with suppress(RunConflict):  # it ended in this very moment
            await self._engine.cancel(self._run_id)

    async def _refresh(self) -> None:
        idle_since: float | None = None
        while True:
            self._show(lambda screen: screen.draw())
            await trio.sleep(FRAME_SECONDS)
            if self._changed or not self._only_waits():
                self._changed, idle_since = False, None
            elif idle_since is None:
                idle_since = trio.current_time()
            elif trio.current_time() - idle_since >= IDLE_SECONDS and await self._really_waits():
                self._over.cancel()

    async def _tell_queued(self) -> None:
        """While nothing runs, and something is queued, say what that waits for."""
        told = ""
        while not self._cancel_wanted.is_set():
            await trio.sleep(QUEUED_SECONDS)
            counts = self._board.counts
            why = await self._why_queued() if counts["queued"] and not counts["running"] else ""
            if why != told and not self._cancel_wanted.is_set():
                told, pieces = why, [(why, "yellow")] if why else []
                self._show(partial(_say, pieces))

    async def _why_queued(self) -> str:
        """Of the first such step; the events may be behind, and nothing is queued any more."""
        view = await self._engine.run_view(self._run_id)
        found = [step for step in every_step(view.steps) if step.status == "queued" and step.reason]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        return f"{found[0].path}{more} is queued: {found[0].reason}" if found else ""

    def _only_waits(self) -> bool:
        board = self._board
        return board.root.status == "running" and board.is_idle(timers_count=self._wait)

    async def _really_waits(self) -> bool:
        """Ask the state: the events may be behind it."""
        view = await self._engine.run_view(self._run_id)
        return view.status == "running" and Board.of(view).is_idle(timers_count=self._wait)
