"""What is left of runs that were removed, in the store and beside it.

The command that removes a run makes it invisible at once. The leader then has its rows swept, a bounded number at a
time, and drops the plans that no run uses any more. Each member removes the logs that it has of the run: when it
applies the command, and for what it missed (it was down, or a snapshot took the place of the command) when it starts
and when it has installed a snapshot.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import trio

from graft.cluster.host import Host
from graft.engine.commands import DropPlans, SweepRun
from graft.errors import Rejected
from graft.worker.logs import LogStore

SWEPT_ROWS: Final = 1000  # by one command
SWEPT_RUNS: Final = 16  # at once
LOOKED_AT: Final = 200  # runs, or logs, before others get a turn


class Removing:
    """Of one member. `log_directory`: of the logs of steps; None: there are none."""

    def __init__(self, host: Host, log_directory: Path | None) -> None:
        self._host, self._logs = host, LogStore(log_directory)
        self._to_sweep = trio.Event()
        self._to_tidy = trio.Event()
        self._swept = trio.Event()
        host.on_removed, host.on_reset = self._removed, self._reset

    def _removed(self, run_id: str) -> None:
        """At once, and by a rename: a run of the same id may begin in the next moment."""
        self._logs.set_aside(run_id)
        self._to_sweep.set()
        self._to_tidy.set()

    def _reset(self) -> None:
        self._to_tidy.set()

    # Every member

    async def run(self) -> None:
        """Delete logs of runs that are gone. Until cancelled; started when the state is up to date."""
        while True:
            self._to_tidy = trio.Event()
            await self._set_strays_aside()
            await trio.to_thread.run_sync(self._logs.clear_aside)
            await self._to_tidy.wait()

    async def _set_strays_aside(self) -> None:
        """A run is in the state before it has a log, so what has a log and is not in the state was removed."""
        for number, run_id in enumerate(await trio.to_thread.run_sync(self._logs.run_ids)):
            if number % LOOKED_AT == 0:
                await trio.lowlevel.checkpoint()
            if self._host.view.run_no(run_id) is None:
                self._logs.set_aside(run_id)

    # The leader

    async def lead(self) -> None:
        """While this member leads: sweep what was removed. Raises Rejected."""
        while True:
            self._to_sweep = trio.Event()
            if self._host.engine.state.removed:
                await self._sweep()
                await self._drop_plans()
                self._swept.set()
                self._swept = trio.Event()
            await self._to_sweep.wait()

    async def _sweep(self) -> None:
        """Several runs at once: most are small, and their commands share a turn of the log."""
        removed = self._host.engine.state.removed
        while removed:
            asked = [SweepRun(run, SWEPT_ROWS, **self._host.stamp()) for run in sorted(removed)[:SWEPT_RUNS]]
            refused: list[Rejected] = []
            async with trio.open_nursery() as nursery:
                for command in asked:
                    nursery.start_soon(self._propose, command, refused)
            if refused:
                raise refused[0]

    async def _propose(self, command: SweepRun, refused: list[Rejected]) -> None:
        try:
            await self._host.propose(command)
        except Rejected as error:
            refused.append(error)

    async def _drop_plans(self) -> None:
        """Refused when a run is started meanwhile: the next removal looks again."""
        host = self._host
        next_run = host.engine.state.meta.next_run
        unused = {key.hex() for key, _ in host.view.scan("plans")}
        for number, no in enumerate(host.view.run_numbers()):
            if number % LOOKED_AT == 0:
                await trio.lowlevel.checkpoint()
            run = host.view.run(no)
            unused.discard("" if run is None else run.plan)
        if unused:
            await host.propose(DropPlans(tuple(sorted(unused)), next_run, **host.stamp()))

    async def wait_swept(self) -> None:
        """Return when nothing is left to sweep, where this member leads."""
        while self._host.engine.state.removed:
            await self._swept.wait()


__all__ = ["Removing"]
