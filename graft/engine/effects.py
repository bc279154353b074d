"""What the engine asks of its shell. Effects are hints: the state is the truth, and after a restart the shell
derives them again from it (`Engine.outstanding`).
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from graft.ids import StepKey

Change = tuple[str, bytes, bytes | None]
"""`(table, key, value)` for the store; a value of None deletes the key."""


@frozen
class StartAttempt:
    """Run the step's code on `member`. Answered by `AttemptSettled` with the same token."""

    key: StepKey
    token: int
    attempt: int
    member: str
    incarnation: int


@frozen
class CancelAttempt:
    """Stop the attempt. Answered by `AttemptSettled`, as its start is."""

    key: StepKey
    token: int
    member: str
    incarnation: int
    reason: str


@frozen
class Decide:
    """Evaluate the expressions of a step, or the outputs of a scope (ordinal NONE). Answered by `Decided`.

    `item`: the step is an item of a map, whose node-level expressions were decided before.
    """

    key: StepKey
    generation: int
    item: bool


@frozen
class RunEnded:
    run: int
    run_id: str
    status: str


@frozen
class RunRemoved:
    """Nothing can be read of the run any more: what members keep of it beside the state is to go."""

    run: int
    run_id: str


@frozen
class Happened:
    """New history of a run. `events` rows are `(scope, ordinal, what, reason, attempt)`; ordinal NONE: the scope."""

    run: int
    run_id: str
    index: int
    wall: int
    events: tuple[tuple[int, int, str, str, int], ...]


Effect = StartAttempt | CancelAttempt | Decide | RunEnded | RunRemoved | Happened


@frozen
class Applied:
    """What one command came to. `result` depends on the command; `refused` says why nothing changed."""

    index: int
    result: Any
    refused: str | None
    effects: tuple[Effect, ...]
