"""Several members in one process: replication, loss of a leader, restarts, membership, reads, damage."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve

from graft import raft
from graft.errors import Rejected, StorageError, SyncFailed
from graft.interfaces import Entry, Store, Turn
from graft.raft.events import Change
from graft.raft_driver.hard_state import to_stored
from tests.raft_driver.members import HASTY, PATIENCE_SECONDS, QUIET, Cluster, Member, open_cluster, stored, until


async def fill(cluster: Cluster, first: int, last: int, **where: Any) -> None:
    for n in range(first, last + 1):
        await cluster.put(b"%d" % n, b"value %d" % n, **where)


def values(first: int, last: int) -> dict[bytes, bytes]:
    return {b"%d" % n: b"value %d" % n for n in range(first, last + 1)}


async def test_one_voter_needs_nobody(directory: Path | None) -> None:
    async with open_cluster("a", directory) as cluster:
        await fill(cluster, 1, 20)
        assert await cluster["a"].get(b"20") == b"value 20"
        assert await cluster["a"].door.read_index() == cluster["a"].door.applied


@pytest.mark.parametrize("ids", ["abc", "abcde"])
async def test_what_the_leader_acknowledges_is_applied_everywhere(directory: Path | None, ids: str) -> None:
    async with open_cluster(ids, directory) as cluster:
        leader = await cluster.leader()
        async with trio.open_nursery() as nursery:
            for n in range(1, 301):
                nursery.start_soon(leader.put, b"%d" % n, b"value %d" % n)
        await cluster.settled()
        for member in cluster.members.values():
            assert member.machine.values == values(1, 300)
            assert member.machine.applied == sorted(set(member.machine.applied))


async def test_another_member_refuses_and_names_the_leader() -> None:
    async with open_cluster() as cluster:
        leader = await cluster.leader()
        other = next(member for member in cluster.running if member is not leader)
        with pytest.raises(Rejected) as refusal:
            await other.put(b"k", b"v")
        assert (refusal.value.reason, refusal.value.leader) == ("not_leader", leader.id)


async def test_a_dead_leader_is_replaced_and_comes_back(directory: Path | None) -> None:
    async with open_cluster("abc", directory, config=HASTY) as cluster:
        await fill(cluster, 1, 30)
        dead = await cluster.leader()
        await dead.kill()
        rest = [member.id for member in cluster.running]
        await fill(cluster, 31, 60, among=rest)
        cluster.network.heal()
        await dead.start()
        await fill(cluster, 61, 70)
        await cluster.settled()
        assert dead.machine.values == values(1, 70)


async def test_everybody_restarts_with_entries_that_are_not_applied(directory: Path | None) -> None:
    """A follower that was told of no commit keeps entries; nothing of them is applied before Raft says so."""
    config = evolve(HASTY, election_timeout_seconds=1.0)
    async with open_cluster("abc", directory, config=config) as cluster:
        await fill(cluster, 1, 10)
        leader = await cluster.leader()
        others = [member for member in cluster.running if member is not leader]
        for other in others:  # entries arrive there, and nobody hears of it; nor can anybody else be elected
            for member in cluster.running:
                if member is not other:
                    cluster.network.cut(other.id, member.id)
        answers: list[Any] = []
        for n in range(11, 31):
            leader.door.propose((b"%d" % n, b"value %d" % n), answers.append, answers.append)
        await until(lambda: all(other.door.status().durable >= leader.door.status().last for other in others))
        await until(lambda: len(answers) == 20)  # no quorum answers: the leader steps down and says that it cannot know
        assert {answer.reason for answer in answers} == {"unknown"}
        for member in list(cluster.running):
            await member.kill()
        for member in cluster.members.values():
            await member.start()
            status = member.door.status()
            assert status.last > status.applied
            assert member.machine.values == values(1, 10)
        cluster.network.heal()
        await fill(cluster, 31, 31)
        await cluster.settled()
        assert cluster["a"].machine.values == values(1, 31)


async def test_one_voter_replays_what_several_would_not(directory: Path | None) -> None:
    async with open_cluster("a", directory) as cluster:
        member = cluster["a"]
        await fill(cluster, 1, 10)
        await member.kill()

        def add_an_entry(member: Member, store: Store) -> None:
            store.commit(Turn(entries=[unapplied(member, store)]))

        cluster.before_start = add_an_entry
        await member.start()
        assert member.machine.values == values(1, 10) | {b"unapplied": b"value"}


def unapplied(member: Member, store: Store) -> Entry:
    """An entry that a crash left behind the state."""
    command = member.machine.encode((b"unapplied", b"value"))
    return to_stored(raft.Entry(store.bounds().last + 1, 1, raft.Kind.COMMAND, command))


async def test_our_own_proposals_survive_a_change_of_leader() -> None:
    """Without a `refused` nobody would propose it again: it is kept until it is applied."""
    async with open_cluster(config=HASTY) as cluster:
        await fill(cluster, 1, 5)
        old = await cluster.leader()
        cluster.network.isolate(old.id)
        done: list[Any] = []
        refused: list[Any] = []
        for n in range(20):
            old.door.propose((b"own %d" % n, b"v"), done.append)
            old.door.propose((b"client %d" % n, b"v"), done.append, refused.append)
        rest = [member.id for member in cluster.running if member is not old]
        await fill(cluster, 6, 10, among=rest)
        await until(lambda: not old.door.leads)
        assert len(refused) == 20
        assert done == []
        cluster.network.heal()
        with trio.fail_after(PATIENCE_SECONDS):
            while len(done) < 20:
                await lead(cluster, old)
        await cluster.settled()
        assert sum(key.startswith(b"own") for key in cluster["a"].machine.values) == 20
        assert len(refused) == 20


async def lead(cluster: Cluster, wanted: Member) -> None:
    """Hand the leadership to `wanted`, or let it lead for a moment."""
    leader = await cluster.leader()
    try:
        if leader is wanted:
            await trio.sleep(0.05)
        else:
            await leader.door.transfer_leadership(wanted.id)
    except Rejected:
        await trio.sleep(0.05)


async def test_reads_are_linearizable_on_every_member() -> None:
    async with open_cluster() as cluster:
        for n in range(30):
            await cluster.put(b"k", b"%d" % n)
            for member in cluster.running:
                assert await member.get(b"k") == b"%d" % n


async def test_a_paused_leader_never_serves_a_stale_read() -> None:
    """Its clock and its links stand still while the others go on; a read that it begins then sees the newest, or
    none."""
    refusals = 0
    for lease in (False, True):
        config = evolve(HASTY, lease_reads=lease)
        async with open_cluster(config=config, seed=5) as cluster:
            for n in range(3):
                await cluster.put(b"k", b"old %d" % n)
                paused = await cluster.leader()
                paused.clock.stop()
                cluster.network.hold(paused.id)
                rest = [member.id for member in cluster.running if member is not paused]
                await cluster.put(b"k", b"new %d" % n, among=rest)
                seen: list[bytes | None] = []

                async with trio.open_nursery() as nursery:
                    if not lease:  # a lease is as good as the clock
                        nursery.start_soon(look, paused, lease, seen)
                        await trio.sleep(0.01)
                    paused.clock.go_on()
                    nursery.start_soon(look, paused, lease, seen)
                    cluster.network.heal()
                    nursery.start_soon(look, paused, lease, seen)
                assert set(seen) <= {None, b"new %d" % n}
                refusals += seen.count(None)
    assert refusals > 0


async def test_a_pause_between_the_lease_and_the_look_is_noticed() -> None:
    """What the state says after the lease has ended is no answer, although the lease was good when it was asked for."""
    async with open_cluster(config=evolve(QUIET, lease_reads=True)) as cluster:
        leader = await cluster.put(b"k", b"v")
        await until(lambda: leader.door._core.state.lease_until is not None)
        looks = 0

        def slow_look() -> int:
            nonlocal looks
            looks += 1
            if looks == 1:
                leader.clock.jump(60)
            return looks

        answer = 2
        with suppress(Rejected):  # so long without an answer of the others: it may lead no more
            answer = await leader.door.read(slow_look, lease=True)
        assert answer == 2
        assert looks > 0


async def look(member: Member, lease: bool, seen: list[bytes | None]) -> None:
    try:
        seen.append(await member.door.read(lambda: member.machine.values.get(b"k"), lease=lease))
    except Rejected:
        seen.append(None)


async def change(leader: Member, *changes: Change) -> None:
    """As soon as the change before it has ended: it leaves its joint configuration after it answered."""
    while True:
        try:
            return await leader.door.change_members(*changes)
        except Rejected as error:
            if error.reason != "busy":
                raise
            await trio.sleep(0.01)


async def test_members_join_get_votes_and_leave(directory: Path | None) -> None:
    async with open_cluster("abc", directory) as cluster:
        await fill(cluster, 1, 20)
        leader = await cluster.leader()
        new = cluster.members["d"] = cluster.add("d")
        await new.start(())
        await leader.door.change_members(Change("add", "d", new.door.identity.incarnation))
        await until(lambda: [m.role for m in leader.door.status().configuration.members] == ["voter"] * 4)
        await cluster.settled()
        assert new.machine.values == values(1, 20)
        gone = next(member for member in cluster.running if member not in (leader, new))
        await change(leader, Change("remove", gone.id))
        await gone.kill()
        del cluster.members[gone.id]
        cluster.network.heal()
        with trio.fail_after(PATIENCE_SECONDS):
            while not new.door.leads:
                await lead(cluster, new)
        await fill(cluster, 21, 30)
        await cluster.settled()
        with pytest.raises(Rejected) as refusal:
            await change(new, Change("remove", "nobody"))
        assert refusal.value.reason == "unknown_member"
        incarnation = new.door.identity.incarnation
        await new.kill()
        cluster.network.heal()
        await new.start(())
        assert new.door.identity.incarnation == incarnation


class Failing:
    """A store whose commits fail once `broken` is set. Everything else is the store's."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.broken = False

    def commit(self, turn: Turn, staged: Any = None) -> None:
        if self.broken:
            raise SyncFailed("writing to the disk failed: Input/output error")
        self._store.commit(turn, staged)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def test_a_failed_sync_stops_the_member_at_once_and_the_others_go_on() -> None:
    async with open_cluster(config=HASTY) as cluster:
        await fill(cluster, 1, 10)
        leader = await cluster.leader()
        syncer = leader.door._writer._syncer
        syncer._store = failing = Failing(syncer._store)  # type: ignore[assignment]
        failing.broken = True
        with pytest.raises(Rejected) as refusal:  # noqa: PT012
            while True:  # the others may commit one before this one is to sync it
                await leader.put(b"lost", b"?")
        assert refusal.value.reason == "stopping"
        with trio.fail_after(PATIENCE_SECONDS):
            await leader.ended.wait()
        assert isinstance(leader.error, SyncFailed)
        assert "Input/output error" in str(leader.error)
        with pytest.raises(Rejected):
            await leader.door.read_index()
        rest = [member.id for member in cluster.running]
        assert leader.id not in rest
        await fill(cluster, 11, 20, among=rest)
        await cluster.settled(*rest)


