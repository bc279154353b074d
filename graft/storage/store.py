"""The store over LMDB: log and state in one environment, one transaction and one fsync a turn.

LMDB is a copy-on-write B+ tree: a transaction writes new pages, syncs them, then writes one of two meta pages and
syncs that. A process that dies in between leaves the older root in place, so a turn is there as a whole or not at all.
See `docs/internals/storage-format.md`.

Rejected: LMDB's write map (a full disk becomes a SIGBUS, a stray pointer damages the file, and it measured no faster);
its modes without sync (a commit would be a promise that a power cut breaks); one record for all entries of a turn
(1000 puts cost 0.1 ms, so there is nothing to win).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import lmdb

from graft.errors import StorageError, StoreCorrupt, StoreFull, SyncFailed
from graft.interfaces import Dump, Entry, LogBounds, Switch, Turn, Usage
from graft.storage import log
from graft.storage.check import INLINE_BYTES, BackgroundCheck, walk_file
from graft.storage.directory import Layout, bring_up_to_date, prepare
from graft.storage.environment import create_store, open_environment, read_meta
from graft.storage.failures import free_bytes, translate, translate_commit
from graft.storage.generations import count_rows, sweep, write_rows
from graft.storage.lock import DirectoryLock
from graft.storage.reads import Reads
from graft.storage.records import HARD_KEY, HEAD, HEAD_KEY, LOG, ODD_TABLES, Head, seal
from graft.storage.turns import Quota, bounds_after, check_turn, is_empty, purge_end

if TYPE_CHECKING:
    from graft.storage.reads import Transaction

DEFAULT_QUOTA = 16 << 30
DEFAULT_MAP = 64 << 30
READER_CHECK_TURNS = 512
"""Every so many turns the slots of readers that died are cleared; until then they pin old pages."""


def open_store(
    path: Path | str,
    *,
    quota_bytes: int = DEFAULT_QUOTA,
    map_bytes: int = DEFAULT_MAP,
    command: str | None = None,
    inline_check_bytes: int = INLINE_BYTES,
) -> LmdbStore:
    """Open the data directory `path` for writing; make it when it is not there.

    `quota_bytes` is what the store should hold; `map_bytes` is address space, reserved once, at least four times that.
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
        quota = Quota(quota_bytes, layout.data.stat().st_size if layout.data.exists() else 0)
        return _open_locked(layout, lock, quota, max(map_bytes, quota.map_bytes), inline_check_bytes)
    except BaseException as error:
        lock.release(closed_at=None if lock.previous is None else lock.previous.closed_at)
        if isinstance(error, (lmdb.Error, OSError)):
            raise translate(error, layout.root) from error  # noqa: ASYNC104 - no cancellation gets here
        raise


def _open_locked(
    layout: Layout, lock: DirectoryLock, quota: Quota, map_bytes: int, inline_check_bytes: int
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
    return LmdbStore(layout, lock, environment, reads, head, quota, check)


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
        self._generation = head.generation
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
        if turn.staging or turn.switch is not None:
            self._make_spare()
        transaction = self._environment.begin(write=True)
        try:
            changed = [*write_rows(transaction, self._reads, self._generation, turn.changes)]
            if turn.staging:
                changed += write_rows(transaction, self._reads, self._generation + 1, turn.staging)
            if turn.sweep:
                changed += sweep(transaction, self._reads, self._generation + 1)
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
        if turn.switch is not None:
            self._generation += 1
            self._reads.use(self._generation)

    def _write_log(self, transaction: Transaction, turn: Turn) -> LogBounds:
        bounds, database = self._bounds, self._reads.database(LOG)
        if turn.truncate_from is not None:
            log.truncate(transaction, database, turn.truncate_from, bounds.last)
        if turn.entries:
            log.append(transaction, database, turn.entries)
        if turn.repaired:
            log.repair(transaction, database, turn.repaired)
        if turn.hard_state is not None:
            transaction.put(HARD_KEY, seal(HEAD, HARD_KEY, turn.hard_state), db=self._reads.database(HEAD))
        if turn.switch is not None:
            self._switch(transaction, turn.switch)
        purged_to = purge_end(bounds, turn)
        purged_term = bounds.purged_term
        if purged_to >= bounds.first:
            purged_term = self._reads.term(transaction, purged_to)
            log.purge(transaction, database, bounds.first, purged_to)
        after = bounds_after(bounds, turn, purged_to, purged_term)
        self._write_head(transaction, after, self._generation + (turn.switch is not None))
        return after

    def _write_head(self, transaction: Transaction, bounds: LogBounds, generation: int) -> None:
        head = Head(bounds, transaction.id(), generation).pack()
        transaction.put(HEAD_KEY, seal(HEAD, HEAD_KEY, head), db=self._reads.database(HEAD))

    def _switch(self, transaction: Transaction, switch: Switch) -> None:
        """The next generation is the state from now on. The spare rows, all of them, must be staged."""
        bounds, database = self._bounds, self._reads.database(LOG)
        if switch.keep_log:
            log.purge(transaction, database, bounds.first, min(switch.index, bounds.last))
        else:
            transaction.drop(database, delete=False)

    def _make_spare(self) -> None:
        """The tables of odd generations, for the first snapshot that arrives."""
        if self._reads.has(ODD_TABLES[0]):
            return
        with self._environment.begin(write=True) as transaction:
            made = {name: self._environment.open_db(name.encode(), txn=transaction) for name in ODD_TABLES}
            self._write_head(transaction, self._bounds, self._generation)
        self._reads.add(made)

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
        if self._failure is None and self._lock.is_gone():  # what would be written now, nobody could ever read
            self._failure = StorageError(
                f"{self._layout.root} was removed while it was in use",
                hint="what was recorded there is gone with it; leave a data directory alone while a process holds it",
            )
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

    def damaged(self, first: int, last: int) -> list[int]:
        return self._reads.damaged(first, last)

    def spare_rows(self) -> int:
        with self._environment.begin() as transaction:
            return count_rows(transaction, self._reads, self._generation + 1)

    def dump(self) -> AbstractContextManager[Dump]:
        return self._reads.dump()

    def usage(self) -> Usage:
        used_bytes = sum(self._pages.values()) * self._reads.page_bytes
        return Usage(used_bytes, self._quota.quota_bytes, free_bytes(self._layout.root))

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
