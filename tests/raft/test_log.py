"""The log beside a model: a plain list of entries, and a list of writes that says what a disk would hold."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from graft.raft import Entry, Kind
from graft.raft.effects import Persist, merge
from graft.raft.log import Log


def entry(index: int, term: int, size: int = 0) -> Entry:
    return Entry(index, term, Kind.COMMAND, b"x" * size)


class LogMachine(RuleBasedStateMachine):
    """`entries` is the whole log; `writes` the Persists that are ordered; `disk` what is synced of them."""

    @initialize(window=st.sampled_from([0, 100, 10_000]))
    def begin(self, window: int) -> None:
        self.log = Log(1, 0, ((0, 0),), window)
        self.entries: dict[int, Entry] = {}
        self.disk: dict[int, Entry] = {}
        self.writes: list[Persist] = []
        self.ticket = 0
        self.term = 1

    def order(self) -> None:
        """What the core does at the end of a call."""
        log = self.log
        if log.handed != log.last or log.truncated_from is not None:
            self.ticket += 1
            entries = log.take_unwritten(self.ticket)
            self.writes.append(Persist(self.ticket, entries, log.truncated_from))
            log.truncated_from = None

    @rule(count=st.integers(1, 4), newer=st.booleans(), size=st.integers(0, 60))
    def append(self, count: int, newer: bool, size: int) -> None:
        self.term += newer
        last = self.log.last
        new = [entry(last + i, self.term, size) for i in range(1, count + 1)]
        self.log.append(new)
        self.entries.update({e.index: e for e in new})
        self.order()

    @precondition(lambda self: self.log.last >= self.log.first)
    @rule(data=st.data(), again=st.booleans())
    def truncate(self, data: st.DataObject, again: bool) -> None:
        """And perhaps write the very same entries once more, as a later leader may order."""
        index = data.draw(st.integers(self.log.first, self.log.last))
        gone = [self.entries.pop(i) for i in range(index, self.log.last + 1)]
        self.log.truncate(index)
        if again:
            self.log.append(gone)
            self.entries.update({e.index: e for e in gone})
        self.order()

    @precondition(lambda self: self.writes)
    @rule(data=st.data())
    def sync(self, data: st.DataObject) -> None:
        """Some writes become one transaction and are acknowledged."""
        count = data.draw(st.integers(1, len(self.writes)))
        done, self.writes = self.writes[:count], self.writes[count:]
        whole = merge(done)
        if whole.truncate_from is not None:
            self.disk = {i: e for i, e in self.disk.items() if i < whole.truncate_from}
        for e in whole.entries:
            assert e.index == max(self.disk, default=self.log.first - 1) + 1 or e.index - 1 in self.disk
            self.disk[e.index] = e
        self.log.acknowledge(whole.ticket)

    @precondition(lambda self: self.log.durable >= self.log.first)
    @rule(data=st.data())
    def purge(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(self.log.first, self.log.durable))
        self.log.purge(index)
        self.entries = {i: e for i, e in self.entries.items() if i > index}
        self.disk = {i: e for i, e in self.disk.items() if i > index}

    @rule()
    def trim(self) -> None:
        self.log.trim()

    @invariant()
    def what_is_durable_is_on_the_disk_as_it_stands_here(self) -> None:
        """S11: this is what acknowledgements are made of."""
        for index in range(self.log.first, self.log.durable + 1):
            assert self.disk[index] == self.entries[index]
        if not self.writes:
            assert self.log.durable == self.log.last or not self.entries

    @invariant()
    def terms_and_window_agree_with_the_model(self) -> None:
        log = self.log
        assert sorted(self.entries) == list(range(log.first, log.last + 1))
        for index, e in self.entries.items():
            assert log.term_at(index) == e.term
            if index >= log.window_first:
                assert log.window[index - log.window_first] == e
            else:
                assert index <= log.durable
        assert log.window_bytes == sum(len(e.data) + 32 for e in log.window)

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def slices(self, data: st.DataObject) -> None:
        log = self.log
        first = data.draw(st.integers(log.first, log.last))
        max_bytes = data.draw(st.integers(0, 300))
        max_entries = data.draw(st.integers(1, 5))
        got = log.slice(first, log.last, max_bytes, max_entries)
        if first < log.window_first:
            assert got is None
            return
        assert got
        assert [e.index for e in got] == list(range(first, first + len(got)))
        assert len(got) <= max_entries
        assert len(got) == 1 or sum(len(e.data) + 32 for e in got) <= max_bytes

    @rule(data=st.data())
    def hints(self, data: st.DataObject) -> None:
        """`newest_at_most` says what a walk over the terms says."""
        log = self.log
        index = data.draw(st.integers(log.first - 1, log.last + 3))
        term = data.draw(st.integers(0, self.term))
        walk = min(index, log.last)
        while walk > log.first - 1 and log.term_at(walk) > term:
            walk -= 1
        assert log.newest_at_most(index, term) == walk


TestLog = LogMachine.TestCase
TestLog.settings = settings(max_examples=60, stateful_step_count=30)


@st.composite
def histories(draw: st.DrawFn) -> list[Persist]:
    """Writes as a member orders them: each truncates what is there, or nothing, and appends without a gap."""
    last, writes = 0, []
    for ticket in range(1, draw(st.integers(1, 6)) + 1):
        cut = draw(st.none() | st.integers(1, last)) if last else None
        start = last if cut is None else cut - 1
        count = draw(st.integers(0, 3))
        writes.append(Persist(ticket, tuple(entry(start + i, ticket) for i in range(1, count + 1)), cut))
        last = start + count
    return writes


def written(disk: dict[int, Entry], write: Persist) -> dict[int, Entry]:
    """As a store does it: what is cut is there, what comes follows without a gap (`graft.storage.turns.check_turn`)."""
    assert write.truncate_from is None or write.truncate_from <= len(disk) + 1
    kept = {i: e for i, e in disk.items() if write.truncate_from is None or i < write.truncate_from}
    assert [e.index for e in write.entries] == list(range(len(kept) + 1, len(kept) + 1 + len(write.entries)))
    return kept | {e.index: e for e in write.entries}


@given(histories(), st.data())
def test_one_merged_write_does_what_all_do_one_by_one(writes: list[Persist], data: st.DataObject) -> None:
    split = data.draw(st.integers(0, len(writes) - 1))
    disk: dict[int, Entry] = {}
    for write in writes[:split]:
        disk = written(disk, write)
    whole = merge(writes[split:])
    one_by_one = disk
    for write in writes[split:]:
        one_by_one = written(one_by_one, write)
    assert written(disk, whole) == one_by_one
    assert whole.ticket == writes[-1].ticket
    assert [e.index for e in whole.entries] == sorted({e.index for e in whole.entries})
