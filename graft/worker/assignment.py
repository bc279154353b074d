"""What the engine's shell hands to the worker, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

from graft.ids import StepKey
from graft.plan import ErrorRecord, Node, Secret

if TYPE_CHECKING:
    from graft.expressions import ProgramCache

OutcomeStatus = Literal["succeeded", "failed", "skipped", "cancelled", "timed_out", "lost"]
"""`skipped`: the step's own code said so; the title of the error is why. `lost`: the process that ran it is no more, or
lost the right to; nobody knows how far it came."""


@frozen(eq=False)
class Assignment:
    """One attempt at a step. Everything that the attempt needs is in it; the worker reads no state."""

    run_id: str
    key: StepKey
    token: int
    attempt: int  # 1-based; attempts lost with their member are not counted
    path: str  # `pick[3]/pack`
    node: Node
    lookup: Callable[[str], Any]  # value of "params", "fetch.out", "item", …; never of "secrets.*"
    secrets: Mapping[str, Secret]  # the declared ones, by name; resolved here, where the step runs
    base: Path  # directory of the flow's file: working directory of commands, root of relative paths
    idempotency_key: str  # the same on every attempt of the step
    programs: ProgramCache
    max_result_bytes: int
    hidden: frozenset[str] = frozenset()  # texts of secret params: known already, and to be hidden as secrets are


@frozen(eq=False)
class Outcome:
    """How an attempt ended. `value` is JSON, set when it succeeded; `error` is set when it did not."""

    status: OutcomeStatus
    value: bytes | None = None
    error: ErrorRecord | None = None
    retry_after_ms: int | None = None  # the server's wish (`Retry-After`)


Settle = Callable[[Assignment, Outcome], None]
"""Called once per attempt, on the Trio thread, without blocking."""
