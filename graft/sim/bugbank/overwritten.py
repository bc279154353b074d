"""Acknowledgements of entries that were overwritten meanwhile, or never were what the leader meant."""

from __future__ import annotations

from typing import Final

from graft.sim.bugbank.planting import Bug, edit, own

BUGS: Final[tuple[Bug, ...]] = (
    own(
        "ack1",
        "answers of an older term are counted",
        edit("raft.core:_term_of_reply", "return type(m) in ANY_TERM", "return True"),
    ),
    own(
        "ack2",
        "what was durable stays so through a truncation",
        edit("raft.log:Log.truncate", "self.durable = min(self.durable, self.last)", "pass"),
    ),
    own(
        "ack3",
        "a write that was overtaken counts for one entry too many",
        edit("raft.log:clip", "write[1] = min(write[1], last)", "write[1] = min(write[1], last + 1)"),
    ),
    own(
        "ack4",
        "all of the log is acknowledged, not only what agrees",
        edit("raft.replication:append_entries", "match = prev + len(entries)", "match = log.last"),
    ),
    own(
        "ack5",
        "entries are taken behind one of another term",
        edit(
            "raft.replication:append_entries", "prev > log.last or log.term_at(prev) != m.prev_term", "prev > log.last"
        ),
    ),
    own(
        "ack6",
        "an entry of another term at the same index is taken for the same",
        edit("raft.log:Log.first_conflict", "or self.term_at(entry.index) != entry.term", ""),
    ),
    own(
        "ack7",
        "a heartbeat tells the commit index to who does not hold so much",
        edit("raft.reads:heartbeat_all", "commit = min(s.commit, p.match)", "commit = s.commit"),
    ),
    own(
        "ack8",
        "a late answer takes back what was acknowledged",
        edit("raft.progress:Progress.accepted", "news = match > self.match", "news = match != self.match"),
    ),
    own(
        "ack9",
        "an answer of who had another disk under the same name is counted",
        edit(
            "raft.membership:knows",
            "return incarnation_of(s, id) == incarnation",
            "return incarnation_of(s, id) is not None",
        ),
    ),
    own(
        "ack11",
        "a snapshot is acknowledged with all of the log behind it",
        edit("raft.snapshots:_reply", "match = s.commit if installed else 0", "match = s.log.last if installed else 0"),
        also="membership.compact",
        retain=2,
    ),
    own(
        "ack12",
        "what was overwritten is written no more",
        edit("raft.log:Log.truncate", "self.handed = min(self.handed, self.last)", "pass"),
    ),
)
