"""One step: from its first need that ended to its final status.

Nothing here walks the scope tree: a step that became final is put on the agenda, and `graft.engine.scopes` tells its
scope. So a chain of ten thousand skips is a loop, not a recursion.
"""

from __future__ import annotations

from typing import Final

from graft.engine.commands import AttemptSettled, Decision
from graft.engine.effects import CancelAttempt, Decide, StartAttempt
from graft.engine.graph import Line, is_task, needs_decision
from graft.engine.lifecycle import ENDING, FINAL
from graft.engine.placement import pick
from graft.engine.records import OUT, Scope, Step
from graft.engine.retries import delay_ms, may_park, may_retry
from graft.engine.state import State
from graft.ids import StepKey
from graft.plan import ErrorRecord

# What the agenda of a state holds: (what, step) or (what, (step, decision)).
ENDED: Final = "ended"
OPEN: Final = "open"

GENERATION_BITS: Final = 32  # a token: the generation of the run before it, and the number of the start

TIMEOUT = ErrorRecord("timeout", "total_timeout was over")
SHORTAGE = "shortage"
LOST = ErrorRecord("lost_member", "the member that ran it was lost")


def key_of(step: Step) -> StepKey:
    return (step.run, step.scope, step.ordinal)


def create(s: State, scope: Scope, ordinal: int) -> Step:
    """A pending step, live in its scope."""
    step = Step(run=scope.run, scope=scope.no, ordinal=ordinal)
    if s.cluster_rules:
        # The step may have run in an earlier generation of the run: what that settles late must not count for this.
        step.token = (s.runs[scope.run].generation - 1) << GENERATION_BITS
    s.add(step)
    s.edit(scope)
    scope.open += 1
    s.children.setdefault((scope.run, scope.no), {})[ordinal] = None
    return step


def become_ready(s: State, step: Step, *, item: bool) -> None:
    """Its join rule is met (or it is an item of a map). Once a node, `total_timeout` begins here."""
    s.move(step, "join")
    step.started_wall = s.meta.clock
    node = s.node_of(step)
    if node.total_timeout_ms is not None and not item:
        step.deadline = s.meta.now + node.total_timeout_ms
        s.set_timer(step.deadline, *key_of(step))
    if needs_decision(node, item=item):
        s.effects.append(decide(s, step))
    else:
        proceed(s, step)


def decide(s: State, step: Step) -> Decide:
    """Ask for the expressions of a ready step. An item's node-level ones were decided by its map."""
    return Decide(key_of(step), s.run_of(step).generation, item=s.scope_of(step).kind == "map")


def proceed(s: State, step: Step) -> None:
    """Nothing is left to decide: queue a task, open a group."""
    if is_task(s.node_of(step)):
        enqueue(s, step)
    else:
        s.agenda.append((OPEN, (step, None)))


def decided(s: State, step: Step, decision: Decision) -> None:
    match decision.what:
        case "go":
            proceed(s, step)
        case "skip":
            finish(s, step, "skipped", decision.reason)
        case "fail":
            finish(s, step, "failed", decision.reason, error=decision.error)
        case "value":
            finish(s, step, "succeeded", value=decision.data)
        case "sleep":
            s.move(step, "wait", "sleeping")
            step.wake = s.meta.wall + decision.number
            s.set_wake(step.wake, *key_of(step))
        case "items" | "params":
            s.agenda.append((OPEN, (step, decision)))
        case what:
            raise AssertionError(f"unknown decision {what!r}")


def enqueue(s: State, step: Step, reason: str = "") -> None:
    s.move(step, "queue", reason)
    step.due = 0
    _take_position(s, step)


def _take_position(s: State, step: Step) -> None:
    s.edit(s.meta)
    step.position = s.meta.next_position
    s.meta.next_position += 1
    s.enter_queue(step)


def dispatch(s: State) -> None:
    """Give free slots to the heads of the lines; strand a line that no live member could run."""
    queue = s.queue
    if not queue.is_empty():
        lines = queue.lines()
        while lines:
            line = lines[0] if len(lines) == 1 else _next_line(s, lines)
            if not _place_head(s, line) or not queue.has_line(line):
                lines.remove(line)


def _next_line(s: State, lines: list[Line]) -> Line:
    """First come, first served; by kind in a log from before there were clusters."""
    if not s.cluster_rules:
        return min(lines)
    return min(lines, key=s.queue.head)


def _place_head(s: State, line: Line) -> bool:
    """Start the head of a line; False when nothing of the line can start now."""
    choice = s.placement.choice(line, s.members, s.meta.config)
    if not choice.able:
        for key in s.queue.take_line(line):
            s.move(s.steps[key], "strand", choice.why)
            s.placement.strand(line, key)
        return False
    near = s.runs[s.queue.head(line)[1][0]].near if len(choice.members) > 1 else ""
    member = pick(line[0], choice, s.ledger, near, s.zones)
    if member is None:
        return False
    start(s, s.steps[s.queue.pop(line)], member, line[0])
    return True


def members_changed(s: State) -> None:
    """Look again at who can run what: stranded steps that a member can run now queue at their old place."""
    s.placement.forget_choices()
    s.zones = {member.id: member.zone for member in s.members.values()}
    for line, keys in sorted(s.placement.stranded.items()):
        choice = s.placement.choice(line, s.members, s.meta.config)
        for key in sorted(keys):
            step = s.steps[key]
            if choice.able:
                s.move(step, "queue", "a member can run it")
                s.enter_queue(step)
            elif step.reason != choice.why:
                s.edit(step)
                step.reason = choice.why
        if choice.able:
            del s.placement.stranded[line]


