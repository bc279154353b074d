"""Commands on their way to the leader, from any member, until they are applied.

A command may arrive twice: the answer was lost, or a leader fell while it committed. That is right, because every
command carries a natural key (a run id, an attempt's token, an incarnation) by which the second one changes nothing.

The leader gives every command the time: only its clock counts (ARCHITECTURE §4).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
import trio
from attrs import define, evolve

from graft.cluster.host import TOO_OLD, Host
from graft.cluster.post import Post
from graft.engine import Applied
from graft.engine.commands import Command, RegisterMember, decode_command, encode_command
from graft.errors import NoQuorum, NoRoom, Rejected
from graft.transport.letters import Ask

KIND: Final = "propose"
REQUEST_SECONDS: Final = 8.0  # how long a request looks for a leader that takes it; clients wait longer
ANSWER_SECONDS: Final = 2.0  # then it is asked again; twice as long each time that the same leader does not answer
LONGEST_ANSWER_SECONDS: Final = 32.0
AGAIN_SECONDS: Final = 0.02
MAX_BATCH: Final = 256
MAX_BATCH_BYTES: Final = 512 << 10
MAX_ASKED: Final = 16  # batches on their way
MAX_ASKED_BYTES: Final = 2 << 20  # and one batch: a leader that is slow is not asked for more and more
# What does not get better by asking again.
FINAL_REFUSALS: Final = frozenset({"too_large", "stopping", "not_a_member", NoRoom.REASON, TOO_OLD})

Fate = tuple[int, Any, str | None, str, str]
"""Of one command: index, result and refusal of its apply; or why the log did not take it: a reason and a text."""

_encode = msgspec.msgpack.Encoder().encode
_decode_fates = msgspec.msgpack.Decoder(list[Fate]).decode
_decode_batch = msgspec.msgpack.Decoder(list[bytes]).decode


@define(eq=False)
class _Item:
    """`done` gets the result, or the error that ends it. `dropped`: nobody waits for it any more.

    `unanswered`: how often in a row the leader that there is did not answer in time.
    """

    command: Command
    data: bytes
    done: Callable[[Applied | Exception], None]
    dropped: bool = False
    unanswered: int = 0


class ClusterSubmitter:
    """Of one member; satisfies `graft.cluster.host.Submitter`. `run` does the work."""

    def __init__(self, host: Host, post: Post) -> None:
        self._host, self._door, self._post = host, host.door, post
        self._items: deque[_Item] = deque()
        self._wake = trio.Event()
        self._nursery: trio.Nursery | None = None  # of `run`
        self._asked = self._asked_bytes = 0
        self._is_calm = True  # commands come one by one: the last batch was of one
        self._unsettled = 0
        self._flushed = trio.Event()
        post.on(KIND, self._take)

    # Who submits

    def submit(self, command: Command) -> None:
        self._unsettled += 1
        self._add(_Item(command, b"", self._one_settled))

    def _one_settled(self, result: Applied | Exception) -> None:
        """What the member submits for itself: the state tells what became of it."""
        self._unsettled -= 1
        if not self._unsettled:
            self._flushed.set()
            self._flushed = trio.Event()

    async def flushed(self) -> None:
        """Return when all that was submitted is applied."""
        while self._unsettled:
            await self._flushed.wait()

    async def request(self, command: Command, seconds: float = REQUEST_SECONDS) -> Applied:
        """Return when it was applied, here too. Raises Rejected, NoQuorum."""
        answered = trio.Event()
        answer: list[Applied | Exception] = []

        def take(result: Applied | Exception) -> None:
            answer.append(result)
            answered.set()

        item = _Item(command, b"", take)
        self._add(item)
        try:
            with trio.move_on_after(seconds):
                await answered.wait()
                if isinstance(answer[0], Applied):
                    await self._door.wait_applied(answer[0].index)
                    return answer[0]
                raise answer[0]
        finally:
            item.dropped = True
        raise NoQuorum.after(seconds, self._door.leader)

    def _add(self, item: _Item) -> None:
        if self._host.leads:
            self._propose(item)
        else:
            item.data = encode_command(item.command)
            self._items.append(item)
            if self._is_calm and not self._asked:  # a lone one need not wait for others to go with it
                self._ask_leader()
            self._wake_up()

    # The way

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._give_up_on_leaders)
            self._nursery = nursery
            try:
                await self._send_all()
            finally:
                self._nursery = None  # before it is closed: somebody may ask between that and our next turn

    async def _send_all(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            if not self._items:
                self._wake = trio.Event()
                await self._wake.wait()
            if self._host.leads and self._door.leads:
                items, self._items = self._items, deque()
                for item in items:
                    self._propose(item)
                if self._items:  # refused at once: there are too many, or this member leads no more
                    await self._pause()
            elif self._items and not self._ask_leader():
                await self._pause()

    def _wake_up(self) -> None:
        if self._items:
            self._wake.set()

    async def _pause(self) -> None:
        with trio.move_on_after(AGAIN_SECONDS):
            await self._door.wait_role()

    async def _give_up_on_leaders(self) -> None:
        """What was asked of a leader that fell is asked of the next."""
        leader = self._door.leader
        while True:
            await self._door.wait_role()
            if leader is not None and self._door.leader != leader:
                self._post.give_up(leader)
            leader = self._door.leader

    def _batch(self) -> list[_Item]:
        batch: list[_Item] = []
        size = 0
        while self._items and len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            item = self._items.popleft()
            if not item.dropped:
                batch.append(item)
                size += len(item.data)
        return batch

    def _ask_leader(self) -> bool:
        """Send a batch of what waits. False: there is nobody to ask, or enough was asked."""
        leader = self._door.leader
        if self._nursery is None or leader is None or leader == self._host.member or self._is_much_asked():
            return False
        batch = self._batch()
        if batch:
            self._asked += 1
            self._asked_bytes += size_of(batch)
            self._is_calm = len(batch) == 1
            number = self._post.begin(leader, KIND, _encode([item.data for item in batch]))
            self._nursery.start_soon(self._take_answer, number, leader, batch)
        return True

    def _is_much_asked(self) -> bool:
        return self._asked >= MAX_ASKED or self._asked_bytes >= MAX_ASKED_BYTES

    async def _take_answer(self, number: int, leader: str, batch: list[_Item]) -> None:
        try:
            seconds = min(ANSWER_SECONDS * 2 ** max(item.unanswered for item in batch), LONGEST_ANSWER_SECONDS)
            answer = await self._post.wait(number, seconds)
            if answer.refused:
                is_silent = answer.refused == "no_answer" and self._door.leader == leader
                for item in batch:
                    item.unanswered = item.unanswered + 1 if is_silent else 0
                self._again(batch)
            else:
                for item, fate in zip(batch, _decode_fates(answer.body), strict=True):
                    self._settle(item, fate)
            if answer.refused not in ("", "no_answer"):
                await trio.sleep(AGAIN_SECONDS)
        finally:
            self._asked -= 1
            self._asked_bytes -= size_of(batch)
            self._wake_up()

    def _settle(self, item: _Item, fate: Fate) -> None:
        index, result, refused, reason, text = fate
        if reason:
            self._not_taken(item, refusal(reason, text))
        else:
            item.done(Applied(index, result, refused, ()))

    def _again(self, items: list[_Item]) -> None:
        self._items.extendleft(reversed([item for item in items if not item.dropped]))

    # The leader

    def _propose(self, item: _Item) -> None:
        if not item.dropped:
            self._door.propose(self._stamped(item.command), item.done, partial(self._not_taken, item))

    def _stamped(self, command: Command) -> Command:
        return evolve(command, **self._host.stamp())

    def _not_taken(self, item: _Item, error: Exception) -> None:
        if isinstance(error, Rejected) and error.reason not in FINAL_REFUSALS:
            item.data = item.data or encode_command(item.command)
            self._again([item])
            self._wake.set()
        else:
            item.done(error)

    def _take(self, ask: Ask) -> None:
        """Another member's batch: answered when each of it was applied or refused."""
        if not self._host.leads:
            leader = self._door.leader
            self._post.answer(ask, refused="not_leader", leader="" if leader is None else leader)
            return
        try:
            commands = [decode_command(data) for data in _decode_batch(ask.body)]
        except ValueError as error:
            self._post.answer(ask, refused="not_a_command", text=str(error))
            return
        gathering = _Gathering(len(commands), lambda fates: self._post.answer(ask, _encode(fates)))
        for i, command in enumerate(commands):
            if isinstance(command, RegisterMember) and not self._is_member(command.member):
                gathering.refused(i, Rejected(f"{command.member} is no member", reason="not_a_member"))
            else:
                self._door.propose(self._stamped(command), partial(gathering.applied, i), partial(gathering.refused, i))

    def _is_member(self, member: str) -> bool:
        """One that was removed and does not know it yet must get no work."""
        return self._door.configuration.find(member) is not None


def refusal(reason: str, text: str) -> Rejected:
    """The error again of which a fate tells; `text` is all that it says to a person."""
    message, _, hint = text.partition("\n  ")
    if reason == NoRoom.REASON:
        return NoRoom(message, hint=hint or None)
    return Rejected(message, reason=reason, hint=hint or None)


def size_of(batch: list[_Item]) -> int:
    return sum(len(item.data) for item in batch)


class _Gathering:
    """The fates of a batch, until all of them are known."""

    def __init__(self, count: int, done: Callable[[list[Any]], None]) -> None:
        self._fates: list[Any] = [None] * count
        self._missing, self._done = count, done

    def applied(self, number: int, applied: Applied) -> None:
        self._known(number, (applied.index, applied.result, applied.refused, "", ""))

    def refused(self, number: int, error: Exception) -> None:
        reason = error.reason if isinstance(error, Rejected) else "internal"
        self._known(number, (0, None, None, reason, str(error)))

    def _known(self, number: int, fate: Fate) -> None:
        self._fates[number] = fate
        self._missing -= 1
        if not self._missing:
            self._done(self._fates)
