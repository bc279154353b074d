"""Every seam of Graft on one page: what a room asks of another that it may not import.

Shells implement these; fakes in `graft.storage.memory` and `graft.sim` implement them too and pass the same contract
suites (`tests/contracts/`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from attrs import frozen

from graft.engine.effects import Change as Change
from graft.raft.messages import Message
from graft.raft.records import SnapshotMeta, StagedSnapshot

# The tables of a store. Keys are big-endian unsigned integers, so they sort by number.
TABLES: tuple[str, ...] = (
    "plans",  # sha-256 (32 bytes) -> canonical JSON
    "runs",  # run (u64) -> record
    "scopes",  # run, scope (u64 u32) -> record
    "steps",  # run, scope, ordinal (u64 u32 u32) -> record
    "values",  # run, scope, ordinal, slot (u64 u32 u32 u8) -> JSON: results, params, items of a map
    "events",  # run, sequence (u64 u64) -> a batch of events
    "keys",  # blake2b-16 of a run id -> run (u64)
    "members",  # member id (utf-8, at most 255 bytes) -> record
    "live",  # run (u64) -> nothing: the runs that are not final, what a start has to load
    "meta",  # name (ascii) -> the engine's own counters and configuration
)


@frozen
class Entry:
    """One entry of the log. `data` is an encoded command, empty for a leader's no-op."""

    index: int
    term: int
    data: bytes


@frozen
class Switch:
    """The staged rows become the state, which covers the log up to `index` (whose entry had `term`).

    The log becomes empty behind `index`; with `keep_log` the entries behind `index` stay. What was the state until
    now becomes the spare rows, to be swept.
    """

    index: int
    term: int
    keep_log: bool = False


@frozen
class Turn:
    """What one transaction writes, all or nothing (ARCHITECTURE §6).

    Order within the turn: truncate, append, repair, hard state, changes, applied, purge. Invariant: `changes` and
    `applied` cover only entries at or below the commit index that are in this or an earlier turn.

    Beside the state a store has *spare* rows, which no read shows: those of the state to be (`staging`), or of the one
    that was. A turn with `switch` has nothing else but a hard state; one with `sweep` stages nothing.
    """

    entries: Sequence[Entry] = ()
    truncate_from: int | None = None  # remove entries with index >= this first
    hard_state: bytes | None = None  # replaces the stored one when not None
    changes: Sequence[Change] = ()
    applied: int | None = None  # the state now covers the log up to here
    purge_to: int | None = None  # entries with index <= this may go; a turn removes a bounded number of them
    repaired: Sequence[Entry] = ()  # good copies of damaged entries, written in their places
    staging: Sequence[Change] = ()  # spare rows
    switch: Switch | None = None
    sweep: bool = False  # remove a bounded number of spare rows


@frozen
class Dump:
    """The state of a store at one moment, while its context is open. `rows` are (table, key, value), each once."""

    applied: int
    rows: Iterator[tuple[str, bytes, bytes]]


@frozen
class LogBounds:
    """What the log holds: entries with `first <= index <= last`. Empty: `first == last + 1`."""

    first: int
    last: int
    applied: int
    purged_term: int = 0  # term of entry `first - 1`, 0 when there never was one or it was purged damaged


