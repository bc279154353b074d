"""Learners that are promoted before they have caught up, or never."""

from __future__ import annotations

from typing import Final

from graft.sim.bugbank.planting import Bug, edit, own

BUGS: Final[tuple[Bug, ...]] = (
    own(
        "learner1",
        "a learner is promoted as soon as it is there",
        edit("raft.membership:promote_learners", "and s.progress[m.id].caught_up", ""),
        edit("raft.membership:_promote", "if member.id not in caught_up:", "if False:"),
    ),
    own(
        "learner2",
        "a new member votes at once",
        edit(
            "raft.membership:_add",
            'if change.role == "executor" else "learner"',
            'if change.role == "executor" else "voter"',
        ),
    ),
    own(
        "learner3",
        "a round ends with any answer",
        edit("raft.membership:follow_round", "if p.round_target and p.match < p.round_target:", "if False:"),
    ),
    own(
        "learner4",
        "a round may take as long as it likes",
        edit(
            "raft.membership:follow_round",
            "p.caught_up = took < s.config.promotion_rounds_seconds",
            "p.caught_up = True",
        ),
    ),
    own(
        "learner5",
        "who is new has caught up",
        edit("raft.progress:Progress.__init__", "self.caught_up = False", "self.caught_up = True"),
    ),
    own(
        "learner6",
        "a round brings what the learner has",
        edit("raft.membership:follow_round", "p.round_target = s.log.last", "p.round_target = p.match"),
    ),
    own(
        "learner7",
        "who has installed a snapshot has caught up",
        edit(
            "raft.snapshots:snapshot_replied",
            'p.move("installed", s.now)',
            'p.move("installed", s.now)\n            p.caught_up = True',
        ),
    ),
    own(
        "learner8",
        "a learner that is asked for is promoted as it is",
        edit("raft.membership:_promote", "if member.id not in caught_up:", "if False:"),
    ),
    own(
        "learner9",
        "everybody counts as caught up when it is asked",
        edit("raft.membership:caught_up", "if p.caught_up", ""),
    ),
    own(
        "learner10",
        "a learner that has caught up stays one",
        edit("raft.membership:promote_learners", "if ready:", "if len(ready) > 1:"),
    ),
    own(
        "learner11",
        "a round is never begun",
        edit("raft.membership:follow_round", "p.round_started = s.now", "p.round_started = 0.0"),
    ),
    own(
        "learner12",
        "when an answer came is not remembered, so that every round is short",
        edit("raft.progress:Progress.accepted", "self.match_at = now", "pass"),
    ),
)
