"""The executor of `python`: coroutines on Trio, plain functions in threads, `isolation = "process"` in a process."""

from __future__ import annotations

import inspect
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

import trio

from graft.plan import PythonAction
from graft.registry import ArgumentProblem, Context, PythonFunction, TargetProblem, resolve
from graft.worker.exceptions import end_of, failure_of
from graft.worker.failures import StepFailure
from graft.worker.inputs import secret_arguments

if TYPE_CHECKING:
    from graft.worker.attempt import Attempt

FORK_EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h


async def run_python(attempt: Attempt, action: PythonAction) -> Any:
    """Call it: what it returned. Raises StepFailure, and whatever cancels it."""
    attempt.tools.printing.attach(attempt)  # a module may print when it is imported
    surroundings = attempt.tools.surroundings
    with surroundings.importing(action.target, attempt.assignment.base):
        function = find(attempt, action.target)
    surroundings.begin()
    try:
        return await _call(attempt, action, function)
    finally:
        if changed := surroundings.restore():
            attempt.log.note(f"the step changed for the whole process, and Graft put back: {', '.join(changed)}")


async def _call(attempt: Attempt, action: PythonAction, function: PythonFunction) -> Any:
    table = attempt.evaluate(action.with_)
    secret = secret_arguments(action) if attempt.assignment.secrets else ()
    if action.isolation == "process" and not function.is_async:
        attempt.tools.printing.detach(attempt)
        module = await trio.to_thread.run_sync(import_module, "graft.worker.isolation")  # 60 ms that few flows need
        return await module.run_isolated(attempt, action, table, secret)
    try:
        bound = function.bind(table, secret)
    except ArgumentProblem as problem:
        first, *others = map(str, problem.args)
        raise StepFailure("python.TypeError", first, "\n".join(others)) from None
    context = make_context(attempt) if function.context is not None else None
    if function.is_async:
        process = os.getpid()
        try:
            return await function.call(bound, context)
        finally:
            if os.getpid() != process:  # a fork that the function made: it shares our loop's and the store's files
                os._exit(FORK_EXIT_CODE)
    return await _run_in_thread(attempt, function, bound, context)


async def _run_in_thread(
    attempt: Attempt, function: PythonFunction, bound: dict[str, Any], context: Context | None
) -> Any:
    """A thread cannot be stopped: when the step is, the thread is left to its end and its result dropped."""

    def call() -> tuple[Any, BaseException | None]:
        try:
            return function.call(bound, context), None
        except BaseException as error:  # noqa: ASYNC103 - it is handed over; a coroutine cannot raise StopIteration
            return None, error  # noqa: ASYNC104

    try:
        result, error = await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=attempt.tools.thread_slots)
    except trio.Cancelled:
        attempt.log.note("the step was stopped; its thread cannot be, and may go on until the function returns")
        raise
    if error is not None:
        raise end_of(error, attempt.assignment.base, attempt.cause) from None
    if inspect.iscoroutine(result):  # an async function behind a decorator that hides that it is one
        return await result
    return result


def find(attempt: Attempt, target: str) -> PythonFunction:
    base = attempt.assignment.base
    try:
        return resolve(target, base)
    except TargetProblem as problem:
        raise StepFailure(problem.type, problem.message, problem.hint) from None
    except BaseException as error:  # noqa: ASYNC103 - the module's own code raised it
        raise failure_of(error, base, attempt.cause, f"importing `{target}` failed: ") from None  # noqa: ASYNC104


def make_context(attempt: Attempt) -> Context:
    a = attempt.assignment
    each = a.node.for_each
    item, index = (a.lookup(each.name), a.lookup("index")) if each is not None else (None, None)
    return Context(a.run_id, a.path, a.attempt, a.idempotency_key, Said(attempt), item, index)


class Said:
    """Where `ctx.log()` goes. Its log is asked for late: most steps say nothing."""

    __slots__ = ("_attempt",)

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def __call__(self, text: str) -> None:
        self._attempt.log.note(text, "log")
