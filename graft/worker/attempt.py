"""One attempt: what it was assigned, its cancel scope, its log, its secrets."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from graft.errors import ExpressionError
from graft.plan import ErrorRecord, Tree
from graft.worker.assignment import Assignment, Outcome, Settle
from graft.worker.failures import DETAIL_CHARS, TITLE_CHARS, AttemptLost, StepFailure, StepSkipped, shorten
from graft.worker.secrets import PREFIX

if TYPE_CHECKING:
    from graft.worker.descriptors import Pipe
    from graft.worker.logs import StepLog
    from graft.worker.redaction import Redactor
    from graft.worker.worker import Tools

EMPTY_TABLE: Tree = ("dict",)


class Attempt:
    """A running attempt. `scope` is its cancel scope, with the deadline of its timeout.

    Invariant: `settle` is called at most once, and never after the worker began to close.
    """

    __slots__ = (
        "_log",
        "_redactor",
        "assignment",
        "cancel_requested",
        "lookup",
        "pipes",
        "scope",
        "settle",
        "short_of",
        "tools",
    )

    def __init__(self, assignment: Assignment, settle: Settle, tools: Tools) -> None:
        self.assignment = assignment
        self.settle = settle
        self.tools = tools
        self.scope = trio.CancelScope()
        self.cancel_requested = False  # by the engine; a scope that is cancelled without it ran out of time
        self.short_of: str | None = None  # what it waits for and the machine has not, before it begins
        self.pipes: dict[str, Pipe] = {}  # of a Python step: to its log, by stream
        self._log: StepLog | None = None
        self._redactor: Redactor | bool | None = False  # False: not made yet
        self.lookup: Callable[[str], Any] = self._lookup_secrets if assignment.secrets else assignment.lookup

    @property
    def log(self) -> StepLog:
        """The step's log; its file is made when the first line is written."""
        if self._log is None:
            a = self.assignment
            self._log = self.tools.logs.open_writer(a.run_id, a.path, a.attempt, self.redactor)
            for sentence in self.tools.vault.short(a.secrets, a.base) if a.secrets else ():
                self._log.note(sentence)
        return self._log

    @property
    def redactor(self) -> Redactor | None:
        if isinstance(self._redactor, bool):
            a = self.assignment
            has_secrets = a.secrets or a.hidden
            self._redactor = self.tools.vault.redactor(a.secrets, a.base, a.hidden) if has_secrets else None
        return self._redactor

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    def evaluate(self, tree: Tree) -> Any:
        """The value of an input. Raises StepFailure of type `expression`."""
        if tree == EMPTY_TABLE:
            return {}
        try:
            return self.assignment.programs[tree](self.lookup)
        except ExpressionError as error:
            raise StepFailure("expression", error.message, error.hint or "") from None

    def _lookup_secrets(self, name: str) -> Any:
        if not name.startswith(PREFIX):
            return self.assignment.lookup(name)
        secret = self.assignment.secrets.get(name.removeprefix(PREFIX))
        if secret is None:
            raise StepFailure("expression", f"the secret {name.removeprefix(PREFIX)} is not declared in [secrets]")
        return self.tools.vault.resolve(secret, self.assignment.base)

    # How it ended

    def failed(self, failure: StepFailure) -> Outcome:
        if isinstance(failure, AttemptLost):
            return Outcome("lost", error=self.record(failure))
        if isinstance(failure, StepSkipped):
            return Outcome("skipped", error=self.record(failure))
        return Outcome("failed", error=self.record(failure), retry_after_ms=failure.retry_after_ms)

    def stopped(self, failure: StepFailure | None = None) -> Outcome:
        """Cancelled by the engine, or out of time. `failure`: what its code said when it was stopped."""
        if self.cancel_requested:
            return Outcome("cancelled", error=self.record(failure) if failure else None)
        if self.short_of is not None:  # it has not begun
            return self.failed(AttemptLost("shortage", self.short_of))
        timeout_ms = self.assignment.node.timeout_ms or 0
        cause = (self.record(failure),) if failure else ()
        late = StepFailure("timeout", f"did not end within {render_seconds(timeout_ms)}", cause=cause, is_ours=True)
        return Outcome("timed_out", error=self.record(late))

    def record(self, failure: StepFailure) -> ErrorRecord:
        return ErrorRecord(
            type=failure.type,
            title=shorten(failure.title if failure.is_ours else self.clean(failure.title), TITLE_CHARS),
            detail=shorten(self.redactor.excerpt(failure.detail) if self.redactor else failure.detail, DETAIL_CHARS),
            node=self.assignment.path,
            attempt=self.assignment.attempt,
            cause=failure.cause,
        )

    def cause(self, type: str, title: str, detail: str = "", cause: tuple[ErrorRecord, ...] = ()) -> ErrorRecord:
        """A record for the `cause` of a failure."""
        return self.record(StepFailure(type, title, detail, cause=cause))

    def clean(self, text: str) -> str:
        """`text`, which may be the step's, without secrets."""
        return self.redactor.text(text) if self.redactor else text

    def clean_result(self, data: bytes) -> bytes:
        """A result as it may be kept: JSON without secrets. Raises StepFailure `output_schema`."""
        if not self.redactor:
            return data
        try:
            return self.redactor.json(data)
        except RecursionError:
            raise StepFailure("output_schema", "the result nests too deep", is_ours=True) from None


def deadline_of(timeout_ms: int | None) -> float:
    return math.inf if timeout_ms is None else trio.current_time() + timeout_ms / 1000


def render_seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:g} s"
