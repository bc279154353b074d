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
from graft.cli.printed import Printed, PrintedInGroups, note_group
from graft.cli.records import event_record, every_step, log_record
from graft.cli.terminal import Paint, is_terminal, let_go_of_broken_pipes, note, out_json, speaks_unicode
from graft.cli.verbosity import ALL, Verbosity
from graft.errors import RunConflict

if TYPE_CHECKING:
    from graft.cli.sources import Engine
    from graft.cluster.views import EventView, RunView
    from graft.worker.logs import LogLine

FRAME_SECONDS = 0.1
QUEUED_SECONDS = 1.0  # between two looks why what is queued does not start
DEFAULT = Verbosity()
IDLE_SECONDS = 0.1  # how long nothing may be active before the run counts as one that only waits


class Screen(Protocol):
    """What shows a run while it goes on. To `say` nothing takes back what was said, where that is possible."""

    def event(self, event: EventView, line: Line) -> None: ...

    def lines(self, lines: list[LogLine]) -> None:
        """What steps printed."""

    def draw(self) -> None: ...

    def say(self, pieces: list[Piece]) -> None: ...


class NoScreen:
    """For a run whose reader went away: it goes on, unseen."""

    def event(self, event: EventView, line: Line) -> None: ...

    def lines(self, lines: list[LogLine]) -> None: ...

    def draw(self) -> None: ...

    def say(self, pieces: list[Piece]) -> None: ...


class JsonScreen:
    def __init__(self, run_id: str, told: int) -> None:
        self._run_id = run_id
        self._told = told  # events of the run so far

    def event(self, event: EventView, line: Line) -> None:
        self._told += 1
        out_json(event_record(event, self._told))

    def lines(self, lines: list[LogLine]) -> None:
        for line in lines:
            out_json({"type": "log"} | log_record(self._run_id, line))

    def draw(self) -> None: ...

    def say(self, pieces: list[Piece]) -> None:
        if pieces:
            note("".join(text for text, _ in pieces))


class PlainScreen:
    """Lines, one after the other; of a run that is followed quietly only what is said and printed."""

    def __init__(self, board: Board, run_id: str, zero: int, verbosity: Verbosity) -> None:
        self._paint = Paint.of(sys.stderr)
        self._board, self._quiet = board, verbosity.quiet
        self._events = PlainLines(board, run_id, zero, self._write, verbose=verbosity.verbose)

    def _write(self, pieces: list[Piece]) -> None:
        note(looks.paint_line(pieces, self._paint))

    def event(self, event: EventView, line: Line) -> None:
        if not self._quiet:
            self._events.event(event, line)

    def lines(self, lines: list[LogLine]) -> None:
        for line in lines:
            self._write(printed_line(self._board, line))

    def draw(self) -> None: ...

    def say(self, pieces: list[Piece]) -> None:
        if pieces:
            self._write(pieces)


class LiveScreen:
    """The live tree; what is said stands below it, what steps print above."""

    def __init__(self, board: Board, run_id: str, zero: int, verbosity: Verbosity) -> None:
        from graft.cli.live import LiveTree

        self._board, self._verbose = board, verbosity.verbose
        self._events = PlainLines(board, run_id, zero, self._above, verbose=True)
        self.tree = LiveTree(
            board, run_id, sys.stderr, color=Paint.of(sys.stderr).on, unicode=speaks_unicode(sys.stderr)
        )

    def _above(self, pieces: list[Piece]) -> None:
        self.tree.print_above([pieces])

    def event(self, event: EventView, line: Line) -> None:
        if self._verbose:
            self._events.event(event, line)

    def lines(self, lines: list[LogLine]) -> None:
        self.tree.print_above([printed_line(self._board, line) for line in lines])

    def draw(self) -> None:
        self.tree.draw()

    def say(self, pieces: list[Piece]) -> None:
        self.tree.footer = pieces
        self.draw()


