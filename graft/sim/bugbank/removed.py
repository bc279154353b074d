"""Leaders that were removed and lead on, and members that were removed and stand."""

from __future__ import annotations

from typing import Final

from graft.sim.bugbank.planting import Bug, edit, own

BUGS: Final[tuple[Bug, ...]] = (
    own(
        "removed1",
        "a removed leader does not step down",
        edit("raft.membership:_finish_change", "if not s.view.is_voter:", "if False:"),
    ),
    own(
        "removed2",
        "a removed leader tells another one to stand and leads on",
        edit("raft.transfer:step_aside", 'become_follower(s, "stepped_down", s.term, None)', "pass"),
    ),
    own(
        "removed3",
        "who is no voter stands",
        edit("raft.election:may_stand", "return s.view.index > s.commit and was_voter(s)", "return True"),
    ),
    own(
        "removed5",
        "a leader in whose term nobody asked for the change does not finish it",
        edit(
            "raft.membership:commit_advanced",
            "    _finish_change(s)",
            "    if s.change_request is not None:\n        _finish_change(s)",
        ),
    ),
    own(
        "removed6",
        "whoever is a member of any kind counts as a voter of its own",
        edit(
            "raft.view:View.__init__",
            "self.is_voter = mine and (self_id in incoming or self_id in outgoing)",
            "self.is_voter = mine",
        ),
    ),
    own(
        "removed7",
        "a change is finished before it is committed",
        edit(
            "raft.membership:commit_advanced",
            "index > s.commit or not committed_in_term(s)",
            "not committed_in_term(s)",
        ),
    ),
    own(
        "removed8",
        "a joint configuration is never left",
        edit("raft.membership:commit_advanced", "propose(s, leave(s.view.configuration))", "pass"),
    ),
    own(
        "removed9",
        "a removed leader steps down when it was asked for its place only",
        edit("raft.membership:_finish_change", "if not s.view.is_voter:", "if not s.view.is_voter and s.departing:"),
    ),
    own(
        "removed10",
        "who was removed is followed for ever",
        edit("raft.membership:round_answered", "let_go(s, p.id)", "pass"),
        edit("raft.membership:removal_committed", "s.now + s.config.election_timeout_seconds", "float('inf')"),
    ),
    own(
        "removed11",
        "that a change is committed is not noticed by a leader that was not asked for it",
        edit("raft.membership:is_unsettled", "if s.configuration_committed < s.configurations[-1][0]:", "if False:"),
    ),
)
