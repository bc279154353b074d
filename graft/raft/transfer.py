"""Leadership transfer (thesis 3.10): stop taking proposals, bring the target up to date, tell it to stand at once.

A transfer ends when the target leads, or after one election timeout. From the TimeoutNow on this term has no lease
any more: the message may arrive late, and the election that it starts asks nobody to wait for the old leader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from . import election, repair
from .effects import AnswerRequest
from .events import TransferRequested
from .messages import TimeoutNow
from .roles import become_follower

if TYPE_CHECKING:
    from .state import State


@define
class Transfer:
    """The one that is under way."""

    request: int | None
    target: str
    deadline: float
    sent: bool = False


def transfer_requested(s: State, event: TransferRequested) -> None:
    target = event.target or best_target(s, s.view.voters[0])
    reason = _refusal(s, target)
    if reason or target is None:
        s.emit(AnswerRequest(event.request, reason, s.leader))
        return
    s.transfer = Transfer(event.request, target, s.now + s.config.election_timeout_seconds)
    s.lease_until = None
    s.trace("transfer", f"to {target}")
    advance(s)
    s.replicate_wanted = True


def _refusal(s: State, target: str | None) -> str:
    if s.role != "leader":
        return "not_leader"
    if s.transfer is not None:
        return "transferring"
    if target == s.id:
        return "no_change"
    if target is None or s.view.role_of(target) != "voter":
        return "unknown_member"
    return ""


def best_target(s: State, candidates: tuple[str, ...]) -> str | None:
    """Of `candidates` that the leader follows, who holds most of the log; of those that are equal the first by id."""
    voters = [id for id in candidates if id in s.progress]
    return max(voters, key=lambda id: (s.progress[id].match, [-ord(c) for c in id]), default=None)


def hand_over(s: State) -> None:
    """The leader itself wants another one to lead; nobody asked. Who is leaving would be gone when it has the log."""
    target = best_target(s, s.view.voters[0])
    if target is not None:
        s.transfer = Transfer(None, target, s.now + s.config.election_timeout_seconds)
        s.lease_until = None
        advance(s)


def finish(s: State, transfer: Transfer, reason: str, leader: str | None) -> None:
    if transfer.request is not None:
        s.emit(AnswerRequest(transfer.request, reason, leader))


def advance(s: State) -> None:
    """Tell the target to stand as soon as it holds the whole log."""
    transfer = s.transfer
    if transfer is None or transfer.sent:
        return
    p = s.progress.get(transfer.target)  # None: removed meanwhile
    if p is not None and p.match == s.log.last:
        transfer.sent = True
        tell(s, transfer.target)


def tell(s: State, target: str) -> None:
    s.transfer_tainted = True
    s.lease_until = None
    s.send(TimeoutNow(s.id, target, s.config.incarnation, s.term))


def tick(s: State) -> None:
    """Give up when the time is over or the target no longer a voter, else tell it again: the message may be lost."""
    transfer = s.transfer
    if transfer is None:
        return
    if s.now >= transfer.deadline or s.view.role_of(transfer.target) != "voter":
        s.transfer = None
        finish(s, transfer, "timed_out", s.id)
    elif transfer.sent:
        tell(s, transfer.target)


def deposed(s: State) -> None:
    """This leader became a follower: whether the transfer worked is known when the next leader is."""
    if s.transfer is not None and not s.transfer.sent:
        finish(s, s.transfer, "deposed", s.leader)
    elif s.transfer is not None:
        s.handover = s.transfer
        s.handover.deadline = s.now + 2 * s.config.election_timeout_seconds
    s.transfer = None


def leader_found(s: State, leader: str) -> None:
    if s.handover is not None:
        finish(s, s.handover, "" if leader == s.handover.target else "deposed", leader)
        s.handover = None


def handover_timed_out(s: State) -> None:
    if s.handover is not None and s.now >= s.handover.deadline:
        finish(s, s.handover, "timed_out", s.leader)
        s.handover = None


def timeout_now(s: State, m: TimeoutNow) -> None:
    """The leader of this term wants me to lead."""
    if s.role == "follower" and s.leader == m.source and s.view.is_voter and not repair.is_blocking(s):
        s.trace("transfer", f"{m.source} tells me to stand")
        s.told_to_stand = (s.term + 1, m.source)
        election.start_transfer_election(s)


def step_aside(s: State) -> None:
    """This leader is no longer a voter, and that is committed (thesis 4.2.2)."""
    target = best_target(s, s.view.voters[0])
    s.trace("membership", "the leader was removed and steps down")
    if target is not None and s.progress[target].match == s.log.last:
        tell(s, target)
    become_follower(s, "stepped_down", s.term, None)