def printed_line(board: Board, line: LogLine) -> list[Piece]:
    mark = [("graft: ", "dim")] if line.stream == "graft" else []
    return [(f"{board.name_of(line.path)} | ", "cyan"), *mark, (line.text, "")]


def choose_screen(
    board: Board, run_id: str, verbosity: Verbosity, *, as_json: bool, told: int = 0
) -> tuple[Screen, AbstractContextManager[Any]]:
    """The screen that fits standard error, and what has to be entered while it is used. `told`: earlier events."""
    if as_json:
        return JsonScreen(run_id, told), nullcontext()
    import os

    zero = int(time.time() * 1000)
    if is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb" and not verbosity.quiet:
        live = LiveScreen(board, run_id, zero, verbosity)
        return live, live.tree
    return PlainScreen(board, run_id, zero, verbosity), nullcontext()


async def follow(
    engine: Engine,
    view: RunView,
    after: int,
    interrupts: Interrupts,
    *,
    as_json: bool,
    wait: bool,
    also_ended: bool = False,
    verbosity: Verbosity = DEFAULT,
    printed_since: int | None = None,
) -> tuple[RunView, int]:
    """Show the run until it ends, only waits, or is interrupted; gives it as it then is, and the exit code.

    `after`: the event from which on it is shown. `wait`: a timer is worth waiting for. What only a person can end is
    never waited for. `also_ended`: a run that has ended since then is shown, too. `printed_since`: the wall time (ms)
    from which on the lines of its steps are shown.
    """
    board = Board.of(view)
    told = sum(event.seq <= after for event in await engine.events(view.run_id)) if as_json and after else 0
    screen, shown = choose_screen(board, view.run_id, verbosity, as_json=as_json, told=told)
    follower = _Follower(engine, view.run_id, board, screen, wait)
    if verbosity.logs == ALL:
        follower.show_printed(printed_since, in_groups=verbosity.in_groups and not as_json)
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
        self._printed: Printed | None = None

    def show_printed(self, since: int | None, *, in_groups: bool) -> None:
        def lines(lines: list[LogLine]) -> None:
            self._show(lambda screen: screen.lines(lines))

        def group(path: str, lines: list[LogLine], left_out: int) -> None:
            self._show(lambda screen: note_group(self._board.name_of(path), lines, left_out))

        if in_groups:
            self._printed = PrintedInGroups(self._engine, self._run_id, since, group)
        else:
            self._printed = Printed(self._engine, self._run_id, since, lines)

    async def run(self, after: int, interrupts: Interrupts) -> bool:
        """Gives whether it was interrupted for good."""
        later = trio.lowlevel.current_trio_token().run_sync_soon
        interrupts.last_words = parting_words(self._engine, self._run_id) + "\n"
        interrupts.listen(lambda: later(self._cancel_wanted.set), lambda: later(self._stop.cancel))
        if interrupts.count:
            self._cancel_wanted.set()
        with self._stop:
            with self._over:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch, after)
                    nursery.start_soon(self._cancel_when_wanted)
                    nursery.start_soon(self._refresh)
                    nursery.start_soon(self._tell_queued)
                    if self._printed is not None:
                        nursery.start_soon(self._printed.follow)
            if self._printed is not None:
                await self._printed.finish(await self._engine.run_view(self._run_id))
        return self._stop.cancelled_caught

    async def _watch(self, after: int) -> None:
        async with aclosing(self._engine.watch(self._run_id, after)) as events:
            async for event in events:
                await self._take(event)
        if self._printed is not None:
            await self._printed.wait()
        self._over.cancel()

    async def _take(self, event: EventView) -> None:
        self._changed = True
        line = self._board.apply(event)
        if line.is_map and line.total is None:
            self._board.set_items(line, await self._engine.map_items(self._run_id, line.path))
        self._show(lambda screen: screen.event(event, line))
        if self._printed is not None:
            self._printed.take(event)

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
