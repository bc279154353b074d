"""Scopes: durable nurseries (ARCHITECTURE §1). They open, fill, fail, run their `finally`, and end.

A scope ends when every step in it has ended. A failure inside cancels the siblings, waits for them, and then reaches
the step that opened the scope (R6). The work is a loop over the state's agenda.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from graft.engine import steps
from graft.engine.commands import Decision
from graft.engine.effects import Decide, RunEnded
from graft.engine.graph import AFTER, CATCH
from graft.engine.joins import READY, RULES
from graft.engine.lifecycle import BAD, ENDING, FINAL
from graft.engine.records import ITEMS, NONE, OUT, PARAMS, Run, Scope, Step, closed_idle, id_key, run_key
from graft.engine.retries import find_catch
from graft.engine.state import State
from graft.plan import ErrorRecord, FlowAction, GroupAction

MAX_ERRORS: Final = 16  # errors of a group that are kept; the count is exact
FINALLY_MS: Final = 10 * 60_000  # the deadline of a scope's `finally`


def run_agenda(s: State) -> None:
    """Work until nothing follows from what happened."""
    while s.agenda:
        what, item = s.agenda.popleft()
        _AGENDA[what](s, item)


# Opening


def open_root(s: State, run: Run, params: bytes, given: dict[int, bytes], excluded: frozenset[int]) -> Scope:
    """Open the scope of a run. Nodes in `given` have their result already, those in `excluded` are not asked for."""
    scope = Scope(run=run.no, no=0)
    s.add(scope)
    s.children[run.no, 0] = {}
    scope.params = s.write_value(run.no, 0, NONE, PARAMS, params)
    for ordinal in sorted(given.keys() | excluded):
        step = steps.create(s, scope, ordinal)
        if ordinal in given:
            steps.give(s, step, given[ordinal])
        else:
            steps.finish(s, step, "skipped", "not asked for")
    _start_body(s, scope, s.graph_of(scope).block.timeout_ms)
    return scope


def _open(s: State, item: tuple[Step, Decision | None]) -> None:
    """Open the scope of a step whose expressions are decided."""
    step, decision = item
    if step.status != "ready":
        return  # cancelled by something earlier on the agenda
    s.move(step, "open")
    parent = s.scope_of(step)
    node = s.node_of(step)
    scope = Scope(run=step.run, no=_next_scope(s, step), parent_scope=step.scope, parent_ordinal=step.ordinal)
    step.child = scope.no
    if decision is not None and decision.what == "items":
        scope.kind, scope.block = "map", parent.block
        scope.node = parent.node if parent.kind == "map" else step.ordinal
    else:
        assert isinstance(node.action, (GroupAction, FlowAction))
        scope.block = node.action.block
    s.add(scope)
    s.children[scope.run, scope.no] = {}
    if scope.kind == "map":
        assert decision is not None
        _start_map(s, scope, decision)
        return
    if decision is not None and decision.data is not None:
        scope.params = s.write_value(scope.run, scope.no, NONE, PARAMS, decision.data)
    limits = [each for each in (node.timeout_ms, s.graph_of(scope).block.timeout_ms) if each is not None]
    _start_body(s, scope, min(limits, default=None))


def _next_scope(s: State, step: Step) -> int:
    run = s.run_of(step)
    s.edit(run)
    run.next_scope += 1
    return run.next_scope - 1


def _start_body(s: State, scope: Scope, timeout_ms: int | None) -> None:
    graph = s.graph_of(scope)
    scope.remaining = graph.body
    if timeout_ms is not None:
        scope.deadline = s.meta.now + timeout_ms
        s.set_timer(scope.deadline, scope.run, scope.no, NONE)
    for ordinal in graph.sources:
        if (scope.run, scope.no, ordinal) not in s.steps:
            steps.become_ready(s, steps.create(s, scope, ordinal), item=False)
    close_if_done(s, scope)


def _start_map(s: State, scope: Scope, decision: Decision) -> None:
    for_each = s.graph_of(scope).nodes[scope.node].for_each
    assert for_each is not None
    assert decision.data is not None
    scope.total = scope.remaining = decision.number
    scope.slots = for_each.max_parallel or 0
    tolerate = for_each.tolerate
    scope.tolerate = scope.total * tolerate // 100 if for_each.tolerate_percent else tolerate
    scope.items = s.write_value(scope.run, scope.no, NONE, ITEMS, decision.data)
    fill_map(s, scope)
    close_if_done(s, scope)


def fill_map(s: State, scope: Scope) -> None:
    """Make items while there are slots: an item is recorded when it can start, not before (R10)."""
    while scope.status == "running" and (not scope.slots or scope.open < scope.slots):
        if scope.todo is not None:
            if not scope.todo:
                return
            ordinal, scope.todo = scope.todo[0], scope.todo[1:]
        elif scope.made < scope.total:
            ordinal = scope.made
            scope.made += 1
        else:
            return
        steps.become_ready(s, steps.create(s, scope, ordinal), item=True)


# A child ended


def _child_ended(s: State, step: Step) -> None:
    scope = s.scope_of(step)
    s.edit(scope)
    scope.open -= 1
    scope.remaining -= 1
    if scope.status == "cancelling":
        if step.error is not None and step.status != "timed_out":
            _keep_error(scope, step.error)  # it failed by itself while the scope was ending: part of the group
    elif scope.kind == "map":
        _item_ended(s, scope, step)
    else:
        _node_ended(s, scope, step)
    close_if_done(s, scope)


def _item_ended(s: State, scope: Scope, step: Step) -> None:
    if scope.status != "running":
        return
    if step.status in BAD or step.status == "cancelled":
        scope.failed += 1
        _keep_error(scope, step.error or ErrorRecord(step.status, step.reason))
        if scope.failed > scope.tolerate:
            fail(s, scope, "failed", f"{scope.failed} of {scope.total} items failed")
            return
    fill_map(s, scope)


def _node_ended(s: State, scope: Scope, step: Step) -> None:
    if scope.status == "finalising":
        _final_ended(scope, step)
        notify(s, scope, step)
    elif scope.status == "running":
        caught = _contain(s, scope, step)
        if step.status in BAD and not step.contained and not step.neutral:
            _keep_error(scope, step.error or ErrorRecord(step.status, step.reason))
            fail(s, scope, "failed", f"a step failed: {step.reason}"[:200])
            return
        if step.status == "cancelled" and not step.neutral:
            scope.outcome, scope.reason = scope.outcome or "cancelled", step.reason
        if s.node_of(step).ends == "failed" and step.status != "skipped":
            scope.outcome, scope.reason = "failed", "the node that handles its failure ended it"
        notify(s, scope, step, caught)


def _final_ended(scope: Scope, step: Step) -> None:
    """A `finally` node that fails spoils a success; the others go on."""
    if step.status in BAD:
        step.contained = True
        _keep_error(scope, step.error or ErrorRecord(step.status, step.reason))
        if scope.outcome == "succeeded":
            scope.outcome, scope.reason = "failed", "a finally step failed"


def _contain(s: State, scope: Scope, step: Step) -> int | None:
    """Whether the flow says that this failure goes no further; the target of the catch that took it."""
    if step.status not in BAD:
        return None
    node = s.node_of(step)
    catch = find_catch(node.catch, step.error) if step.error is not None else None
    if catch is not None:
        step.contained = True
        scope.errors = (*scope.errors, step.error)[:MAX_ERRORS] if step.error else scope.errors
        s.tell(step.run, step.scope, step.ordinal, "caught", f"by {catch.to}", step.attempt)
        return s.graph_of(scope).ordinals[catch.to]
    step.contained = node.on_failure == "continue"
    return None


def _keep_error(scope: Scope, error: ErrorRecord) -> None:
    if len(scope.errors) < MAX_ERRORS:
        scope.errors = (*scope.errors, error)


def notify(s: State, scope: Scope, step: Step, caught: int | None = None) -> None:
    """Count an ended step in every node that follows it, and go on with those whose join is decided by it."""
    for ordinal, kind in s.graph_of(scope).successors[step.ordinal]:
        target = s.steps.get((scope.run, scope.no, ordinal)) or steps.create(s, scope, ordinal)
        s.edit(target)
        _count(target, step, kind)
        if target.status == "pending":
            _evaluate(s, scope, target, is_caught=caught == ordinal and kind == CATCH)


def _count(target: Step, ended: Step, kind: int) -> None:
    if kind == AFTER:
        target.afters += 1
    elif kind == CATCH:
        target.catches += 1
    elif ended.status == "succeeded":
        target.ok += 1
    elif ended.status == "skipped" or ended.neutral:
        target.skipped += 1
    else:
        target.bad += 1


def _evaluate(s: State, scope: Scope, target: Step, *, is_caught: bool) -> None:
    graph, i = s.graph_of(scope), target.ordinal
    if graph.catches[i]:
        if is_caught:
            steps.become_ready(s, target, item=False)
        elif target.catches == graph.catches[i]:
            steps.finish(s, target, "skipped", "nothing was caught")
        return
    if target.afters < graph.afters[i]:
        return
    join = graph.nodes[i].join
    verdict = RULES[join](graph.needs[i], target.ok, target.bad, target.skipped)
    if verdict == READY:
        steps.become_ready(s, target, item=False)
        if join == "any_succeeded":
            _cancel_losers(s, scope, target)
    elif verdict is not None:
        steps.finish(s, target, "skipped", verdict)


def _cancel_losers(s: State, scope: Scope, winner_of: Step) -> None:
    """The needs of an `any_succeeded` that did not win are of no use, unless another live node waits for them."""
    graph = s.graph_of(scope)
    for i in graph.need_sources[winner_of.ordinal]:
        others = [target for target, kind in graph.successors[i] if kind != CATCH and target != winner_of.ordinal]
        if any(_is_live(s, scope, other) for other in others):
            continue
        loser = s.steps.get((scope.run, scope.no, i)) or steps.create(s, scope, i)
        if loser.status not in FINAL:
            s.edit(loser)
            loser.neutral = True
            cancel_step(s, loser, "another need was faster")


def _is_live(s: State, scope: Scope, ordinal: int) -> bool:
    step = s.steps.get((scope.run, scope.no, ordinal))
    return step is None or step.status not in FINAL


# Failing and cancelling


def cancel_step(s: State, step: Step, reason: str, ending: str = "cancelled") -> None:
    """Cancel a step, through the scope it opened if it has one."""
    child = s.scopes.get((step.run, step.child)) if step.child != NONE else None
    steps.cancel(s, step, reason, ending)
    if child is not None and child.status != "ended":
        fail(s, child, ending, reason)


def fail(s: State, scope: Scope, outcome: str, reason: str) -> None:
    """End a scope early with `outcome`: cancel what is live in it, then run its `finally`, which is shielded."""
    if scope.status not in ("running", "concluding"):
        return
    s.move_scope(scope, "stop")
    scope.outcome, scope.reason = outcome, reason
    if scope.parent_scope == NONE:
        s.move_run(s.run_of(scope), "stop", reason)
    for step in s.live_children(scope):
        cancel_step(s, step, reason)
    close_if_done(s, scope)


def time_out(s: State, scope: Scope) -> None:
    """The scope's deadline is over. In its `finally` it ends what is left of that."""
    s.edit(scope)
    scope.deadline = 0
    if scope.status == "finalising":
        for step in s.live_children(scope):
            cancel_step(s, step, "the time for finally was over", "timed_out")
    else:
        _keep_error(scope, ErrorRecord("timeout", "the deadline of the scope was over"))
        fail(s, scope, "timed_out", "timeout")


