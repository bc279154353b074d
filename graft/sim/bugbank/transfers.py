"""Transfers that are never given up, told too early, or whose end nobody hears of."""

from __future__ import annotations

from typing import Final

from graft.sim.bugbank.planting import Bug, edit, own

BUGS: Final[tuple[Bug, ...]] = (
    own(
        "transfer1",
        "a transfer is not given up in time",
        edit("raft.transfer:tick", "if s.now >= transfer.deadline or", "if"),
    ),
    own(
        "transfer2",
        "a transfer has no end",
        edit("raft.transfer:transfer_requested", "s.now + s.config.election_timeout_seconds", 'float("inf")'),
    ),
    own("transfer3", "nobody looks after a transfer", edit("raft.reads:tick", "transfer.tick(s)", "pass")),
    own("transfer4", "a transfer that was given up goes on", edit("raft.transfer:tick", "s.transfer = None", "pass")),
    own(
        "transfer5",
        "how a transfer ended is waited for without end",
        edit(
            "raft.transfer:handover_timed_out",
            "if s.handover is not None and s.now >= s.handover.deadline:",
            "if False:",
        ),
    ),
    own(
        "transfer6",
        "the wait for the end of a transfer is not among the deadlines",
        edit("raft.core:Raft.next_deadline", "due = s.handover.deadline", "pass"),
        harmless="the own election timeout passes before, and looks after the transfer too",
    ),
    own(
        "transfer7",
        "who leads next does not end the wait",
        edit("raft.transfer:leader_found", "if s.handover is not None:", "if False:"),
    ),
    own(
        "transfer8",
        "a leader that was deposed forgets whom it told to stand",
        edit("raft.transfer:deposed", "s.handover = s.transfer", "pass"),
    ),
    own(
        "transfer9",
        "after a transfer the leader refuses for the rest of its term",
        edit(
            "raft.replication:refusal", "if s.transfer is not None:", "if s.transfer is not None or s.transfer_tainted:"
        ),
    ),
    own(
        "transfer10",
        "the target is told to stand before it has the log",
        edit("raft.transfer:advance", ".match == s.log.last", ".match >= 0"),
    ),
    own(
        "transfer11",
        "the target is told only once",
        edit("raft.transfer:tick", "elif transfer.sent:", "elif False:"),
        harmless="the transfer is given up in time: the message that is lost costs a try, and no promise speaks of it",
    ),
    own(
        "transfer12",
        "a transfer is done when any leader is found",
        edit("raft.transfer:leader_found", '"" if leader == s.handover.target else "deposed"', '""'),
    ),
    own(
        "transfer13",
        "a target that is no voter is accepted",
        edit(
            "raft.transfer:_refusal",
            'if target is None or s.view.role_of(target) != "voter":',
            "if target not in s.progress:",
        ),
        learners=1,
        also="membership.transfer",
    ),
)
