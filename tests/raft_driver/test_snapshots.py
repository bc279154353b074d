"""Snapshots from member to member. GRAFT_SNAPSHOT_ENTRIES: how many a member misses (issue 3 asks for 100,000)."""

from __future__ import annotations

import os
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve

from graft import raft
from graft.errors import StorageError, SyncFailed
from graft.interfaces import Store, Turn
from tests.raft_driver.members import PATIENCE_SECONDS, QUIET, Cluster, Member, open_cluster, stored, until

ENTRIES = int(os.environ.get("GRAFT_SNAPSHOT_ENTRIES", "5000"))
CONFIG = evolve(QUIET, retain_entries=200, purge_step_entries=100, snapshot_chunk_bytes=4 << 10)


async def write(leader: Member, first: int, last: int, in_flight: int = 256) -> None:
    """Set key n to a value of n, for first <= n <= last."""
    numbers = iter(range(first, last + 1))

    async def client() -> None:
        for n in numbers:
            await leader.put(n.to_bytes(4, "big"), b"value %d" % n)

    async with trio.open_nursery() as nursery:
        for _ in range(in_flight):
            nursery.start_soon(client)


async def purged(leader: Member, index: int) -> None:
    """Its log begins behind `index`: who needs that entry needs a snapshot."""
    with trio.fail_after(PATIENCE_SECONDS):
        while leader.place.store.bounds().first <= index:
            await write(leader, 1, 1)  # a purge goes with a turn


def values(last: int) -> dict[bytes, bytes]:
    return {n.to_bytes(4, "big"): b"value %d" % n for n in range(1, last + 1)}


async def away(cluster: Cluster) -> tuple[Member, list[str]]:
    """A follower that is killed, and the ids of the others."""
    leader = await cluster.leader()
    await cluster.settled(*(member.id for member in cluster.running))
    gone = next(member for member in cluster.running if member is not leader)
    await gone.kill()
    return gone, [member.id for member in cluster.running]


