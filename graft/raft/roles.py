"""The roles of a server and what moves it from one to the next (figure 4 of the paper, with pre-vote between).

::

    follower ------ timed_out ------> pre_candidate ---- pre_elected ---> candidate ---- elected ---> leader
       ^  \\------------------ told_to_stand (transfer) ------------------->  |                         |
       +------------ higher_term | leader_found | defeated | stepped_down ----+-------------------------+

The table is the rule: a pair that is not in it does not happen, and asking for it is a bug (KeyError).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .effects import AnswerRequest

if TYPE_CHECKING:
    from .state import State

TRANSITIONS: dict[tuple[str, str], str] = {
    ("follower", "timed_out"): "pre_candidate",
    ("pre_candidate", "timed_out"): "pre_candidate",
    ("candidate", "timed_out"): "pre_candidate",
    ("pre_candidate", "pre_elected"): "candidate",
    ("follower", "told_to_stand"): "candidate",
    ("candidate", "elected"): "leader",
    ("follower", "higher_term"): "follower",
    ("pre_candidate", "higher_term"): "follower",
    ("candidate", "higher_term"): "follower",
    ("leader", "higher_term"): "follower",
    ("follower", "leader_found"): "follower",
    ("pre_candidate", "leader_found"): "follower",
    ("candidate", "leader_found"): "follower",
    ("pre_candidate", "defeated"): "follower",
    ("candidate", "defeated"): "follower",
    ("follower", "stepped_down"): "follower",
    ("pre_candidate", "stepped_down"): "follower",
    ("candidate", "stepped_down"): "follower",
    ("leader", "stepped_down"): "follower",
}


def move(s: State, cause: str) -> None:
    """Take the role that the table gives for `cause`. Raises KeyError for what cannot happen."""
    role = TRANSITIONS[s.role, cause]
    if role != s.role:
        s.trace("role", f"{s.role} -> {role} ({cause}) term {s.term}")
    s.role = role


def become_follower(s: State, cause: str, term: int, leader: str | None) -> None:
    """Follow `leader` (if known) in `term`, which is this term or a later one."""
    led = s.role == "leader"
    move(s, cause)
    if term > s.term:
        s.set_term(term)
    s.leader = leader
    s.votes = {}
    if s.recovery_request is not None:
        s.emit(AnswerRequest(s.recovery_request[0], "deposed", s.leader))
        s.recovery_request = None
    if led:
        lay_down(s)


def lay_down(s: State) -> None:
    """What only a leader has is given up; whoever waits for it is told."""
    from . import election, reads, replacing, transfer

    s.progress = {}
    s.departing = {}
    s.uncommitted.clear()
    s.uncommitted_bytes = 0
    s.lease_until = None
    s.replicate_wanted = s.broadcast_commit = False
    reads.deposed(s)
    transfer.deposed(s)
    replacing.end(s, "deposed")
    if s.change_request is not None:
        s.emit(AnswerRequest(s.change_request, "deposed", s.leader))
        s.change_request = None
    if s.version_request is not None:
        s.emit(AnswerRequest(s.version_request[0], "deposed", s.leader))
        s.version_request = None
    for read, purpose in list(s.under_read.items()):
        if purpose.kind == "send":
            del s.under_read[read]
    election.reset_deadline(s)
