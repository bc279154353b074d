"""One request that adds voters and takes others away: who is to go stays until those who come have caught up.

Done at once, "remove a, add d" would leave three voters without any to spare until d has caught up, and the only voter
could not be replaced at all. So those who come begin as learners, and when all of them have caught up, one joint step
(thesis 4.3) makes them voters and does the rest of the request.

The rest is known to this leader only. When it falls it answers `deposed`; asked again, the request finds its learners
there and goes on from them. Rejected: to write the rest into the log. Another leader would do it long after whoever
asked has been told of a failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import membership
from .effects import AnswerRequest
from .events import Change
from .records import Configuration, record

if TYPE_CHECKING:
    from .state import State

AWAY = frozenset({"remove", "demote"})


@record
class Replacement:
    """A request whose additions are learners and whose `rest` waits for them. `since`: when it was asked."""

    request: int
    coming: tuple[Change, ...]
    rest: tuple[Change, ...]
    since: float

    def is_coming(self, id: str) -> bool:
        return any(change.id == id for change in self.coming)


def parts(changes: Sequence[Change]) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """The additions of voters, and the rest; no additions when nothing has to wait for them."""
    coming = tuple(change for change in changes if change.op == "add" and change.role != "executor")
    rest = tuple(change for change in changes if change not in coming)
    return (coming, rest) if any(change.op in AWAY for change in rest) else ((), tuple(changes))


def begin(s: State, request: int, coming: tuple[Change, ...], rest: tuple[Change, ...]) -> str:
    """Take the additions as learners, unless they are there already. Returns why not; empty when it is under way.

    Raises `membership.Impossible`, also for what would come out of the step to come.
    """
    if s.replacement is not None:
        return "busy"
    old = s.view.configuration
    missing = [change for change in coming if not is_there(old, change)]
    with_them = membership.plan(old, missing, ()) if missing else old
    membership.plan(with_them, last_step(with_them, coming, rest), {*membership.caught_up(s), *(c.id for c in coming)})
    if not membership.is_reachable(s, with_them):
        return "quorum_unreachable"
    s.replacement = Replacement(request, coming, rest, s.now)
    if missing:
        membership.propose(s, with_them)
    else:
        advance(s)
    return ""


def is_there(configuration: Configuration, addition: Change) -> bool:
    """An earlier leader took it: the same server, not as an executor."""
    member = configuration.find(addition.id)
    return member is not None and member.incarnation == addition.incarnation and member.role != "executor"


def last_step(configuration: Configuration, coming: Sequence[Change], rest: Sequence[Change]) -> tuple[Change, ...]:
    """What is left to do once all who come have caught up. Who comes may have been promoted by hand meanwhile."""
    voters = {member.id for member in configuration.members if member.role == "voter"}
    promoted = (Change("promote", change.id, change.incarnation) for change in coming if change.id not in voters)
    return (*promoted, *rest)


def advance(s: State) -> None:
    """Make the last step if everybody is ready for it."""
    waiting = s.replacement
    if waiting is None or membership.may_change(s):
        return
    try:
        new = membership.plan(
            s.view.configuration,
            last_step(s.view.configuration, waiting.coming, waiting.rest),
            membership.caught_up(s),
        )
    except membership.Impossible as impossible:
        reason = str(impossible.args[0])
        if reason != "not_caught_up" or is_silent(s, waiting):
            end(s, reason)
        return
    if membership.is_reachable(s, new):
        s.replacement = None
        s.change_request = waiting.request
        membership.propose(s, new)
    elif s.now - waiting.since > s.config.hold_silence_seconds:
        end(s, "quorum_unreachable")


def is_silent(s: State, waiting: Replacement) -> bool:
    """One of those who come has said nothing for so long that nobody waits for it."""
    heard = [s.progress[change.id].heard_at for change in waiting.coming if change.id in s.progress]
    return s.now - max(waiting.since, min(heard, default=0.0)) > s.config.hold_silence_seconds


def end(s: State, reason: str) -> None:
    """It is given up; who has come stays, and is promoted as any other learner."""
    if s.replacement is not None:
        s.emit(AnswerRequest(s.replacement.request, reason, s.leader))
        s.replacement = None
