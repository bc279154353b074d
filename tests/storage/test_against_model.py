"""The LMDB store and the memory store beside a plain model, with restarts and crashes, under Hypothesis."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from graft.interfaces import Change, Entry, Store, Switch, Turn
from graft.storage import MemoryStore, open_store, verify
from graft.storage.turns import PURGE_STEP

TABLES = ("runs", "steps", "events")
KEYS = st.binary(min_size=1, max_size=3) | st.integers(0, 40).map(lambda n: n.to_bytes(8, "big"))
VALUES = st.none() | st.binary(max_size=30) | st.integers(1000, 9000).map(lambda n: bytes([n % 256]) * n)
CHANGES = st.lists(st.tuples(st.sampled_from(TABLES), KEYS, VALUES), max_size=12)


HARD = st.none() | st.binary(max_size=5)
SECTOR, METAS = 512, 2 * 4096


def put(rows: dict[str, dict[bytes, bytes]], changes: Iterable[Change]) -> None:
    for table, key, value in changes:
        rows[table].pop(key, None)
        if value is not None:
            rows[table][key] = value


def torn(before: bytes, after: bytes, dice: Random) -> bytes:
    """The file when some sectors of `after` came to the disk, and none of the meta pages."""
    image = bytearray(before) + bytes(max(0, len(after) - len(before)))
    for at in range(METAS, len(after), SECTOR):
        if dice.random() < 0.5:
            image[at : at + SECTOR] = after[at : at + SECTOR]
    return bytes(image)


class AgainstModel(RuleBasedStateMachine):
    """The model: a dict of entries, a dict a table, and what a turn says, in the lines of `learn`."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="graft-test-"))
        self.lmdb = self.open()
        self.memory = MemoryStore()
        self.log: dict[int, Entry] = {}
        self.rows: dict[str, dict[bytes, bytes]] = {table: {} for table in TABLES}
        self.first, self.last, self.applied, self.purged_term = 1, 0, 0, 0
        self.hard: bytes | None = None
        self.spare: dict[str, dict[bytes, bytes]] = {table: {} for table in TABLES}

    def open(self):  # type: ignore[no-untyped-def]
        return open_store(self.directory / ".graft", quota_bytes=1 << 28, map_bytes=1 << 29)

    def teardown(self) -> None:
        self.lmdb.close()
        assert verify(self.directory / ".graft").damages == ()
        shutil.rmtree(self.directory)

    def commit(self, turn: Turn) -> None:
        self.lmdb.commit(turn)
        self.memory.commit(turn)
        self.learn(turn)

    def learn(self, turn: Turn) -> None:
        self.last = self.last if turn.truncate_from is None else turn.truncate_from - 1
        self.log = {i: e for i, e in self.log.items() if i <= self.last}
        self.log |= {entry.index: entry for entry in (*turn.entries, *turn.repaired)}
        self.last += len(turn.entries)
        self.hard = self.hard if turn.hard_state is None else turn.hard_state
        put(self.rows, turn.changes)
        put(self.spare, turn.staging)
        if turn.sweep:  # fewer than SWEEP_STEP rows
            self.spare = {table: {} for table in TABLES}
        self.applied = self.applied if turn.applied is None else turn.applied
        for index in range(self.first, min(turn.purge_to or 0, self.applied, self.first + PURGE_STEP - 1) + 1):
            self.purged_term = self.log.pop(index).term
            self.first = index + 1
        if turn.switch is not None:
            index, keep = turn.switch.index, turn.switch.keep_log
            self.rows, self.spare = self.spare, self.rows
            self.log = {i: entry for i, entry in self.log.items() if keep and i > index}
            self.first, self.last, self.applied = index + 1, self.last if keep else index, index
            self.purged_term = turn.switch.term

    # What a turn may say

    def a_turn(self, data: st.DataObject) -> Turn:
        lowest = max(self.first, self.applied + 1)
        truncate = data.draw(st.none() | st.integers(lowest, self.last + 1), label="truncate_from")
        last = self.last if truncate is None else truncate - 1
        datas = data.draw(st.lists(st.binary(max_size=20) | st.just(b"big" * 2000), max_size=5))
        entries = [Entry(last + 1 + i, data.draw(st.integers(1, 9)), each) for i, each in enumerate(datas)]
        applied = data.draw(st.none() | st.integers(self.applied, last + len(entries)), label="applied")
        purge = data.draw(st.none() | st.integers(0, last + 3), label="purge_to")
        return Turn(entries, truncate, data.draw(HARD), data.draw(CHANGES), applied, purge)

    def a_switch(self, data: st.DataObject) -> Turn:
        index = self.applied + data.draw(st.integers(0, 5), label="ahead")
        keep = data.draw(st.booleans(), label="keep_log") and self.first - 1 <= index <= self.last
        return Turn(hard_state=data.draw(HARD), switch=Switch(index, data.draw(st.integers(1, 9)), keep))

    def a_repair(self, data: st.DataObject) -> Turn:
        if not self.log:
            return Turn()
        old = self.log[data.draw(st.sampled_from(sorted(self.log)))]
        return Turn(repaired=[Entry(old.index, old.term, data.draw(st.binary(max_size=20)))])

    def any_turn(self, data: st.DataObject) -> Turn:
        match data.draw(st.sampled_from(("turn", "turn", "stage", "sweep", "switch", "repair")), label="what"):
            case "stage":
                return Turn(staging=data.draw(CHANGES))
            case "sweep":
                return Turn(sweep=True)
            case "switch":
                return self.a_switch(data)
            case "repair":
                return self.a_repair(data)
            case _:
                return self.a_turn(data)

    @initialize(first=st.integers(0, 5))
    def some_log(self, first: int) -> None:
        self.commit(Turn(entries=[Entry(i, 1, b"first") for i in range(1, first + 1)]))

    @rule(data=st.data())
    def turn(self, data: st.DataObject) -> None:
        self.commit(self.any_turn(data))

    @rule(data=st.data(), survives=st.booleans(), dice=st.randoms(use_true_random=False))
    def crash_in_a_commit(self, data: st.DataObject, survives: bool, dice: Random) -> None:
        """The power fails: of the sectors that the turn writes, any may be on the disk, before LMDB's sync. Only then
        it writes the meta page, in one sector: without it nothing of the turn is there, with it all is."""
        turn = self.any_turn(data)
        file = self.directory / ".graft" / "store" / "data.mdb"
        before, transaction = file.read_bytes(), self.lmdb._environment.info()["last_txnid"]
        self.lmdb.commit(turn)
        # The first snapshot makes tables in a transaction of its own; then there is more than one moment of a crash.
        survives = survives or self.lmdb._environment.info()["last_txnid"] - transaction > 1
        self.lmdb.close()
        if not survives:
            file.write_bytes(torn(before, file.read_bytes(), dice))
        self.lmdb = self.open()
        if survives:
            self.memory.commit(turn)
            self.learn(turn)
        self.memory = self.memory.crash()

    @rule()
    def restart(self) -> None:
        self.lmdb.close()
        self.lmdb = self.open()
        self.memory = self.memory.crash()

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def read_some_entries(self, data: st.DataObject) -> None:
        first = data.draw(st.integers(0, self.last + 1))
        last = data.draw(st.integers(first, self.last + 2))
        expected = [self.log[i] for i in range(first, last + 1) if i in self.log]
        for store in self.stores():
            assert store.entries(first, last, 1 << 30) == expected

    @rule(table=st.sampled_from(TABLES), key=KEYS)
    def read_a_key(self, table: str, key: bytes) -> None:
        for store in self.stores():
            assert store.get(table, key) == self.rows[table].get(key)

    def stores(self) -> tuple[Store, Store]:
        return self.lmdb, self.memory

    @invariant()
    def everything_is_equal(self) -> None:
        for store in self.stores():
            bounds = store.bounds()
            assert (bounds.first, bounds.last, bounds.applied, bounds.purged_term) == (
                self.first,
                self.last,
                self.applied,
                self.purged_term,
            )
            assert store.hard_state() == self.hard
            assert store.spare_rows() == sum(map(len, self.spare.values()))
            with store.dump() as dump:
                assert dump.applied == self.applied
                assert {(table, key): value for table, key, value in dump.rows} == {
                    (table, key): value for table, rows in self.rows.items() for key, value in rows.items()
                }
            for table in TABLES:
                assert store.scan(table) == sorted(self.rows[table].items())


AgainstModel.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestAgainstModel = AgainstModel.TestCase
