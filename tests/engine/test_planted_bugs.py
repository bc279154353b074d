"""Bugs planted in the engine, numbered as in the simulator's bank: the random test of the engine finds each of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, Final

import pytest
from attrs import evolve
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from graft.engine import members, steps
from graft.engine.placement import Placement
from graft.engine.state import State
from graft.resources import Ledger
from tests.engine.test_properties import Random

Patch = Callable[[pytest.MonkeyPatch], None]


def slot_kept(patch: pytest.MonkeyPatch) -> None:
    def close(ledger: Ledger, member: str) -> None:
        ledger._limits.pop(member, None)
        ledger._used.pop(member, None)

    patch.setattr(Ledger, "close", close)


def attempts_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(members, "lose_attempts", lambda s, member, run_no: None)


def any_token(patch: pytest.MonkeyPatch) -> None:
    settle = steps.settle
    patch.setattr(
        steps,
        "settle",
        lambda s, step, command: settle(s, step, evolve(command, token=step.token if step else 0)),
    )


def placed_by_the_next_entry(patch: pytest.MonkeyPatch) -> None:
    dispatch = steps.dispatch
    patch.setattr(steps, "dispatch", lambda s: dispatch(s) if s.index % 2 else None)


def timers_not_loaded(patch: pytest.MonkeyPatch) -> None:
    reindex = State.reindex

    def broken(s: State) -> None:
        reindex(s)
        s.timers = []

    patch.setattr(State, "reindex", broken)


def cancel_and_completion_win(patch: pytest.MonkeyPatch) -> None:
    settle = steps.settle

    def both(s: State, step: Any, command: Any) -> str | None:
        cancelled = step is not None and step.status == "cancelling"
        refused = settle(s, step, command)
        if cancelled and refused is None and command.status == "succeeded":
            s.agenda.append((steps.ENDED, step))
        return refused

    patch.setattr(steps, "settle", both)


def clock_in_apply(patch: pytest.MonkeyPatch) -> None:
    begin, clock = State.begin, count(10_000_000)

    def reads(s: State) -> None:
        begin(s)
        s.edit(s.meta)
        s.meta.wall = next(clock)

    patch.setattr(State, "begin", reads)


def choices_not_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Placement, "forget_choices", lambda placement: None)


PLANTED: Final[dict[str, Patch]] = {
    "21 slot not returned when a member dies": slot_kept,
    "21 attempts of a dead member never end": attempts_kept,
    "22 result of an old fencing token accepted": any_token,
    "23 next step queued in a second log entry": placed_by_the_next_entry,
    "24 timer lost on a leader change": timers_not_loaded,
    "25 cancel races a completion and both win": cancel_and_completion_win,
    "26 the clock read while applying": clock_in_apply,
    "placement looks at members that were": choices_not_forgotten,
}

FIND: Final = settings(
    max_examples=300, stateful_step_count=40, derandomize=True, database=None, deadline=None, phases=[Phase.generate]
)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED[name](monkeypatch)
    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(Random, settings=FIND)  # type: ignore[no-untyped-call]
