"""Elections: randomised timeouts (5.2), the restriction on who may win (5.4.1), pre-vote (thesis 9.6), and the rule
that a member which heard of a leader lately votes for nobody (thesis 4.2.3), which makes removed servers harmless.

The last rule is also the promise that lease reads rest on (6.4.1). It is therefore counted from the last contact with
a leader of *whatever* term, and outlives a change of term: only a transfer, by which the leader gave up its lease, is
excepted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import membership, quorum, repair, replication, transfer
from .messages import RequestVote, VoteReply
from .roles import become_follower, move

if TYPE_CHECKING:
    from .state import State


# ---- time ----------------------------------------------------------------------------------------------------------


def random_part(s: State, seconds: float) -> float:
    """Uniform in [0, seconds), in steps of 2**-20."""
    return seconds * (s.entropy() >> 44) / 1048576.0


def reset_deadline(s: State) -> None:
    """Between one and two election timeouts from now (5.2)."""
    timeout = s.config.election_timeout_seconds
    s.election_deadline = max(s.now + timeout + random_part(s, timeout), s.grace_until)


def start(s: State, restarted: bool) -> None:
    """A process began. Where leases are in use a restarted member has forgotten its promises, and so makes up for the
    longest that it may have made; a sole voter has nobody to wait for."""
    reset_deadline(s)
    if s.config.lease_reads and restarted and not s.view.sole:
        s.grace_until = s.now + grace_seconds(s)
        s.election_deadline += s.grace_until - s.now
    elif s.view.sole:
        s.election_deadline = s.now


def grace_seconds(s: State) -> float:
    """One maximal election timeout."""
    return 2 * s.config.election_timeout_seconds


def leader_heard(s: State, leader: str) -> None:
    """A message of this term's leader came."""
    if s.role != "follower" or s.leader != leader:
        become_follower(s, "leader_found", s.term, leader)
    transfer.leader_found(s, leader)  # also when its term was news, and it is followed by that already
    s.leader_contact = s.now
    reset_deadline(s)


def timed_out(s: State) -> None:
    """The election deadline passed."""
    s.leader = None
    if not may_stand(s):
        if s.role != "follower":
            move(s, "stepped_down")
        reset_deadline(s)
    elif s.config.pre_vote:
        start_pre_vote(s)
    elif s.log.corrupt and repair.is_blocking(s):
        reset_deadline(s)
        repair.insist(s)
    else:
        move(s, "timed_out")
        move(s, "pre_elected")
        start_election(s)


def starved(s: State, seconds: float) -> None:
    """This member could not listen. It does not stand because of that: its election timeout begins anew, and the
    heartbeats that wait to be read end it. A leader has half a timeout for the answers that wait, once; the others did
    not have to wait for it, and tell it of their term."""
    s.trace("election", f"could not listen for {seconds:.3f} s")
    if s.role == "leader":
        if s.quorum_contact > s.starved_at:
            s.starved_at = s.now
    elif not s.view.sole:
        reset_deadline(s)


def campaign_requested(s: State) -> None:
    """An operator asks for an election. My own promise to a leader that lives binds me as well."""
    if s.role != "leader" and not promised(s) and s.now >= s.grace_until:
        timed_out(s)


def may_stand(s: State) -> bool:
    """A voter stands. So does who is a voter no longer by a configuration that is not known to be committed: it may
    be the only one that has it, and then nobody else can win (thesis 4.2.2). Its own vote does not count."""
    if s.view.is_voter:
        return True
    return s.view.index > s.commit and was_voter(s)


def was_voter(s: State) -> bool:
    """A voter in the newest committed configuration, or in one behind it."""
    me = (s.id, s.config.incarnation)
    committed = membership.at(s, s.commit)[0]
    return any(
        (m.id, m.incarnation) == me
        for index, configuration in s.configurations
        if index >= committed
        for m in (*configuration.members, *configuration.outgoing)
        if m.role == "voter"
    )


# ---- standing ------------------------------------------------------------------------------------------------------


def start_pre_vote(s: State) -> None:
    move(s, "timed_out")
    s.votes = {s.id: True}
    # Cheap to ask again: nothing is promised, so half the timeout is enough.
    half = s.config.election_timeout_seconds / 2
    s.election_deadline = s.now + half + random_part(s, half)
    if quorum.reached(s.view.voters, s.votes):
        pre_elected(s)
        return
    for peer in s.view.peers:
        s.send(_request(s, peer, s.term + 1, pre_vote=True, transfer=False))


def pre_elected(s: State) -> None:
    if s.log.corrupt and repair.is_blocking(s):
        become_follower(s, "stepped_down", s.term, None)
        reset_deadline(s)
        repair.insist(s)
        return
    move(s, "pre_elected")
    start_election(s)


