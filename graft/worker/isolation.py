"""`isolation = "process"`: plain functions in processes of trio-parallel, which are reused, and killed on cancel."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from multiprocessing import resource_tracker, spawn
from typing import TYPE_CHECKING, Any

import trio
import trio_parallel  # type: ignore[import-untyped]

from graft.registry.targets import is_of_a_flow
from graft.worker.failures import StepFailure, StepSkipped
from graft.worker.isolated import Failed, Job, begin, run_job
from graft.worker.logs import MAX_BYTES
from graft.worker.printing import running
from graft.worker.results import Encoded

if TYPE_CHECKING:
    from graft.plan import ErrorRecord, PythonAction
    from graft.worker.attempt import Attempt
    from graft.worker.worker import Tools

IDLE_SECONDS = 60.0  # an unused process is kept this long
SHUTDOWN_SECONDS = 1.0
SAFE_PATH = "PYTHONSAFEPATH"


_command_line, _preparation = spawn.get_command_line, spawn.get_preparation_data


def _safe_command_line(**arguments: Any) -> list[str]:
    """With `-P`: a new interpreter must not look for its own modules in the working directory."""
    executable, *rest = _command_line(**arguments)
    return [executable, *(() if running() is not None or "-P" in rest else ("-P",)), *rest]


def _safe_preparation(name: str) -> dict[str, Any]:
    """Without the directories of flows on the path: the process adds its own once it has what we need."""
    data = _preparation(name)
    if running() is None:
        data["sys_path"] = [each for each in data["sys_path"] if not is_of_a_flow(each)]
    return data


@functools.cache
def _make_spawning_safe() -> None:
    """What a step starts with multiprocessing by itself stays as it is."""
    spawn.get_command_line, spawn.get_preparation_data = _safe_command_line, _safe_preparation
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        resource_tracker.ensure_running()
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


class Processes:
    """The processes of one worker: a trio-parallel context, and how many calls run at once."""

    def __init__(self, tools: Tools) -> None:
        _make_spawning_safe()
        self._manager = trio_parallel.open_worker_context(
            idle_timeout=IDLE_SECONDS, init=begin, grace_period=SHUTDOWN_SECONDS
        )
        self._slots = trio.CapacityLimiter(tools.settings.isolated_limit)
        self._context: trio_parallel.WorkerContext | None = None
        self._opening = trio.Lock()

    async def call(self, job: Job) -> bytes | Failed:
        async with self._opening:
            if self._context is None:
                self._context = await self._manager.__aenter__()
        result: bytes | Failed = await self._context.run_sync(run_job, job, kill_on_cancel=True, limiter=self._slots)
        return result

    async def close(self) -> None:
        if self._context is not None:
            with contextlib.suppress(trio_parallel.BrokenWorkerError):  # one had to be killed, as it should
                await self._manager.__aexit__(None, None, None)


async def run_isolated(
    attempt: Attempt, action: PythonAction, table: dict[str, Any], secret: tuple[str, ...]
) -> Encoded:
    """Raises StepFailure."""
    tools = attempt.tools
    if tools.processes is None:
        tools.processes = Processes(tools)
    try:
        result = await tools.processes.call(_job(attempt, action, table, secret))
    except trio_parallel.BrokenWorkerError as error:
        raise _died(error) from None
    if isinstance(result, Failed):
        cause = tuple(_told_here(attempt, each) for each in result.cause)
        end = StepSkipped if result.is_skip else StepFailure
        raise end(result.type, result.title, result.detail, cause=cause)
    return Encoded(result)


def _job(attempt: Attempt, action: PythonAction, table: dict[str, Any], secret: tuple[str, ...]) -> Job:
    a = attempt.assignment
    logs = attempt.tools.logs
    each = a.node.for_each
    return Job(
        target=action.target,
        base=a.base,
        table=table,
        secret=secret,
        run_id=a.run_id,
        step=a.path,
        attempt=a.attempt,
        idempotency_key=a.idempotency_key,
        item=a.lookup(each.name) if each else None,
        index=a.lookup("index") if each else None,
        returns=a.node.returns,
        max_result_bytes=a.max_result_bytes,
        log_file=logs.file(a.run_id, a.path) if logs.directory is not None else None,
        log_bytes=MAX_BYTES,
        secrets=attempt.redactor.secrets if attempt.redactor else frozenset(),
    )


def _told_here(attempt: Attempt, record: ErrorRecord) -> ErrorRecord:
    """A cause from the other process, with our node and attempt, redacted."""
    below = tuple(_told_here(attempt, each) for each in record.cause)
    return attempt.cause(record.type, record.title, record.detail, below)


def _died(error: BaseException) -> StepFailure:
    """The process ended by itself: it crashed, was killed, or called `os._exit`."""
    code = getattr(error.args[-1], "exitcode", None) if error.args else None
    if isinstance(code, int) and code < 0:
        name = signal.Signals(-code).name
        return StepFailure(f"signal.{name}", f"the step's process was killed by {name}", is_ours=True)
    title = f"the step's process exited with {code} before the function returned"
    return StepFailure(f"exit.{code}", title, is_ours=True)
