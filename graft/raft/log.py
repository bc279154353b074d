"""The replicated log as one member sees it: a window of entries in memory over what is on its disk.

Three lines run through the log, and most mistakes of Raft implementations are about mixing them up::

    first ............ window_first ......... durable ......... handed ......... last
      on disk only       on disk and here       being written     not yet ordered

The term of every entry is known without its data (`runs`), so that consistency checks, hints and votes never wait for
the disk. Data of entries before the window is read by the shell (`ReadEntries`).

Acknowledgements of writes are counted by ticket. A write that was overtaken by a truncation is *clipped*: it covers
only what is still as it was when the write was ordered. Comparing the acknowledged entry's term with the log's (as
etcd does) is not enough once the same entry is written, truncated and written again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

from .records import Entry

OVERHEAD_BYTES = 32
"""What an entry costs beside its data, in memory and on the wire, roughly. Keeps empty entries from being free."""


class Log:
    """Invariant: `first - 1 <= window_first - 1 <= last`, `durable <= handed <= last`; every entry above `durable` is
    in the window; `runs` covers `first - 1 .. last`."""

    __slots__ = (
        "clipped",
        "corrupt",
        "durable",
        "first",
        "handed",
        "last",
        "max_window_bytes",
        "mending",
        "pending",
        "repaired",
        "reversions",
        "run_starts",
        "run_terms",
        "runs_changed",
        "settled",
        "taken_bytes",
        "truncated_from",
        "window",
        "window_bytes",
        "window_first",
    )

    def __init__(
        self, first: int, last: int, runs: Sequence[tuple[int, int]], max_window_bytes: int, corrupt: Sequence[int] = ()
    ) -> None:
        first = max(first, runs[0][0] + 1)  # a purge that a crash left unfinished: `runs` no longer know what it left
        self.first = first
        self.last = last
        self.durable = last  # newest entry such that it and all before it are synced as they stand here
        self.handed = last  # newest entry that a Persist carried
        self.window: list[Entry] = []
        self.window_first = last + 1
        self.window_bytes = 0
        self.max_window_bytes = max_window_bytes
        self.taken_bytes = 0  # of all entries that were appended since the start
        self.run_starts = [start for start, _ in runs]
        self.run_terms = [term for _, term in runs]
        self.runs_changed = False  # since the last hard state
        self.truncated_from: int | None = None  # since the last Persist
        self.reversions = 0  # how often entries were taken back: a read from before tells of another log
        self.pending: deque[list[int]] = deque()  # [ticket, newest entry it makes durable], ascending tickets
        # index -> term
        self.corrupt: dict[int, int] = {index: self.term_at(index) for index in corrupt if index >= first}
        self.settled: set[int] = set()  # damaged entries that others have in a snapshot: committed, for certain
        self.repaired: list[Entry] = []  # good copies that wait for the next Persist
        self.mending: dict[int, int] = {}  # index -> ticket of the Persist that carries its good copy
        self.forget_runs_before(first - 1)

    # ---- terms ---------------------------------------------------------------------------------------------------

    def term_at(self, index: int) -> int:
        """Term of the entry at `index`, `first - 1 <= index <= last`."""
        starts = self.run_starts
        if index >= starts[-1]:
            return self.run_terms[-1]
        return self.run_terms[bisect_right(starts, index) - 1]

    @property
    def last_term(self) -> int:
        return self.run_terms[-1]

    def matches(self, index: int, term: int) -> bool:
        """True if the log is known to hold an entry of `term` at `index`."""
        return self.first - 1 <= index <= self.last and self.term_at(index) == term

    def newest_at_most(self, index: int, term: int) -> int:
        """The greatest index <= `index` whose entry has a term <= `term`; `first - 1` if none is known."""
        index = min(index, self.last)
        run = bisect_right(self.run_starts, index) - 1
        while run >= 0 and self.run_terms[run] > term:
            index = self.run_starts[run] - 1
            run -= 1
        return max(index, self.first - 1)

    def runs(self) -> tuple[tuple[int, int], ...]:
        return tuple(zip(self.run_starts, self.run_terms, strict=True))

    def forget_runs_before(self, index: int) -> None:
        """Drop runs that end before `index`."""
        keep = bisect_right(self.run_starts, index) - 1
        if keep > 0:
            del self.run_starts[:keep], self.run_terms[:keep]

    # ---- reading -------------------------------------------------------------------------------------------------

    def slice(self, first: int, last: int, max_bytes: int, max_entries: int) -> tuple[Entry, ...] | None:
        """Entries from `first`, at most to `last`, at least one, while they fit; None if they are not in memory."""
        start = first - self.window_first
        if start < 0:
            return None
        window = self.window
        if first == last:
            return (window[start],)
        stop = min(last - self.window_first + 1, start + max_entries)
        size = 0
        for position in range(start, stop):
            size += len(window[position].data) + OVERHEAD_BYTES
            if size > max_bytes and position > start:
                return tuple(window[start:position])
        return tuple(window[start:stop])

    def first_conflict(self, prev_index: int, entries: Sequence[Entry]) -> int | None:
        """Index of the first of `entries` that the log does not hold, None if it holds all (S15, section 5.3)."""
        if prev_index == self.last:
            return prev_index + 1 if entries else None
        for entry in entries:
            if entry.index > self.last or self.term_at(entry.index) != entry.term:
                return entry.index
        return None

    # ---- writing -------------------------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries that follow `last` without a gap."""
        size = 0
        run_terms = self.run_terms
        for entry in entries:
            size += len(entry.data) + OVERHEAD_BYTES
            if entry.term != run_terms[-1]:
                assert entry.term > run_terms[-1], (entry, run_terms)
                self.run_starts.append(entry.index)
                run_terms.append(entry.term)
                self.runs_changed = True
        self.window.extend(entries)
        self.window_bytes += size
        self.taken_bytes += size
        self.last += len(entries)
        assert self.window[-1].index == self.last, (self.window[-1].index, self.last)

    def truncate(self, index: int) -> None:
        """Remove entries >= `index`."""
        assert self.first <= index <= self.last, (self.first, index, self.last)
        keep = index - self.window_first
        if keep < 0:
            self.window_first = index
            keep = 0
        self.window_bytes -= sum(len(entry.data) + OVERHEAD_BYTES for entry in self.window[keep:])
        del self.window[keep:]
        self.last = index - 1
        self.durable = min(self.durable, self.last)
        self.handed = min(self.handed, self.last)
        self.truncated_from = index if self.truncated_from is None else min(index, self.truncated_from)
        self.reversions += 1
        clip(self.pending, self.last)
        while self.run_starts[-1] >= index:
            self.run_starts.pop()
            self.run_terms.pop()
        self.runs_changed = True
        for old in [i for i in self.corrupt if i >= index]:
            self.whole_again(old)
        self.repaired = [entry for entry in self.repaired if entry.index < index]

    def reset(self, index: int, term: int) -> None:
        """The log becomes empty behind a snapshot at `index`. Not durable until `durable` says so."""
        self.reversions += 1
        self.first = index + 1
        self.last = self.handed = index
        self.durable = 0
        self.window = []
        self.window_first = index + 1
        self.window_bytes = 0
        self.run_starts, self.run_terms = [index], [term]
        self.runs_changed = False
        self.truncated_from = None
        self.pending.clear()
        self.corrupt.clear()
        self.settled.clear()
        self.repaired.clear()
        self.mending.clear()

    def purge(self, index: int) -> None:
        """Forget entries <= `index`."""
        self.first = index + 1
        self._drop_window_to(index)
        self.forget_runs_before(index)
        for old in [i for i in self.corrupt if i <= index]:
            self.whole_again(old)
        self.repaired = [entry for entry in self.repaired if entry.index > index]

    def trim(self) -> None:
        """Drop the oldest synced entries from memory until the window is within its bytes."""
        drop, size = self.window_first - 1, self.window_bytes
        stop = min(self.durable, self.last)
        for entry in self.window:
            if size <= self.max_window_bytes or entry.index > stop:
                break
            size -= len(entry.data) + OVERHEAD_BYTES
            drop = entry.index
        self._drop_window_to(drop)

    def _drop_window_to(self, index: int) -> None:
        count = index - self.window_first + 1
        if count > 0:
            self.window_bytes -= sum(len(entry.data) + OVERHEAD_BYTES for entry in self.window[:count])
            del self.window[:count]
            self.window_first = index + 1

    # ---- persistence ---------------------------------------------------------------------------------------------

    def take_unwritten(self, ticket: int) -> tuple[Entry, ...]:
        """The entries that no Persist has carried yet; from now on `ticket` makes them durable."""
        if self.handed == self.last:
            return ()
        entries = tuple(self.window[self.handed + 1 - self.window_first :])
        self.handed = self.last
        self.pending.append([ticket, self.last])
        return entries

    def acknowledge(self, ticket: int) -> None:
        """All writes up to `ticket` are synced."""
        pending = self.pending
        while pending and pending[0][0] <= ticket:
            self.durable = max(self.durable, pending.popleft()[1])
        if self.mending:
            for index in [i for i, wrote in self.mending.items() if wrote <= ticket]:
                self.whole_again(index)

    def whole_again(self, index: int) -> None:
        """The entry at `index` is mended, or gone: no damage is left there."""
        self.corrupt.pop(index, None)
        self.mending.pop(index, None)
        self.settled.discard(index)


def clip(pending: deque[list[int]], last: int) -> None:
    """Writes that are under way make nothing durable behind `last`: what stood there is being replaced."""
    for write in pending:
        write[1] = min(write[1], last)
