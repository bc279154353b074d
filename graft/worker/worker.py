"""The worker: a nursery per run, a cancel scope per attempt (ARCHITECTURE §7).

`start` and `cancel` only change tables and hand work to Trio, so their caller, which applies the log, is never held
up. An attempt settles once: with what its code did, or as cancelled or timed out when its scope was what ended it.
When the worker itself is closed nothing settles any more: whoever comes next finds the attempts lost with this member.
"""

from __future__ import annotations

import contextlib
import math
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio

from graft.ids import StepKey
from graft.plan import ExecAction, HttpAction, PythonAction, RunAction
from graft.worker.assignment import Assignment, Outcome, Settle
from graft.worker.attempt import Attempt, deadline_of
from graft.worker.commands import run_command
from graft.worker.exceptions import end_of, only_leaf
from graft.worker.failures import StepFailure
from graft.worker.functions import run_python
from graft.worker.guardian_client import Guardians, open_guardians
from graft.worker.logs import LogStore
from graft.worker.printing import Printing
from graft.worker.results import Encoded, encode_result
from graft.worker.secrets import Vault
from graft.worker.settings import WorkerSettings
from graft.worker.shortage import file_slots
from graft.worker.surroundings import Surroundings

if TYPE_CHECKING:
    from graft.worker.http import Client
    from graft.worker.isolation import Processes

CLIENT_HELP = "look at HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR, where Graft was started"
WANTED_FILES = 65_536  # open files: a step under way needs three


class Tools:
    """What all attempts of a worker share."""

    def __init__(self, settings: WorkerSettings, guardians: Guardians) -> None:
        self.settings = settings
        self.guardians = guardians
        self.logs = LogStore(settings.log_dir)
        self.vault = Vault()
        self.printing = Printing(settings.capture_print)
        self.surroundings = Surroundings()
        self.thread_slots = trio.CapacityLimiter(settings.thread_limit)
        self.process_slots = trio.CapacityLimiter(settings.process_limit)
        self.file_slots = file_slots()  # None: there are enough
        self.processes_running = 0
        self.grace_seconds = settings.grace_ms / 1000
        self.processes: Processes | None = None  # of isolated functions; made when first needed
        self.client: Client | None = None  # of http steps; made when first needed
        self.making_client = trio.Lock()

    async def close(self) -> None:
        self.printing.close()
        if self.processes is not None:
            await self.processes.close()
        if self.client is not None:
            await self.client.close()


Executor = Callable[[Attempt, Any], Awaitable[Any]]


async def _make_client(tools: Tools) -> None:
    """Half a second of imports and certificates that most flows do not need; a thread does it, so that Trio goes on."""
    async with tools.making_client:
        if tools.client is None:
            tools.client = await trio.to_thread.run_sync(_new_client)


def _new_client() -> Client:
    from graft.worker.http import Client

    try:
        return Client()
    except Exception as error:  # of the environment: a proxy that is not a URL, a file of certificates that is missing
        title = f"the HTTP client cannot be made: {str(error) or type(error).__name__}"
        raise StepFailure("http.connect", title, CLIENT_HELP) from error


async def _run_http(attempt: Attempt, action: HttpAction) -> Any:
    from graft.worker.http import run_http

    return await run_http(attempt, action)


PREPARATIONS: dict[type[Any], Callable[[Tools], Awaitable[None]]] = {HttpAction: _make_client}
"""What the first step of a kind makes for all that follow: it is not in that step's timeout."""

EXECUTORS: dict[type[Any], Executor] = {
    RunAction: run_command,
    ExecAction: run_command,
    PythonAction: run_python,
    HttpAction: _run_http,
}


class _Room:
    """The attempts of one run. `nursery` is None until its host task runs, and may be closed once `is_left`."""

    __slots__ = ("ended", "is_left", "nursery", "waiting")

    def __init__(self) -> None:
        self.nursery: trio.Nursery | None = None
        self.is_left = False
        self.waiting: list[Attempt] = []
        self.ended = trio.Event()


