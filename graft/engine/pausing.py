"""A paused run starts nothing new, and its deadlines on engine time stand still."""

from __future__ import annotations

from typing import Final

from graft.engine import scopes, steps
from graft.engine.lifecycle import FINAL
from graft.engine.records import NONE, Run, Step, closed_idle
from graft.engine.state import State

MAX_IDLE: Final = 100  # pauses that a run remembers


def pause(s: State, run: Run, word: str, reason: str, since: int = 0) -> None:
    """Take the run's queued steps out of the queue. What runs goes on, and its results count."""
    s.edit(run)
    if s.meta.rules:
        began = max(run.started_wall, min(since or s.meta.clock, s.meta.clock))
        run.idle = (*closed_idle(run.idle, began), (began, 0))[-MAX_IDLE:]  # it may be paused already
    run.paused, run.paused_at = word, s.meta.now
    s.tell(run.no, 0, NONE, "paused", reason, run.generation)
    for step in s.steps_of_run(run.no):
        if step.status == "queued":
            s.queue.discard(s.line_of(step), steps.key_of(step))


def unpause(s: State, run: Run) -> None:
    """Go on: queue what is queued, ask again for what is undecided, move the deadlines by the time it stood still."""
    shift = s.meta.now - run.paused_at
    s.edit(run)
    run.paused = ""
    run.idle = closed_idle(run.idle, s.meta.clock)
    s.tell(run.no, 0, NONE, "resumed", "", run.generation)
    for scope in s.scopes_of_run(run.no):
        if scope.deadline:
            s.edit(scope)
            scope.deadline += shift
            s.set_timer(scope.deadline, run.no, scope.no, NONE)
        if scope.status == "concluding":
            s.effects.append(scopes.decide_outputs(s, scope))
    live = [step for step in s.steps_of_run(run.no) if step.status not in FINAL]
    for step in sorted(live, key=lambda step: (step.position, step.scope, step.ordinal)):
        _resume(s, step, shift)


def _resume(s: State, step: Step, shift: int) -> None:
    key = steps.key_of(step)
    if step.due or step.deadline:
        s.edit(step)
    if step.due:
        step.due += shift
        s.set_timer(step.due, *key)
    if step.deadline:
        step.deadline += shift
        s.set_timer(step.deadline, *key)
    if step.wake:
        s.set_wake(step.wake, *key)
    if step.status == "queued":
        s.enter_queue(step)
    elif step.status == "ready":
        s.effects.append(steps.decide(s, step))
