"""Version gates that open early, close again, or never open."""

from __future__ import annotations

from typing import Final

from graft.sim.bugbank.planting import Bug, edit, own

BUGS: Final[tuple[Bug, ...]] = (
    own(
        "version1",
        "a version is in force when it is in the log",
        edit("raft.versions:adopt", "s.hard_dirty = True", "s.hard_dirty = True\n    take_effect(s, int(data))"),
    ),
    own(
        "version2",
        "a version that is taken back stays in the hard state",
        edit("raft.versions:roll_back", "while s.versions[-1][0] >= index:", "while False:"),
    ),
    own(
        "version3",
        "a version is begun though a program does not know it",
        edit("raft.versions:refusal", 'return "" if min(known) >= version else "unsupported"', 'return ""'),
    ),
    own(
        "version4",
        "a version is begun though nobody else was asked",
        edit("raft.versions:refusal", ", *(s.progress[id].max_version for id in s.view.others)", ""),
    ),
    own(
        "version5",
        "who has said nothing knows every version",
        edit("raft.versions:refusal", "s.progress[id].max_version for", "s.progress[id].max_version or version for"),
    ),
    own(
        "version6",
        "a snapshot brings the newest version of the log",
        edit(
            "raft.snapshots:snapshot_taken",
            "version_index, version = versions.at(s, event.index)",
            "version_index, version = s.versions[-1]",
        ),
    ),
    own(
        "version7",
        "the newest version is in force when anything is committed",
        edit("raft.versions:commit_advanced", "index, version = at(s, s.commit)", "index, version = s.versions[-1]"),
    ),
    own("version8", "the gate never opens", edit("raft.versions:commit_advanced", "take_effect(s, version)", "pass")),
    own(
        "version9",
        "a snapshot closes the gate",
        edit(
            "raft.snapshots:switch",
            "versions.replace(s, meta.version_index, meta.version)",
            "versions.replace(s, meta.version_index, 1)",
        ),
    ),
    own(
        "version10",
        "after a restart the newest version of the log is in force",
        edit(
            "raft.state:State.__init__",
            "next(v for i, v in reversed(self.versions) if i <= recovered.applied)",
            "self.versions[-1][1]",
        ),
    ),
    own(
        "version11",
        "a program that is too old goes on",
        edit("raft.versions:check", "if not oldest <= s.version <= newest:", "if False:"),
        also="version.enable version.downgrade",
        programs="2",
    ),
    own(
        "version12",
        "a request is answered before its version is in force",
        edit(
            "raft.versions:version_requested",
            "s.version_request = (event.request, index)",
            "s.version_request = (event.request, 0)",
        ),
    ),
    own(
        "version13",
        "a second version is begun before the first is committed",
        edit("raft.versions:refusal", "s.version_request is not None or s.versions[-1][0] > s.commit", "False"),
    ),
    own(
        "version14",
        "what a program knew before it was taken back is remembered",
        edit(
            "raft.reads:heartbeat_replied",
            "p.max_version = m.max_version",
            "p.max_version = max(p.max_version, m.max_version)",
        ),
        edit(
            "raft.replication:append_replied",
            "p.max_version = m.max_version",
            "p.max_version = max(p.max_version, m.max_version)",
        ),
        edit(
            "raft.snapshots:snapshot_replied",
            "p.max_version = m.max_version",
            "p.max_version = max(p.max_version, m.max_version)",
        ),
        also="version.enable version.downgrade",
        programs="2",
    ),
)