# Closing


def close_if_done(s: State, scope: Scope) -> None:
    """Take the next phase when nothing of this one is live."""
    if scope.open:
        return
    if scope.status == "running" and not scope.remaining:
        s.edit(scope)
        scope.outcome = scope.outcome or "succeeded"
        if scope.kind == "body" and scope.outcome == "succeeded" and s.graph_of(scope).block.outputs is not None:
            s.move_scope(scope, "conclude")
            s.effects.append(decide_outputs(s, scope))
        else:
            _finalise(s, scope)
    elif scope.status == "cancelling":
        _finalise(s, scope)
    elif scope.status == "finalising" and not scope.remaining:
        _end(s, scope)


def decide_outputs(s: State, scope: Scope) -> Decide:
    return Decide((scope.run, scope.no, NONE), s.runs[scope.run].generation, item=False)


def concluded(s: State, scope: Scope, decision: Decision) -> None:
    """The outputs of a flow's scope were decided."""
    if scope.status != "concluding":
        return
    if decision.what == "fail":
        assert decision.error is not None
        s.edit(scope)
        _keep_error(scope, decision.error)
        fail(s, scope, "failed", decision.reason)
        return
    assert decision.data is not None
    parent = s.parent_of(scope)
    if parent is None:
        run = s.run_of(scope)
        s.edit(run)
        run.out = s.write_value(run.no, 0, NONE, OUT, decision.data)
    else:
        s.edit(parent)
        parent.out = s.write_value(parent.run, parent.scope, parent.ordinal, OUT, decision.data)
    _finalise(s, scope)


