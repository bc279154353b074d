"""Exceptions of the user's code as failures: what, where in the user's own files, and why."""

from __future__ import annotations

import linecache
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from graft.plan import ErrorRecord
from graft.registry import Skip
from graft.worker.failures import StepFailure, StepSkipped

MAX_FRAMES = 12
MAX_CAUSES = 20  # leaves of a group
MAX_DEPTH = 5  # of causes of causes
HINTS = {
    "no running event loop": "async steps run on Trio, not asyncio: use trio, or write the step as a plain `def`",
    "trio.run received unrecognized yield message": "the step awaits something made for asyncio; steps run on Trio",
}

_GRAFT = str(Path(__file__).resolve().parent.parent)
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})

MakeCause = Callable[[str, str, str, tuple[ErrorRecord, ...]], ErrorRecord]


def failure_of(error: BaseException, base: Path, make_cause: MakeCause, prefix: str = "") -> StepFailure:
    """The failure of a step whose code raised `error`. `make_cause` makes a record (and redacts it)."""
    error = as_raised(error)
    detail = "\n".join(filter(None, (_more_lines(error), frames(error.__traceback__, base), _hint(error))))
    return StepFailure(_type(error), prefix + _title(error), detail, cause=_causes(error, base, make_cause, 1))


def end_of(error: BaseException, base: Path, make_cause: MakeCause) -> StepFailure:
    """How a step ends whose function raised `error`: it failed, or it was skipped with `graft.Skip`."""
    raised = as_raised(error)
    if isinstance(raised, Skip):
        return StepSkipped(_type(raised), _text(raised).strip().partition("\n")[0], _more_lines(raised))
    return failure_of(error, base, make_cause)


def only_leaf(error: BaseException) -> BaseException:
    """A nursery wraps the error of one task in a group. `catch` and `retry` want the error, so a group of one is it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def as_raised(error: BaseException) -> BaseException:
    """The error that the user's code raised: without a group of one, and without what Python makes of a StopIteration.

    A coroutine that raises StopIteration ends with a RuntimeError, whose cause it is. An author who wrote
    `raise StopIteration`, or called `next()` on what was empty, looks for that name.
    """
    error = only_leaf(error)
    cause = error.__cause__
    if isinstance(error, RuntimeError) and isinstance(cause, StopIteration) and _text(error).startswith("coroutine "):
        return cause
    return error


def _causes(error: BaseException, base: Path, make_cause: MakeCause, depth: int) -> tuple[ErrorRecord, ...]:
    if depth > MAX_DEPTH:
        return ()
    if isinstance(error, BaseExceptionGroup):
        below: list[BaseException] = list(error.exceptions[:MAX_CAUSES])
    else:
        chained = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        below = [chained] if chained is not None else []
    records = []
    for each in map(as_raised, below):
        detail = "\n".join(filter(None, (_more_lines(each), frames(each.__traceback__, base))))
        records.append(make_cause(_type(each), _title(each), detail, _causes(each, base, make_cause, depth + 1)))
    return tuple(records)


def _type(error: BaseException) -> str:
    return f"python.{type(error).__name__}"


def _text(error: BaseException) -> str:
    try:
        if isinstance(error, BaseExceptionGroup):
            return f"{error.message} ({len(error.exceptions)} errors)"
        if isinstance(error, KeyError) and len(error.args) == 1:
            return f"no key {error.args[0]!r}"
        return str(error)
    except Exception as broken:  # the user's own __str__
        return f"(its text cannot be made: {type(broken).__name__})"


def _title(error: BaseException) -> str:
    first = _text(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _more_lines(error: BaseException) -> str:
    return _text(error).strip().partition("\n")[2]


def _hint(error: BaseException) -> str:
    text = _text(error)
    return next((hint for sign, hint in HINTS.items() if sign in text), "")


def frames(traceback: TracebackType | None, base: Path) -> str:
    """The frames in the user's files, outermost first, and the innermost one whosever it is."""
    rows: list[tuple[str, int, str, bool]] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        rows.append((code.co_filename, traceback.tb_lineno, code.co_name, _is_users(code.co_filename)))
        traceback = traceback.tb_next
    shown = [row for index, row in enumerate(rows) if row[3] or (index == len(rows) - 1 and not _is_ours(row[0]))]
    lines = []
    for file, number, name, _ in shown[-MAX_FRAMES:]:
        lines.append(f"{_short(file, base)}:{number} in {name}")
        if source := linecache.getline(file, number).strip():
            lines.append(f"    {source}")
    return "\n".join(lines)


def _is_ours(file: str) -> bool:
    return file.startswith(_GRAFT)


def _is_users(file: str) -> bool:
    if _is_ours(file) or file.startswith("<frozen"):
        return False
    return "site-packages" not in file and not file.startswith(_LIBRARIES)


def _short(file: str, base: Path) -> str:
    try:
        return str(Path(file).relative_to(base.resolve()))
    except ValueError:
        return file
