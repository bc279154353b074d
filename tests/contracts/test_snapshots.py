"""What every place for snapshot files must do: one body of tests over the directory and the memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graft import raft
from graft.errors import StoreCorrupt
from graft.interfaces import Dump, Snapshots
from graft.storage import MemorySnapshots, SnapshotDirectory
from graft.storage.snapshot_format import BLOCK_BYTES, decode, encode

ROWS = [("runs", b"%05d" % n, b"v" * (n % 700)) for n in range(2000)] + [("meta", b"engine", b"x" * 3 * BLOCK_BYTES)]


class DirectoryStand:
    def __init__(self, directory: Path) -> None:
        self._path = directory / "snapshots"
        self.snapshots: Snapshots = SnapshotDirectory(self._path)

    def restart(self) -> Snapshots:
        self.snapshots = SnapshotDirectory(self._path)
        return self.snapshots


class MemoryStand:
    def __init__(self, directory: Path) -> None:
        self._memory = MemorySnapshots()
        self.snapshots: Snapshots = self._memory

    def restart(self) -> Snapshots:
        self.snapshots = self._memory = self._memory.restart()
        return self.snapshots


@pytest.fixture(params=[DirectoryStand, MemoryStand])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return request.param(tmp_path)


def nothing() -> None:
    pass


def export(snapshots: Snapshots, id: str, rows: list[Any] = ROWS) -> tuple[raft.SnapshotMeta, bytes]:
    size, checksum = snapshots.export(id, Dump(7, iter(rows)), nothing)
    data = snapshots.read(id, 0, 1 << 30)
    assert data is not None
    assert len(data) == size
    return raft.SnapshotMeta(id, 7, 1, raft.Configuration(), 0, size, checksum), data


def pieces(data: bytes, size: int = 100_000) -> Iterator[tuple[int, bytes]]:
    for offset in range(0, len(data), size):
        yield offset, data[offset : offset + size]


def test_what_is_exported_arrives_piece_by_piece_also_over_restarts(place: Any) -> None:
    meta, data = export(place.snapshots, "one")
    assert place.snapshots.staged() is None
    for offset, piece in pieces(data):
        assert place.snapshots.read("one", offset, len(piece)) == piece
        assert place.snapshots.write(meta, offset, piece) == offset + len(piece)
        assert place.restart().staged() == raft.StagedSnapshot(meta, offset + len(piece))
    blocks = list(place.snapshots.rows("one"))
    assert [row for block in blocks for row in block] == ROWS
    assert len(blocks) > 5
    place.snapshots.discard()
    assert place.restart().staged() is None


def test_a_piece_out_of_place_changes_nothing_and_offset_0_begins_anew(place: Any) -> None:
    meta, data = export(place.snapshots, "one")
    assert place.snapshots.write(meta, 0, data[:1000]) == 1000
    assert place.snapshots.write(meta, 5000, data[5000:6000]) == 1000
    assert place.snapshots.write(meta, 0, data[:10]) == 10
    other, there = export(place.snapshots, "two", ROWS[:50])
    assert place.snapshots.write(other, 0, there[:20]) == 20
    assert place.snapshots.staged() == raft.StagedSnapshot(other, 20)


def test_a_damaged_file_is_noticed_when_it_is_complete(place: Any) -> None:
    meta, data = export(place.snapshots, "one")
    bad = data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]
    place.snapshots.write(meta, 0, bad[:6000])
    with pytest.raises(StoreCorrupt, match="checksum"):
        place.snapshots.write(meta, 6000, bad[6000:])
    assert place.snapshots.staged() is None
    assert place.snapshots.write(meta, 0, data) == meta.size


@pytest.mark.parametrize("place_in_file", [0, 70_000, 500_000, -1])
def test_an_export_that_was_damaged_on_the_disk_is_not_sent(tmp_path: Path, place_in_file: int) -> None:
    stand = DirectoryStand(tmp_path)
    meta, data = export(stand.snapshots, "one")
    place_in_file %= len(data)
    file = tmp_path / "snapshots" / "one.snapshot"
    file.write_bytes(data[:place_in_file] + bytes([data[place_in_file] ^ 1]) + data[place_in_file + 1 :])
    sent: list[bytes] = []
    with pytest.raises(StoreCorrupt, match="damaged on the disk"):  # noqa: PT012
        for offset in range(0, meta.size, 10_000):
            sent.append(stand.snapshots.read("one", offset, 10_000) or b"")
    assert data.startswith(b"".join(sent))
    assert len(sent) <= place_in_file // 10_000
    assert stand.snapshots.read("one", 0, 10) is None


@pytest.mark.parametrize("size", [1, 999, 65_536, 100_000, 1 << 20])
def test_pieces_of_any_size_make_the_file(place: Any, size: int) -> None:
    meta, data = export(place.snapshots, "one", ROWS[-300:] if size == 1 else ROWS)
    offsets = range(0, meta.size, size) if size > 1 else range(65_000, 66_000)
    for offset in offsets:
        assert place.snapshots.read("one", offset, size) == data[offset : offset + size]
    assert not place.snapshots.read("one", meta.size, 10)


def test_giving_up_leaves_nothing_behind(place: Any) -> None:
    calls = 0

    def poll() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place.snapshots.export("one", Dump(7, iter(ROWS)), poll)
    assert place.snapshots.read("one", 0, 10) is None
    export(place.snapshots, "one")


def test_as_many_exports_are_kept_as_retention_says(place: Any) -> None:
    for id in ("1", "2", "3"):
        export(place.snapshots, id, ROWS[:3])
    assert all(place.snapshots.read(id, 0, 1) for id in ("1", "2", "3"))
    place.snapshots.drop("2")
    place.snapshots.drop("1")
    assert [bool(place.snapshots.read(id, 0, 1)) for id in ("1", "2", "3")] == [False, True, True]
    place.restart()
    assert [bool(place.snapshots.read(id, 0, 1)) for id in ("1", "2", "3")] == [False, False, True]


def test_every_flipped_byte_and_every_cut_of_a_file_is_noticed() -> None:
    data = b"".join(encode(ROWS[:20]))

    def read_all(data: bytes) -> list[Any]:
        at = 0

        def read(count: int) -> bytes:
            nonlocal at
            at += count
            return data[at - count : at]

        return [row for block in decode(read) for row in block]

    assert read_all(data) == ROWS[:20]
    for position in range(len(data)):
        with pytest.raises(StoreCorrupt):
            read_all(data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :])
        with pytest.raises(StoreCorrupt):
            read_all(data[:position])