def _finalise(s: State, scope: Scope) -> None:
    graph = s.graph_of(scope) if scope.kind == "body" else None
    if graph is None or not graph.block.finals:
        _end(s, scope)
        return
    s.move_scope(scope, "finalise")
    scope.remaining = len(graph.nodes) - graph.body
    scope.deadline = s.meta.now + FINALLY_MS
    s.set_timer(scope.deadline, scope.run, scope.no, NONE)
    for ordinal in graph.final_sources:
        steps.become_ready(s, steps.create(s, scope, ordinal), item=False)


def _end(s: State, scope: Scope) -> None:
    s.move_scope(scope, "end")
    scope.deadline = 0
    error = _group_error(scope)
    parent = s.parent_of(scope)
    if parent is None:
        _end_run(s, s.run_of(scope), scope, error)
    else:
        steps.finish(s, parent, scope.outcome, scope.reason, error=error)


def _group_error(scope: Scope) -> ErrorRecord | None:
    """Several errors arrive as a group; the errors that a success tolerated stay with the scope."""
    if scope.outcome == "succeeded" or not scope.errors:
        return None
    if len(scope.errors) == 1 and scope.kind == "body":
        return scope.errors[0]
    return ErrorRecord("group", scope.reason or f"{len(scope.errors)} errors", cause=scope.errors)


def _end_run(s: State, run: Run, scope: Scope, error: ErrorRecord | None) -> None:
    s.move_run(run, ENDING[scope.outcome], scope.reason)
    run.ended_wall = s.meta.clock
    run.error = error
    run.paused, run.idle = "", closed_idle(run.idle, s.meta.clock)
    s.write("live", run_key(run.no), None)
    s.known_ids[id_key(run.id)] = run.no
    s.effects.append(RunEnded(run.no, run.id, run.status))


_AGENDA: Final[dict[str, Callable[[State, Any], None]]] = {steps.ENDED: _child_ended, steps.OPEN: _open}
