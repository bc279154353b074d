"""The far side of `isolation = "process"`: what runs in a trio-parallel process. No Trio here.

A watcher guards each such process, for these are children of Graft itself and not of the guardian: it is forked from
the process when that starts, sleeps until Graft or the process ends, and then kills what is left of the group. (A
death signal will not do: Linux sends it when the *thread* that started the process ends, and threads come and go.)
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from graft.plan import ErrorRecord
from graft.registry import ArgumentProblem, Context, resolve
from graft.worker.descriptors import Taken
from graft.worker.exceptions import end_of
from graft.worker.failures import StepFailure, StepSkipped
from graft.worker.logs import StepLog
from graft.worker.redaction import Redactor
from graft.worker.results import encode_result
from graft.worker.surroundings import Surroundings

POLL_SECONDS = 0.5  # where processes cannot be waited for by descriptor


@frozen
class Job:
    """Everything that the call needs; all of it can be pickled."""

    target: str
    base: Path
    table: dict[str, Any]
    secret: tuple[str, ...]  # names in `table`
    run_id: str
    step: str
    attempt: int
    idempotency_key: str
    item: Any
    index: int | None
    returns: Any
    max_result_bytes: int
    log_file: Path | None
    log_bytes: int
    secrets: frozenset[str]


@frozen
class Failed:
    """A `StepFailure`, as data."""

    type: str
    title: str
    detail: str
    cause: tuple[ErrorRecord, ...]
    is_skip: bool  # it is a `StepSkipped`


def begin() -> None:
    """First thing in a new process: a group of its own, a watcher, and no output to Graft's terminal."""
    graft = os.getppid()
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    worker = os.getpid()
    if os.fork() == 0:
        try:
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # the pipes to Graft must close when the process ends
            _watch(graft, worker)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker, signal.SIGKILL)  # the watcher too, which is of the group and so keeps its number
            os._exit(0)


def _watch(graft: int, worker: int) -> None:
    """Until one of the two ended."""
    try:
        ends = [os.pidfd_open(pid) for pid in (graft, worker)]
    except ProcessLookupError:
        return
    except (AttributeError, OSError):
        while os.getppid() == worker and _exists(graft):
            time.sleep(POLL_SECONDS)
        return
    poll = select.poll()
    for end in ends:
        poll.register(end, select.POLLIN)
    poll.poll()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def run_job(job: Job) -> bytes | Failed:
    """Call the function: its result as JSON, or how it failed. Raises nothing."""
    redactor = Redactor(job.secrets) if job.secrets else None
    log = StepLog(job.log_file, job.attempt, redactor, max_bytes=job.log_bytes)
    try:
        with _printing_to(log):
            return _call(job, log)
    except BaseException as error:  # noqa: ASYNC103 - no loop runs here; what goes out must be picklable
        failure = error if isinstance(error, StepFailure) else end_of(error, job.base, _cause)
        is_skip = isinstance(failure, StepSkipped)
        return Failed(failure.type, failure.title, failure.detail, failure.cause, is_skip)  # noqa: ASYNC104
    finally:
        log.close()


def _call(job: Job, log: StepLog) -> bytes:
    if not _surroundings:
        _surroundings.append(Surroundings())
    with _surroundings[0].importing(job.target, job.base):
        function = resolve(job.target, job.base)
    try:
        bound = function.bind(job.table, job.secret)
    except ArgumentProblem as problem:
        first, *others = map(str, problem.args)
        raise StepFailure("python.TypeError", first, "\n".join(others)) from None
    context = Context(
        job.run_id,
        job.step,
        job.attempt,
        job.idempotency_key,
        lambda text: log.note(text, "log"),
        job.item,
        job.index,
    )
    _surroundings[0].begin()
    try:
        return encode_result(function.call(bound, context), job.returns, job.max_result_bytes)
    finally:
        if changed := _surroundings[0].restore():
            log.note(f"the step changed for the whole process, and Graft put back: {', '.join(changed)}")


def _cause(type: str, title: str, detail: str, cause: tuple[ErrorRecord, ...]) -> ErrorRecord:
    return ErrorRecord(type, title, detail, cause=cause)


_surroundings: list[Surroundings] = []  # of this process
_logs: list[StepLog] = []  # of the job that runs: one at most
_taken: list[Taken] = []  # made by the first job, for all


@contextlib.contextmanager
def _printing_to(log: StepLog) -> Iterator[None]:
    """The descriptors lead to the log of the one step that this process runs, so Python's own streams do, too."""
    if not _taken:
        _taken.append(Taken(lambda stream, data: _logs[0].write(stream, data) if _logs else None))
    sys.stdout = sys.__stdout__ = out = _stream_on(1)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = err = _stream_on(2)  # type: ignore[misc]
    _logs.append(log)
    try:
        yield
    finally:
        for each in (out, err):
            with contextlib.suppress(OSError, ValueError):
                each.flush()
        _taken[0].drain()
        _logs.clear()


def _stream_on(number: int) -> io.TextIOWrapper:
    """A new one: that of the process remembers what stood there before, which could seek."""
    return io.TextIOWrapper(os.fdopen(number, "wb", closefd=False), "utf-8", "replace", line_buffering=True)
