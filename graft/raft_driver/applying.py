"""Committed entries on their way into the state machine, in slices, so that a member that catches up never blocks Trio.

A switch to a snapshot *holds* applying: what was to be applied is in the snapshot, and what comes to be applied later
waits until it is installed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from graft import raft
from graft.engine import Applied
from graft.interfaces import Store
from graft.raft_driver.hard_state import from_stored
from graft.raft_driver.machine import Machine
from graft.raft_driver.overlay import Overlay
from graft.raft_driver.proposals import Done, Proposal, Proposals

MAX_SLICE_ENTRIES: Final = 256  # an apply costs tens of microseconds, and Trio waits for the whole slice


class Applier:
    """`applied`: the machine covers the log up to there. `handed`: the newest entry of those the core handed out that
    it has. They differ only after a replay, which is ahead of the core.
    """

    def __init__(self, machine: Machine, overlay: Overlay, applied: int) -> None:
        self._machine, self._overlay = machine, overlay
        self.applied = self.handed = applied
        self._waiting: deque[raft.Entry] = deque()
        self._holds = 0  # switches to a snapshot that are ordered and not done

    @property
    def is_ready(self) -> bool:
        return bool(self._waiting) and not self._holds

    def add(self, entries: Sequence[raft.Entry]) -> None:
        self._waiting.extend(entries)

    def hold(self) -> None:
        self._holds += 1
        self._waiting.clear()

    def switched(self, index: int) -> None:
        """The state is a snapshot's, which covers the log up to `index`."""
        self._holds -= 1
        self._overlay.clear()
        self.applied = self.handed = index
        self._machine.reset()

    def apply_slice(self, proposals: Proposals) -> tuple[list[Applied], list[tuple[Done, Applied]]]:
        """What came of the commands, and whom to tell."""
        results: list[Applied] = []
        answers: list[tuple[Done, Applied]] = []
        for _ in range(min(len(self._waiting), MAX_SLICE_ENTRIES)):
            entry = self._waiting.popleft()
            self.handed = entry.index
            proposal = proposals.applied(entry)
            applied = self._apply(entry, proposal)
            if applied is not None:
                results.append(applied)
                if proposal is not None and proposal.done is not None:
                    answers.append((proposal.done, applied))
        self._collect()
        return results, answers

    def replay(self, store: Store, last: int) -> None:
        """Apply what the log holds beyond the state; effects are not carried out."""
        assert last >= self.applied
        while self.applied < last:
            for stored in store.entries(self.applied + 1, last):
                self._apply(from_stored(stored), None)
            self._collect()

    def _apply(self, entry: raft.Entry, proposal: Proposal | None) -> Applied | None:
        """Apply one committed entry, unless a replay did."""
        if entry.index <= self.applied:
            return None
        self.applied = entry.index
        if entry.kind != raft.Kind.COMMAND:
            return None
        command = self._machine.decode(entry.data) if proposal is None else proposal.command
        return self._machine.apply(entry.index, command)

    def _collect(self) -> None:
        for table, key, value in self._machine.drain():
            self._overlay.put(table, key, value)
