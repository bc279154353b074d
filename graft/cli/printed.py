"""Shows what the steps of a run print while it goes on.

Lines are read from the logs as fast as they can be shown, never faster: whoever reads slowly holds up no step, and
nothing is kept meanwhile. In groups a step's lines are shown once it has ended, so that those of others do not mix in.
"""

from __future__ import annotations

import math
import select
import sys
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

import trio

from graft.cli.groups import group
from graft.cli.lastlines import GROUP_LINES, last_lines
from graft.cli.looks import FINAL, iso
from graft.cli.records import every_step
from graft.cli.terminal import note
from graft.errors import GraftError
from graft.worker.logs import LogLine

if TYPE_CHECKING:
    from graft.cli.sources import Engine
    from graft.cluster.views import EventView, RunView

BATCH, BATCH_CHARACTERS = 64, 2000  # that are shown between two looks whether the reader keeps up
PAUSE_SECONDS = 0.02
LAST_SECONDS = 5.0  # for the last lines of a run that has ended, of members that do not answer

Show = Callable[[list[LogLine]], None]
ShowGroup = Callable[[str, list[LogLine], int], None]
"""Of a step: its path, its last lines, and how many stood before these."""


class Printed:
    """The lines of one run. `since`: the wall time (ms) from which on they are shown."""

    def __init__(self, engine: Engine, run_id: str, since: int | None, show: Show) -> None:
        self._engine, self._run_id, self._show = engine, run_id, show
        self._since = iso(since) or ""
        self._shown: dict[str, int] = {}  # lines of each step
        self._seen_all = trio.Event()
        self._patience = trio.CancelScope()  # with members that say no more

    def take(self, event: EventView) -> None:
        """What has happened."""

    async def follow(self) -> None:
        """Show lines as they come, until the run has ended."""
        with suppress(GraftError, OSError):
            await self._read(follow=True)
        self._seen_all.set()

    async def wait(self) -> None:
        """The run has ended: until its last lines are shown, but not for ever."""
        with self._at_most():
            await self._seen_all.wait()

    async def finish(self, view: RunView) -> None:
        """Show what is left when a run is no longer followed, whether it has ended or not."""
        if not self._seen_all.is_set():
            with self._at_most(), suppress(GraftError, OSError):
                await self._read(follow=False)

    def _at_most(self) -> trio.CancelScope:
        """For the last lines. A reader who is slow may take as long as that takes."""
        self._patience = trio.CancelScope(deadline=trio.current_time() + LAST_SECONDS)
        return self._patience

    async def _until_writable(self) -> None:
        """Wait, without holding anything up, until standard error and output take more."""
        while not _is_writable():  # noqa: ASYNC110 - of a descriptor that may be a file
            await trio.sleep(PAUSE_SECONDS)
            self._patience.deadline = trio.current_time() + LAST_SECONDS

    async def _read(self, *, follow: bool) -> None:
        send, receive = trio.open_memory_channel[LogLine](BATCH)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._show_batches, receive)
            found: dict[str, int] = {}
            async with send, aclosing(self._engine.logs(self._run_id, follow=follow)) as lines:
                async for line in lines:
                    number = found[line.path] = found.get(line.path, 0) + 1
                    if number > self._shown.get(line.path, 0):
                        await send.send(line)

    async def _show_batches(self, receive: trio.MemoryReceiveChannel[LogLine]) -> None:
        """Together, what is there at once: each time the tree is drawn anew below."""
        async for line in receive:
            await self._until_writable()
            self._patience.deadline = trio.current_time() + LAST_SECONDS
            batch, size = [line], len(line.text)
            while size < BATCH_CHARACTERS:
                try:
                    batch.append(receive.receive_nowait())
                except (trio.WouldBlock, trio.EndOfChannel):
                    break
                size += len(batch[-1].text)
            for each in batch:
                self._shown[each.path] = self._shown.get(each.path, 0) + 1
            if wanted := [each for each in batch if each.time >= self._since]:
                self._show(wanted)


class PrintedInGroups(Printed):
    def __init__(self, engine: Engine, run_id: str, since: int | None, show: ShowGroup) -> None:
        super().__init__(engine, run_id, since, lambda lines: None)
        self._show_group = show
        self._ended, self._to_show = trio.open_memory_channel[str](math.inf)  # bounded by the steps of the run
        self._told: set[str] = set()

    def take(self, event: EventView) -> None:
        if event.path and event.what in FINAL:
            self._ended.send_nowait(event.path)

    async def follow(self) -> None:
        async for path in self._to_show:
            await self._group(path)

    async def wait(self) -> None:
        """`finish` shows them."""

    async def finish(self, view: RunView) -> None:
        with trio.move_on_after(LAST_SECONDS):
            for step in every_step(view.steps):
                if step.attempt and step.path not in self._told:
                    await self._group(step.path)

    async def _group(self, path: str) -> None:
        last, total = await last_lines(self._engine, self._run_id, path, GROUP_LINES, since=self._since)
        self._told.add(path)
        if last:
            self._show_group(path, last, total - len(last))


def note_group(name: str, lines: list[LogLine], left_out: int) -> None:
    """Show the lines of a step as a group that can be folded."""
    head = [f"… {left_out} lines before these; `graft logs` has all"] if left_out else []
    for text in group(name, [*head, *(line.text for line in lines)]):
        note(text)


def _is_writable() -> bool:
    streams = [stream for stream in (sys.stderr, sys.stdout) if stream is not None]
    try:
        return all(select.select([], [stream], [], 0)[1] for stream in streams)
    except (OSError, ValueError):  # no descriptor, or closed: whoever writes finds out
        return True