async def test_a_member_that_was_away_catches_up_by_snapshot(directory: Path | None) -> None:
    """While it does, the log goes on; and the memory of all members together stays flat."""
    async with open_cluster("abc", directory, config=CONFIG) as cluster:
        leader = await cluster.leader()
        await write(leader, 1, 100)
        gone, rest = await away(cluster)
        leader = await cluster.leader(rest)
        term = leader.door.status().term
        await write(leader, 101, 1000)
        if directory is not None:
            tracemalloc.start()
        await write(leader, 1001, ENTRIES)
        before = tracemalloc.get_traced_memory()[0] if directory is not None else 0
        await purged(leader, ENTRIES // 2)
        if directory is not None:
            tracemalloc.reset_peak()
        cluster.network.heal()
        await gone.start()
        peaks = note_peak_at_reset(gone)
        await write(leader, ENTRIES + 1, ENTRIES + 200)
        await cluster.settled()
        if directory is not None:
            tracemalloc.stop()
            print(f"{ENTRIES} entries: {before >> 10} KiB before, at most {peaks[0] - before >> 10} KiB more")
            assert peaks[0] - before < 6 << 20
        # One snapshot, also if the leader cut its log meanwhile; another leader may have to begin with another one.
        assert gone.machine.resets == 1 or gone.door.status().term > term
        assert gone.machine.values == values(ENTRIES + 200)
        assert all(index > ENTRIES // 2 for index in gone.machine.applied)  # the rest stands in the snapshot
        await until(lambda: gone.place.store.spare_rows() == 0)
        assert gone.place.snapshots.staged() is None
        await until(lambda: stored(gone.place.store) == values(ENTRIES + 200))
        await gone.kill()
        cluster.network.heal()
        await gone.start()
        await cluster.settled()
        assert gone.machine.values == values(ENTRIES + 200)


def note_peak_at_reset(member: Member) -> list[int]:
    """The most memory until the snapshot is installed: what comes then is the machine, which loads all of its state."""
    peaks: list[int] = []
    reset = member.machine.reset

    def note() -> None:
        peaks.append(tracemalloc.get_traced_memory()[1])
        reset()

    member.machine.reset = note  # type: ignore[method-assign]
    return peaks


async def test_two_members_share_one_file(directory: Path | None) -> None:
    async with open_cluster("abcde", directory, config=CONFIG) as cluster:
        leader = await cluster.leader()
        await write(leader, 1, 100)
        exported: list[str] = []
        desk = leader.door._desk
        original = desk._export_now

        def count(snapshots: Any, id: str) -> Any:
            exported.append(id)
            return original(snapshots, id)

        desk._export_now = count  # type: ignore[method-assign]
        first, _ = await away(cluster)
        second, rest = await away(cluster)
        assert leader is await cluster.leader(rest)
        await write(leader, 101, 1500)
        await purged(leader, 111)
        for member in (first, second):  # still cut off: their transfers begin together
            await member.start()
        cluster.network.heal()
        await cluster.settled()
        assert first.machine.resets == second.machine.resets == 1
        assert len(exported) == 1


async def test_a_transfer_goes_on_where_a_crash_left_it(directory: Path | None) -> None:
    async with open_cluster("abc", directory, config=CONFIG) as cluster:
        leader = await cluster.leader()
        await write(leader, 1, 100)
        gone, rest = await away(cluster)
        leader = await cluster.leader(rest)
        await write(leader, 101, 3000)
        await purged(leader, 111)
        cluster.network.heal()
        for other in rest:
            cluster.network.delay(other, gone.id, 0.05)
        await gone.start()
        await until(lambda: (staged := gone.place.snapshots.staged()) is not None and staged.offset > 12_000)
        await gone.kill()
        before = gone.place.snapshots.staged()
        assert before is not None
        assert before.offset < before.meta.size
        cluster.network.heal()
        offsets: list[int] = []

        def watch(member: Member, store: Store) -> None:
            write_piece = member.place.snapshots.write

            def note(meta: raft.SnapshotMeta, offset: int, data: bytes) -> int:
                offsets.append(offset)
                return write_piece(meta, offset, data)

            member.place.snapshots.write = note  # type: ignore[method-assign]

        cluster.before_start = watch
        await gone.start()
        await cluster.settled()
        assert gone.machine.resets == 1
        assert offsets[0] == before.offset > 0


@pytest.mark.parametrize("is_written", [False, True])
async def test_a_crash_at_any_write_leaves_the_old_state_or_the_new(directory: Path | None, is_written: bool) -> None:
    """The member that is being sent a snapshot dies before its k-th write, or behind it, for every k in turn."""
    async with open_cluster("abc", directory, config=CONFIG) as cluster:
        leader = await cluster.leader()
        await write(leader, 1, 50)
        gone, rest = await away(cluster)
        leader = await cluster.leader(rest)
        await write(leader, 51, 1500)
        await purged(leader, 61)
        old = {n.to_bytes(4, "big"): b"value %d" % n for n in range(1, 51)}
        cluster.network.heal()
        switched = 0
        for k in range(1, 400):  # fewer than 60, unless the machine is so slow that every write comes alone
            death = Death(k, is_written)
            cluster.before_start = death.befall
            await gone.start()
            await until(lambda: gone.ended.is_set() or has_come_through(gone))
            if death.called_off():
                break
            await gone.ended.wait()
            assert isinstance(gone.error, SyncFailed)
            cluster.network.heal()
            store = gone.place.open()
            state = stored(store)
            bounds = store.bounds()
            if state.keys() == old.keys() or len(state) < 1000:
                assert old.items() <= state.items()
                assert bounds.applied < 1000
            else:
                switched += 1
                assert bounds.first - 1 <= bounds.applied
                assert values(1000).items() <= state.items()
            store.close()
        else:
            pytest.fail("it never came through")
        assert switched > 0
        await cluster.settled()
        assert gone.machine.values == values(1500)


class Death:
    """The k-th write of the member that it befalls is its last: it comes before it, or behind it."""

    def __init__(self, k: int, is_written: bool) -> None:
        self._left, self._is_written = k, is_written
        self._lock = threading.Lock()

    def befall(self, member: Member, store: Store) -> None:
        original = store.commit

        def commit(turn: Turn, staged: Any = None) -> None:
            with self._lock:
                self._left -= 1
                dies = self._left == 0
            if not dies or self._is_written:
                original(turn, staged)
            if dies:
                raise SyncFailed("the process dies here")

        store.commit = commit  # type: ignore[method-assign]

    def called_off(self) -> bool:
        """Whether it had not come yet; now it never does."""
        with self._lock:
            came = self._left <= 0
            self._left = 1 << 60
        return not came


def has_come_through(member: Member) -> bool:
    """It has all values, its store too, and the old rows are swept."""
    store = member.place.store
    return store.bounds().applied >= 1500 and store.spare_rows() == 0


async def test_a_member_without_room_for_a_snapshot_says_so_and_goes_on() -> None:
    """The leader cannot export; its cluster works on, and the member stays away."""
    async with open_cluster("abc", config=CONFIG) as cluster:
        leader = await cluster.leader()
        await write(leader, 1, 50)
        gone, rest = await away(cluster)
        leader = await cluster.leader(rest)
        await write(leader, 51, 1000)
        await purged(leader, 61)
        failures = 0

        def fail(*_: Any) -> Any:
            nonlocal failures
            failures += 1
            raise StorageError("no space left")

        for id in rest:
            cluster[id].place.snapshots.export = fail  # type: ignore[method-assign]
        cluster.network.heal()
        await gone.start()
        await until(lambda: failures > 2)
        await write(leader, 1001, 1100)
        for id in rest:
            del cluster[id].place.snapshots.export
        await cluster.settled()
        assert gone.machine.values == values(1100)


async def test_an_export_that_is_damaged_on_the_disk_is_made_anew(tmp_path: Path) -> None:
    async with open_cluster("abc", tmp_path, config=CONFIG) as cluster:
        leader = await cluster.leader()
        await write(leader, 1, 50)
        gone, rest = await away(cluster)
        leader = await cluster.leader(rest)
        snapshots = leader.place.snapshots
        export, ids = snapshots.export, []

        def export_and_damage(id: str, dump: Any, poll: Any) -> tuple[int, str]:
            size, checksum = export(id, dump, poll)
            ids.append(id)
            if len(ids) == 1:
                with open(tmp_path / leader.id / "snapshots" / f"{id}.snapshot", "r+b") as file:
                    file.seek(size // 2)
                    file.write(b"damaged")
            return size, checksum

        snapshots.export = export_and_damage  # type: ignore[method-assign]
        await write(leader, 51, 5000)
        await purged(leader, 61)
        cluster.network.heal()
        await gone.start()
        await cluster.settled()
        assert len(ids) == 2
        assert gone.machine.resets == 1
        assert gone.machine.values == values(5000)


async def test_a_switch_waits_for_rows_that_a_crash_left_unstaged(directory: Path | None) -> None:
    """The whole file had arrived and the process died before its rows were in the store."""
    async with open_cluster("abc", directory, config=CONFIG) as cluster:
        leader = await cluster.leader()
        await write(leader, 1, 50)
        gone, rest = await away(cluster)
        leader = await cluster.leader(rest)
        await write(leader, 51, 1500)
        await purged(leader, 61)
        cluster.network.heal()

        def refuse_to_stage(member: Member, store: Store) -> None:
            original = store.commit

            def commit(turn: Turn, staged: Any = None) -> None:
                if turn.staging:
                    raise SyncFailed("the process dies here")
                original(turn, staged)

            store.commit = commit  # type: ignore[method-assign]

        cluster.before_start = refuse_to_stage
        await gone.start()
        await gone.ended.wait()
        staged = gone.place.snapshots.staged()
        assert staged is not None
        assert staged.offset == staged.meta.size
        cluster.network.heal()
        cluster.before_start = lambda member, store: None
        await gone.start()
        await cluster.settled()
        assert gone.machine.resets == 1
        assert gone.machine.values == values(1500)
