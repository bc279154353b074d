"""What can be asked of the runs of a member: start, watch, wait, cancel, retry, resume, and all that `Readable` has."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import trio
from attrs import evolve

from graft.cluster.history import Readable
from graft.cluster.host import Host
from graft.cluster.run_ids import new_run_id
from graft.cluster.views import SEQUENCE_BITS, EventView, RunView
from graft.engine.commands import CancelRun, RegisterPlan, RemoveRuns, RetryRun, StartRun, UnpauseRun
from graft.engine.engine import NO_PLAN, request_digest
from graft.engine.graph import plan_graph
from graft.engine.lifecycle import FINAL
from graft.engine.placement import why_queued
from graft.engine.records import NONE, STORE_FULL, Run, Step
from graft.errors import RunConflict, UnknownRun
from graft.plan import Plan, encode, plan_hash

REMOVED_AT_ONCE: Final = 200  # by one command
LOOK_SECONDS: Final = 0.25  # how often a wait looks whether the run waits for a person


def _absolute(path: Path) -> str:
    return str(path if path.is_absolute() else path.absolute())


class Runs(Readable):
    """The runs of the member that this process is. All methods are called on its Trio thread.

    What is read is what this member has applied; see `fresh`.
    """

    def __init__(self, host: Host, log_directory: Path | None) -> None:
        super().__init__(host.view, host.values, host.paths)
        self._host = host
        self.log_directory = log_directory

    @property
    def labels(self) -> Mapping[str, str]:
        """What this member offers for `runs_on`."""
        return self._host.offer.labels

    def _steps_of(self, run: Run) -> Iterable[Step]:
        return self._host.engine.state.steps_of_run(run.no)

    def _why_queued(self, step: Step) -> str:
        state = self._host.engine.state
        if step.run not in state.runs:
            return ""  # it has ended meanwhile
        line = state.line_of(step)
        choice = state.placement.choice(line, state.members, state.meta.config)
        return why_queued(line, choice, state.members, state.meta.config, state.ledger)

    async def start_run(
        self,
        plan: Plan,
        params: Mapping[str, Any],
        *,
        base: Path,
        run_id: str | None = None,
        given: Mapping[str, Any] | None = None,
        excluded: frozenset[str] = frozenset(),
        hash: str | None = None,
    ) -> str:
        """Start a run; its id when the start is durable. `base` is the directory of the flow's file.

        `given` holds results of root nodes that are taken over, `excluded` root nodes that are skipped. A `run_id` that
        exists gives that run if it was asked for the same, otherwise RunConflict. `hash` is the plan's, if it is known.
        """
        host = self._host
        hash = plan_hash(plan) if hash is None else hash
        if hash not in host.engine.state.plans and host.view.get("plans", bytes.fromhex(hash)) is None:
            host.view.keep_plan(hash, plan)
            await host.submitter.request(RegisterPlan(encode(plan), **host.stamp()))
        ordinals = plan_graph(plan, hash).blocks[0].ordinals if given or excluded else {}
        run_id = run_id or new_run_id(plan.name, host.clock(), secrets.randbits(20))
        command = StartRun(
            run_id,
            hash,
            msgspec.json.encode(self._values.sealed(run_id, plan.root, params)),
            _absolute(base),
            tuple(sorted((ordinals[name], msgspec.json.encode(value)) for name, value in (given or {}).items())),
            tuple(sorted(ordinals[name] for name in excluded)),
            **host.stamp(),
        )
        applied = await host.submitter.request(command)
        if applied.refused == NO_PLAN:  # dropped since, because no run used it
            await host.submitter.request(RegisterPlan(encode(plan), **host.stamp()))
            applied = await host.submitter.request(command)
        if applied.refused == "exists":
            self._check_same(command, params)
        elif applied.refused is not None:
            raise RunConflict(f"the run was not started: {applied.refused}")
        return command.run_id

    def _check_same(self, command: StartRun, params: Mapping[str, Any]) -> None:
        """Also a run from before secret params were sealed may be the same."""
        as_given = evolve(command, params=msgspec.json.encode(dict(params)))
        if self._run(command.run_id).request not in map(request_digest, (command, as_given)):
            raise RunConflict(
                f"there is a run {command.run_id} already, of another flow or with other params",
                hint=f"choose another --id, or see it with `graft show {command.run_id}`",
            )

    async def watch(self, run_id: str, after: int = 0) -> AsyncGenerator[EventView, None]:
        """Events of a run as they happen, from the cursor `after` on; ends when the run has ended."""
        run = self._run(run_id)
        while True:
            is_beyond = after >> SEQUENCE_BITS > self._host.door.applied  # who only waits for the end asks so
            batch = [] if is_beyond else list(self.events(run_id, after))
            for event in batch:
                after = event.seq
                yield event
            if not batch:  # nothing was awaited since the look, so nothing can be missed
                if self._has_ended(run):
                    return
                await self._host.wait_changed(run.no)

    def _has_ended(self, run: Run) -> bool:
        """Costs nothing while the run is alive."""
        now = self._host.engine.state.runs.get(run.no)
        return (self._run(run.id) if now is None else now).status in FINAL

    async def wait_end(self, run_id: str) -> None:
        """Wait until the run has ended, whatever it waits for meanwhile."""
        run = self._run(run_id)
        while self._run(run_id).status not in FINAL:
            await self._host.wait_ended(run.no)

    async def wait(self, run_id: str) -> RunView:
        """Wait until the run has ended, or can only go on by a person (`waiting` tells)."""
        run = self._run(run_id)
        while self._run(run_id).status not in FINAL:
            with trio.move_on_after(LOOK_SECONDS) as looking:
                await self._host.wait_ended(run.no)
            if looking.cancelled_caught and self._only_waits(run.no):
                view = self.run_view(run_id)
                if view.waiting is not None:
                    return view
        return self.run_view(run_id)

    def _only_waits(self, run: int) -> bool:
        """Cheap look before the whole run is read: some step waits, or all for room, and none has an attempt out."""
        state = self._host.engine.state
        steps = state.steps_of_run(run)
        is_held = run in state.runs and state.runs[run].paused == STORE_FULL
        return (is_held or any(step.status == "waiting" for step in steps)) and not any(step.member for step in steps)

    async def cancel(self, run_id: str, path: str | None = None, reason: str = "cancelled by a person") -> None:
        """Ask a run, or one step of it, to end; its `finally` runs. Raises RunConflict when it has ended."""
        run, host = self._run(run_id), self._host
        key = self._key(run, path)
        command = CancelRun(run.no, key[1], key[2], reason, run.generation, **host.stamp())
        refused = (await host.submitter.request(command)).refused
        ends = ("cancelling", "cancelled")
        self._raise_if(refused, run, path is None and run.status not in ends and self.status(run_id) in ends)

    async def retry(self, run_id: str, path: str | None = None) -> None:
        """Open the next generation of a final run, or give its parked steps a new budget."""
        run, host = self._run(run_id), self._host
        key = self._key(run, path)
        command = RetryRun(run.no, key[1], key[2], run.generation, **host.stamp())
        refused = (await host.submitter.request(command)).refused
        self._raise_if(refused, run, self._run(run_id).generation > run.generation)

    async def resume(self, run_id: str) -> None:
        """Let an interrupted or paused run go on."""
        run, host = self._run(run_id), self._host
        refused = (await host.submitter.request(UnpauseRun(run.no, run.paused_at, **host.stamp()))).refused
        self._raise_if(refused, run, bool(run.paused) and not self._run(run_id).paused)

    async def remove(self, run_ids: Sequence[str]) -> list[str]:
        """Remove runs that have ended, with all that is stored of them; gives those that were there.

        None is removed while one of them is in flight: raises RunConflict.
        """
        runs = [run for run in map(self._view.run_by_id, run_ids) if run is not None]
        for run in runs:
            if run.status not in FINAL:
                raise RunConflict(
                    f"run {run.id} is in flight: {run.status}",
                    hint=f"only a run that has ended can be removed; `graft cancel {run.id}` ends it",
                )
        for at in range(0, len(runs), REMOVED_AT_ONCE):
            pairs = tuple((run.no, run.generation) for run in runs[at : at + REMOVED_AT_ONCE])
            await self._host.submitter.request(RemoveRuns(pairs, **self._host.stamp()))
        for run in runs:
            self._raise_if("it was opened again meanwhile", run, self._view.run(run.no) is None)
        return [run.id for run in runs]

    def interrupted(self) -> list[str]:
        """Runs that an earlier process left unfinished, oldest first."""
        return [run.id for run in self._host.engine.state.live_runs() if run.paused]

    def _key(self, run: Run, path: str | None) -> tuple[int, int, int]:
        if path is None:
            return (run.no, NONE, NONE)
        self._prepare(run)
        key = self._paths.find(run.no, path)
        if key is None:
            raise UnknownRun(f"run {run.id} has no step {path}", hint=f"see `graft show {run.id}`")
        return key

    @staticmethod
    def _raise_if(refused: str | None, run: Run, came_true: bool) -> None:
        """A command may be applied a second time, and is refused then although the first one did what it should."""
        if refused is not None and not came_true:
            raise RunConflict(f"run {run.id}: {refused}", hint=f"see `graft show {run.id}`")


__all__ = ["Runs", "new_run_id"]