def start(s: State, step: Step, member: str, kind: str) -> None:
    s.edit(step)
    step.attempt += 1
    step.token += 1
    s.move(step, "start", f"on {member}" if s.meta.rules and len(s.members) > 1 else "")
    step.member = member
    if s.meta.rules:
        step.ran_on = member
    step.incarnation = s.members[member].incarnation
    s.ledger.take(member, kind)
    key = key_of(step)
    s.attempts[member][key] = None
    s.effects.append(StartAttempt(key, step.token, step.attempt, member, step.incarnation))


def _release(s: State, step: Step) -> None:
    """The attempt is over: its slot goes back in the same entry that recorded its end."""
    s.attempts.get(step.member, {}).pop(key_of(step), None)
    member = s.members.get(step.member)
    if member is not None and member.live and member.incarnation == step.incarnation:
        s.ledger.release(step.member, s.node_of(step).kind)
    s.edit(step)
    step.member, step.incarnation = "", 0


def settle(s: State, step: Step | None, command: AttemptSettled) -> str | None:
    """An attempt ended. Gives why the result is refused, None when it was taken."""
    if step is None or step.token != command.token or step.status not in ("running", "cancelling"):
        return "the attempt no longer holds a valid token"
    if not step.member:
        return "the step has no attempt"
    ran_on = step.member
    _release(s, step)
    if command.status == "succeeded":
        _keep_near(s, step, ran_on)
        finish(s, step, "succeeded", value=command.value)
    elif step.status == "cancelling":
        finish(s, step, step.ending or "cancelled", step.reason, error=_cause(command))
    elif command.status == "skipped":
        finish(s, step, "skipped", _why_skipped(command.error))
    elif command.status == "cancelled":
        finish(s, step, "cancelled", "the worker was told to stop it", error=command.error)
    elif command.status == "lost":
        _lose(s, step, command.error)
    else:
        _fail_or_back_off(s, step, command)
    return None


def _why_skipped(error: ErrorRecord | None) -> str:
    title = "" if error is None else error.title
    return f"the step skipped itself: {title}"[:200] if title else "the step skipped itself"


def _keep_near(s: State, step: Step, member: str) -> None:
    """Where there is a choice, what follows prefers the member that made its inputs."""
    run = s.run_of(step)
    if run.near != member and len(s.members) > 1:
        s.edit(run)
        run.near = member


def _cause(command: AttemptSettled) -> ErrorRecord | None:
    """While cancelling only an error of the step's own is worth keeping, not that it was stopped."""
    return command.error if command.status == "failed" else None


def _lose(s: State, step: Step, error: ErrorRecord | None) -> None:
    """Losing the member is not an attempt of the step's own code (R7), and what its machine lacks neither."""
    step.lost += 1
    step.attempt -= 1
    retry = s.retry_of(step)
    limit = 10 if retry is None else retry.max_lost
    if step.lost > limit:
        is_shortage = error is not None and error.type == SHORTAGE
        step.error = error if is_shortage else LOST
        why = f"{step.lost} times too little for it" if is_shortage else f"it lost its member {step.lost} times"
        s.move(step, "park", f"gave up: {why}")
        return
    s.move(step, "lose", "lost_member")
    _take_position(s, step)


def _fail_or_back_off(s: State, step: Step, command: AttemptSettled) -> None:
    retry, error = s.retry_of(step), command.error or ErrorRecord("failed", "the attempt gave no error")
    if may_retry(retry, step.attempt, error):
        assert retry is not None
        delay = delay_ms(retry, step.attempt, command.dice, command.retry_after_ms)
        step.error = error
        s.move(step, "back_off", f"{error.type}: {error.title}"[:200])
        step.due = s.meta.now + delay
        s.set_timer(step.due, *key_of(step))
    elif may_park(retry, error):
        step.error = error
        s.move(step, "park", f"gave up after {step.attempt} attempts: {error.type}")
    else:
        status = "timed_out" if command.status == "timed_out" else "failed"
        finish(s, step, status, f"{error.type}: {error.title}"[:200], error=error)


def finish(
    s: State,
    step: Step,
    status: str,
    reason: str = "",
    *,
    error: ErrorRecord | None = None,
    value: bytes | None = None,
) -> None:
    """Move to a final status, and put the step on the agenda for its scope."""
    if step.status == "queued":
        s.queue.discard(s.line_of(step), key_of(step))
    elif s.is_stranded(step):
        s.placement.discard(s.line_of(step), key_of(step))
    s.move(step, ENDING[status], reason)
    step.ended_wall = s.meta.clock
    step.due = step.deadline = step.wake = 0
    step.error = TIMEOUT if error is None and status == "timed_out" else error
    if value is not None:
        step.out = s.write_value(step.run, step.scope, step.ordinal, OUT, value)
    s.children[step.run, step.scope].pop(step.ordinal, None)
    s.agenda.append((ENDED, step))


def give(s: State, step: Step, value: bytes) -> None:
    """A pending step gets the result of an earlier run instead of running."""
    s.move(step, "give", "taken from an earlier run")
    step.started_wall = step.ended_wall = s.meta.clock
    step.out = s.write_value(step.run, step.scope, step.ordinal, OUT, value)
    s.children[step.run, step.scope].pop(step.ordinal, None)
    s.agenda.append((ENDED, step))


def cancel(s: State, step: Step, reason: str, ending: str = "cancelled") -> None:
    """Stop a live step: at once where nothing runs, through its attempt where one does.

    A step with a scope of its own is cancelled by its scope: see `graft.engine.scopes`.
    """
    if step.status in FINAL or step.status == "cancelling":
        return
    if step.status != "running":
        finish(s, step, ending, reason)
        return
    s.move(step, "stop", reason)
    step.ending = ending
    if step.member:
        s.effects.append(CancelAttempt(key_of(step), step.token, step.member, step.incarnation, reason))
