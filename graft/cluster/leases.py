"""Leases: by them a member knows that its attempts are its own, and the leader that it is alive (ARCHITECTURE §7).

::

    member:  asks at `sent` ..................... answered: may run attempts until sent + lease / (1 + drift)
    leader:        hears at `heard` .. confirmed by a quorum .. answers: the member is up until heard + lease
                                                              ................. silent for lease + grace: MemberDown

Confirmed means: a quorum answered a round of heartbeats that began after the question arrived. So a leader that was
deposed renews no lease, and the one after it, which waits a whole lease from its first commit on, never declares a
member dead that still may run its attempts. The division covers clocks of different speed: the member gives up
earlier, so that nobody has to wait longer (decision 10).

The answer carries the commit index of that moment: the member starts an attempt only if its state covers that index
and still gives the attempt to it. After a restart or a partition it thereby catches up before it starts anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import msgspec
import trio
from attrs import frozen

from graft.cluster.host import Host
from graft.cluster.post import Post
from graft.engine.commands import MemberDown
from graft.errors import Rejected
from graft.interfaces import Clock
from graft.transport.letters import Ask

KIND: Final = "renew"
UNKNOWN: Final = "unknown_incarnation"
NOT_A_MEMBER: Final = "not_a_member"
AGAIN_SECONDS: Final = 0.1

_encode = msgspec.msgpack.Encoder().encode
_decode_int = msgspec.msgpack.Decoder(int).decode


@frozen
class LeaseTimes:
    """Seconds; the same on all members. `drift`: how much faster one clock runs than another at most (0.1: a tenth)."""

    lease: float = 5.0
    grace: float = 1.0
    drift: float = 0.1

    @property
    def held(self) -> float:
        """So long after it asked, by its own clock, a member may run attempts."""
        return self.lease / (1 + self.drift)

    @property
    def silence(self) -> float:
        """After so long without a renewal, by the leader's clock, a member's attempts are given to others."""
        return self.lease + self.grace

    @property
    def period(self) -> float:
        return self.lease / 5


class Lease:
    """A member's own, and the registration that it stands on.

    `ended` is called when it ran out; `renewed` gets the moment (of `clock`) until when it holds.
    """

    def __init__(
        self,
        host: Host,
        post: Post,
        clock: Clock,
        times: LeaseTimes,
        *,
        renewed: Callable[[float], None],
        ended: Callable[[], None],
    ) -> None:
        self._host, self._post, self._clock, self._times = host, post, clock, times
        self._renewed, self._ended = renewed, ended
        self._until = -math.inf
        self._commit = 0
        self._holds = False
        self._extended = trio.Event()
        self._leaves = False

    def leave(self) -> None:
        """This process ends: once the cluster knows that, it does not register again."""
        self._leaves = True

    @property
    def holds(self) -> bool:
        return self._holds

    def may_start(self) -> bool:
        """Whether attempts may be started: what the state says now was so while the lease was renewed, or later."""
        return self._clock.monotonic() < self._until and self._host.door.applied >= self._commit

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Register, renew, and tell when the lease has ended. Until cancelled; started when it is registered."""
        async with trio.open_nursery() as nursery:
            await self._register()
            task_status.started()
            nursery.start_soon(self._notice_end)
            nursery.start_soon(self._notice_catching_up)
            while True:
                while await self._renew():  # noqa: ASYNC110 - a period, not a condition
                    await trio.sleep(self._times.period)
                self._holds, self._until = False, -math.inf
                if self._leaves:
                    await trio.sleep_forever()
                self._host.new_incarnation()
                await self._register()

    async def _register(self) -> None:
        """Until a leader has taken it: as long as there is none, this member has nothing to run."""
        while True:
            try:
                applied = await self._host.submitter.request(self._host.registration())
            except Rejected as error:
                if error.reason == "stopping":
                    raise
                await trio.sleep(AGAIN_SECONDS)
                continue
            if applied.refused is None:
                return
            self._host.new_incarnation()

    async def _renew(self) -> bool:
        """Ask until a leader answers. False: the cluster took this incarnation for dead."""
        while True:
            sent = self._clock.monotonic()
            leader = self._host.door.leader
            if leader is None:
                await self._host.door.wait_role()
                continue
            refused, commit = await self._ask(leader)
            if refused == UNKNOWN:
                return False
            if not refused:
                self._extend(sent, commit)
                return True
            with trio.move_on_after(self._times.period / 4):
                await self._host.door.wait_role()

    async def _ask(self, leader: str) -> tuple[str, int]:
        """Why it was refused, or else the commit index that the lease carries."""
        incarnation = self._host.incarnation
        if leader == self._host.member:
            return await self._renew_here(incarnation)
        answer = await self._post.ask(leader, KIND, _encode(incarnation), self._times.period)
        return (answer.refused, 0) if answer.refused else ("", _decode_int(answer.body))

    async def _renew_here(self, incarnation: int) -> tuple[str, int]:
        try:
            commit = await self._host.door.read_index()
        except Rejected as error:
            return error.reason, 0
        return "" if is_live(self._host, self._host.member, incarnation) else UNKNOWN, commit

    def _extend(self, sent: float, commit: int) -> None:
        self._until, self._commit = sent + self._times.held, commit
        self._holds = self._clock.monotonic() < self._until
        if self._holds:
            self._renewed(self._until)
            self._host.start_held()
            self._extended.set()
            self._extended = trio.Event()

    async def _notice_end(self) -> None:
        while True:
            left = self._until - self._clock.monotonic()
            if not self._holds:
                await self._extended.wait()
            elif left > 0:
                await trio.sleep(left)
            else:
                self._holds = False
                self._ended()

    async def _notice_catching_up(self) -> None:
        """Attempts that came before the state covered what the lease was answered with may start when it does."""
        while True:
            if self._host.door.applied >= self._commit:
                await self._extended.wait()
            try:
                await self._host.door.wait_applied(self._commit)
            except Rejected:
                return  # this member stops
            if self.may_start():
                self._host.start_held()


