"""Requests that a task waits for: reads, and what operators ask of the cluster."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

import trio
from attrs import define, field

from graft.errors import Rejected
from graft.raft import effects as fx
from graft.raft import events as ev
from graft.raft_driver.proposals import ask, stopping


@define(eq=False)
class _Slot:
    """Where an answer comes to lie."""

    ready: trio.Event = field(factory=trio.Event)
    answer: fx.AnswerRead | fx.RefuseRead | fx.AnswerRequest | None = None


class Requests:
    """Of one process. `post` brings an event to the core."""

    def __init__(self, post: Callable[[ev.Event], None]) -> None:
        self._post = post
        self._number = 0
        self._slots: dict[int, _Slot] = {}
        self._applied = 0
        self._waits: list[tuple[int, int, trio.Event]] = []  # heap: (index to be applied, number, event)
        self._stopped = False

    async def read_index(self, lease: bool) -> fx.AnswerRead:
        """From which index on the state may be read. Raises Rejected."""
        answer = await self._ask(lambda number: ev.ReadRequested(number, lease))
        if isinstance(answer, fx.AnswerRead):
            return answer
        assert isinstance(answer, fx.RefuseRead)
        raise _rejected(answer.reason, answer.leader)

    async def order(self, event: Callable[[int], ev.Event]) -> None:
        """A membership change, transfer, version or recovery. Raises Rejected."""
        answer = await self._ask(event)
        assert isinstance(answer, fx.AnswerRequest)
        if answer.reason:
            raise _rejected(answer.reason, answer.leader)

    async def _ask(self, event: Callable[[int], ev.Event]) -> fx.AnswerRead | fx.RefuseRead | fx.AnswerRequest:
        self._check_running()
        self._number += 1
        number, slot = self._number, _Slot()
        self._slots[number] = slot
        try:
            self._post(event(number))
            await slot.ready.wait()
        finally:
            self._slots.pop(number, None)
        if slot.answer is None:
            raise stopping()
        return slot.answer

    def answer_read(self, effect: fx.AnswerRead | fx.RefuseRead) -> None:
        for request in effect.requests:
            self._answer(request, effect)

    def answer(self, effect: fx.AnswerRequest) -> None:
        self._answer(effect.request, effect)

    def _answer(self, request: int, effect: fx.AnswerRead | fx.RefuseRead | fx.AnswerRequest) -> None:
        slot = self._slots.get(request)
        if slot is not None:  # else nobody waits any more
            slot.answer = effect
            slot.ready.set()

    # Applied

    async def wait_applied(self, index: int) -> None:
        """Return when the state covers the log up to `index`."""
        self._check_running()
        if self._applied >= index:
            return
        self._number += 1
        event = trio.Event()
        heappush(self._waits, (index, self._number, event))
        await event.wait()
        self._check_running()

    def applied(self, index: int) -> None:
        self._applied = index
        while self._waits and self._waits[0][0] <= index:
            heappop(self._waits)[2].set()

    # The end

    def stop(self) -> None:
        """Everybody who waits is told that this process stops."""
        self._stopped = True
        for slot in self._slots.values():
            slot.ready.set()
        for _, _, event in self._waits:
            event.set()

    def _check_running(self) -> None:
        if self._stopped:
            raise stopping()


_SAYS = {
    "not_leader": "this member does not lead the cluster",
    "deposed": "this member lost the leadership before it could answer",
    "timed_out": "the leader did not answer in time",
    "overloaded": "too many reads wait",
    "stopped": "this member has stopped",
    "busy": "another change of the cluster is under way",
    "too_early": "the leader has not committed anything yet",
    "not_caught_up": "the member has not caught up",
    "unknown_member": "there is no such member",
    "incarnation_in_use": "a member of this incarnation was in the cluster before",
    "no_voter": "the cluster would have no voter",
    "no_change": "the cluster is already as wished",
    "unsupported": "not every member understands this version",
    "leader_alive": "a leader is alive",
    "quorum_unreachable": "too few of the voters that would be left are up: remove first who is down",
}


def _rejected(reason: str, leader: str | None) -> Rejected:
    text = _SAYS.get(reason, f"the cluster refused it: {reason}")
    return Rejected(text, reason=reason, hint=ask(leader), leader=leader)
