"""`--where EXPR`: an expression of the flow language over the fields of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from graft.cli.looks import iso
from graft.errors import ExpressionError, UsageError

if TYPE_CHECKING:
    from graft.cluster.views import RunSummary

Reader = Callable[["RunSummary", int], Any]

# name: (type, what it is, how it is read; the second argument is now, wall time in ms)
_READERS: dict[str, tuple[str, str, Reader]] = {
    "id": ("string", "text", lambda run, _: run.run_id),
    "name": ("string", "of the flow", lambda run, _: run.name),
    "status": ("string", "as shown: running, waiting, interrupted, succeeded, …", lambda run, _: run.condition),
    "reason": ("string", "text", lambda run, _: run.reason),
    "paused": ("string", "why; '' when it is not", lambda run, _: run.paused),
    "waiting": ("string", "for what; '' when for nobody", lambda run, _: run.waiting or ""),
    "generation": ("int", "1, 2, …", lambda run, _: run.generation),
    "started_at": ("string", "UTC as ISO 8601", lambda run, _: iso(run.started_at)),
    "ended_at": ("string", "'' while it goes on", lambda run, _: iso(run.ended_at) or ""),
    "took": ("float", "seconds", lambda run, now: run.took_ms(now) / 1000),
    "age": ("float", "seconds since its start", lambda run, now: (now - run.started_at) / 1000),
}
FIELDS: dict[str, str] = {name: about for name, (_, about, _) in _READERS.items()}


def condition(text: str) -> Callable[[RunSummary, int], bool]:
    """A test of runs. Raises UsageError when `text` is no valid expression; so does the test when it fails."""
    from graft.expressions import compile_tree
    from graft_dsl.expressions import Scope, check, parse_expression

    parsed = parse_expression(text)
    scope = Scope(types={name: type_ for name, (type_, _, _) in _READERS.items()})
    problems = [*parsed.problems, *(() if parsed.problems else check(parsed, scope, "bool").problems)]
    if problems:
        raise UsageError("--where: " + _pointed(text, problems[0]), hint=f"fields: {', '.join(FIELDS)}")
    program = compile_tree(parsed.tree)

    def holds(run: RunSummary, now: int) -> bool:
        try:
            return bool(program(lambda name: _READERS[name][2](run, now)))
        except ExpressionError as error:
            raise UsageError(f"--where: {error.message} (for run {run.run_id})", hint=error.hint) from error

    return holds


def _pointed(text: str, problem: Any) -> str:
    """The problem, the text and a caret below what is wrong."""
    said: str = problem.message
    if problem.suggestion:
        said += f" ({problem.suggestion})"
    if "\n" in text:
        return said
    return f"{said}\n  {text}\n  {' ' * problem.start}{'^' * max(1, problem.end - problem.start)}"