@pytest.mark.parametrize("ids", ["abc", "abcde"])
async def test_damaged_entries_are_fetched_from_others(ids: str) -> None:
    """The entries behind the synced state of one member rot while it is down."""
    async with open_cluster(ids) as cluster:
        await fill(cluster, 1, 10)
        await cluster.settled()
        victim = next(member for member in cluster.running if not member.door.leads)
        victim.door._applier.hold()  # its log goes on, its state does not
        await fill(cluster, 11, 40)
        await until(lambda: victim.door.status().durable == victim.door.status().last > 40)
        await victim.kill()
        cluster.network.heal()
        rotten = []

        def rot(member: Member, store: Any) -> None:
            bounds = store.bounds()
            for index in (bounds.applied + 1, bounds.applied + 7, bounds.last - 1):
                store.rot(index)
                rotten.append(index)
            assert store.damaged(1, 1 << 40) == rotten

        cluster.before_start = rot
        await victim.start()
        await fill(cluster, 41, 45)
        await cluster.settled()
        assert victim.machine.values == values(1, 45)
        assert len(rotten) == 3
        await until(lambda: not victim.door.status().damaged)
        assert victim.place.store.damaged(1, 1 << 40) == []


async def test_damage_that_a_scrub_finds_is_mended(directory: Path | None) -> None:
    async with open_cluster("abc", directory) as cluster:
        await fill(cluster, 1, 10)
        await cluster.settled()
        victim = next(member for member in cluster.running if not member.door.leads)
        last = victim.door.applied
        before = [entry.data for entry in victim.place.store.entries(last, last)]
        if directory is None:
            victim.place.store.rot(last)  # type: ignore[attr-defined]
        victim.door.report_damage(last)
        await until(lambda: not (victim.place.store.damaged(1, 1 << 40) or victim.door.status().damaged))
        assert [entry.data for entry in victim.place.store.entries(last, last)] == before