class Worker:
    """Runs attempts. All methods are called on the Trio thread and none blocks."""

    def __init__(self, nursery: trio.Nursery, tools: Tools) -> None:
        self._nursery = nursery
        self._tools = tools
        self._rooms: dict[int, _Room] = {}
        self._attempts: dict[tuple[StepKey, int], Attempt] = {}
        self._closing = False

    @property
    def logs(self) -> LogStore:
        return self._tools.logs

    @property
    def guardian_pid(self) -> int | None:
        """Of the process that is the parent of all programs of steps; None before the first one."""
        return self._tools.guardians.pid

    def start(self, assignment: Assignment, settle: Settle) -> None:
        """Run it, and call `settle(assignment, outcome)` when it ended. A start that is already known is ignored."""
        identity = (assignment.key, assignment.token)
        if self._closing or identity in self._attempts:
            return
        room = self._rooms.get(assignment.key[0])
        if room is None:
            room = self._rooms[assignment.key[0]] = _Room()
            self._nursery.start_soon(self._host, room)
        if room.is_left:
            return  # the worker was cancelled; who starts this has not had its turn to notice
        attempt = self._attempts[identity] = Attempt(assignment, settle, self._tools)
        if room.nursery is None:
            room.waiting.append(attempt)
        else:
            room.nursery.start_soon(self._run, attempt)

    def cancel(self, key: StepKey, token: int) -> None:
        """Stop that attempt; it settles as cancelled once nothing of it runs any more."""
        attempt = self._attempts.get((key, token))
        if attempt is not None:
            attempt.cancel_requested = True
            attempt.scope.cancel()

    def drop_run(self, run_no: int) -> None:
        """The run ended: its nursery closes when its last attempt did."""
        room = self._rooms.pop(run_no, None)
        if room is not None:
            room.ended.set()

    def running(self) -> int:
        """How many attempts have not settled."""
        return len(self._attempts)

    def stop(self, grace_ms: int | None = None) -> None:
        """Stop all attempts without settling them; closing the worker then waits for their end."""
        self._closing = True
        if grace_ms is not None:
            self._tools.grace_seconds = grace_ms / 1000
        for attempt in self._attempts.values():
            attempt.scope.cancel()

    async def _host(self, room: _Room) -> None:
        async with trio.open_nursery() as nursery:
            room.nursery = nursery
            for attempt in room.waiting:
                nursery.start_soon(self._run, attempt)
            room.waiting.clear()
            try:
                await room.ended.wait()
            finally:
                room.is_left = True

    async def _run(self, attempt: Attempt) -> None:
        assignment = attempt.assignment
        outcome: Outcome | None = None
        try:
            with attempt.scope as scope:
                if scope.cancel_called:  # before it began: not even a step without a checkpoint may run
                    await trio.lowlevel.checkpoint()
                if (prepare := PREPARATIONS.get(type(assignment.node.action))) is not None:
                    await prepare(self._tools)
                if assignment.node.timeout_ms is not None:
                    scope.deadline = deadline_of(assignment.node.timeout_ms)
                outcome = await self._execute(attempt)
            if outcome is None:
                outcome = attempt.stopped()
        except trio.Cancelled as error:  # noqa: ASYNC103 - what is no cancel of ours is the failure of the step
            if is_cancelled():  # the worker is closing
                raise
            outcome = self._failed(attempt, error)  # the step's code kept it from somewhere else
        except BaseException as error:
            outcome = self._failed(attempt, error)
        finally:
            self._tools.printing.detach(attempt)
            attempt.close()
            del self._attempts[(assignment.key, assignment.token)]
        if not self._closing:
            attempt.settle(assignment, outcome)

    async def _execute(self, attempt: Attempt) -> Outcome:
        a = attempt.assignment
        action = a.node.action
        async with self._tools.file_slots or contextlib.nullcontext():
            value = await EXECUTORS[type(action)](attempt, action)
        if type(value) is Encoded:
            return Outcome("succeeded", attempt.clean_result(value.data))
        data = encode_result(value, a.node.returns, a.max_result_bytes)
        return Outcome("succeeded", attempt.clean_result(data))

    def _failed(self, attempt: Attempt, error: BaseException) -> Outcome:
        """The step's code raised `error`. Raises it again when it stands for a cancel from outside of the attempt."""
        if isinstance(error, BaseExceptionGroup) and is_cancelled() and _holds_cancelled(error):
            raise error
        error = only_leaf(error)
        failure = error if isinstance(error, StepFailure) else None
        if failure is None:
            failure = end_of(error, attempt.assignment.base, attempt.cause)
        if attempt.scope.cancel_called:
            return attempt.stopped(failure)
        return attempt.failed(failure)


def is_cancelled() -> bool:
    """Whether a scope around this task is cancelled."""
    return trio.current_effective_deadline() == -math.inf


def _holds_cancelled(group: BaseExceptionGroup[BaseException]) -> bool:
    waiting: list[BaseException] = [group]  # not `subgroup`, which recurses
    while waiting:
        error = waiting.pop()
        if isinstance(error, trio.Cancelled):
            return True
        if isinstance(error, BaseExceptionGroup):
            waiting += error.exceptions
    return False


@contextlib.asynccontextmanager
async def open_worker(settings: WorkerSettings | None = None) -> AsyncIterator[Worker]:
    """Leaving the block stops every attempt, processes included, before it returns. Nothing settles then.

    An error of the block comes out as it is, not in the group that a nursery makes of it.
    """
    try:
        async with _open_worker(settings or WorkerSettings()) as worker:
            yield worker
    except BaseExceptionGroup as group:
        error = only_leaf(group)
        if error is group:
            raise
        raise error from error.__cause__


@contextlib.asynccontextmanager
async def _open_worker(settings: WorkerSettings) -> AsyncIterator[Worker]:
    _allow_many_files()
    async with open_guardians() as guardians:
        tools = Tools(settings, guardians)
        try:
            async with trio.open_nursery() as nursery:
                worker = Worker(nursery, tools)
                try:
                    yield worker
                finally:
                    worker.stop()
                    nursery.cancel_scope.cancel()
        finally:
            with trio.move_on_after(settings.stop_seconds, shield=True):
                await tools.close()


def _allow_many_files() -> None:
    """Raise our own soft limit of open files. Steps get the one that Graft was started with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
