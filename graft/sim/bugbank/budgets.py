"""Budgets that leak: bytes in flight, uncommitted, being applied, in memory; reads, files, chunks."""

from __future__ import annotations

from typing import Final

from graft.sim.bugbank.planting import Bug, edit, own

BUGS: Final[tuple[Bug, ...]] = (
    own(
        "budget1",
        "bytes in flight are not given back by an answer",
        edit("raft.progress:Progress.accepted", "self.inflight_bytes -= inflight.popleft()[1]", "inflight.popleft()"),
    ),
    own(
        "budget2",
        "bytes in flight outlive the window that is thrown away",
        edit("raft.progress:Progress.move", "self.inflight_bytes = 0", "pass"),
    ),
    own(
        "budget3",
        "an answer takes one message off the window, however many it covers",
        edit("raft.progress:Progress.accepted", "while inflight and", "if inflight and"),
    ),
    own(
        "budget4",
        "uncommitted bytes are not given back by a commit",
        edit("raft.replication:set_commit", "s.uncommitted_bytes -= uncommitted.popleft()[1]", "uncommitted.popleft()"),
    ),
    own(
        "budget5", "uncommitted bytes outlive the term", edit("raft.roles:lay_down", "s.uncommitted_bytes = 0", "pass")
    ),
    own(
        "budget6",
        "a proposal is counted twice",
        edit("raft.replication:append", "s.uncommitted_bytes += size", "s.uncommitted_bytes += size + len(data)"),
    ),
    own(
        "budget7",
        "bytes that are being applied are not given back",
        edit("raft.applying:applied", "s.applying_bytes -= sizes.popleft()[1]", "sizes.popleft()"),
    ),
    own(
        "budget8",
        "bytes that are being applied outlive a switch to a snapshot",
        edit("raft.snapshots:switch", "s.applying_bytes = 0", "pass"),
    ),
    own(
        "budget9",
        "bytes of log in memory are not given back when it is cut at its beginning",
        edit(
            "raft.log:Log._drop_window_to",
            "self.window_bytes -= sum(len(entry.data) + OVERHEAD_BYTES for entry in self.window[:count])",
            "pass",
        ),
    ),
    own(
        "budget10",
        "bytes of log in memory are not given back by a truncation",
        edit(
            "raft.log:Log.truncate",
            "self.window_bytes -= sum(len(entry.data) + OVERHEAD_BYTES for entry in self.window[keep:])",
            "pass",
        ),
    ),
    own(
        "budget11",
        "reads that were refused at the end of a term are kept",
        edit("raft.reads:deposed", "s.reads_waiting = []", "pass"),
    ),
    own(
        "budget12",
        "a read of the store is never done with",
        edit("raft.repair:entries_read", "s.under_read.pop(event.read, None)", "s.under_read.get(event.read)"),
    ),
    own(
        "budget13",
        "a read of the store that comes too late keeps its follower waiting",
        edit(
            "raft.replication:entries_read",
            "p.reading = 0",
            "p.reading = 0 if entries and p.next == entries[0].index else p.reading",
        ),
    ),
    own(
        "budget14",
        "an empty read of the store keeps the applier waiting",
        edit("raft.applying:entries_read", "s.reading_apply = False", "s.reading_apply = not entries"),
        also="disk.rot",
        window_bytes=400,
        apply_us=100_000,
    ),
    own(
        "budget15",
        "chunks that are acknowledged are still on their way",
        edit("raft.snapshots:_moved", "p.chunks = max(0, p.chunks - -(-(offset - p.chunk_acked) // size))", "pass"),
    ),
    own(
        "budget16",
        "reads of a follower are kept when they are answered",
        edit("raft.reads:read_index_replied", "s.follower_reads.pop(m.request)", "s.follower_reads[m.request]"),
    ),
)
