"""The runs that a command shows or changes, wherever they are: read from a directory, in this process, or elsewhere.

==========  ===============================================  =====================================================
`Stored`    a data directory, whoever holds it: read only    needs no event loop; its coroutines never suspend
`Here`      the engine of this process                       under Trio
`There`     a cluster (`--server`), or the process that      under Trio, over gRPC
            holds the directory
==========  ===============================================  =====================================================

`read` runs a command's body with what its place gives: `Stored` is driven by hand, so `graft show` loads no Trio.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from graft.cli.data import INTERRUPTED, as_it_is, complete_id, is_held, must_exist, stopped_at
from graft.cli.looks import FINAL
from graft.cli.place import Place
from graft.errors import GraftError, UnknownRun

if TYPE_CHECKING:
    from graft.client import Client
    from graft.cluster.history import Readable
    from graft.cluster.runs import Runs
    from graft.cluster.views import EventView, MapView, RunSummary, RunView, StepResult
    from graft.plan import Plan
    from graft.worker.logs import LogLine

POLL_SECONDS = 0.2
FOLLOW_SECONDS = 0.05  # in the process that runs the steps
POLLING_SHARE = 10  # of the time, at most one part in so many goes into looking at logs there
POLLED_BYTES = 64 * 1024  # of each step at once
KNOWN_IDS = 200  # that a misspelt id is compared with
LONGEST = 1000  # ids that one beginning may have, to be told apart

T = TypeVar("T")
Lost = Callable[[str, str], None]  # the name of a member, and why it does not answer


def unsaid(member: str, why: str) -> None:
    """For who shows only some lines, and would only be disturbed."""


class Source(Protocol):
    """Runs that can be looked at. Raises UnknownRun for an id or a path that is not there."""

    async def runs(self, limit: int | None = None, *, prefix: str = "", name: str = "") -> Sequence[RunSummary]:
        """Newest first: those of the flow `name` whose ids begin with `prefix`."""
        ...

    async def run_view(self, run_id: str) -> RunView: ...

    async def events(self, run_id: str, after: int = 0) -> Sequence[EventView]: ...

    async def output(self, run_id: str, path: str) -> Any: ...

    async def map_items(self, run_id: str, path: str) -> MapView | None: ...

    async def step_result(self, run_id: str, path: str) -> StepResult: ...

    async def member_names(self) -> frozenset[str] | None:
        """The members of a cluster; None where there is no choice of members."""
        ...

    def watch(self, run_id: str, after: int = 0) -> AsyncGenerator[EventView, None]:
        """Events as they happen, until nothing more will: the run has ended, or nobody works on it."""
        ...

    def logs(
        self, run_id: str, path: str | None = None, *, follow: bool = False, lost: Lost = unsaid
    ) -> AsyncGenerator[LogLine, None]:
        """`lost` is told of every member whose lines are missing."""
        ...


class Engine(Source, Protocol):
    """Runs that can be changed, too. `is_elsewhere`: what is left alone goes on without this process."""

    is_elsewhere: bool

    async def labels(self) -> Sequence[Mapping[str, str]]:
        """What each member offers that is up, for `runs_on`."""
        ...

    async def interrupted(self) -> Sequence[RunSummary]:
        """Runs that a process left unfinished and nobody works on, newest first."""
        ...

    async def start_run(
        self,
        plan: Plan,
        params: Mapping[str, Any],
        *,
        base: Path,
        run_id: str,
        given: Mapping[str, Any] | None = None,
        excluded: frozenset[str] = frozenset(),
    ) -> str: ...

    async def cancel(self, run_id: str, path: str | None = None) -> None: ...

    async def retry(self, run_id: str, path: str | None = None) -> None: ...

    async def resume(self, run_id: str) -> None: ...

    async def remove(self, run_ids: Sequence[str]) -> Sequence[str]:
        """Those that were there. Raises RunConflict, and removes none, while one of them is in flight."""
        ...


class _Local:
    """What a directory and the engine of this process read the same way."""

    def __init__(self, history: Readable) -> None:
        self._history = history

    async def runs(self, limit: int | None = None, *, prefix: str = "", name: str = "") -> Sequence[RunSummary]:
        return self._history.runs(limit, prefix=prefix, name=name)

    async def run_view(self, run_id: str) -> RunView:
        return self._history.run_view(run_id)

    async def events(self, run_id: str, after: int = 0) -> Sequence[EventView]:
        return list(self._history.events(run_id, after))

    async def output(self, run_id: str, path: str) -> Any:
        return self._history.output(run_id, path)

    async def member_names(self) -> frozenset[str] | None:
        return None

    async def map_items(self, run_id: str, path: str) -> MapView | None:
        return self._history.map_items(run_id, path)

    async def step_result(self, run_id: str, path: str) -> StepResult:
        return self._history.step_result(run_id, path)


class Stored(_Local):
    """A data directory, read only; also while another process holds it."""

    def __init__(self, data: str, history: Readable) -> None:
        super().__init__(history)
        self._data = data

    def _stopped_at(self) -> int | None:
        """Since when nobody works here (wall ms); None while somebody does."""
        stopped = stopped_at(self._data)
        return None if stopped is None else max(stopped, self._history.told_at())

    async def runs(self, limit: int | None = None, *, prefix: str = "", name: str = "") -> Sequence[RunSummary]:
        stopped = self._stopped_at()
        return [as_it_is(each, stopped) for each in await super().runs(limit, prefix=prefix, name=name)]

    async def run_view(self, run_id: str) -> RunView:
        stopped = self._stopped_at()  # asked first: who lets go of the directory later had recorded all by then
        return as_it_is(await super().run_view(run_id), stopped)

    def _is_over(self, run_id: str) -> bool:
        """Whether nothing more will happen in a run for now: it has ended, or no process works on it."""
        return not is_held(self._data) or self._history.status(run_id) in FINAL

    async def watch(self, run_id: str, after: int = 0) -> AsyncGenerator[EventView, None]:
        while True:
            over = self._is_over(run_id)  # asked before the events are read: all until then is among them
            for event in self._history.events(run_id, after):
                after = event.seq
                yield event
            if over:
                return
            _pause()

    async def logs(
        self, run_id: str, path: str | None = None, *, follow: bool = False, lost: Lost = unsaid
    ) -> AsyncGenerator[LogLine, None]:
        store = _log_store(self._data)
        if not follow:
            _raise_file_limit()
            for line in store.read(run_id, path):
                yield line
            return
        follower = store.follow(run_id, path)
        while True:
            over = self._is_over(run_id)
            lines = follower.poll()
            for line in lines:
                yield line
            if over and not lines:
                return
            if not lines:
                _pause()


def _log_store(data: str) -> Any:
    from graft.cluster.history import LOGS
    from graft.worker.logs import LogStore

    return LogStore(Path(data) / LOGS)


def _pause() -> None:
    sys.stdout.flush()
    time.sleep(POLL_SECONDS)


def _raise_file_limit() -> None:
    """Logs are merged by time, each from its own open file: a run of 10,000 steps needs more than the usual 1024."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Here(_Local):
    """The engine of this process."""

    is_elsewhere = False

    def __init__(self, engine: Runs) -> None:
        super().__init__(engine)
        self._engine = engine

    async def labels(self) -> Sequence[Mapping[str, str]]:
        return [self._engine.labels]

    async def interrupted(self) -> Sequence[RunSummary]:
        return [self._engine.summary(run_id) for run_id in reversed(self._engine.interrupted())]

    def watch(self, run_id: str, after: int = 0) -> AsyncGenerator[EventView, None]:
        return self._engine.watch(run_id, after)

    async def logs(
        self, run_id: str, path: str | None = None, *, follow: bool = False, lost: Lost = unsaid
    ) -> AsyncGenerator[LogLine, None]:
        from graft.worker.logs import LogStore

        store = LogStore(self._engine.log_directory)
        if not follow:
            for line in store.read(run_id, path):
                yield line
            return
        import trio

        follower = store.follow(run_id, path)
        while True:
            over = self._engine.status(run_id) in FINAL  # asked before the look, so nothing is missed
            began = trio.current_time()
            lines = await trio.to_thread.run_sync(follower.poll, POLLED_BYTES)
            for line in lines:
                yield line
            if over and not lines:
                return
            if not lines:  # a run of very many steps has as many files
                await trio.sleep(max(FOLLOW_SECONDS, POLLING_SHARE * (trio.current_time() - began)))

    async def start_run(
        self,
        plan: Plan,
        params: Mapping[str, Any],
        *,
        base: Path,
        run_id: str,
        given: Mapping[str, Any] | None = None,
        excluded: frozenset[str] = frozenset(),
    ) -> str:
        return await self._engine.start_run(plan, params, base=base, run_id=run_id, given=given, excluded=excluded)

    async def cancel(self, run_id: str, path: str | None = None) -> None:
        await self._engine.cancel(run_id, path)

    async def retry(self, run_id: str, path: str | None = None) -> None:
        await self._engine.retry(run_id, path)

    async def resume(self, run_id: str) -> None:
        await self._engine.resume(run_id)

    async def remove(self, run_ids: Sequence[str]) -> Sequence[str]:
        return await self._engine.remove(run_ids)


