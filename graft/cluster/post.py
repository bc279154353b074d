"""Letters between members: a question to one of them, and its answer (`graft.transport.letters`).

Who asks waits as long as it likes: an answer may never come. Who answers does so when it can, by `answer`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio
from attrs import define, field

from graft.raft.messages import Message
from graft.transport.letters import Answer, Ask, Letter

Take = Callable[[Ask], None]


class Courier(Protocol):
    """A transport that takes letters, too."""

    def send(self, *messages: Message | Letter) -> None: ...


@define(eq=False)
class _Slot:
    """Where an answer comes to lie."""

    target: str
    ready: trio.Event = field(factory=trio.Event)
    answer: Answer | None = None


class Post:
    """Of one process. `incarnation` tells its questions from those of an earlier process of the same member."""

    def __init__(self, member: str, incarnation: int, courier: Courier) -> None:
        self._member, self._incarnation, self._courier = member, incarnation, courier
        self._takers: dict[str, Take] = {}
        self._slots: dict[int, _Slot] = {}
        self._number = 0

    def on(self, kind: str, take: Take) -> None:
        """`take` gets the questions of a kind. It must not block; the answer may come later."""
        self._takers[kind] = take

    def receive(self, letter: Letter) -> None:
        if isinstance(letter, Ask):
            take = self._takers.get(letter.kind)
            if take is None:
                self.answer(letter, refused="unknown_kind", text=f"this version of Graft knows no {letter.kind!r}")
            else:
                take(letter)
        elif letter.incarnation == self._incarnation:
            slot = self._slots.get(letter.number)
            if slot is not None:  # else nobody waits any more
                slot.answer = letter
                slot.ready.set()

    async def ask(self, target: str, kind: str, body: bytes, seconds: float) -> Answer:
        """The answer of `target`, or one that refuses: `no_answer`, after `seconds` or when it was given up."""
        return await self.wait(self.begin(target, kind, body), seconds)

    def begin(self, target: str, kind: str, body: bytes) -> int:
        """Ask now; the question's number is for `wait`, which has to follow."""
        self._number += 1
        self._slots[self._number] = _Slot(target)
        self._send(Ask(self._member, target, self._incarnation, self._number, kind, body))
        return self._number

    async def wait(self, number: int, seconds: float) -> Answer:
        """See `ask`."""
        slot = self._slots[number]
        try:
            with trio.move_on_after(seconds):
                await slot.ready.wait()
        finally:
            del self._slots[number]
        if slot.answer is None:
            return Answer(slot.target, self._member, self._incarnation, number, refused="no_answer")
        return slot.answer

    def tell(self, target: str, kind: str, body: bytes) -> None:
        """A question whose answer nobody waits for. It may get lost."""
        self._number += 1
        self._send(Ask(self._member, target, self._incarnation, self._number, kind, body))

    def give_up(self, target: str) -> None:
        """Nobody has to wait for the answers of `target` any more."""
        for slot in self._slots.values():
            if slot.target == target:
                slot.ready.set()

    def answer(self, ask: Ask, body: bytes = b"", *, refused: str = "", text: str = "", leader: str = "") -> None:
        self._send(Answer(self._member, ask.source, ask.incarnation, ask.number, body, refused, text, leader))

    def _send(self, letter: Letter) -> None:
        if letter.target == self._member:
            self.receive(letter)
        else:
            self._courier.send(letter)