def rot(data: Path, needle: bytes) -> None:
    """Change the last byte of `needle` wherever it stands, in old copies of its page too. The file is mapped: it must
    not become shorter for a moment."""
    content = data.read_bytes()
    assert needle in content
    with open(data, "r+b", buffering=0) as file:
        at = content.find(needle)
        while at >= 0:
            file.seek(at + len(needle) - 1)
            file.write(b"!")
            at = content.find(needle, at + 1)


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_rot_that_nobody_reads_is_found_and_mended(tmp_path: Path, is_restarted: bool) -> None:
    """A byte of the file changes. After a restart no good copy is in memory, and it comes from another member."""
    async with open_cluster("abc", tmp_path) as cluster:
        await fill(cluster, 1, 200)
        await cluster.settled()
        victim = next(member for member in cluster.running if not member.door.leads)
        if is_restarted:
            await victim.kill()
            cluster.network.heal()
            await victim.start()
        await until(lambda: stored(victim.place.store) == values(1, 200))
        index = next(entry.index for entry in victim.place.store.entries(1, 999) if b"value 123" in entry.data)
        before = victim.place.store.entries(index, index)
        rot(tmp_path / victim.id / "store" / "store" / "data.mdb", victim.machine.encode((b"123", b"value 123")))
        assert victim.place.store.damaged(1, 999) == [index]
        await until(lambda: victim.place.store.damaged(1, 999) == [])
        assert victim.place.store.entries(index, index) == before
        assert victim.error is None