class There:
    """A cluster, or the process that holds a data directory.

    `stale`: as the member that answers knows it; `answered` is called once, when it has answered.
    """

    is_elsewhere = True

    def __init__(self, client: Client, *, stale: bool = False, answered: Callable[[], None] | None = None) -> None:
        self._client, self._stale, self._answered = client, stale, answered

    def _tell(self) -> None:
        if self._answered is not None:
            self._answered()
            self._answered = None

    async def runs(self, limit: int | None = None, *, prefix: str = "", name: str = "") -> Sequence[RunSummary]:
        found = await self._client.list(limit, prefix=prefix, name=name, stale=self._stale)
        self._tell()
        return found

    async def run_view(self, run_id: str) -> RunView:
        found = await self._client.get(run_id, stale=self._stale)
        self._tell()
        return found

    async def events(self, run_id: str, after: int = 0) -> Sequence[EventView]:
        return await self._client.events(run_id, after, stale=self._stale)

    async def labels(self) -> Sequence[Mapping[str, str]]:
        return [each.labels for each in await self._client.members(stale=True) if each.live]

    async def interrupted(self) -> Sequence[RunSummary]:
        return [each for each in await self._client.list(KNOWN_IDS) if each.paused == INTERRUPTED]

    async def member_names(self) -> frozenset[str] | None:
        return frozenset(each.id for each in await self._client.members(stale=True))

    async def output(self, run_id: str, path: str) -> Any:
        import json

        from graft.errors import AbsentValue

        step = await self.step_result(run_id, path)
        if step.out is None:
            raise AbsentValue(f"it was {step.status}, so it has no result")
        return json.loads(step.out)

    async def map_items(self, run_id: str, path: str) -> MapView | None:
        return (await self.step_result(run_id, path)).items

    async def step_result(self, run_id: str, path: str) -> StepResult:
        return await self._client.step(run_id, path, stale=self._stale)

    def watch(self, run_id: str, after: int = 0) -> AsyncGenerator[EventView, None]:
        return self._client.watch(run_id, after, stale=self._stale)

    def logs(
        self, run_id: str, path: str | None = None, *, follow: bool = False, lost: Lost = unsaid
    ) -> AsyncGenerator[LogLine, None]:
        return self._client.logs(run_id, path, follow=follow, stale=self._stale, lost=lost)

    async def start_run(
        self,
        plan: Plan,
        params: Mapping[str, Any],
        *,
        base: Path,
        run_id: str,
        given: Mapping[str, Any] | None = None,
        excluded: frozenset[str] = frozenset(),
    ) -> str:
        where = os.path.abspath(base)  # noqa: ASYNC240 - looks at no disk
        return await self._client.start(plan, params, base=where, run_id=run_id, given=given, excluded=excluded)

    async def cancel(self, run_id: str, path: str | None = None) -> None:
        await self._client.cancel(run_id, path)

    async def retry(self, run_id: str, path: str | None = None) -> None:
        await self._client.retry(run_id, path)

    async def resume(self, run_id: str) -> None:
        await self._client.resume(run_id)

    async def remove(self, run_ids: Sequence[str]) -> Sequence[str]:
        return await self._client.remove(run_ids)


