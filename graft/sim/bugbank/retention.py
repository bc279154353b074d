"""What retention holds too long, or not at all."""

from __future__ import annotations

from typing import Final

from graft.sim.bugbank.planting import Bug, edit, own

BUGS: Final[tuple[Bug, ...]] = (
    own(
        "retain1",
        "a silent follower holds the log for ever",
        edit("raft.retention:held", "if s.now - p.heard_at > s.config.hold_silence_seconds:", "if False:"),
    ),
    own(
        "retain2",
        "a follower holds as much as it likes",
        edit("raft.retention:held", "if s.log.taken_bytes - p.held_since > s.config.max_held_bytes:", "if False:"),
    ),
    own(
        "retain3", "a follower that is close again holds on", edit("raft.retention:held", "p.held_since = None", "pass")
    ),
    own(
        "retain4",
        "who needs a snapshot holds nothing",
        edit("raft.snapshots:begin", "p.held_since = s.log.taken_bytes", "pass"),
    ),
    own(
        "retain5",
        "the log is cut behind the snapshot that is sent",
        edit("raft.retention:held", "return target if index is None else min(index, target)", "return target"),
    ),
    own(
        "retain6",
        "the log is cut at every turn",
        edit("raft.retention:compact", "if target - s.log.first + 1 < s.config.purge_step_entries:", "if False:"),
    ),
    own(
        "retain7",
        "nothing is kept for those who were away for a moment",
        edit(
            "raft.retention:compact",
            "target = s.applied_durable - s.config.retain_entries",
            "target = s.applied_durable",
        ),
    ),
    own("retain8", "the log is never cut", edit("raft.applying:applied_durably", "retention.compact(s)", "pass")),
    own(
        "retain9",
        "a snapshot file is dropped while it is sent",
        edit("raft.snapshots:drop_unused", "if meta.id in used or", "if"),
    ),
    own(
        "retain10",
        "snapshot files are never dropped",
        edit("raft.snapshots:drop_unused", "s.emit(DropSnapshot(meta.id))", "kept.append(meta)"),
    ),
    own(
        "retain11",
        "what a snapshot that is being taken needs is forgotten",
        edit(
            "raft.retention:forget_covered",
            "s.applied_durable if s.taking_snapshot is None else min(s.applied_durable, s.taking_snapshot)",
            "s.applied_durable",
        ),
        also="version.enable membership.compact",
        retain=2,
        programs="2",
    ),
    own(
        "retain12",
        "more is cut than the synced state covers",
        edit("raft.retention:compaction_requested", "min(event.index, s.applied_durable)", "event.index"),
    ),
    own(
        "retain13",
        "the log in memory is never trimmed",
        edit("raft.core:_finish", "if s.log.window_bytes > s.log.max_window_bytes:", "if False:"),
    ),
    own(
        "retain14",
        "entries that are not synced leave the memory",
        edit("raft.log:Log.trim", "or entry.index > stop", ""),
        window_bytes=400,
        disk_us=20_000,
    ),
    own(
        "retain15",
        "old configurations are never forgotten",
        edit("raft.membership:forget_before", "while len(s.configurations) > 1 and", "while False and"),
    ),
    own(
        "retain16",
        "one that holds more lets another one go",
        edit(
            "raft.retention:compact",
            "wanted = [held(s, p, target) for p in s.progress.values() if p.held_since is not None]",
            "wanted = []\n"
            "    for p in s.progress.values():\n"
            "        if p.held_since is not None:\n"
            "            target = min(target, held(s, p, target))",
        ),
    ),
    own(
        "retain17",
        "what the log takes in is not counted",
        edit("raft.log:Log.append", "self.taken_bytes += size", "pass"),
    ),
)
