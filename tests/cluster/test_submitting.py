"""The way of a command to the leader, where there is none for a moment."""

from __future__ import annotations

from typing import Any

import trio

from graft.cluster.post import Post
from graft.cluster.submitting import ClusterSubmitter
from graft.engine.commands import Command, DrainMember
from graft.errors import Rejected
from graft.transport.letters import Letter


class Door:
    """It refuses everything, at once. `leads`, `leader`: what it says of itself."""

    def __init__(self, *, leads: bool, leader: str | None, reason: str) -> None:
        self.leads, self.leader, self.reason = leads, leader, reason
        self.proposed = 0

    def propose(self, command: Command, done: Any, refused: Any) -> None:
        self.proposed += 1
        assert self.proposed < 1000, "it spins"
        refused(Rejected("no", reason=self.reason))

    async def wait_role(self) -> None:
        await trio.sleep_forever()


class Host:
    """Of a member that has led; it takes a moment until it has noticed that it leads no more."""

    member, leads = "a", True

    def __init__(self, door: Door) -> None:
        self.door = door

    def stamp(self) -> dict[str, int]:
        return {"now": 0, "wall": 0}


class Nowhere:
    def send(self, message: Letter) -> None:
        pass


async def keeps_calm(door: Door) -> None:
    """A command that is refused at once waits, and everybody else has their turn meanwhile."""
    submitter = ClusterSubmitter(Host(door), Post("a", 1, Nowhere()))
    turns = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(submitter.run)
        submitter.submit(DrainMember("a", True))
        for _ in range(10):
            await trio.sleep(0.01)
            turns += 1
        nursery.cancel_scope.cancel()
    assert turns == 10
    assert 0 < door.proposed < 100


async def test_a_leader_that_was_just_deposed_does_not_spin() -> None:
    await keeps_calm(Door(leads=False, leader=None, reason="not_leader"))


async def test_a_leader_whose_log_is_full_does_not_spin() -> None:
    await keeps_calm(Door(leads=True, leader="a", reason="overloaded"))
