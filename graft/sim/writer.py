"""The disk side of a simulated member: one turn after another, and what waits for them.

It is the storage turn of ARCHITECTURE.md §6 in virtual time: everything that gathered while a turn was on its way
goes into the next one, or, by a throw of the dice, only the beginning of it. Messages that wait for a ticket are held
here and leave when it is synced.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING
from zlib import crc32

from attrs import Factory, define

from graft.errors import StorageError
from graft.interfaces import Change
from graft.raft import effects as fx
from graft.raft import events as ev
from graft.raft.messages import Message
from graft.sim.disk import Image

if TYPE_CHECKING:
    from graft.sim.member import Member

Write = fx.Persist | fx.SwitchToSnapshot | fx.WriteChunk


@define
class DiskTrouble:
    """What the disk of a member does to it now. `slow_us`: added to each turn. `fail`: the next turn meets it."""

    slow_us: int = 0
    full: bool = False
    fail: str = ""  # `eio`, `fsync`


@define
class Turn:
    """One transaction: the writes, and the state up to `applied` with the changes that made it."""

    writes: list[Write]
    applied: int
    changes: list[Change] = Factory(list)


class Writer:
    """Of one process. `synced` is the newest ticket that is."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.queue: deque[Write] = deque()
        self.held: deque[tuple[int, Message]] = deque()
        self.turn: Turn | None = None
        self.synced = 0
        self.ordered = 0  # newest ticket
        self.purges: deque[tuple[int, int]] = deque()  # (ticket that is synced before, index)
        self.state_after: deque[tuple[int, int]] = deque()  # (applied index, ticket that must be synced with it)
        self.unsynced: deque[tuple[int, list[Change]]] = deque()  # applied entries: index, what they changed
        self.lazy = False

    # -- what the core orders --------------------------------------------------------------------------------------

    def order(self, write: Write) -> None:
        if not isinstance(write, fx.WriteChunk):
            self.ordered = write.ticket
        self.queue.append(write)

    def purge(self, index: int) -> None:
        """Forget the log up to `index`, behind all that was ordered so far."""
        self.purges.append((self.ordered, index))
        self._purge_what_is_due()

    def _purge_what_is_due(self) -> None:
        while self.purges and self.purges[0][0] <= self.synced:
            self.member.image.purge(self.purges.popleft()[1])

    def hold(self, message: Message, after: int) -> None:
        if after <= self.synced:
            self.member.transmit(message)
        else:
            self.held.append((after, message))

    def applied(self, index: int, changes: list[Change]) -> None:
        """The state machine has the entry at `index`; it may be synced with what was ordered by now."""
        self.unsynced.append((index, changes))
        self.state_after.append((index, self.ordered))

    # -- turns -----------------------------------------------------------------------------------------------------

    def kick(self) -> None:
        """Begin a turn if there is something to write and none is on its way."""
        if self.turn is not None:
            return
        if self.queue:
            self._begin()
        elif self.unsynced and not self.lazy:
            self.lazy = True
            self.member.later(self.member.dice.between(10_000, 60_000), self._lazily)

    def _lazily(self) -> None:
        self.lazy = False
        if self.turn is None and (self.queue or self.unsynced):
            self._begin()

    def _begin(self) -> None:
        writes: list[Write] = []
        while self.queue and (not writes or isinstance(self.queue[0], fx.Persist)):
            writes.append(self.queue.popleft())
            if not isinstance(writes[0], fx.Persist):
                break
        if len(writes) > 1 and self.member.dice.chance(300):
            keep = self.member.dice.between(1, len(writes) - 1)
            self.queue.extendleft(reversed(writes[keep:]))
            del writes[keep:]
        self.turn = Turn(writes, *self._state_for(writes))
        member = self.member
        latency = 100 + member.dice.exponential(member.plan.disk_us) + member.trouble.slow_us
        member.later(latency, self._finish)

    def _state_for(self, writes: list[Write]) -> tuple[int, list[Change]]:
        """How much of the state may be synced with these writes."""
        ticket, applied = self.synced, self.member.image.applied
        for write in writes:
            if not isinstance(write, fx.Persist):
                return applied, []
            ticket = write.ticket
        while self.state_after and self.state_after[0][1] <= ticket:
            applied = self.state_after.popleft()[0]
        changes: list[Change] = []
        while self.unsynced and self.unsynced[0][0] <= applied:
            changes += self.unsynced.popleft()[1]
        return applied, changes

    def _finish(self) -> None:
        turn, member = self.turn, self.member
        assert turn is not None
        trouble, store = member.trouble, member.image.store
        if trouble.full:
            member.fired["disk.full"] += 1
            member.later(30_000, self._finish)
            return
        if member.dies_at == "write":
            self.turn = None  # nothing of it is there
            member.dies("write")
            return
        if trouble.fail:
            store.trouble = trouble.fail
            store.lands = store.trouble == "fsync" and member.dice.chance(500)
        try:
            self.write(member.image, turn)
        except StorageError as error:
            trouble.fail = ""
            member.fired[f"disk.{error}"] += 1
            self.failed(turn, str(error))
        else:
            store.trouble = ""  # there was nothing to write: the next one meets it
            self.complete(turn)

    def failed(self, turn: Turn, kind: str) -> None:
        """The turn failed. A process that goes on after that is broken (bug 17)."""
        self.member.handle(ev.PersistFailed(kind))

    def complete(self, turn: Turn) -> None:
        """The turn is synced: say so, and let go what waited for it."""
        member = self.member
        self.turn = None
        member.watch.synced(member.image)
        last = turn.writes[-1] if turn.writes else None
        if last is not None and not isinstance(last, fx.WriteChunk):
            member.oracles.disk.synced(last.ticket)
        if member.dies("sync"):
            return
        if isinstance(last, fx.WriteChunk):
            self._chunk_written(last)
            return
        if last is not None:
            self.synced = last.ticket
        if isinstance(last, fx.SwitchToSnapshot):
            self.unsynced.clear()
            self.state_after.clear()
            member.switched(last.meta)
        self._purge_what_is_due()
        self._release()
        if member.alive:
            member.handle(ev.Persisted(self.synced, member.image.applied))

    def _release(self) -> None:
        held, synced = self.held, self.synced
        while held and held[0][0] <= synced and self.member.alive:
            self.member.transmit(held.popleft()[1])

    def write(self, image: Image, turn: Turn) -> None:
        """Put the turn on the image, whoever lives to see it."""
        last = turn.writes[-1] if turn.writes else None
        if isinstance(last, fx.WriteChunk):
            image.stage(last.meta, last.offset, last.data)
        elif isinstance(last, fx.SwitchToSnapshot):
            image.install(last.meta, last.hard_state, last.keep_log)
        else:
            persists = [write for write in turn.writes if isinstance(write, fx.Persist)]
            image.commit(fx.merge(persists) if persists else None, turn.applied, turn.changes)

    def _chunk_written(self, chunk: fx.WriteChunk) -> None:
        image, meta = self.member.image, chunk.meta
        offset = len(image.staged_bytes) if image.staged is not None and image.staged.id == meta.id else 0
        if offset == meta.size and f"{crc32(image.staged_bytes):08x}" != meta.checksum:
            image.staged, image.staged_bytes = None, b""
            self.member.handle(ev.SnapshotFailed(meta.id, "checksum"))
        else:
            self.member.handle(ev.ChunkWritten(meta.id, offset))

    def crash(self) -> None:
        """The process dies: the turn on its way is there, or not, or torn."""
        turn, self.turn, member = self.turn, None, self.member
        if turn is None:
            return
        fate = member.dice.below(1000)
        if fate < 500 or member.trouble.full:
            member.fired["disk.unsynced_lost"] += 1
            return
        before = member.image.last
        self.write(member.image, turn)
        persists = [write for write in turn.writes if isinstance(write, fx.Persist)]
        new = [e.index for write in persists for e in write.entries if e.index <= member.image.last]
        # A torn entry cannot be told from one that was whole and acknowledged: it counts against the budget of disks.
        if fate < 500 + member.plan.torn and new and before <= member.image.last and member.world.can_lose(member):
            member.image.tear(member.dice.choice(new))
            member.fired["disk.torn"] += 1
