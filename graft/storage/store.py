"""The store over LMDB: log and state in one environment, one transaction and one fsync a turn.

LMDB is a copy-on-write B+ tree: a transaction writes new pages, syncs them, then writes one of two meta pages and
syncs that. A process that dies in between leaves the older root in place, so a turn is there as a whole or not at all.
See `docs/internals/storage-format.md`.

Rejected: LMDB's write map (a full disk becomes a SIGBUS, a stray pointer damages the file, and it measured no faster);
its modes without sync (a commit would be a promise that a power cut breaks); one record for all entries of a turn
(1000 puts cost 0.1 ms, so there is nothing to win).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from struct import Struct
from threading import Lock
from typing import TYPE_CHECKING
from zlib import crc32

import lmdb

from graft.errors import StorageError, StoreCorrupt, StoreFull, SyncFailed
from graft.interfaces import TABLES, Change, Entry, LogBounds, Turn, Usage
from graft.storage.check import INLINE_BYTES, BackgroundCheck, walk_file
from graft.storage.directory import Layout, bring_up_to_date, prepare
from graft.storage.environment import create_store, open_environment, read_meta
from graft.storage.failures import translate, translate_commit
from graft.storage.lock import DirectoryLock
from graft.storage.reads import Reads
from graft.storage.records import (
    HARD_KEY,
    HEAD,
    HEAD_KEY,
    LOG,
    Head,
    damaged,
    pack_checksum,
    pack_index,
    seal,
    seed,
)
from graft.storage.turns import Quota, bounds_after, check_key, check_turn, is_empty, purge_end

if TYPE_CHECKING:
    from graft.storage.reads import Transaction

DEFAULT_QUOTA = 16 << 30
DEFAULT_MAP = 64 << 30
READER_CHECK_TURNS = 512
"""Every so many turns the slots of readers that died are cleared; until then they pin old pages."""

_INDEX_TERM = Struct(">QQ").pack


def open_store(
    path: Path | str,
    *,
    quota_bytes: int = DEFAULT_QUOTA,
    map_bytes: int = DEFAULT_MAP,
    command: str | None = None,
    inline_check_bytes: int = INLINE_BYTES,
) -> LmdbStore:
    """Open the data directory `path` for writing; make it when it is not there.

    `quota_bytes` is what the store may hold; `map_bytes` is address space, reserved once, at least twice the quota.
    `command` names this process to others, by default its command line. Call `close` on the result.

    Raises StoreHeld, StoreReadOnly, StoreFull, StoreCorrupt, StoreFormatUnknown, or StorageError when the path cannot
    be a data directory.
    """
    layout = prepare(Path(path))
    try:
        lock = DirectoryLock.take(layout.lock, command)
    except OSError as error:
        raise translate(error, layout.root) from error
    try:
        return _open_locked(layout, lock, quota_bytes, max(map_bytes, 2 * quota_bytes), inline_check_bytes)
    except BaseException as error:
        lock.release(closed_at=None if lock.previous is None else lock.previous.closed_at)
        if isinstance(error, (lmdb.Error, OSError)):
            raise translate(error, layout.root) from error  # noqa: ASYNC104 - no cancellation gets here
        raise


def _open_locked(
    layout: Layout, lock: DirectoryLock, quota_bytes: int, map_bytes: int, inline_check_bytes: int
) -> LmdbStore:
    is_new = create_store(layout, map_bytes)
    bring_up_to_date(layout)
    meta = read_meta(layout.data)
    check: BackgroundCheck | None = None
    in_order = is_new or (lock.previous is not None and lock.previous.closed_at == meta.transaction)
    if not in_order and layout.data.stat().st_size <= inline_check_bytes:
        if (error := walk_file(layout.data).error(layout.root)) is not None:
            raise error
    elif not in_order:
        check = BackgroundCheck(layout.root)
    try:
        environment, reads, head = open_environment(layout, map_bytes, readonly=False)
    except BaseException:
        if check is not None:
            check.stop()
        raise
    environment.reader_check()  # dead ones, which would pin old pages
    return LmdbStore(layout, lock, environment, reads, head, Quota(quota_bytes), check)


class LmdbStore:
    """Satisfies `graft.interfaces.Store`. Made by `open_store`.

    Invariant: `_bounds`, and `_pages` in use by each table, are what the last finished commit left.
    """

    def __init__(
        self,
        layout: Layout,
        lock: DirectoryLock,
        environment: lmdb.Environment,
        reads: Reads,
        head: Head,
        quota: Quota,
        check: BackgroundCheck | None,
    ) -> None:
        self._layout = layout
        self._lock = lock
        self._environment = environment
        self._reads = reads
        self._bounds = head.bounds
        self._pages = reads.all_pages()
        self._quota = quota
        self.check = check  # None when no walk was due, or it was done at once
        self._committing = Lock()
        self._turns = 0
        self._failure: StorageError | None = None
        self._closed = False

    # Writing

    def commit(self, turn: Turn, staged: Callable[[], None] | None = None) -> None:
        with self._committing:
            self._check_usable()
            check_turn(self._bounds, turn)
            if is_empty(self._bounds, turn):
                return
            self._turns += 1
            if self._turns % READER_CHECK_TURNS == 0:
                self.forget_dead_readers()
            try:
                self._commit(turn, staged)
            except lmdb.BadValsizeError as error:
                raise ValueError(f"not a key: {error}") from error
            except lmdb.Error as error:
                raise self._commit_failed(error) from error
            except StoreCorrupt as error:
                self._failure = error
                raise

    def _commit(self, turn: Turn, staged: Callable[[], None] | None) -> None:
        transaction = self._environment.begin(write=True)
        try:
            changed = self._change(transaction, turn.changes)
            after = self._write_log(transaction, turn)
            pages = self._pages | self._reads.pages(transaction, (LOG, HEAD, *changed))
            self._check_quota(pages, turn)
            if staged is not None:
                staged()
        except BaseException:
            transaction.abort()
            raise
        transaction.commit()
        self._bounds, self._pages = after, pages

    def _write_log(self, transaction: Transaction, turn: Turn) -> LogBounds:
        bounds = self._bounds
        if turn.truncate_from is not None:
            self._delete_entries(transaction, turn.truncate_from, bounds.last)
        if turn.entries:
            self._append(transaction, turn.entries)
        if turn.hard_state is not None:
            transaction.put(HARD_KEY, seal(HEAD, HARD_KEY, turn.hard_state), db=self._reads.database(HEAD))
        purged_to = purge_end(bounds, turn)
        purged_term = bounds.purged_term
        if purged_to >= bounds.first:
            purged_term = self._reads.term(transaction, purged_to)
            self._delete_entries(transaction, bounds.first, purged_to)
        after = bounds_after(bounds, turn, purged_to, purged_term)
        head = Head(after, transaction.id()).pack()
        transaction.put(HEAD_KEY, seal(HEAD, HEAD_KEY, head), db=self._reads.database(HEAD))
        return after

    def _append(self, transaction: Transaction, entries: Sequence[Entry]) -> None:
        start = seed(LOG)
        rows: list[tuple[bytes, bytes]] = []
        add = rows.append
        for entry in entries:
            record = _INDEX_TERM(entry.index, entry.term) + entry.data
            add((record[:8], pack_checksum(crc32(record, start)) + record[8:]))
        _consumed, added = transaction.cursor(self._reads.database(LOG)).putmulti(rows, append=True)
        if added != len(rows):
            raise damaged(LOG, rows[added][0], "an entry beyond the end of the log is in its way")

    def _delete_entries(self, transaction: Transaction, first: int, last: int) -> None:
        if first > last:
            return
        cursor = transaction.cursor(self._reads.database(LOG))
        cursor.set_range(pack_index(first))
        for index in range(first, last + 1):
            if cursor.key() != pack_index(index):
                raise damaged(LOG, pack_index(index), "it is missing")
            cursor.delete()

    def _change(self, transaction: Transaction, changes: Sequence[Change]) -> Iterable[str]:
        """The tables that changed. Only the last change of a key is written, in key order: LMDB stays on a page."""
        tables: defaultdict[str, dict[bytes, bytes | None]] = defaultdict(dict)
        for table, key, value in changes:
            tables[table][key] = value
        for table, group in tables.items():
            if table not in TABLES:
                raise KeyError(table)
            database, start = self._reads.database(table), seed(table)
            rows: list[tuple[bytes, bytes]] = []
            for key in sorted(group):
                value = group[key]
                if value is None:
                    check_key(key)  # LMDB only looks at keys that it stores
                    transaction.delete(key, db=database)
                else:
                    rows.append((key, pack_checksum(crc32(key + value, start)) + value))
            transaction.cursor(database).putmulti(rows)
        return tables.keys()

    def forget_dead_readers(self) -> None:
        """Clear the slots of readers in other processes that were killed in the middle of a read."""
        self._environment.reader_check()

    # Limits and failures

    def _check_quota(self, pages: Mapping[str, int], turn: Turn) -> None:
        """`pages` counts with the turn in the transaction: asking LMDB about the tables that changed costs 5 µs."""
        limit = self._quota.limit(turn)
        if limit is not None and (used := sum(pages.values()) * self._reads.page_bytes) > limit:
            raise self._quota.full(used)

    def _check_usable(self) -> None:
        if self._closed:
            raise StorageError(f"the store in {self._layout.root} is closed")
        if self.check is not None and (error := self.check.poll()) is not None:
            self._failure = error
        if self._failure is not None:
            raise self._failure

    def _commit_failed(self, error: lmdb.Error) -> StorageError:
        """Nothing of the turn is in the store. After anything but a full disk, no further turn is taken."""
        failure = translate_commit(error, self._layout.root, self._layout.data)
        try:
            self._environment.begin(write=True).abort()
        except lmdb.Error:  # a meta page could not be written: LMDB itself refuses to go on
            failure = SyncFailed(failure.message, hint="start again; every commit before this one is safe")
        if not isinstance(failure, StoreFull):
            self._failure = failure
        return failure

    # Reading

    def bounds(self) -> LogBounds:
        return self._bounds

    def hard_state(self) -> bytes | None:
        return self._reads.hard_state()

    def entries(self, first: int, last: int, max_bytes: int = 1 << 20) -> list[Entry]:
        return self._reads.entries(first, last, max_bytes)

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._reads.get(table, key)

    def scan(
        self,
        table: str,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        reverse: bool = False,
        limit: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        return self._reads.scan(table, start, stop, reverse, limit)

    def usage(self) -> Usage:
        return Usage(sum(self._pages.values()) * self._reads.page_bytes, self._quota.quota_bytes)

    # The end

    def close(self) -> None:
        """Waits for a commit that is under way. A store that was checked and did not fail counts as closed in order."""
        with self._committing:
            if self._closed:
                return
            self._closed = True
            in_order = self._failure is None
            if self.check is not None:
                in_order = in_order and self.check.poll() is None and self.check.report is not None
                self.check.stop()
            last = self._environment.info()["last_txnid"]
            self._reads.is_closed = True
            self._environment.close()
            self._lock.release(closed_at=last if in_order else None)