def start_election(s: State, asked: bool = False) -> None:
    """Increment the term, vote for myself, ask all others (5.2). My own vote counts once it is synced."""
    s.set_term(s.term + 1)
    s.vote = s.id
    s.votes = {}
    reset_deadline(s)
    s.trace("election", f"stands in term {s.term}, log ends at {s.log.last}/{s.log.last_term}")
    for peer in s.view.peers:
        s.send(_request(s, peer, s.term, pre_vote=False, transfer=asked))


def own_vote_synced(s: State) -> None:
    if s.role == "candidate" and 0 < s.vote_ticket <= s.synced and s.id not in s.votes:
        s.votes[s.id] = True
        decide(s)


def _request(s: State, peer: str, term: int, *, pre_vote: bool, transfer: bool) -> RequestVote:
    return RequestVote(
        s.id, peer, s.config.incarnation, term, s.log.last, s.log.last_term, pre_vote=pre_vote, transfer=transfer
    )


# ---- voting --------------------------------------------------------------------------------------------------------


def ignores(s: State, request: RequestVote) -> bool:
    """True if the request is neither answered nor its term taken (thesis 4.2.3).

    A request of an older term is always answered: the candidate has to learn the term.
    """
    if request.term < s.term:
        return False
    known = s.view.incarnations.get(request.source)
    if known is not None and known != request.incarnation and is_retired(s, request):
        return (
            True  # it was replaced under the same id (S13). Of two that I do not know to be retired mine may be older
        )
    if s.now < s.grace_until and not request.transfer:
        return True
    return promised(s) and not request.transfer


def is_retired(s: State, request: RequestVote) -> bool:
    return (request.source, request.incarnation) in s.view.configuration.retired


def promised(s: State) -> bool:
    """True while this member owes it to a leader to vote for nobody else."""
    if not s.config.check_quorum:
        return False
    if s.role == "leader":
        return s.now - s.quorum_contact < s.config.election_timeout_seconds
    return s.now - s.leader_contact < s.config.election_timeout_seconds


def vote_requested(s: State, m: RequestVote) -> None:
    """`m.term` is not above mine unless it is a pre-vote (see `core`).

    A refusal is always of the present term. What was asked in an older one is answered by the news of mine instead:
    a refusal does not say what it answers, and would count against what the candidate asks by then.
    """
    if m.term < s.term + m.pre_vote:
        replication.tell_stale(s, m.source)
        return
    if m.pre_vote:
        granted = is_up_to_date(s, m.last_term, m.last_index)
    else:
        granted = may_vote_for(s, m.source) and is_up_to_date(s, m.last_term, m.last_index)
        if granted:
            grant(s, m.source)
    term = m.term if granted else s.term
    s.send(VoteReply(s.id, m.source, s.config.incarnation, term, granted, m.pre_vote))


def may_vote_for(s: State, candidate: str) -> bool:
    """One vote a term, first come first served (5.2), and none against a leader that is known (S10)."""
    return s.vote == candidate or (s.vote is None and s.leader is None)


def grant(s: State, candidate: str) -> None:
    if s.vote != candidate:
        s.vote = candidate
        s.hard_dirty = True
    reset_deadline(s)


def is_up_to_date(s: State, last_term: int, last_index: int) -> bool:
    """The candidate's log is at least as up-to-date as mine (5.4.1)."""
    return (last_term, last_index) >= (s.log.last_term, s.log.last)


# ---- counting ------------------------------------------------------------------------------------------------------


def vote_replied(s: State, m: VoteReply) -> None:
    if belongs(s, m):
        count(s, m)
        decide(s)


def belongs(s: State, m: VoteReply) -> bool:
    """True if the reply answers what this member asks now: pre-votes are not votes, nor is an old term this one."""
    if m.pre_vote:
        return s.role == "pre_candidate" and (m.term == s.term + 1 or not m.granted)
    return s.role == "candidate" and m.term == s.term


def count(s: State, m: VoteReply) -> None:
    """One voice a member: what comes again changes nothing. A grant stands, whatever refusal came before it or comes
    late: nobody takes a grant back, and a refusal may be of an earlier pre-vote of this term."""
    s.votes[m.source] = s.votes.get(m.source, False) or m.granted


def decide(s: State) -> None:
    granted = [id for id, yes in s.votes.items() if yes]
    if quorum.reached(s.view.voters, granted):
        if s.role == "pre_candidate":
            pre_elected(s)
        else:
            move(s, "elected")
            replication.begin_term(s)
    elif quorum.lost(s.view.voters, s.votes):
        become_follower(s, "defeated", s.term, None)


def start_transfer_election(s: State) -> None:
    """The leader asked for it, so neither a pre-vote nor anybody's promise stands against it."""
    move(s, "told_to_stand")
    start_election(s, asked=True)
