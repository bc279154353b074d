"""When a majority is lost for ever, and an operator says so: this member alone becomes the cluster.

Not part of Raft, and not safe by itself: entries that only the lost members had are gone, entries that were never
committed become so, and two members that are recovered apart make two clusters. It is therefore an explicit command,
refused while a leader is heard of, and it takes a term far from any that the lost members may have begun.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import election, membership, repair
from .effects import AnswerRequest
from .events import QuorumRecoveryRequested
from .records import Configuration, Entry, Kind
from .roles import become_follower, move

if TYPE_CHECKING:
    from .state import State

TERM_STEP = 1_000


def recovery_requested(s: State, event: QuorumRecoveryRequested) -> None:
    reason = refusal(s, event.configuration)
    if reason:
        s.emit(AnswerRequest(event.request, reason, s.leader))
        return
    become_follower(s, "stepped_down", s.term + TERM_STEP, None)
    index = s.log.last + 1
    s.log.append((Entry(index, s.term, Kind.CONFIGURATION, membership.encode(event.configuration)),))
    membership.adopt(s, index, event.configuration)
    s.recovery_request = (event.request, index)
    s.trace("recovery", f"is the cluster from now on, term {s.term}")
    # The own vote of the entry's term is the whole election: the term was taken above.
    move(s, "told_to_stand")
    s.vote = s.id
    s.votes = {}
    election.reset_deadline(s)


def refusal(s: State, configuration: Configuration) -> str:
    voters = [m for m in configuration.members if m.role == "voter"]
    if [(m.id, m.incarnation) for m in voters] != [(s.id, s.config.incarnation)] or configuration.outgoing:
        return "invalid"
    if s.role == "leader" or s.now - s.leader_contact < 2 * s.config.election_timeout_seconds:
        return "leader_alive"
    return "damaged" if repair.is_blocking(s) else ""


def commit_advanced(s: State) -> None:
    if s.recovery_request is not None and s.recovery_request[1] <= s.commit:
        s.emit(AnswerRequest(s.recovery_request[0], "", s.leader))
        s.recovery_request = None
