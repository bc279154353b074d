"""A member's disk: the store, the snapshot files beside it, and how each of them can be lost.

What is synced is an `Image`. Log, hard state and state machine are in a `SimulatedStore`: every turn goes into it, and
every start comes from it, through the encodings that the driver uses too (`graft.raft_driver.hard_state`). A turn
(ARCHITECTURE.md §6) is one transaction: it is there as a whole or not at all, whatever crashes. What a crash may do is
leave open which of the two it was. On top of that:

* *torn write*: the turn that the crash met is there, but the entries at its end fail their checksum;
* *bit rot*: synced entries fail their checksum later;
* *misdirected write*: an entry's write hit the place of another (`SimulatedStore.misdirect`);
* *file rolled back*: the store is what it was some time ago (`copy`), whole and out of date;
* *fsync error*: the sync reports a failure, and whether the turn is there stays open. A second sync reports success,
  which means nothing: the kernel has dropped the pages (Rebello et al., *Can applications recover from fsync
  failures?*, ATC 2020);
* *EIO*: the turn is refused, nothing was written;
* *full*: the turn waits until there is room.

Time is the member's business (`graft.sim.member`): this file only says what is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graft.errors import SyncFailed
from graft.interfaces import Change, Switch, Turn
from graft.raft.effects import Persist
from graft.raft.records import Entry, HardState, Recovered, SnapshotMeta, StagedSnapshot
from graft.raft_driver.hard_state import decode_hard_state, encode_hard_state, to_stored
from graft.sim.machine import ANSWERS, REGISTERS, Command, Machine
from graft.sim.store import SimulatedStore


class Image:
    """What is synced.

    `hard_state`, `first`, `applied` are the store's, kept at hand for the checks of every event, and so is `terms`:
    what was written, whatever became of it. `corrupt`: entries that are damaged, found out or not; `torn`: those of
    them that were never whole. `exported`, `staged`: the snapshot files.

    Invariant: `terms[k]` is of the entry at `first + k`; `applied >= first - 1`; `torn` <= `corrupt`, all in the log.
    """

    def __init__(self, hard_state: HardState, incarnation: int = 1, entries: Sequence[Entry] = ()) -> None:
        self.store = SimulatedStore()
        self.incarnation = incarnation
        self.first, self.applied = 1, 0
        self.terms: list[int] = []
        self.corrupt: set[int] = set()
        self.torn: set[int] = set()
        self.exported: dict[str, bytes] = {}  # snapshots taken here, by id
        self.staged: SnapshotMeta | None = None
        self.staged_bytes = b""
        self.used = False  # a process has run on it
        self.commit(Persist(0, tuple(entries), hard_state=hard_state), 0, [])

    @property
    def starts(self) -> int:
        """How often a process has started on it."""
        return int(self.store.get("meta", b"starts") or b"0")

    def started(self) -> int:
        """One more. Returns how many they are."""
        starts = self.starts + 1
        self.store.commit(Turn(changes=[("meta", b"starts", b"%d" % starts)]))
        return starts

    @property
    def last(self) -> int:
        return self.first + len(self.terms) - 1

    def stored_term(self, index: int) -> int | None:
        """The term of an entry that is in the log, readable or not."""
        return self.terms[index - self.first] if self.first <= index <= self.last else None

    def holds(self, index: int, term: int) -> bool:
        """The entry was synced here: it is in the state, or in the log. What rots later is not the protocol's fault."""
        return index <= self.applied or (index not in self.torn and self.stored_term(index) == term)

    def torn_in(self, first: int, last: int) -> bool:
        return any(first <= index <= last for index in self.torn)

    # -- a start -----------------------------------------------------------------------------------------------------

    def recovered(self) -> Recovered:
        """What a process finds that starts here."""
        stored = self.store.hard_state()
        assert stored is not None
        self.hard_state, _ = decode_hard_state(stored)
        self.sweep()
        bounds = self.store.bounds()
        corrupt = tuple(self.store.damaged(bounds.applied + 1, bounds.last))
        staged = None if self.staged is None else StagedSnapshot(self.staged, len(self.staged_bytes))
        return Recovered(self.hard_state, bounds.first, bounds.last, bounds.applied, corrupt, staged, self.used)

    def machine(self, decoded: dict[bytes, Command]) -> Machine:
        """The synced state machine."""
        machine = Machine(decoded)
        machine.read_rows(self.store.scan(REGISTERS), self.store.scan(ANSWERS))
        return machine

    # -- writing -----------------------------------------------------------------------------------------------------

    def commit(self, persist: Persist | None, applied: int, changes: Sequence[Change]) -> None:
        """One turn. `changes` are those of the entries behind the old applied index up to `applied`.

        Raises StorageError and SyncFailed, as the store does.
        """
        persist = persist or Persist(0)
        hard = persist.hard_state
        turn = Turn(
            entries=[to_stored(entry) for entry in persist.entries],
            truncate_from=persist.truncate_from,
            hard_state=None if hard is None else encode_hard_state(hard, self.incarnation),
            changes=changes,
            applied=applied,
            repaired=[to_stored(entry) for entry in persist.repaired],
        )
        try:
            self.store.commit(turn)
        except SyncFailed:
            if self.store.lands:
                self._committed(persist, applied)
            raise
        self._committed(persist, applied)

    def _committed(self, persist: Persist, applied: int) -> None:
        if persist.truncate_from is not None:
            del self.terms[persist.truncate_from - self.first :]
            self._keep_damage(0, persist.truncate_from)
        for entry in persist.entries:
            self.terms.append(entry.term)
        for entry in persist.repaired:
            assert self.stored_term(entry.index) == entry.term, f"repairs what is not there: {entry}"
            self.corrupt.discard(entry.index)
            self.torn.discard(entry.index)
        if persist.hard_state is not None:
            self.hard_state = persist.hard_state
        self.applied = applied

    def purge(self, index: int) -> None:
        """Forget entries <= index."""
        index = min(index, self.applied, self.last)
        while self.first <= index:
            self.store.commit(Turn(purge_to=index))
            first = self.store.bounds().first
            del self.terms[: first - self.first]
            self.first = first
            self._keep_damage(first, self.last + 1)

    def stage(self, meta: SnapshotMeta, offset: int, data: bytes) -> int:
        """Write a chunk; returns the first byte that is still wanted. Raises as `commit` does."""
        with self.store.sync() as lands:
            if lands and (offset == 0 or self.staged is None or self.staged.id != meta.id):
                self.staged, self.staged_bytes = meta, b""
            if lands and offset == len(self.staged_bytes):
                self.staged_bytes += data
        return len(self.staged_bytes)

    def install(self, meta: SnapshotMeta, hard_state: HardState, keep_log: bool) -> None:
        """Switch to the staged snapshot, which is all there. `keep_log`: what stands behind it stays.

        Raises as `commit` does."""
        assert self.staged is not None, "a switch to a snapshot that is not there"
        assert (self.staged.id, len(self.staged_bytes)) == (meta.id, meta.size), "a switch to half a snapshot"
        machine, store = Machine(), self.store
        machine.load(self.staged_bytes)
        trouble, store.trouble = store.trouble, ""  # it meets the switch
        store.commit(Turn(staging=[*machine.rows(), ("meta", b"starts", b"%d" % self.starts)]))
        store.trouble = trouble
        switch = Switch(meta.index, meta.term, keep_log)
        turn = Turn(hard_state=encode_hard_state(hard_state, self.incarnation), switch=switch)
        try:
            store.commit(turn)
        except SyncFailed:
            if store.lands:
                self._switched(meta, hard_state, keep_log)
            raise
        self._switched(meta, hard_state, keep_log)
        self.sweep()

    def _switched(self, meta: SnapshotMeta, hard_state: HardState, keep_log: bool) -> None:
        self.terms = self.terms[meta.index + 1 - self.first :] if keep_log else []
        self.applied, self.first = meta.index, meta.index + 1
        self._keep_damage(self.first, self.last + 1)
        self.hard_state = hard_state
        self.staged, self.staged_bytes = None, b""

    def sweep(self) -> None:
        """Remove the rows of the state that was, or of one that never came to be."""
        while self.store.spare_rows():
            self.store.commit(Turn(sweep=True))

    # -- damage ------------------------------------------------------------------------------------------------------

    def roll_back(self, store: SimulatedStore) -> None:
        """The store's file is an older one."""
        self.store = store

    def tear(self, from_index: int) -> None:
        """The newest entries, from `from_index` on, were not written as a whole."""
        torn = range(max(from_index, self.applied + 1, self.first), self.last + 1)
        self.torn |= set(torn)
        self.rot(torn)

    def rot(self, indexes: Iterable[int]) -> None:
        """The entries can no longer be read."""
        for index in indexes:
            self.store.rot(index)
            self.corrupt.add(index)

    def overwritten(self) -> list[int]:
        """Places under whose entry another one lies."""
        return [index for index in self.store.overwritten() if self.first <= index <= self.last]

    def misdirect(self, index: int, onto: int) -> bool:
        """See `SimulatedStore.misdirect`."""
        self.corrupt |= {index, onto}
        return self.store.misdirect(index, onto)

    def _keep_damage(self, start: int, stop: int) -> None:
        self.corrupt = {i for i in self.corrupt if start <= i < stop}
        self.torn &= self.corrupt
