"""Votes and pre-votes that should not be asked for or granted."""

from __future__ import annotations

from typing import Final

from graft.sim.bugbank.planting import Bug, edit, own

REQUESTED = "raft.election:vote_requested"
UP_TO_DATE = "raft.election:is_up_to_date"
WHOLE_RULE = "return (last_term, last_index) >= (s.log.last_term, s.log.last)"
PRE_VOTE = "        granted = is_up_to_date(s, m.last_term, m.last_index)\n"

BUGS: Final[tuple[Bug, ...]] = (
    own("prevote1", "a pre-vote is granted to a shorter log", edit(REQUESTED, PRE_VOTE, "        granted = True\n")),
    own(
        "prevote2",
        "a longer log is better than a newer one",
        edit(UP_TO_DATE, WHOLE_RULE, "return last_index >= s.log.last"),
    ),
    own(
        "prevote3",
        "a log of the same term is as good, however short",
        edit(UP_TO_DATE, WHOLE_RULE, "return last_term >= s.log.last_term"),
    ),
    own(
        "prevote4",
        "a pre-vote is granted for a term that is over",
        edit(REQUESTED, "if m.term < s.term + m.pre_vote:", "if m.term < s.term:"),
    ),
    own(
        "prevote5",
        "a pre-vote is granted while a leader lives",
        edit(
            "raft.election:ignores",
            "return promised(s) and not request.transfer",
            "return promised(s) and not request.transfer and not request.pre_vote",
        ),
    ),
    own(
        "prevote6", "a pre-vote begins the term", edit("raft.core:_takes_term", "return not m.pre_vote", "return True")
    ),
    own(
        "prevote7",
        "a pre-vote puts off the own election",
        edit(REQUESTED, PRE_VOTE, f"        reset_deadline(s)\n{PRE_VOTE}"),
    ),
    own(
        "prevote8",
        "a pre-vote is a vote",
        edit(REQUESTED, PRE_VOTE, f"{PRE_VOTE}        if granted:\n            grant(s, m.source)\n"),
    ),
    own(
        "prevote9",
        "the promise to a leader lasts half as long",
        edit(
            "raft.election:promised",
            "return s.now - s.leader_contact < s.config.election_timeout_seconds",
            "return s.now - s.leader_contact < s.config.election_timeout_seconds / 2",
        ),
    ),
    own(
        "prevote10",
        "a candidate claims one entry more",
        edit("raft.election:_request", "s.log.last, s.log.last_term", "s.log.last + 1, s.log.last_term"),
    ),
    own(
        "prevote11",
        "a pre-vote asks for the term that is",
        edit("raft.election:start_pre_vote", "_request(s, peer, s.term + 1", "_request(s, peer, s.term"),
    ),
    own(
        "prevote12",
        "what a leader says is no promise to it",
        edit("raft.election:leader_heard", "s.leader_contact = s.now", "s.leader_contact = s.leader_contact"),
    ),
    own(
        "prevote13",
        "an operator makes a member stand against a leader that lives",
        edit("raft.election:campaign_requested", "not promised(s) and", ""),
    ),
)
