"""Snapshots (section 7): making them on demand, sending them in chunks, taking the log's place.

The state machine is durable by itself, so the log may be cut at any synced applied index (see `retention`), and a
snapshot is a file that exists for followers only: exported when the first needs one, shared by all who do, dropped when
none does.

A transfer begins with the question where to resume. The receiver answers what it has staged and synced, also from
before a restart. Chunks are checked one by one (CRC-32), the whole by the shell. A lost chunk shows as an answer that
does not move, or as none.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from attrs import define

from . import election, membership, repair, replication, retention, versions
from .effects import DropSnapshot, ReadChunk, SwitchToSnapshot, TakeSnapshot, WriteChunk
from .events import ChunkRead, ChunkWritten, SnapshotFailed, SnapshotTaken
from .messages import InstallSnapshot, SnapshotReply
from .progress import Progress
from .records import Configuration, SnapshotMeta

if TYPE_CHECKING:
    from .state import State


@define
class Arrival:
    """The snapshot that arrives here. Bytes before `written` are staged and synced; before `received`, ordered."""

    meta: SnapshotMeta
    written: int
    received: int


# ---- the leader ----------------------------------------------------------------------------------------------------


def begin(s: State, p: Progress) -> None:
    """What `p` needs next is no longer in the log."""
    p.move("behind", s.now)
    p.held_since = s.log.taken_bytes
    s.trace("snapshot", f"{p.id} needs one: it wants {p.next}, the log begins at {s.log.first}")
    provide(s, p)


def provide(s: State, p: Progress) -> None:
    """Send `p` a snapshot that the log can follow; have one taken if there is none."""
    if s.snapshots and serves(s, p, s.snapshots[-1]):
        _ask_where_to_resume(s, p, s.snapshots[-1])
    elif s.taking_snapshot is None:
        s.taking_snapshot = s.applied_durable
        s.emit(TakeSnapshot(s.applied_durable))


def serves(s: State, p: Progress, meta: SnapshotMeta) -> bool:
    """True if the log can follow where the snapshot ends: it begins there, and what `p` wants next is not lost here."""
    return meta.index >= s.log.first - 1 and (meta.index >= p.next or not repair.is_hopeless(s, p.next))


def snapshot_taken(s: State, event: SnapshotTaken) -> None:
    if s.taking_snapshot is None:
        return
    assert s.taking_snapshot <= event.index <= s.commit, (s.taking_snapshot, event, s.commit)
    s.taking_snapshot = None
    if event.index < s.log.first - 1:
        s.emit(DropSnapshot(event.id))  # the log was cut behind it; who waits is provided for at the next heartbeat
        retention.forget_covered(s)
        return
    configuration_index, configuration = membership.at(s, event.index)
    version_index, version = versions.at(s, event.index)
    term = s.log.term_at(event.index)
    meta = SnapshotMeta(
        event.id,
        event.index,
        term,
        configuration,
        configuration_index,
        event.size,
        event.checksum,
        version,
        version_index,
    )
    s.snapshots.append(meta)
    for p in s.progress.values():
        if p.state == "snapshot" and p.snapshot is None:
            _ask_where_to_resume(s, p, meta)
    retention.forget_covered(s)


def take_failed(s: State) -> None:
    """Exporting failed. Followers that wait try again when they time out."""
    s.taking_snapshot = None
    retention.forget_covered(s)
    for p in s.progress.values():
        if p.state == "snapshot" and p.snapshot is None:
            p.move("abandoned", s.now)
            p.probed = True  # the next heartbeat's answer, or the time-out, tries again


def drop_unused(s: State) -> None:
    """End of a call: keep the newest while somebody is sent one, and what is being sent. Whatever brought a follower
    so far that it needs none: a snapshot, an append that it had after all, its removal, another leader."""
    used = {p.snapshot.id for p in s.progress.values() if p.snapshot is not None}
    anybody = any(p.state == "snapshot" for p in s.progress.values())
    kept = []
    for meta in s.snapshots:
        if meta.id in used or (anybody and meta is s.snapshots[-1]):
            kept.append(meta)
        else:
            s.emit(DropSnapshot(meta.id))
    s.snapshots = kept


def _ask_where_to_resume(s: State, p: Progress, meta: SnapshotMeta) -> None:
    p.snapshot = meta
    p.chunk_acked = p.chunk_next = 0
    p.chunks = 0
    p.chunk_rewound = False
    p.waiting_since = s.now
    _send_chunk(s, p, meta, 0, b"")


def _send_chunk(s: State, p: Progress, meta: SnapshotMeta, offset: int, data: bytes) -> None:
    s.send(InstallSnapshot(s.id, p.id, s.config.incarnation, s.term, meta, offset, data, zlib.crc32(data)))


def _read_chunks(s: State, p: Progress, meta: SnapshotMeta) -> None:
    while p.chunk_next < meta.size and p.chunks < s.config.max_chunks_in_flight:
        size = min(s.config.snapshot_chunk_bytes, meta.size - p.chunk_next)
        s.emit(ReadChunk(meta.id, p.id, p.chunk_next, size))
        p.chunk_next += size
        p.chunks += 1


def chunk_read(s: State, event: ChunkRead) -> None:
    p = s.progress.get(event.target)
    if p is None or p.snapshot is None or p.snapshot.id != event.id:
        return
    if event.data is None:
        s.trace("snapshot", f"{event.id} cannot be read")
        s.snapshots = [meta for meta in s.snapshots if meta.id != event.id]
        s.emit(DropSnapshot(event.id))
        for other in s.progress.values():
            if other.snapshot is not None and other.snapshot.id == event.id:
                other.move("abandoned", s.now)
                replication.send(s, other)
        return
    _send_chunk(s, p, p.snapshot, event.offset, event.data)


def snapshot_replied(s: State, m: SnapshotReply) -> None:
    p = s.progress.get(m.source)
    if s.role != "leader" or p is None or p.forgot_at is not None:
        return
    p.heard_at = s.now
    p.max_version = m.max_version
    meta = p.snapshot
    if m.installed:
        # A late word of another snapshot does not end this one, unless it goes as far as the log (see `accepted`).
        if p.state == "snapshot" and meta is not None and meta.id == m.id:
            p.move("installed", s.now)
        replication.accepted(s, p, m.match)
        return
    if meta is None or meta.id != m.id:
        return
    if m.restart:
        p.chunk_acked = p.chunk_next = p.chunks = 0
    elif m.next_offset > p.chunk_acked or (m.next_offset == p.chunk_next == 0):
        _moved(s, p, m.next_offset)
    elif m.next_offset == p.chunk_acked and not p.chunk_rewound and p.chunk_next > p.chunk_acked:
        p.chunk_rewound = True
        p.chunk_next, p.chunks = p.chunk_acked, 0
    else:
        return
    p.waiting_since = s.now
    _read_chunks(s, p, meta)


def _moved(s: State, p: Progress, offset: int) -> None:
    """The receiver has all before `offset`."""
    size = s.config.snapshot_chunk_bytes
    p.chunks = max(0, p.chunks - -(-(offset - p.chunk_acked) // size))
    p.chunk_acked = offset
    p.chunk_next = max(p.chunk_next, offset)
    p.chunk_rewound = False


def resend(s: State, p: Progress) -> None:
    """No answer for too long: ask again where to resume, with the newest snapshot that will do."""
    if p.snapshot is not None:
        usable = p.snapshot if serves(s, p, p.snapshot) else None
        if usable is None:
            p.move("abandoned", s.now)
            replication.send(s, p)
        else:
            _ask_where_to_resume(s, p, usable)


# ---- the follower --------------------------------------------------------------------------------------------------


def install_snapshot(s: State, m: InstallSnapshot) -> None:
    """A chunk of this term's leader."""
    assert s.role != "leader", f"two leaders in term {s.term}: {s.id} and {m.source}"
    election.leader_heard(s, m.source)
    meta = m.meta
    if is_held(s, meta):
        if meta.index > s.commit:
            replication.set_commit(s, meta.index)
        if s.arrival is not None and is_held(s, s.arrival.meta):  # a late chunk of an old one stops no newer one
            s.arrival = None
        _reply(s, meta.id, m.source, installed=True)
        return
    if s.switching > s.synced:
        return  # another one is being put in place: its staged bytes are still needed
    if s.arrival is None or s.arrival.meta.id != meta.id:
        s.arrival = Arrival(meta, 0, 0)
    arrival = s.arrival
    if m.data and m.offset == arrival.received and is_whole(m):
        arrival.received += len(m.data)
        s.emit(WriteChunk(meta, m.offset, m.data))
    elif arrival.written == meta.size:  # empty, or staged to the end before a crash
        switch(s, meta)
        _reply(s, meta.id, m.source, installed=True)
    elif not m.data or m.offset > arrival.received:
        # the question where to resume, or a gap; a chunk that comes again is passed over, or each would be sent twice
        _reply(s, meta.id, m.source, next_offset=arrival.written)


