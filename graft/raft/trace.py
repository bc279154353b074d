"""One line for every message, event and effect: for scripts, logs, the trace of a simulation and its hash.

The text is a stable function of the record's values alone, so equal runs give equal lines. An entry is written
`index/term`, with its kind unless it is a command.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Any

from . import effects as fx
from . import events as ev
from . import messages as ms
from .records import Configuration, Entry, Kind

KINDS = {Kind.NOOP: " noop", Kind.COMMAND: "", Kind.CONFIGURATION: " configuration", Kind.VERSION: " version"}


def line(record: Any) -> str:
    """What `record` (a message, event or effect) says, on one line."""
    return LINES[type(record)](record)


def entry_text(entry: Entry) -> str:
    kind = KINDS[Kind(entry.kind)]
    data = ""
    if entry.data and entry.kind in (Kind.COMMAND, Kind.VERSION):
        printable = len(entry.data) <= 12 and entry.data.isascii() and entry.data.decode().isprintable()
        data = f" {entry.data.decode()!r}" if printable else f" {len(entry.data)} bytes"
    return f"{entry.index}/{entry.term}{kind}{data}"


def entries_text(entries: Iterable[Entry]) -> str:
    return "[" + ", ".join(map(entry_text, entries)) + "]"


def configuration_text(configuration: Configuration) -> str:
    """`a b c`, learners and executors in brackets; `(a b) leaving (a b c)` while it is joint."""
    words = [m.id if m.role == "voter" else f"{m.id}({m.role})" for m in configuration.members]
    text = " ".join(words) or "nobody"
    if configuration.outgoing:
        text = f"({text}) leaving ({' '.join(m.id for m in configuration.outgoing)})"
    return text


def flags(**words: bool) -> str:
    return "".join(f" {word}" for word, on in words.items() if on)


def _head(m: Any) -> str:
    return f"{m.source}->{m.target} {type(m).__name__} term {m.term}"


def _snapshot(m: ms.InstallSnapshot) -> str:
    meta = m.meta
    return f"{_head(m)} {meta.id} at {meta.index}/{meta.term} bytes {m.offset}+{len(m.data)} of {meta.size}"


def _append_reply(m: ms.AppendReply) -> str:
    if m.success:
        return f"{_head(m)} match {m.match}"
    return f"{_head(m)} rejected, prev {m.prev_index}, hint {m.hint_index}/{m.hint_term}"


def _vote(m: ms.RequestVote) -> str:
    return f"{_head(m)} log {m.last_index}/{m.last_term}{flags(pre_vote=m.pre_vote, transfer=m.transfer)}"


def _vote_reply(m: ms.VoteReply) -> str:
    return f"{_head(m)} {'granted' if m.granted else 'refused'}{flags(pre_vote=m.pre_vote)}"


def _append(m: ms.AppendEntries) -> str:
    entries = f" {entries_text(m.entries)}" if m.entries else ""
    return f"{_head(m)} prev {m.prev_index}/{m.prev_term}{entries} commit {m.commit}"


def _snapshot_reply(m: ms.SnapshotReply) -> str:
    if m.installed:
        return f"{_head(m)} {m.id} installed, match {m.match}"
    return f"{_head(m)} {m.id} wants {m.next_offset}{flags(restart=m.restart)}"


def _repair_reply(m: ms.RepairReply) -> str:
    what = entry_text(m.entry) if m.entry else flags(absent=m.absent, purged=m.purged).strip() or "cannot say"
    return f"{_head(m)} {m.index}/{m.entry_term}: {what}"


def _persist(e: fx.Persist) -> str:
    parts = [f"Persist #{e.ticket}"]
    if e.truncate_from is not None:
        parts.append(f"truncate from {e.truncate_from}")
    if e.entries:
        parts.append(entries_text(e.entries))
    if e.repaired:
        parts.append(f"repaired {entries_text(e.repaired)}")
    if e.hard_state is not None:
        parts.append(f"term {e.hard_state.term} vote {e.hard_state.vote or '-'}")
    return " ".join(parts)


def _send(e: fx.Send) -> str:
    return line(e.message) + (f" after #{e.after}" if e.after else "")


def _answer(e: fx.AnswerRequest) -> str:
    return f"AnswerRequest {e.request}: {e.reason or 'done'}"


def _hint(leader: str | None) -> str:
    return f", leader {leader}" if leader else ""


LINES: dict[type[Any], Callable[[Any], str]] = {
    ms.RequestVote: _vote,
    ms.VoteReply: _vote_reply,
    ms.AppendEntries: _append,
    ms.AppendReply: _append_reply,
    ms.Heartbeat: lambda m: f"{_head(m)} commit {m.commit} round {m.round}",
    ms.HeartbeatReply: lambda m: f"{_head(m)} round {m.round}{flags(lease=m.lease)}",
    ms.StaleTerm: _head,
    ms.InstallSnapshot: _snapshot,
    ms.SnapshotReply: _snapshot_reply,
    ms.TimeoutNow: _head,
    ms.ReadIndex: _head,
    ms.ReadIndexReply: lambda m: f"{_head(m)} {'refused' if m.index is None else f'index {m.index}'}",
    ms.RepairRequest: lambda m: f"{_head(m)} {m.index}/{m.entry_term}",
    ms.RepairReply: _repair_reply,
    ev.DeadlinePassed: lambda e: "DeadlinePassed",
    ev.MessageReceived: lambda e: f"received {line(e.message)}",
    ev.Starved: lambda e: f"Starved {e.seconds:.3f}",
    ev.Persisted: lambda e: f"Persisted #{e.ticket} applied {e.applied}",
    ev.PersistFailed: lambda e: f"PersistFailed {e.reason}",
    ev.EntriesRead: lambda e: f"EntriesRead {e.read} {entries_text(e.entries)} corrupt {e.corrupt}",
    ev.CorruptionFound: lambda e: f"CorruptionFound {e.index}",
    ev.Applied: lambda e: f"Applied {e.index}",
    ev.SnapshotTaken: lambda e: f"SnapshotTaken {e.id} at {e.index} size {e.size}",
    ev.SnapshotFailed: lambda e: f"SnapshotFailed {e.id} {e.reason}",
    ev.ChunkRead: lambda e: f"ChunkRead {e.id} for {e.target} {e.offset}+{-1 if e.data is None else len(e.data)}",
    ev.ChunkWritten: lambda e: f"ChunkWritten {e.id} {e.next_offset}",
    ev.Proposed: lambda e: f"Proposed {e.request} {len(e.data)} bytes {zlib.crc32(e.data):08x}",
    ev.ReadRequested: lambda e: f"ReadRequested {e.request}{flags(lease=e.lease)}",
    ev.MembershipChangeRequested: lambda e: (
        f"MembershipChangeRequested {e.request} " + ", ".join(f"{c.op} {c.id}.{c.incarnation}" for c in e.changes)
    ),
    ev.TransferRequested: lambda e: f"TransferRequested {e.request} {e.target}",
    ev.CampaignRequested: lambda e: "CampaignRequested",
    ev.CompactionRequested: lambda e: f"CompactionRequested {e.index}",
    ev.VersionRequested: lambda e: f"VersionRequested {e.request} {e.version}",
    ev.QuorumRecoveryRequested: lambda e: f"QuorumRecoveryRequested {e.request} {configuration_text(e.configuration)}",
    fx.Persist: _persist,
    fx.Send: _send,
    fx.DropHeld: lambda e: "DropHeld",
    fx.ReadEntries: lambda e: f"ReadEntries {e.read} {e.first}..{e.last}",
    fx.ApplyEntries: lambda e: f"ApplyEntries {entries_text(e.entries)}",
    fx.TakeSnapshot: lambda e: f"TakeSnapshot at least {e.at_least}",
    fx.DropSnapshot: lambda e: f"DropSnapshot {e.id}",
    fx.ReadChunk: lambda e: f"ReadChunk {e.id} {e.offset}+{e.max_bytes} for {e.target}",
    fx.WriteChunk: lambda e: f"WriteChunk {e.meta.id} {e.offset}+{len(e.data)}",
    fx.SwitchToSnapshot: lambda e: f"SwitchToSnapshot #{e.ticket} {e.meta.id} at {e.meta.index}/{e.meta.term}",
    fx.PurgeLog: lambda e: f"PurgeLog {e.index}",
    fx.AcceptProposal: lambda e: f"AcceptProposal {e.request} at {e.index}/{e.term}",
    fx.RefuseProposal: lambda e: f"RefuseProposal {e.request}: {e.reason}{_hint(e.leader)}",
    fx.AnswerRead: lambda e: (
        f"AnswerRead {' '.join(map(str, e.requests))} index {e.index}"
        + ("" if e.valid_until is None else f" until {e.valid_until:.3f}")
    ),
    fx.RefuseRead: lambda e: f"RefuseRead {' '.join(map(str, e.requests))}: {e.reason}{_hint(e.leader)}",
    fx.AnswerRequest: _answer,
    fx.ReportRole: lambda e: f"{e.role} of term {e.term}{_hint(e.leader)}",
    fx.ReportMembership: lambda e: (
        f"members {configuration_text(e.configuration)} (entry {e.index}{', committed' if e.committed else ''})"
    ),
    fx.ReportForgotten: lambda e: f"{e.id}.{e.incarnation} acknowledged {e.acknowledged} and has {e.last}",
    fx.Stop: lambda e: f"Stop: {e.reason}",
}