class Reader(Protocol):
    """The log and the state tables of a store, read only: what others may open while one process holds them."""

    def get(self, table: str, key: bytes) -> bytes | None: ...

    def scan(
        self,
        table: str,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        reverse: bool = False,
        limit: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        """Pairs with start <= key < stop (None: to the end) in key order, the last ones first when `reverse`."""
        ...

    def bounds(self) -> LogBounds: ...

    def hard_state(self) -> bytes | None: ...

    def entries(self, first: int, last: int, max_bytes: int = ...) -> list[Entry]:
        """Entries with first <= index <= last, at least one if there is one, then while they fit in `max_bytes`.

        Indexes outside of the bounds are left out; a damaged or missing one inside raises StoreCorrupt naming it.
        """
        ...


class Store(Reader, Protocol):
    """One LMDB environment, or its fake: the log and the state in one.

    One writer: `commit` blocks and is called from one dedicated thread. Reads may come from any thread, see what the
    last finished commit wrote, and verify checksums. Every method may raise `StoreCorrupt`; `commit` also raises
    `StoreFull` (nothing was written, the store goes on working: turns without entries have some room left, turns that
    only delete, truncate or purge are always taken) and `SyncFailed` (stop at once). It does so far beyond the quota,
    which whoever takes new work in has to watch (`usage`). Keys are 1 to 511 bytes.
    """

    def commit(self, turn: Turn, staged: Callable[[], None] | None = None) -> None:
        """Write `turn`, all or nothing. `staged` is called once everything but the sync is done.

        A thread that shares the interpreter with a busy one should let that one wait until `staged`: before it, LMDB
        releases the interpreter lock at every record and would have to win it back each time; after it, only the
        kernel works. It is called in the committing thread, and not at all when the turn is refused before or has
        nothing to write. Also raises ValueError for a turn that
        contradicts the log; nothing was written then.
        """
        ...

    def damaged(self, first: int, last: int) -> list[int]:
        """Indexes with first <= index <= last, within the bounds, whose entry is missing or fails its checksum."""
        ...

    def spare_rows(self) -> int:
        """How many rows are staged, or left to sweep."""
        ...

    def dump(self) -> AbstractContextManager[Dump]:
        """All state, read at disk speed in one read transaction, which pins old pages: do not hold it long."""
        ...

    def usage(self) -> Usage: ...

    def close(self) -> None: ...


@frozen
class Usage:
    """Bytes used of our own quota. `free_bytes`: what the file system has left, None where there is none."""

    used_bytes: int
    quota_bytes: int
    free_bytes: int | None = None


class Snapshots(Protocol):
    """Snapshot files: those exported here for others, and the one that arrives. All calls block; any thread.

    Raises `StorageError`s: `StoreFull` when there is no room, `StoreCorrupt` for a file that is damaged.
    """

    def export(self, id: str, dump: Dump, poll: Callable[[], None]) -> tuple[int, str]:
        """Write the dump to a new file: its size in bytes and its checksum. `poll` is called now and then, and may
        raise to give up, which leaves nothing behind. Older exports beyond the retention count go."""
        ...

    def read(self, id: str, offset: int, max_bytes: int) -> bytes | None:
        """A piece of an exported file; None when it is not there.

        Raises StoreCorrupt when the file is no longer as it was exported, and forgets it.
        """
        ...

    def drop(self, id: str) -> None:
        """Nobody needs this export: it counts against the retention from now on."""
        ...

    def staged(self) -> StagedSnapshot | None:
        """What has arrived and is synced, also from before a restart."""
        ...

    def write(self, meta: SnapshotMeta, offset: int, data: bytes) -> int:
        """Add a synced piece of the file that arrives; returns the next byte wanted. `offset` 0 begins anew.

        Raises StoreCorrupt when the file is complete and its checksum is wrong: then nothing is staged any more.
        """
        ...

    def rows(self, id: str) -> Generator[list[Change], None, None]:
        """The rows of the staged file, in pieces of bounded size; close it. Raises StoreCorrupt."""
        ...

    def discard(self) -> None:
        """Forget what is staged."""
        ...


class Transport(Protocol):
    """Messages to other members. What a member is sent reaches it by `receive` of its door, on the Trio thread.

    Messages may be lost, repeated, late and out of order (docs/internals/raft.md).
    """

    def send(self, *messages: Message) -> None:
        """Put `messages` on their ways to their `target`s. Never blocks; a full queue drops its oldest message."""
        ...


@frozen(order=True)
class Peer:
    """A member that may be there. `id` is empty when the source does not know it. `address` is `host:port`."""

    address: str
    id: str = ""
    source: str = ""  # who said so: `static`, `dns graft.example.org`, …


@frozen
class PeerChange:
    """What is different from what the subscriber saw last. A peer whose id became known is removed and added."""

    added: frozenset[Peer]
    removed: frozenset[Peer]
    peers: frozenset[Peer]  # all that there are now


class Discovery(Protocol):
    """Who may be a member, from wherever that is known. Start and stop are the two ends of `open_discovery`'s block."""

    @property
    def peers(self) -> frozenset[Peer]:
        """All that are known now. Never blocks; may hold the member itself, strangers, and members that are gone."""
        ...

    def subscribe(self) -> AsyncIterator[PeerChange]:
        """All that are known now as the first change, if there are any, then what changes. Ends with the block."""
        ...


class CommitDoor(Protocol):
    """The one way in: propose -> persist -> apply. Raft owns it in a cluster; a cluster of one commits what it synced.

    `propose` never blocks. `done(result)` is called on the Trio thread after the command was applied, with what
    `Engine.apply` returned for it as its result; or `refused(error)` with a `graft.errors.Rejected`.
    """

    def propose(
        self,
        command: Any,
        done: Callable[[Any], None] | None = None,
        refused: Callable[[Exception], None] | None = None,
    ) -> None: ...


class Clock(Protocol):
    """Time as an argument for shells."""

    def monotonic(self) -> float:
        """Seconds, never going back, no meaning in themselves."""
        ...

    def boottime(self) -> float:
        """Like `monotonic`, but it also counts the time for which the machine was suspended."""
        ...

    def wall(self) -> int:
        """Milliseconds since the Unix epoch. Whoever looks after the machine may set it back or ahead."""
        ...


class Entropy(Protocol):
    """Randomness as an argument for shells."""

    def u64(self) -> int: ...
