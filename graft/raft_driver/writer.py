"""One transaction a turn: the only way to the disk (ARCHITECTURE section 6).

Everything that Raft ordered to be written while the last turn synced goes into the next, together with the state
changes of what was applied meanwhile. Such changes alone wait up to `FLUSH_SECONDS`: after a crash they are derived
again from the log. A turn takes all that is ordered, so the state that it carries is never ahead of the log.

A turn that a full disk refuses left nothing behind. A member of a cluster tries the same turn again until there is
room: it stays up, and can be read and told to make room, while it acknowledges nothing. A cluster of one in a person's
own process ends instead, and says why.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio
from attrs import frozen

from graft.errors import StoreFull
from graft.interfaces import Clock, Store, Switch, Turn
from graft.raft import effects as fx
from graft.raft_driver.applying import Applier
from graft.raft_driver.hard_state import encode_hard_state, to_stored
from graft.raft_driver.overlay import Overlay
from graft.raft_driver.syncing import Syncer
from graft.raft_driver.writes import Writes

FLUSH_SECONDS: Final = 0.05
FULL_SECONDS: Final = 1.0  # between two tries of a turn that a full disk refused

Answer = Callable[[StoreFull | None], None]


@frozen
class _Begun:
    """A turn, the ticket of Raft's write in it (0: none), and the index up to which it makes the state durable."""

    turn: Turn
    ticket: int
    applied: int


class Writer:
    """`has_failed`: a commit did, so what the disk holds is unknown, or it is full: nothing is written any more.

    `waits_for_room`: see above. `full`: why the disk took nothing when it was tried last.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        applier: Applier,
        overlay: Overlay,
        incarnation: int,
        applied: int,
        *,
        waits_for_room: bool = False,
    ) -> None:
        self._store, self._applier, self._overlay = store, applier, overlay
        self._syncer = Syncer(store, clock)
        self._incarnation = incarnation
        self._durable_applied = applied
        self.writes = Writes()
        self._extra: deque[tuple[Turn, Answer]] = deque()
        self.wake = trio.Event()
        self.dirty = trio.Event()  # set when there are state changes to write
        self._flush_is_due = False
        self._turns = 0
        self.is_busy = False  # a turn is under way
        self.has_failed = False
        self._waits_for_room = waits_for_room
        self._refused: _Begun | None = None  # by a full disk, when it was written in place
        self.full: StoreFull | None = None

    @property
    def has_work(self) -> bool:
        return self._refused is not None or self.writes.is_due or bool(self._extra)

    async def wait(self, until: Callable[[], bool]) -> None:
        """Return when `until` holds, looked at whenever `wake` is set, or when state changes waited long enough."""
        while not (until() or self._flush_is_due):
            self.wake = trio.Event()
            await self.wake.wait()

    async def flush(self) -> None:
        """See that state changes get written when nothing else does. A timeout at every wait would cost more."""
        while True:
            await self.dirty.wait()
            turns = self._turns
            await trio.sleep(FLUSH_SECONDS)
            if turns == self._turns:
                self._flush_is_due = True
                self.wake.set()
            if not self._overlay:
                self.dirty = trio.Event()

    async def commit(self) -> tuple[int, int] | None:
        """One turn: its ticket (0: no write of Raft's) and how far the synced state goes; None: nothing to write."""
        begun, self._refused = self._refused or self._begin(), None
        if begun is None:
            await trio.lowlevel.checkpoint()
            return None
        await self._store_turn(begun.turn)
        return self._end(begun)

    def commit_here(self) -> tuple[int, int] | None:
        """The same without waiting; None as well where the disk is slow, and while another turn is under way."""
        if self.is_busy or self.full is not None or not self._syncer.is_fast or (begun := self._begin()) is None:
            return None
        try:
            with self._one_turn():
                self._syncer.commit_here(begun.turn)
        except StoreFull as error:
            if not self._waits_for_room:
                raise
            self.has_failed, self._refused, self.full = False, begun, error
            return None
        return self._end(begun)

    def _begin(self) -> _Begun | None:
        self._flush_is_due = False
        self._turns += 1
        write = self.writes.take()
        if not write.ticket and not self._overlay:
            return None
        applied, hard = self._applier.applied, write.hard_state
        turn = Turn(
            entries=[to_stored(entry) for entry in write.entries],
            truncate_from=write.truncate_from,
            hard_state=None if hard is None else encode_hard_state(hard, self._incarnation),
            changes=self._overlay.begin_write(),
            applied=applied,
            purge_to=min(self.writes.purge_to, self._durable_applied) or None,
            repaired=[to_stored(entry) for entry in write.repaired],
        )
        return _Begun(turn, write.ticket, applied)

    def _end(self, begun: _Begun) -> tuple[int, int]:
        self._overlay.end_write()
        self._durable_applied = begun.applied
        if self._store.bounds().first > self.writes.purge_to:
            self.writes.purge_to = 0
        return begun.ticket, begun.applied

    async def switch(self) -> fx.SwitchToSnapshot:
        """The staged snapshot becomes the state, in one small transaction."""
        switch = self.writes.take_switch()
        meta = switch.meta
        hard = encode_hard_state(switch.hard_state, self._incarnation)
        await self._store_turn(Turn(hard_state=hard, switch=Switch(meta.index, meta.term, switch.keep_log)))
        self._durable_applied = meta.index
        self.writes.purge_to = 0
        return switch

    async def _store_turn(self, turn: Turn) -> None:
        with self._one_turn():
            while self._waits_for_room:
                try:
                    await self._syncer.commit(turn)
                except StoreFull as error:
                    self.full = error
                    await trio.sleep(FULL_SECONDS)
                else:
                    self.full = None
                    return
            await self._syncer.commit(turn)

    @contextmanager
    def _one_turn(self) -> Iterator[None]:
        self.is_busy = True
        try:
            yield
        except BaseException:
            self.has_failed = True
            raise
        finally:
            self.is_busy = False

    # Turns of the snapshot desk, one between two of Raft's

    async def write(self, turn: Turn) -> None:
        """Have `turn` committed. Raises StoreFull; anything worse stops the member."""
        answer: list[StoreFull | None] = []
        written = trio.Event()

        def take(error: StoreFull | None) -> None:
            answer.append(error)
            written.set()

        self._extra.append((turn, take))
        self.wake.set()
        await written.wait()
        if answer[0] is not None:
            raise answer[0]

    async def commit_extra(self) -> None:
        """The next of them, if there is one."""
        if not self._extra:
            return
        turn, take = self._extra.popleft()
        try:
            with self._one_turn():
                await self._syncer.commit(turn)
        except StoreFull as error:
            self.has_failed = False  # nothing but the snapshot waits for it
            take(error)
        else:
            take(None)