# Finding a run


async def find_id(source: Source, name: str) -> str:
    """The id that `name` means: an id, the beginning of only one, or `last`. Raises UnknownRun, UsageError."""
    from graft.cli.data import LAST

    if name in LAST or not name:
        newest = await source.runs(1)
    else:
        newest = await source.runs(LONGEST, prefix=name) or await source.runs(KNOWN_IDS)
    return complete_id(name, [each.run_id for each in newest])


async def find_target(source: Source, run: str, step: str | None = None) -> tuple[RunView, str | None]:
    """The run, and the step as it was named: `RUN STEP`, or `RUN/STEP` in one word. Raises like `find_run`."""
    if step is None and "/" in run:
        run, _, step = run.partition("/")  # the id of a run has none
    return await find_run(source, run), step


async def find_run(source: Source, name: str) -> RunView:
    """The run as it is that `name` names. Raises UnknownRun, and UsageError for a prefix that several ids have."""
    from graft.cli.data import LAST

    if name and name not in LAST:
        try:
            return await source.run_view(name)
        except UnknownRun:
            pass
    return await source.run_view(await find_id(source, name))


# Running a command's body


def read(place: Place, body: Callable[[Source], Coroutine[Any, Any, T]]) -> T:
    """What `body` gives for the runs of `place`, only to be looked at. Raises UsageError when there are none."""
    if place.is_remote:
        return in_loop(lambda: _read_there(place, body, stale=False))
    from graft.cluster.history import open_history

    with open_history(must_exist(place.data)) as history:
        return _plainly(body(Stored(place.data, history)))


def read_or_stale(place: Place, body: Callable[[Source], Coroutine[Any, Any, T]], *, stale: bool, quiet: bool) -> T:
    """The same for a command that has `--stale`. `quiet`: what it prints says itself that it may be old."""
    from graft.cli.stale import check_stale, naming_stale

    check_stale(stale, place)
    if not place.is_remote:
        return read(place, body)
    with naming_stale():
        return in_loop(lambda: _read_there(place, body, stale=stale, quiet=quiet))


async def _read_there(
    place: Place, body: Callable[[Source], Coroutine[Any, Any, T]], *, stale: bool, quiet: bool = False
) -> T:
    from graft.cli.stale import say_stale

    async with place.client() as client:
        answered = (lambda: say_stale(client)) if stale and not quiet else None
        return await body(There(client, stale=stale, answered=answered))


def in_loop(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    import trio

    return trio.run(main)


def _plainly(body: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends: nothing that `Stored` does waits for an event loop."""
    try:
        body.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise GraftError("the command waits for something that a data directory cannot give")


async def every(lines: AsyncGenerator[T, None], wanted: Callable[[T], bool] = lambda _: True) -> list[T]:
    async with aclosing(lines) as found:
        return [line async for line in found if wanted(line)]