async def test_a_sole_voter_names_a_damaged_entry_and_does_not_start() -> None:
    async with open_cluster("a") as cluster:
        member = cluster["a"]
        await fill(cluster, 1, 10)
        await member.kill()

        def add_a_damaged_entry(member: Member, store: Any) -> None:
            store.commit(Turn(entries=[unapplied(member, store)]))
            store.rot(store.bounds().last)

        cluster.before_start = add_a_damaged_entry
        with pytest.raises(StorageError, match="log entry"):
            await member.start()


async def test_the_log_is_purged_on_all_members(directory: Path | None) -> None:
    config = evolve(QUIET, retain_entries=50, purge_step_entries=20)
    async with open_cluster("abc", directory, config=config) as cluster:
        leader = await cluster.leader()
        for _ in range(10):
            async with trio.open_nursery() as nursery:
                for n in range(1, 41):
                    nursery.start_soon(leader.put, b"%d" % n, b"value %d" % n)

        def purged(member: Member) -> bool:
            bounds = member.place.store.bounds()
            return bounds.first > 250 and bounds.last - bounds.first < 150

        with trio.fail_after(PATIENCE_SECONDS):
            while not all(map(purged, cluster.running)):
                await fill(cluster, 1, 1)  # a purge goes with a turn
        for member in cluster.running:
            bounds = member.place.store.bounds()
            assert bounds.last - bounds.first >= 49


async def test_slow_links_cost_time_and_nothing_else() -> None:
    async with open_cluster() as cluster:
        for source in "abc":
            for target in "abc":
                if source != target:
                    cluster.network.delay(source, target, 0.01)
        await fill(cluster, 1, 10)
        began = time.monotonic()
        await fill(cluster, 11, 11)
        assert time.monotonic() - began > 0.02
        await cluster.settled()


async def test_state_reaches_the_store_of_every_member(directory: Path | None) -> None:
    async with open_cluster("abc", directory) as cluster:
        await fill(cluster, 1, 20)
        await cluster.settled()
        await until(lambda: all(stored(member.place.store) == values(1, 20) for member in cluster.running))
