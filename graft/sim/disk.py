"""A member's disk: log, hard state, state machine and snapshots, and how each of them can be lost.

What is synced is an `Image`. A turn (ARCHITECTURE.md §6) is one transaction: it is on the image as a whole or not at
all, whatever crashes. What a crash may do is leave open which of the two it was. On top of that:

* *torn write*: the turn that the crash met is there, but the entries at its end fail their checksum;
* *bit rot*, *misdirected write*: synced entries fail their checksum later;
* *fsync error*: the sync reports a failure, and whether the turn is there stays open. A second sync reports success,
  which means nothing: the kernel has dropped the pages (Rebello et al., *Can applications recover from fsync
  failures?*, ATC 2020);
* *EIO*: the turn is refused, nothing was written;
* *full*: the turn waits until there is room.

Time is the member's business (`graft.sim.member`): this file only says what is there.
"""

from __future__ import annotations

from attrs import Factory, define

from graft.raft.effects import Persist
from graft.raft.records import Entry, HardState, Recovered, SnapshotMeta, StagedSnapshot
from graft.sim.machine import Command, Machine


@define
class StateImage:
    """The synced state machine: a dump, and the commands that were applied on top of it.

    Kept as a recipe: making it costs nothing in a turn, and it is cooked only after a crash.
    """

    dump: bytes | None = None
    commands: list[bytes] = Factory(list)

    def machine(self, decoded: dict[bytes, Command]) -> Machine:
        machine = Machine(decoded)
        if self.dump is not None:
            machine.load(self.dump)
        for data in self.commands:
            machine.apply(data)
        if len(self.commands) > 200:
            self.dump, self.commands = machine.dump(), []
        return machine


@define
class Image:
    """What is synced.

    `corrupt`: indices of entries that fail their checksum; `torn`: those of them that were never whole.
    Invariant: `entries[k].index == first + k`; `applied >= first - 1`; `torn` <= `corrupt`, all within `entries`.
    """

    hard_state: HardState
    first: int = 1
    entries: list[Entry] = Factory(list)
    applied: int = 0
    state: StateImage = Factory(StateImage)
    corrupt: set[int] = Factory(set)
    torn: set[int] = Factory(set)
    exported: dict[str, bytes] = Factory(dict)  # snapshots taken here, by id
    staged: SnapshotMeta | None = None
    staged_bytes: bytes = b""
    used: bool = False  # a process has run on it

    @property
    def last(self) -> int:
        return self.first + len(self.entries) - 1

    def stored_term(self, index: int) -> int | None:
        """The term of an entry that is in the log, readable or not."""
        return self.entries[index - self.first].term if self.first <= index <= self.last else None

    def holds(self, index: int, term: int) -> bool:
        """The entry was synced here: it is in the state, or in the log. What rots later is not the protocol's fault."""
        return index <= self.applied or (index not in self.torn and self.stored_term(index) == term)

    def torn_in(self, first: int, last: int) -> bool:
        return any(first <= index <= last for index in self.torn)

    def recovered(self) -> Recovered:
        staged = None if self.staged is None else StagedSnapshot(self.staged, len(self.staged_bytes))
        corrupt = tuple(sorted(index for index in self.corrupt if index > self.applied))
        return Recovered(self.hard_state, self.first, self.last, self.applied, corrupt, staged, self.used)

    def commit(self, persist: Persist | None, applied: int, commands: list[bytes]) -> None:
        """One turn. `commands` are those of the entries behind the old applied index up to `applied`."""
        if persist is not None:
            if persist.truncate_from is not None:
                self._truncate(persist.truncate_from)
            for entry in persist.entries:
                assert entry.index == self.last + 1, f"a hole in the log before {entry}"
                self.entries.append(entry)
            for entry in persist.repaired:
                assert self.stored_term(entry.index) == entry.term, f"repairs what is not there: {entry}"
                self.entries[entry.index - self.first] = entry
                self.corrupt.discard(entry.index)
                self.torn.discard(entry.index)
            if persist.hard_state is not None:
                self.hard_state = persist.hard_state
        if applied > self.applied:
            assert applied <= self.last, "state ahead of the log"
            self.state.commands += commands
            self.applied = applied

    def _truncate(self, index: int) -> None:
        assert index > self.applied, "truncation below the applied index"
        del self.entries[index - self.first :]
        self._keep_damage(0, index)

    def purge(self, index: int) -> None:
        """Forget entries <= index."""
        index = min(index, self.applied, self.last)
        if index >= self.first:
            del self.entries[: index + 1 - self.first]
            self.first = index + 1
            self._keep_damage(index + 1, self.last + 1)

    def stage(self, meta: SnapshotMeta, offset: int, data: bytes) -> int:
        """Write a chunk; returns the first byte that is still wanted."""
        if offset == 0 or self.staged is None or self.staged.id != meta.id:
            self.staged, self.staged_bytes = meta, b""
        if offset == len(self.staged_bytes):
            self.staged_bytes += data
        return len(self.staged_bytes)

    def install(self, meta: SnapshotMeta, hard_state: HardState, keep_log: bool) -> None:
        """Switch to the staged snapshot, which is all there. `keep_log`: what stands behind it stays."""
        assert self.staged is not None, "a switch to a snapshot that is not there"
        assert (self.staged.id, len(self.staged_bytes)) == (meta.id, meta.size), "a switch to half a snapshot"
        self.state = StateImage(self.staged_bytes)
        self.entries = [entry for entry in self.entries if entry.index > meta.index] if keep_log else []
        self.applied, self.first = meta.index, meta.index + 1
        self._keep_damage(self.first, self.last + 1)
        self.hard_state = hard_state
        self.staged, self.staged_bytes = None, b""

    def tear(self, from_index: int) -> None:
        """The newest entries, from `from_index` on, were not written as a whole."""
        self.torn |= set(range(max(from_index, self.applied + 1, self.first), self.last + 1))
        self.corrupt |= self.torn

    def _keep_damage(self, start: int, stop: int) -> None:
        self.corrupt = {i for i in self.corrupt if start <= i < stop}
        self.torn &= self.corrupt
