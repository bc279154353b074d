"""What the core tells its shell to do, in order. An effect that wants an answer names the event that brings it.

Ordering lives in the types:

* Writes are numbered. A `Persist` has a `ticket`; the shell writes them in that order, as many as it likes in one
  transaction, and tells `Persisted(ticket)` when they are synced.
* A `Send` whose `after` is not 0 leaves only when that ticket is synced; others leave at once, before any disk is
  touched. Messages that wait may overtake nothing that was held for the same target before them.
* `DropHeld` throws away all that is still held: the term has changed, and a promise of the old term must not be made
  when the log behind it may already be another one. Losing a message is always safe.
* Entries may be applied as soon as `ApplyEntries` is there, but the state that they make may be synced only in the
  same transaction as, or after, every `Persist` that came before it.
"""

from __future__ import annotations

from collections.abc import Iterable

from .messages import Message
from .records import Configuration, Entry, HardState, SnapshotMeta, record


@record
class Persist:
    """Write, all or nothing: remove entries >= `truncate_from`; append `entries`; overwrite `repaired` in place;
    replace the hard state. -> `Persisted` | `PersistFailed`

    `repaired` are good copies of damaged entries: same index, same term, nothing behind them is touched.
    """

    ticket: int
    entries: tuple[Entry, ...] = ()
    truncate_from: int | None = None
    hard_state: HardState | None = None
    repaired: tuple[Entry, ...] = ()


@record
class Send:
    """Put `message` on the wire once `after` is synced (0: at once)."""

    message: Message
    after: int = 0


@record
class DropHeld:
    """Forget every `Send` that still waits for its ticket."""


@record
class ReadEntries:
    """Read `first..last` from the store, at most `max_bytes` of data but at least one entry. -> `EntriesRead`

    Only entries that are synced are asked for. An answer for a range that was since truncated is ignored.
    """

    read: int
    first: int
    last: int
    max_bytes: int


@record
class ApplyEntries:
    """Committed entries in order, each once in a process's life. -> `Applied`

    Only `COMMAND` entries mean something to the state machine; the others move its applied index.
    """

    entries: tuple[Entry, ...]


@record
class TakeSnapshot:
    """Export the state machine as it is at some applied index >= `at_least` (never above the commit index), to send
    to members that are too far behind. -> `SnapshotTaken` | `SnapshotFailed`"""

    at_least: int


@record
class DropSnapshot:
    """Nobody needs the exported snapshot `id` any more."""

    id: str


@record
class ReadChunk:
    """Read at most `max_bytes` of snapshot `id` from `offset`, for `target`. -> `ChunkRead`"""

    id: str
    target: str
    offset: int
    max_bytes: int


@record
class WriteChunk:
    """Stage `data` at `offset` of the snapshot that arrives. -> `ChunkWritten` | `SnapshotFailed`

    `offset` 0 begins anew; another snapshot that was staged may be thrown away.
    """

    meta: SnapshotMeta
    offset: int
    data: bytes


@record
class SwitchToSnapshot:
    """In one transaction: state := the staged snapshot, log := empty (its first entry will be `meta.index` + 1), hard
    state := `hard_state`. With `keep_log` only entries <= `meta.index` go and those behind stay: the log agrees with
    the snapshot and was damaged before it (section 7: "retain log entries following it"). A snapshot of no bytes was
    never staged, whatever else is. -> `Persisted`

    Numbered and ordered as the `Persist`s are, and never merged with them. What was to be applied before and is not
    yet may be dropped; what comes to be applied later waits.

    The shell has checked the whole staged file before it answered its last `WriteChunk`, so this can only fail as a
    write fails: `PersistFailed`.
    """

    ticket: int
    meta: SnapshotMeta
    hard_state: HardState
    keep_log: bool = False


@record
class PurgeLog:
    """Entries <= `index` may be removed, in bounded steps, behind every `Persist` that came before: one of them may
    mend such an entry. Never above the synced applied index."""

    index: int


@record
class AcceptProposal:
    """The command stands at `index` with `term`. It is committed if an entry with that term is applied there, and
    lost if one of another term is."""

    request: int
    index: int
    term: int


@record
class RefuseProposal:
    """`reason`: `not_leader` (`leader` is the hint), `overloaded`, `too_large`, `transferring`, `stopped`."""

    request: int
    reason: str
    leader: str | None = None


@record
class AnswerRead:
    """Answer `requests` from any state that has applied `index`.

    `valid_until` (lease reads only): look at the clock after reading the state; when the time has passed, ask again.
    """

    requests: tuple[int, ...]
    index: int
    valid_until: float | None = None


@record
class RefuseRead:
    """`reason`: `not_leader`, `overloaded`, `deposed`, `stopped`."""

    requests: tuple[int, ...]
    reason: str
    leader: str | None = None


@record
class AnswerRequest:
    """A membership change, transfer, version or recovery ended. `reason` is empty when it was done, else a word:
    `not_leader`, `busy` (another change is under way), `damaged` (an entry must be mended first), `too_early` (nothing
    committed in this term yet), `invalid`, `unknown_member`, `incarnation_in_use`, `not_caught_up`, `no_change`,
    `no_voter`, `quorum_unreachable` (of the voters-to-be), `transferring`, `timed_out`, `deposed`, `unsupported`,
    `leader_alive`, `stopped`."""

    request: int
    reason: str = ""
    leader: str | None = None


@record
class ReportRole:
    """`role`: follower, pre_candidate, candidate, leader. `leader` is who leads this term, if known."""

    role: str
    term: int
    leader: str | None


@record
class ReportMembership:
    """`configuration`, which stands at `index`, came into force (`committed` False) or was committed (True)."""

    configuration: Configuration
    index: int
    committed: bool


@record
class Stop:
    """The member cannot go on: stop the process, show `reason`. Every later event is ignored."""

    reason: str


@record
class ReportForgotten:
    """Member `id` acknowledged all up to `acknowledged` to this leader, and its log agrees only up to `last` now: its
    disk was put back to an older copy. It counts for nothing in this term. Told again while it goes on answering."""

    id: str
    incarnation: int
    acknowledged: int
    last: int


Effect = (
    Persist
    | Send
    | DropHeld
    | ReadEntries
    | ApplyEntries
    | TakeSnapshot
    | DropSnapshot
    | ReadChunk
    | WriteChunk
    | SwitchToSnapshot
    | PurgeLog
    | AcceptProposal
    | RefuseProposal
    | AnswerRead
    | RefuseRead
    | AnswerRequest
    | ReportRole
    | ReportMembership
    | ReportForgotten
    | Stop
)


def merge(persists: Iterable[Persist]) -> Persist:
    """One `Persist` that does what `persists` (ascending tickets, at least one) do one after the other.

    Within the result the order is truncate, append, repair: an entry that is truncated or overwritten by a later one
    of the sequence does not appear, and a truncation that reached no further does not either.
    """
    ticket = 0
    truncate: int | None = None
    entries: list[Entry] = []
    repaired: list[Entry] = []
    hard_state: HardState | None = None
    for persist in persists:
        cut = persist.truncate_from
        if cut is not None:
            if not entries or cut <= entries[0].index:  # else it takes back only what is not in the store yet
                truncate = cut if truncate is None else min(truncate, cut)
            entries = [entry for entry in entries if entry.index < cut]
            repaired = [entry for entry in repaired if entry.index < cut]
        entries.extend(persist.entries)
        repaired.extend(persist.repaired)
        hard_state = persist.hard_state or hard_state
        ticket = persist.ticket
    return Persist(ticket, tuple(entries), truncate, hard_state, tuple(repaired))
