"""Events and messages as flat tuples of integers and strings, for the trace. One line a kind, so that nothing is
spent on fields that say nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zlib import crc32

from graft.raft import events as ev
from graft.raft import messages as ms
from graft.sim.trace import Record

_MESSAGES: dict[type[Any], Callable[[Any], Record]] = {
    ms.RequestVote: lambda m: ("vote?", m.source, m.term, m.last_index, m.last_term, int(m.pre_vote), int(m.transfer)),
    ms.VoteReply: lambda m: ("vote", m.source, m.term, int(m.granted), int(m.pre_vote)),
    ms.AppendEntries: lambda m: (
        *("append?", m.source, m.term, m.prev_index, m.prev_term, len(m.entries), m.commit, m.round),
        m.entries[-1].term if m.entries else 0,
    ),
    ms.AppendReply: lambda m: (
        *("append", m.source, m.term, int(m.success), m.match, m.prev_index, m.hint_index, m.hint_term, m.round),
    ),
    ms.Heartbeat: lambda m: ("beat?", m.source, m.term, m.commit, m.round),
    ms.HeartbeatReply: lambda m: ("beat", m.source, m.term, m.round, int(m.lease)),
    ms.StaleTerm: lambda m: ("stale", m.source, m.term),
    ms.InstallSnapshot: lambda m: ("snapshot?", m.source, m.term, m.meta.id, m.meta.index, m.offset, len(m.data)),
    ms.SnapshotReply: lambda m: ("snapshot", m.source, m.term, m.id, m.next_offset, int(m.installed), m.match),
    ms.TimeoutNow: lambda m: ("stand!", m.source, m.term),
    ms.ReadIndex: lambda m: ("read?", m.source, m.term, m.request),
    ms.ReadIndexReply: lambda m: ("read", m.source, m.term, m.request, m.index),
    ms.RepairRequest: lambda m: ("repair?", m.source, m.term, m.index, m.entry_term),
    ms.RepairReply: lambda m: (
        *("repair", m.source, m.term, m.index, m.entry_term, int(m.entry is not None), int(m.absent), int(m.purged)),
    ),
}

_EVENTS: dict[type[Any], Callable[[Any], Record]] = {
    ev.DeadlinePassed: lambda e: ("deadline",),
    ev.Starved: lambda e: ("starved", round(e.seconds, 6)),
    ev.MessageReceived: lambda e: _MESSAGES[type(e.message)](e.message),
    ev.Persisted: lambda e: ("persisted", e.ticket, e.applied),
    ev.PersistFailed: lambda e: ("persist failed", e.reason),
    ev.EntriesRead: lambda e: ("entries", e.read, len(e.entries), e.corrupt),
    ev.CorruptionFound: lambda e: ("corruption", e.index),
    ev.Applied: lambda e: ("applied", e.index),
    ev.SnapshotTaken: lambda e: ("snapshot taken", e.id, e.size, e.checksum),
    ev.SnapshotFailed: lambda e: ("snapshot failed", e.id, e.reason),
    ev.ChunkRead: lambda e: ("chunk read", e.id, e.target, e.offset, crc32(e.data or b"")),
    ev.ChunkWritten: lambda e: ("chunk written", e.id, e.next_offset),
    ev.Proposed: lambda e: ("proposed", e.request, e.data.decode("ascii", "replace")),
    ev.ReadRequested: lambda e: ("read", e.request, int(e.lease)),
    ev.MembershipChangeRequested: lambda e: ("change", e.request, str(e.changes)),
    ev.TransferRequested: lambda e: ("transfer", e.request, e.target),
    ev.CampaignRequested: lambda e: ("campaign",),
    ev.CompactionRequested: lambda e: ("compact", e.index),
    ev.VersionRequested: lambda e: ("version", e.request, e.version),
    ev.QuorumRecoveryRequested: lambda e: ("recover", e.request, str(e.configuration)),
}


def event_record(event: ev.Event) -> Record:
    return _EVENTS[type(event)](event)


def message_record(message: ms.Message) -> Record:
    return _MESSAGES[type(message)](message)