class Renewals:
    """The leader's side: answers those who renew, and declares dead who did not."""

    def __init__(self, host: Host, post: Post, clock: Clock, times: LeaseTimes) -> None:
        self._host, self._post, self._clock, self._times = host, post, clock, times
        self._heard: dict[tuple[str, int], float] = {}  # when, or when it was first seen
        self._doomed: set[tuple[str, int]] = set()  # MemberDown is on its way: no renewal may overtake it
        self._waiting: list[tuple[Ask, int, float]] = []
        self._wake = trio.Event()
        post.on(KIND, self._take)

    def _take(self, ask: Ask) -> None:
        if not self._host.leads:
            self._post.answer(ask, refused="not_leader")
            return
        try:
            self._waiting.append((ask, _decode_int(ask.body), self._clock.monotonic()))
        except ValueError:
            self._post.answer(ask, refused=UNKNOWN)
        self._wake.set()

    async def lead(self) -> None:
        """While this member leads: answer, and watch. Cancelled at the end of its term."""
        self._heard.clear()
        self._doomed.clear()
        self._waiting.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            while True:
                if not self._waiting:
                    self._wake = trio.Event()
                    await self._wake.wait()
                waiting, self._waiting = self._waiting, []
                await self._confirm(waiting)

    async def _confirm(self, waiting: list[tuple[Ask, int, float]]) -> None:
        """One round of heartbeats answers all of them."""
        try:
            commit = await self._host.door.read_index()
        except Rejected as error:
            for ask, _, _ in waiting:
                self._post.answer(ask, refused=error.reason)
            return
        members = {each.id for each in self._host.door.configuration.members}
        for ask, incarnation, heard in waiting:
            if ask.source not in members:
                self._post.answer(ask, refused=NOT_A_MEMBER)  # removed: what it runs may run until its lease ends
            elif (ask.source, incarnation) in self._doomed:
                self._post.answer(ask, refused="busy")  # asked again, it is told what became of it
            elif is_live(self._host, ask.source, incarnation):
                self._heard[ask.source, incarnation] = heard
                self._post.answer(ask, _encode(commit))
            else:
                self._post.answer(ask, refused=UNKNOWN)

    async def _watch(self) -> None:
        silence, look = self._times.silence, self._times.period / 2
        while True:
            now = self._clock.monotonic()
            wait = look
            for member in list(self._host.engine.state.members.values()):
                who = (member.id, member.incarnation)
                if not member.live or member.id == self._host.member:
                    continue
                left = self._heard.setdefault(who, now) + silence - now
                if left <= 0:
                    await self._declare_dead(*who)
                else:
                    wait = min(wait, left)
            await trio.sleep(wait)

    async def _declare_dead(self, member: str, incarnation: int) -> None:
        self._doomed.add((member, incarnation))
        try:
            await self._host.propose(MemberDown(member, incarnation, **self._host.stamp()))
        except Rejected:
            pass  # it is looked at again, or this member leads no more
        finally:
            self._doomed.discard((member, incarnation))


def is_live(host: Host, member: str, incarnation: int) -> bool:
    record = host.engine.state.members.get(member)
    return record is not None and record.live and record.incarnation == incarnation