def is_whole(m: InstallSnapshot) -> bool:
    """The chunk is as it was sent. One that is not is as good as lost."""
    return zlib.crc32(m.data) == m.checksum


def is_held(s: State, meta: SnapshotMeta) -> bool:
    """True if the log or the state already has all that the snapshot stands for (section 7, step 6; S14)."""
    if s.log.corrupt and repair.readable(s, meta.index) < meta.index:
        return False  # damaged on the way there, and the others have purged it: the snapshot mends it
    return meta.index <= s.commit or s.log.matches(meta.index, meta.term)


def chunk_written(s: State, event: ChunkWritten) -> None:
    arrival = s.arrival
    if arrival is None or arrival.meta.id != event.id:
        return
    if not arrival.written < event.next_offset <= arrival.received:
        return  # more than was ordered since it began anew: told of what was staged before, and is overwritten now
    arrival.written = event.next_offset
    meta = arrival.meta
    installed = False
    if arrival.written == meta.size:
        s.arrival = None
        installed = True
        if not is_held(s, meta):
            switch(s, meta)
        elif meta.index > s.commit:
            replication.set_commit(s, meta.index)
    if s.leader is not None and s.role == "follower":
        _reply(s, meta.id, s.leader, next_offset=event.next_offset, installed=installed)


