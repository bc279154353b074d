"""Things told before they are stored: what only a crash between an order, its sync and its word brings out."""

from __future__ import annotations

from typing import Final

from graft.sim.bugbank.planting import Bug, edit, own

BUGS: Final[tuple[Bug, ...]] = (
    own(
        "gap1",
        "a request for votes leaves before the own vote is synced",
        edit("raft.outbox:request_waits", "return not request.pre_vote", "return False"),
    ),
    own("gap2", "a term is stored without the vote in it", edit("raft.state:State.hard_state", "self.vote", "None")),
    own(
        "gap3",
        "a vote in a term that is known already is not stored",
        edit("raft.election:grant", "s.hard_dirty = True", "pass"),
    ),
    own(
        "gap4",
        "entries are stored without the runs that tell their terms",
        edit("raft.state:State.order_write", "self.hard_dirty or log.runs_changed else", "self.hard_dirty else"),
    ),
    own(
        "gap5",
        "messages that wait survive a change of term",
        edit("raft.state:State.set_term", "self.effects.append(DropHeld())", "pass"),
    ),
    own(
        "gap6",
        "a message waits for the write before the one that it speaks of",
        edit("raft.state:State.order_sends", "last = self.ticket if", "last = self.ticket - 1 if"),
    ),
    own(
        "gap7",
        "a hard state is lost when a write without one follows in the same turn",
        edit("raft.effects:merge", "hard_state = persist.hard_state or hard_state", "hard_state = persist.hard_state"),
    ),
    own(
        "gap8",
        "of two truncations in one turn the later one counts",
        edit("raft.effects:merge", "truncate = cut if truncate is None else min(truncate, cut)", "truncate = cut"),
        harmless="a truncation behind another one of the same turn reaches the store only if it lies before that",
    ),
    own(
        "gap9",
        "a configuration is not stored with its entry",
        edit("raft.membership:adopt", "s.hard_dirty = True", "pass"),
    ),
    own("gap10", "a version is not stored with its entry", edit("raft.versions:adopt", "s.hard_dirty = True", "pass")),
    own(
        "gap11",
        "the own vote counts before it is synced",
        edit("raft.election:own_vote_synced", "0 < s.vote_ticket <= s.synced and", "True and"),
    ),
    own(
        "gap12",
        "a leader counts entries that it has only ordered",
        edit("raft.replication:own_match", "return s.log.durable if", "return s.log.handed if"),
    ),
    own(
        "gap13",
        "the next message that waits leaves with the one before it",
        edit("sim.writer:Writer._release", "held[0][0] <= synced", "held[0][0] <= synced + 1"),
    ),
    own(
        "gap14",
        "a write counts as synced with the one before it",
        edit("raft.log:Log.acknowledge", "pending[0][0] <= ticket", "pending[0][0] <= ticket + 1"),
    ),
    own(
        "gap16",
        "a snapshot is acknowledged before it is in place",
        edit("raft.outbox:snapshot_waits", "return reply.installed and reply.match > s.log.durable", "return False"),
    ),
    own(
        "gap17",
        "a configuration that is taken back is not stored so",
        edit("raft.membership:roll_back", "s.hard_dirty = True", "pass"),
        harmless="a truncation changes the runs of terms, and these are stored with all of the hard state",
    ),
    own(
        "gap18",
        "the terms before a purge that is not finished are taken from the newest entry",
        edit("raft.log:Log.__init__", "first = max(first, runs[0][0] + 1)", "first = first"),
        also="membership.grow process.crash_at_sync",
        disk_us=20_000,
        retain=2,
    ),
)
