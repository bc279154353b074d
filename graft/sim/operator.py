"""The operator of a simulated cluster: brings machines in and out, and replaces what lost its disk.

It works as a person does: asks whoever seems to lead, waits for the answer, gives up after a while, asks again. Wishes
come from the plan; on top of that it keeps house: a member whose disk is gone is removed under its old identity, then
added under a new one.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from graft.raft import events as ev
from graft.raft.events import Change
from graft.raft.records import Configuration
from graft.sim.entropy import stream

if TYPE_CHECKING:
    from graft.sim.member import Member
    from graft.sim.world import World

Wish = tuple[Change, ...]
PATIENCE_US = 2_000_000


class Operator:
    def __init__(self, world: World) -> None:
        self.world = world
        self.dice = stream(world.plan.seed, "operator")
        self.wishes: deque[Wish] = deque()
        self.working = True
        self._waiting_since: int | None = None
        self._serial = 0

    def begin(self) -> None:
        self.world.heap.after(self.dice.between(150_000, 500_000), self._round)

    def wish(self, *changes: Change) -> None:
        if len(self.wishes) < 6:
            self.wishes.append(changes)

    def is_waiting(self) -> bool:
        """A change is asked for, or was and is not answered."""
        return self._waiting_since is not None

    def _round(self) -> None:
        if not self.working:
            return
        self.begin()
        world = self.world
        if self._waiting_since is not None and world.now() - self._waiting_since < PATIENCE_US:
            return
        leader = world.leader()
        if leader is None:
            return
        self._waiting_since = None
        wish = self._housekeeping(leader)
        if not wish and self.wishes and world.is_whole():
            wish = self.wishes.popleft()
        if wish:
            self.request(leader, wish)

    def request(self, leader: Member, wish: Wish) -> None:
        """Ask for a change now, whatever else is under way."""
        self._waiting_since = self.world.now()
        self._serial += 1
        serial = self._serial

        def answered(reason: str) -> None:
            self.world.fired[f"membership.{reason or 'done'}"] += 1
            if serial == self._serial:
                self._waiting_since = None

        def ask() -> None:
            number = leader.desk.number()
            leader.desk.admin[number] = answered
            leader.handle(ev.MembershipChangeRequested(number, wish))

        leader.later(1_000, ask)

    def _housekeeping(self, leader: Member) -> Wish:
        """What must be put right in the configuration that the leader has."""
        world = self.world
        configuration = leader.watch.configuration
        known = {m.id: m.incarnation for m in configuration.members}
        for id in sorted(world.members):
            member = world.members[id]
            if id in known and known[id] != member.incarnation:
                return (Change("remove", id, known[id]),)
            if id not in known and member.returning and not self._still_there(configuration, id):
                if not member.alive:
                    member.start()
                return (Change("add", id, member.incarnation),)
            if id in known:
                member.returning = False
        return ()

    @staticmethod
    def _still_there(configuration: Configuration, id: str) -> bool:
        return any(m.id == id for m in configuration.outgoing)