def staging_failed(s: State, event: SnapshotFailed) -> None:
    arrival = s.arrival
    if arrival is not None and arrival.meta.id == event.id:
        s.trace("snapshot", f"{event.id} is bad: {event.reason}")
        s.arrival = None
        if s.leader is not None and s.role == "follower":
            _reply(s, event.id, s.leader, restart=True)


def _reply(
    s: State, id: str, leader: str, *, next_offset: int = 0, installed: bool = False, restart: bool = False
) -> None:
    match = s.commit if installed else 0
    s.send(
        SnapshotReply(
            s.id,
            leader,
            s.config.incarnation,
            s.term,
            id,
            next_offset,
            installed,
            restart,
            match,
            max_version=s.config.max_version,
        )
    )


def switch(s: State, meta: SnapshotMeta) -> None:
    """State, log and membership become the snapshot's (section 7, steps 6 to 8). The core goes on from there at once;
    everything that is ordered later stands behind it on the disk."""
    assert meta.index > s.applied, (meta, s.applied)
    s.trace("snapshot", f"switches to {meta.id} at {meta.index}/{meta.term}")
    keep = s.log.matches(meta.index, meta.term)
    if keep:
        s.order_write()  # what stays of the log must be on the disk before, with the terms of all that still is there
    s.applied = s.applying = s.applied_durable = meta.index
    s.applying_sizes.clear()
    s.applying_bytes = 0
    s.reading_apply = False
    s.under_read.clear()
    s.repair = None
    if keep:
        s.log.purge(meta.index)
        s.commit = max(s.commit, meta.index)
        membership.forget_before(s, meta.index)
        versions.forget_before(s, meta.index)
    else:
        s.log.reset(meta.index, meta.term)
        s.commit = meta.index
        index, configuration = restored_membership(s, meta)
        membership.replace(s, index, configuration)
        versions.replace(s, meta.version_index, meta.version)
    hard = s.hard_state()
    s.switching = s.next_ticket()
    if not keep:
        s.log.pending.append([s.switching, meta.index])
    s.emit(SwitchToSnapshot(s.switching, meta, hard, keep))
    repair.start(s)


def restored_membership(s: State, meta: SnapshotMeta) -> tuple[int, Configuration]:
    """The membership that is in force after the switch: the snapshot's, whatever was before (S14)."""
    return meta.configuration_index, meta.configuration
