"""Room in the stores: who is told that one fills up, and what is refused and paused before it is full.

Every member looks at its own store, says in its log when it crosses a threshold, keeps less of its log from then on,
and reports to the leader. The leader decides by the fullest of all members that report: quotas may differ, and what one
of them cannot keep is not to be begun. It refuses new work at its door, before anything is proposed, so that applying
a command never depends on a disk; and it pauses the runs under way when the rest is needed for what they do already.
Removing runs is never refused (`docs/how-to/make-room.md`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import msgspec
import trio
from attrs import frozen

from graft.cluster.host import Host
from graft.cluster.post import Post
from graft.engine.commands import PauseRun, RegisterPlan, RetryRun, StartRun, UnpauseRun
from graft.engine.lifecycle import FINAL
from graft.engine.records import STORE_FULL, id_key
from graft.errors import MAKE_ROOM, NoRoom
from graft.interfaces import Clock, Store, Usage
from graft.storage.space import Level, describe, level_of
from graft.transport.letters import Ask

KIND: Final = "room"
LOOK_SECONDS: Final = 0.2  # large results fill a small store fast
REPORT_SECONDS: Final = 1.0  # between two reports that say the same
FORGET_SECONDS: Final = 5.0  # after so long a report counts no more: the member is down, or had nothing to say
CALM_SECONDS: Final = 30.0  # before it is said that there is more room again: a log that is shortened comes and goes
KEPT_ENTRIES: Final = 64  # of the log, by a member that is short of room

_encode = msgspec.msgpack.Encoder().encode


@frozen
class Report:
    """How full a member is. `text`: in words."""

    level: int
    text: str


_decode = msgspec.msgpack.Decoder(tuple[int, str]).decode


class Room:
    """Of one member; `post` is None for a cluster of one in a person's own process. `tell` gets lines for a person."""

    def __init__(self, host: Host, store: Store, clock: Clock, post: Post | None, tell: Callable[[str], None]) -> None:
        self._host, self._store, self._clock, self._post, self._tell = host, store, clock, post, tell
        self._told, self._better_since = Level.FREE, math.inf
        self._reports: dict[str, tuple[Report, float]] = {}  # of others, and when they came
        self._said, self._said_at = ("", 0), 0.0  # the last report: to whom and which level, and when
        self._paused: set[int] = set()  # runs that this process paused
        self._own = self._report(store.usage())
        host.object_to = self.objection
        if post is not None:
            post.on(KIND, self._take)

    # What is known

    def _report(self, usage: Usage) -> Report:
        full = self._host.door.full
        if full is not None:
            return Report(Level.PAUSING, full.message)
        return Report(level_of(usage), describe(usage))

    def _fullest(self) -> tuple[str, Report]:
        now = self._clock.monotonic()
        known = {member: report for member, (report, at) in self._reports.items() if now - at < FORGET_SECONDS}
        known[self._host.member] = self._own
        return max(known.items(), key=lambda pair: (pair[1].level, pair[0]))

    def warnings(self) -> tuple[str, ...]:
        """What a person should know, the worst first; of other members only what the leader knows."""
        member, report = self._fullest()
        return (self._words(member, report),) if report.level else ()

    def _words(self, member: str, report: Report) -> str:
        where = "the store" if self._post is None else f"the store of {member}"
        full = "full" if report.level == Level.PAUSING else "nearly full"
        return f"{where} is {full}: {report.text}{_FOLLOWS[Level(report.level)]}"

    # Who asks for something new

    def objection(self, command: Any) -> NoRoom | None:
        """Why `command` cannot be taken now. Asked of the leader, before it is proposed."""
        takes = _LIMITS.get(type(command))
        if takes is None:
            return None
        self._own = self._report(self._store.usage())  # this may be the thousandth start of this second
        member, report = self._fullest()
        if report.level < takes or self._is_known(command):
            return None
        return NoRoom(self._words(member, report), hint=MAKE_ROOM)

    def _is_known(self, command: Any) -> bool:
        """It begins nothing: the run is there, and is only asked for again, or under way."""
        if isinstance(command, StartRun):
            return self._host.view.get("keys", id_key(command.run_id)) is not None
        if isinstance(command, RetryRun):
            run = self._host.engine.state.runs.get(command.run)
            return run is not None and run.status not in FINAL
        return False

    # Every member

    async def run(self) -> None:
        """Look, tell, report. Until cancelled."""
        while True:
            self._own = self._report(self._store.usage())
            self._tell_change()
            if self._own.level >= Level.WARNING:
                self._shorten_log()
            if max(self._own.level, self._said[1]) >= Level.WARNING:  # also once that there is room again
                self._report_to_leader()
            await trio.sleep(LOOK_SECONDS)

    def _tell_change(self) -> None:
        level, now = Level(self._own.level), self._clock.monotonic()
        if level >= self._told:
            self._better_since = math.inf
        else:
            self._better_since = min(self._better_since, now)
        if level <= self._told and now - self._better_since < CALM_SECONDS:
            return
        self._told, self._better_since = level, math.inf
        if level > Level.FREE:
            self._tell(f"warning: {self._words(self._host.member, self._own)}; {MAKE_ROOM}")
        else:
            self._tell(f"the store has room again: {self._own.text}")

    def _shorten_log(self) -> None:
        """Whoever is further behind gets a snapshot."""
        door = self._host.door
        door.compact(door.applied - KEPT_ENTRIES)

    def _report_to_leader(self) -> None:
        leader, now = self._host.door.leader, self._clock.monotonic()
        if self._post is None or leader is None or leader == self._host.member:
            return
        said = (leader, self._own.level)
        if said != self._said or now - self._said_at >= REPORT_SECONDS:
            self._said, self._said_at = said, now
            self._post.tell(leader, KIND, _encode((int(self._own.level), self._own.text)))

    def _take(self, ask: Ask) -> None:
        try:
            level, text = _decode(ask.body)
            report = Report(Level(level), text)
        except ValueError:
            return  # of a version that knows more levels: it is up, and is looked at by its own operators
        self._reports[ask.source] = (report, self._clock.monotonic())

    # The leader

    async def lead(self) -> None:
        """While this member leads: pause the runs when nothing more may begin, let them go on when there is room."""
        while True:
            level = self._fullest()[1].level
            if level >= Level.PAUSING:
                await self._pause_runs()
            elif level < Level.REFUSING:
                await self._let_go_on()
            await trio.sleep(LOOK_SECONDS)

    async def _pause_runs(self) -> None:
        for run in self._host.engine.state.live_runs():
            if not run.paused:
                self._paused.add(run.no)
                await self._host.propose(PauseRun(run.no, STORE_FULL, **self._host.stamp()))

    async def _let_go_on(self) -> None:
        """In a person's own process only what it paused itself: what an earlier one left waits to be resumed."""
        for run in self._host.engine.state.live_runs():
            if run.paused == STORE_FULL and (self._post is not None or run.no in self._paused):
                await self._host.propose(UnpauseRun(run.no, run.paused_at, **self._host.stamp()))
        self._paused.clear()


_LIMITS: Final = {
    RegisterPlan: Level.REFUSING,
    StartRun: Level.REFUSING,
    RetryRun: Level.REFUSING,
    UnpauseRun: Level.PAUSING,
}
"""What begins something new, and from which level on it is refused."""

_FOLLOWS: Final = {
    Level.FREE: "",
    Level.WARNING: "",
    Level.REFUSING: "; no new runs are taken",
    Level.PAUSING: "; no new runs are taken, and those under way start no new steps",
}


__all__ = ["Report", "Room"]
