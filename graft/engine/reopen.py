"""A person's retry (R7): a new budget for a parked step, or the next generation of a final run.

Reopening keeps every step that succeeded, unless something before it runs again: what follows a step that runs again
runs again too. A scope in which something runs again is reopened; the others stay as they are.
"""

from __future__ import annotations

from graft.engine import scopes, steps
from graft.engine.commands import RetryRun
from graft.engine.lifecycle import FINAL
from graft.engine.records import NONE, OUT, Run, Scope, Step, run_key, value_key
from graft.engine.state import State


def retry(s: State, command: RetryRun) -> str | None:
    run = s.runs.get(command.run)
    if run is None:
        return "no such run"
    if run.status not in FINAL:
        return _retry_parked(s, run, command)
    if run.status == "succeeded" and command.ordinal == NONE:
        return "the run succeeded: name a step to run again from"
    if command.ordinal != NONE and (run.no, command.scope, command.ordinal) not in s.steps:
        return "that step never began"
    _next_generation(s, run, command)
    return None


def _retry_parked(s: State, run: Run, command: RetryRun) -> str | None:
    parked = [
        step
        for step in s.steps_of_run(run.no)
        if step.status == "waiting" and not step.wake and not s.is_stranded(step) and _is_named(step, command)
    ]
    for step in parked:
        s.edit(step)
        step.attempt = step.lost = 0
        step.error = None
        steps.enqueue(s, step, "retried by a person")
    return None if parked else "no step of the run waits for a retry"


def _is_named(step: Step, command: RetryRun) -> bool:
    return command.ordinal == NONE or (step.scope, step.ordinal) == (command.scope, command.ordinal)


def _next_generation(s: State, run: Run, command: RetryRun) -> None:
    s.edit(run)
    run.generation += 1
    run.error, run.ended_wall, run.out = None, 0, 0
    s.move_run(run, "reopen", "retried by a person")
    s.write("live", run_key(run.no), b"")
    forced: dict[int, set[int]] = {}  # scope -> ordinals that run again
    opened: dict[int, set[int]] = {}  # scope -> ordinals whose scope is opened again
    if command.ordinal != NONE:
        forced[command.scope] = {command.ordinal}
        scope = s.scopes[run.no, command.scope]
        while (parent := s.parent_of(scope)) is not None:
            opened.setdefault(parent.scope, set()).add(parent.ordinal)
            scope = s.scope_of(parent)
    _reopen(s, s.scopes[run.no, 0], forced, opened)


def _reopen(s: State, scope: Scope, forced: dict[int, set[int]], opened: dict[int, set[int]]) -> None:
    s.move_scope(scope, "reopen")
    scope.outcome = scope.reason = ""
    scope.errors, scope.failed, scope.open, scope.todo = (), 0, 0, None
    s.children[scope.run, scope.no] = {}
    members = {step.ordinal: step for step in _steps_in(s, scope)}
    again, partial = _plan_again(s, scope, members, forced.get(scope.no, set()), opened.get(scope.no, set()))
    for ordinal in sorted(again & members.keys()):
        _drop(s, members.pop(ordinal))
    for ordinal in sorted(partial):
        _reopen_step(s, scope, members[ordinal])
    if scope.kind == "map":
        _resume_map(s, scope, members)
    else:
        _resume_body(s, scope, members, partial)
    for ordinal in sorted(partial):
        _reopen(s, s.scopes[scope.run, members[ordinal].child], forced, opened)
    if scope.kind == "map":
        scopes.fill_map(s, scope)
    scopes.close_if_done(s, scope)


def _steps_in(s: State, scope: Scope) -> list[Step]:
    return [step for step in s.steps_of_run(scope.run) if step.scope == scope.no]


def _plan_again(
    s: State, scope: Scope, members: dict[int, Step], forced: set[int], opened: set[int]
) -> tuple[set[int], set[int]]:
    """The ordinals of `scope` that run again from scratch, and those whose own scope is opened again."""
    unfinished = {i for i, step in members.items() if step.status != "succeeded"}
    partial = {i for i in unfinished | opened if i in members and members[i].child != NONE} - forced
    if scope.kind == "map":
        return (unfinished | forced) - partial, partial
    graph = s.graph_of(scope)
    again = (unfinished | forced | set(range(graph.body, len(graph.nodes)))) - partial
    follow = list(again | partial)
    while follow:
        for target, _ in graph.successors[follow.pop()]:
            if target not in again:
                again.add(target)
                follow.append(target)
    return again, partial - again


def _drop(s: State, step: Step) -> None:
    """Forget a step, its result, and the scope it opened."""
    if step.child != NONE and (child := s.scopes.get((step.run, step.child))) is not None:
        for each in _steps_in(s, child):
            _drop(s, each)
        s.children.pop((child.run, child.no), None)
        s.delete(child)
    if step.out:
        s.write("values", value_key(step.run, step.scope, step.ordinal, OUT), None)
    s.delete(step)


def _reopen_step(s: State, scope: Scope, step: Step) -> None:
    s.move(step, "reopen", "retried by a person")
    step.error, step.ended_wall, step.ending, step.contained = None, 0, "", False
    step.ok = step.bad = step.skipped = step.afters = step.catches = 0
    s.children[scope.run, scope.no][step.ordinal] = None
    scope.open += 1


def _resume_map(s: State, scope: Scope, members: dict[int, Step]) -> None:
    """`members` are the items that are kept or opened again; all others are still to do."""
    scope.todo = tuple(i for i in range(scope.total) if i not in members)
    scope.remaining = len(scope.todo) + scope.open
    scope.made = scope.total


def _resume_body(s: State, scope: Scope, members: dict[int, Step], partial: set[int]) -> None:
    graph = s.graph_of(scope)
    kept = sorted(members.keys() - partial)
    scope.remaining = graph.body - len(kept)
    if graph.block.timeout_ms is not None:
        scope.deadline = s.meta.now + graph.block.timeout_ms
        s.set_timer(scope.deadline, scope.run, scope.no, NONE)
    for ordinal in graph.sources:
        if ordinal not in members:
            steps.become_ready(s, steps.create(s, scope, ordinal), item=False)
    for ordinal in kept:
        step = members[ordinal]
        s.edit(step)
        step.ok = step.bad = step.skipped = step.afters = step.catches = 0
    for ordinal in kept:
        scopes.notify(s, scope, members[ordinal])
