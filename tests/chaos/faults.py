"""What is done to a fleet under load. Each fault ends with the fleet whole again, so that any may follow any other.

A fault waits for what it is about: that the cluster noticed, that it goes on without the member, that the member is
back. So nothing here depends on how fast the machine is.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from graft.errors import GraftError
from tests.chaos.fleet import READY_SECONDS, Fleet, until_true

MIB: Final = 1 << 20


async def kill_leader(fleet: Fleet, dice: random.Random) -> None:
    """SIGKILL; the others go on, and it comes back."""
    leader = await fleet.leader()
    fleet.kill(leader)
    assert await fleet.leader() != leader
    fleet.start(leader)
    await fleet.all_live()


async def kill_follower(fleet: Fleet, dice: random.Random) -> None:
    follower = await some_follower(fleet, dice)
    fleet.kill(follower)
    await trio.sleep(dice.uniform(0, 1))
    fleet.start(follower)
    await fleet.all_live()


async def kill_minority(fleet: Fleet, dice: random.Random) -> None:
    """As many at once as the cluster can do without, the leader among them."""
    leader = await fleet.leader()
    others = [id for id in fleet.running if id != leader]
    chosen = [leader, *dice.sample(others, (len(fleet.running) - 1) // 2 - 1)]
    for id in chosen:
        fleet.kill(id)
    assert await fleet.leader() not in chosen
    for id in chosen:
        fleet.start(id)
    await fleet.all_live()


async def kill_all(fleet: Fleet, dice: random.Random) -> None:
    """A power cut: what was acknowledged is on the disks."""
    for id in list(fleet.running):
        fleet.kill(id)
    for id in fleet.processes:
        fleet.start(id)
    await fleet.all_live()


async def pause_member(fleet: Fleet, dice: random.Random) -> None:
    """SIGSTOP for longer than its lease: its work is given to others, and it must not do it when it goes on."""
    member = dice.choice(fleet.running)
    fleet.stop(member)
    await taken_for_dead(fleet, member)
    fleet.cont(member)
    await fleet.all_live()


async def pause_shortly(fleet: Fleet, dice: random.Random) -> None:
    """Too short for the lease, perhaps long enough for an election."""
    member = dice.choice(fleet.running)
    fleet.stop(member)
    await trio.sleep(dice.uniform(0.1, 1))
    fleet.cont(member)
    await fleet.all_live()


async def wipe_follower(fleet: Fleet, dice: random.Random) -> None:
    """It loses its disk, and joins again as another server of the same name."""
    follower = await some_follower(fleet, dice)
    old = await incarnation_of(fleet, follower)
    fleet.kill(follower)
    fleet.wipe(follower)
    fleet.start(follower)  # refused until the cluster has noticed that the old one is gone
    await is_voter(fleet, follower, besides=old)
    await fleet.all_live()


async def restart_all(fleet: Fleet, dice: random.Random) -> None:
    """A rolling restart: each hands over, ends, comes back."""
    for id in fleet.running:
        code = await fleet.shut_down(id)
        assert code == 0, f"{id} ended with {code}: {fleet.tail(id)}"
        fleet.start(id)
        await fleet.all_live()
    await fleet.leader()


async def isolate_member(fleet: Fleet, dice: random.Random) -> None:
    """Cut off both ways for longer than its lease."""
    assert fleet.relays is not None
    member = dice.choice(fleet.running)
    fleet.relays.isolate(member, list(fleet.processes))
    await taken_for_dead(fleet, member)
    fleet.relays.heal(drop=dice.random() < 0.5)
    await fleet.all_live()


async def deafen_member(fleet: Fleet, dice: random.Random) -> None:
    """It is heard and hears nobody, or the other way round. The others go on, whoever led, as long as that lasts."""
    assert fleet.relays is not None
    member = dice.choice(fleet.running)
    hears = dice.random() < 0.5
    for other in fleet.processes:
        if other != member:
            fleet.relays.cut(*((member, other) if hears else (other, member)))
    await taken_for_dead(fleet, member)
    await fleet.leader()
    async with fleet.client(*[id for id in fleet.running if id != member]) as client:
        await client.members()  # a linearizable read
    fleet.relays.heal(drop=dice.random() < 0.5)
    await fleet.all_live()


async def transfer(fleet: Fleet, dice: random.Random) -> None:
    """Another one leads, because an operator says so."""
    old = await fleet.leader()
    target = dice.choice([id for id in fleet.running if id != old])
    async with fleet.client(*fleet.running) as client:
        await client.transfer(target)
    await fleet.leader()


async def drain(fleet: Fleet, dice: random.Random) -> None:
    """A member gets no work for a while."""
    member = dice.choice(fleet.running)
    async with fleet.client(*fleet.running) as client:
        await client.drain(member)
        await trio.sleep(dice.uniform(0.2, 1))
        await client.drain(member, undo=True)


async def replace(fleet: Fleet, dice: random.Random) -> None:
    """A new member joins, is removed, and its process ends: the cluster grows and shrinks under load."""
    new = next(id for id in "defghijk" if id not in fleet.processes)
    await fleet.add(new)
    fleet.start(new)
    await is_voter(fleet, new)
    await fleet.all_live()
    async with fleet.client(*fleet.founders) as client:
        await client.drain(new)
        await client.remove_member(new)
    await fleet.ended(new)  # it notices
    await forgotten(fleet, new)
    fleet.wipe(new)  # another one may get its name
    del fleet.processes[new]


async def fill_disk(fleet: Fleet, dice: random.Random) -> None:
    """The disk of a follower is full: it stops, says why, and goes on where it was once there is room."""
    follower = await some_follower(fleet, dice)
    fleet.kill(follower)
    process = fleet.processes[follower]
    size = max(file.stat().st_blocks * 512 for file in process.directory.rglob("*") if file.is_file())
    process.limit = size + 16 * 1024
    fleet.start(follower)
    try:
        code = await fleet.ended(follower)
        assert code == 1, f"{follower} ended with {code}: {fleet.tail(follower)}"
    finally:
        process.limit = None
    fleet.start(follower)
    await fleet.all_live()


async def some_follower(fleet: Fleet, dice: random.Random) -> str:
    leader = await fleet.leader()
    return dice.choice([id for id in fleet.running if id != leader])


async def taken_for_dead(fleet: Fleet, member: str) -> None:
    """Return when the others have given its work away."""
    others = [id for id in fleet.running if id != member]

    async def noticed() -> bool:
        for id in others:
            try:
                async with fleet.client(id, patience_seconds=0) as client:
                    if any(each.id == member and not each.live for each in await client.members(stale=True)):
                        return True
            except GraftError:
                continue
        return False

    await until_true(noticed)


async def incarnation_of(fleet: Fleet, member: str) -> int:
    async with fleet.client(*fleet.running) as client:
        return next(each.incarnation for each in await client.members() if each.id == member)


async def is_voter(fleet: Fleet, member: str, besides: int = 0) -> None:
    """Return when `member` has a vote, and is up, as another incarnation than `besides`."""

    async def found() -> bool:
        others = [id for id in fleet.running if id != member]
        async with fleet.client(*others, patience_seconds=0) as client:
            return any(
                each.id == member and each.role == "voter" and each.live and each.incarnation != besides
                for each in await client.members()
            )

    await until_true(found, 2 * READY_SECONDS)
    for _ in range(2):  # the configuration in which both majorities count, and the one after it
        await all_committed(fleet)


async def all_committed(fleet: Fleet) -> None:
    """Return when all that the leader's log held at the call is committed."""
    statuses = await until_true(fleet.statuses)
    last = max(each.last_index for each in statuses.values())

    async def reached() -> bool:
        return any(each.commit >= last for each in (await fleet.statuses()).values())

    await until_true(reached)


async def forgotten(fleet: Fleet, member: str) -> None:
    async def gone() -> bool:
        others = [id for id in fleet.running if id != member]
        async with fleet.client(*others, patience_seconds=0) as client:
            return all(each.id != member for each in await client.members())

    await until_true(gone)


Fault = Callable[[Fleet, random.Random], Awaitable[None]]

FAULTS: Final[dict[str, Fault]] = {
    fault.__name__: fault
    for fault in (
        kill_leader,
        kill_follower,
        kill_minority,
        kill_all,
        pause_member,
        pause_shortly,
        wipe_follower,
        restart_all,
        isolate_member,
        deafen_member,
        transfer,
        drain,
        replace,
        fill_disk,
    )
}
