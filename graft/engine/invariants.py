"""What is always true of the engine's state between two applies. Tests and simulation call `check` after every one.

Each check compares an index, a counter or a promise with the records themselves, so it costs O(live) and is not run in
production.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from graft.engine.graph import Line
from graft.engine.lifecycle import FINAL
from graft.engine.placement import choose, pick
from graft.engine.records import NONE, Step
from graft.engine.state import State
from graft.ids import StepKey
from graft.resources.ledger import TOTAL


def check(s: State) -> None:
    """Raises AssertionError that names the invariant and the record."""
    for invariant in INVARIANTS:
        invariant(s)


def _live(s: State) -> list[Step]:
    return [step for step in s.steps.values() if step.status not in FINAL]


def scopes_count_their_live_steps(s: State) -> None:
    """`open` and the children index of a scope are its live steps; an ended scope has none."""
    found: dict[tuple[int, int], set[int]] = {key: set() for key in s.scopes}
    for step in _live(s):
        assert (step.run, step.scope) in found, f"{step} is live in a scope that is gone"
        found[step.run, step.scope].add(step.ordinal)
    for key, scope in s.scopes.items():
        assert found[key] == set(s.children.get(key, ())), f"children of {scope}: {found[key]} {s.children.get(key)}"
        assert scope.open == len(found[key]), f"open of {scope}: {found[key]}"
        assert scope.status != "ended" or not found[key], f"{scope} ended with live steps"


def runs_end_with_their_root(s: State) -> None:
    for run in s.runs.values():
        root = s.scopes.get((run.no, 0))
        ended = root is None or root.status == "ended"
        assert (run.status in FINAL) == ended, f"{run} and {root}"


def nothing_outlives_its_scope(s: State) -> None:
    """Promise 4: a live scope hangs on a step that runs it."""
    for scope in s.scopes.values():
        if scope.status != "ended" and scope.parent_scope != NONE:
            parent = s.steps.get((scope.run, scope.parent_scope, scope.parent_ordinal))
            assert parent is not None, f"{scope} has no parent"
            assert parent.status in ("running", "cancelling"), f"{scope} hangs on {parent}"
            assert parent.child == scope.no, f"{scope} hangs on {parent}"


def attempts_are_where_the_records_say(s: State) -> None:
    """A member is set exactly while an attempt is out, and always its current incarnation."""
    found: dict[str, set[tuple[int, int, int]]] = {member: set() for member in s.attempts}
    for step in s.steps.values():
        out = step.status in ("running", "cancelling") and step.child == NONE
        assert bool(step.member) == out, f"{step}: member"
        if out:
            member = s.members.get(step.member)
            live = member is not None and member.live and member.incarnation == step.incarnation
            assert live, f"{step} is out on a dead incarnation"
            found[step.member].add((step.run, step.scope, step.ordinal))
    assert found == {member: set(keys) for member, keys in s.attempts.items()}, "index of attempts"


def slots_are_what_attempts_use(s: State) -> None:
    """Promise 5: the ledger is the attempts that are out, within every limit; slots never leak."""
    used: Counter[tuple[str, str]] = Counter()
    for step in s.steps.values():
        if step.member:
            used[step.member, s.node_of(step).kind] += 1
            used[step.member, TOTAL] += 1
    for member in s.ledger.members():
        kinds = {kind for who, kind in used if who == member} | {TOTAL}
        for kind in kinds:
            assert s.ledger.used(member, kind) == used[member, kind], f"slots {kind} of {member}"
            limit = s.ledger.limit(member, kind)
            assert limit is None or used[member, kind] <= limit, f"limit {kind} of {member}"
        total = sum(count for (who, kind), count in used.items() if who == member and kind != TOTAL)
        assert s.ledger.used(member) == total, f"total of {member}"
    for kind in {kind for _, kind in used} | {TOTAL}:
        everywhere = sum(count for (_, each), count in used.items() if each == kind)
        assert s.ledger.cluster_used(kind) == everywhere, f"{kind} slots of the cluster"


def the_queue_is_the_queued(s: State) -> None:
    queued = {
        (step.run, step.scope, step.ordinal)
        for step in s.steps.values()
        if step.status == "queued" and not s.runs[step.run].paused
    }
    assert set(s.queue) == queued, f"queue {sorted(s.queue)} but queued are {sorted(queued)}"


def no_slot_idles(s: State) -> None:
    """Placement is part of apply: nobody waits while a slot is free."""
    min_version = 0 if s.meta.config is None else s.meta.config.min_version
    for line in s.queue.lines():
        choice = choose(line, s.members.values(), min_version)
        assert choice.able, f"{line} waits for a slot that no member has"
        assert pick(line[0], choice, s.ledger, "", {}) is None, f"{line} waits and a slot is free"


def maps_keep_their_slots(s: State) -> None:
    for scope in s.scopes.values():
        if scope.kind == "map" and scope.status != "ended":
            assert not scope.slots or scope.open <= scope.slots, f"{scope} has more items at once than slots"
            assert scope.made <= scope.total, f"{scope} made too many items"
            to_do = scope.total - scope.made if scope.todo is None else len(scope.todo)
            if scope.status == "running":
                assert scope.remaining == scope.open + to_do, f"{scope} remaining"
                assert not to_do or (scope.slots and scope.open == scope.slots), f"{scope} does not fill its slots"


def stranded_steps_are_those_that_nobody_can_run(s: State) -> None:
    found: dict[Line, set[StepKey]] = {}
    for key, step in s.steps.items():
        if s.is_stranded(step):
            found.setdefault(s.line_of(step), set()).add(key)
    assert found == {line: set(keys) for line, keys in s.placement.stranded.items()}, "index of stranded steps"
    min_version = 0 if s.meta.config is None else s.meta.config.min_version
    for line, keys in found.items():
        choice = choose(line, s.members.values(), min_version)
        assert not choice.able, f"{line} is stranded, and {choice} could run it"
        assert {s.steps[key].reason for key in keys} == {choice.why}


def every_deadline_has_a_timer(s: State) -> None:
    """Also after another member took over: nothing depends on who set a timer."""
    for scope in s.scopes.values():
        if scope.deadline and not s.runs[scope.run].paused:
            assert (scope.deadline, scope.run, scope.no, NONE) in s.timers, f"{scope} has no timer"
    for step in _live(s):
        if step.deadline and not s.runs[step.run].paused:
            assert (step.deadline, step.run, step.scope, step.ordinal) in s.timers, f"{step} has no timer"


def every_wait_has_an_answer(s: State) -> None:
    """Promise 9: a live run has something that will move it: an attempt, a timer, a decision, a queue, a person."""
    for run in s.live_runs():
        moves = any(scope.status == "concluding" for scope in s.scopes_of_run(run.no))
        for step in s.steps_of_run(run.no):
            if step.status in ("ready", "queued", "waiting", "backing_off") or step.member:
                moves = True
            if step.status == "backing_off" and not run.paused:
                assert (step.due, step.run, step.scope, step.ordinal) in s.timers, f"{step} has no timer"
            if step.wake and not run.paused:
                assert (step.wake, step.run, step.scope, step.ordinal) in s.wakes, f"{step} has no timer"
        assert moves, f"nothing can move {run}"


def waits_are_those_of_the_status(s: State) -> None:
    """Nothing that has ended waits for a time, and nothing that goes on has ended or stands still."""
    for step in s.steps.values():
        assert not step.due or step.status == "backing_off", f"{step} is due"
        assert not step.wake or step.status == "waiting", f"{step} is to be woken"
        assert not step.deadline or step.status not in FINAL, f"{step} has a deadline"
        assert not step.ended_wall or step.status in FINAL, f"{step} has an end"
    for scope in s.scopes.values():
        assert not scope.deadline or scope.status != "ended", f"{scope} has a deadline"
    for run in s.runs.values():
        assert not run.paused or run.status not in FINAL, f"{run} is paused"
        assert not run.ended_wall or run.status in FINAL, f"{run} has an end"
        assert all(until for _, until in run.idle[:-1]), f"{run} stands still twice"
        assert not run.idle or bool(run.idle[-1][1]) == (not run.paused), f"{run} stands still"


INVARIANTS: Final[tuple[Callable[[State], None], ...]] = (
    scopes_count_their_live_steps,
    runs_end_with_their_root,
    nothing_outlives_its_scope,
    attempts_are_where_the_records_say,
    slots_are_what_attempts_use,
    the_queue_is_the_queued,
    no_slot_idles,
    maps_keep_their_slots,
    stranded_steps_are_those_that_nobody_can_run,
    every_deadline_has_a_timer,
    every_wait_has_an_answer,
    waits_are_those_of_the_status,
)
