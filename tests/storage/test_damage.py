"""Flipped bits: each is detected and named, or changes nothing that can be read.

GRAFT_FLIPS sets how many random ones are tried beside the systematic ones.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import lmdb.verify
import pytest

from graft.errors import StorageError, StoreCorrupt
from graft.interfaces import Entry, Switch, Turn
from graft.storage import SnapshotDirectory, open_reader, open_store, verify
from graft.storage.metas import HEADER, read_newest
from graft.storage.records import CHECKSUM_BYTES, HEAD_KEY
from graft.storage.turns import SWEEP_STEP
from graft.storage.walk import LEAF, Walk
from tests.storage import children

FLIPS = int(os.environ.get("GRAFT_FLIPS", "100"))
PAGE = 4096
TO_KEY = -8 - CHECKSUM_BYTES - 1
"""From the data of an entry back over term and checksum to the last byte of its key."""


def key(number: int) -> bytes:
    return number.to_bytes(8, "big")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with trees of depth 1 to 3, overflow pages, free pages, a purged log and a truncated one."""
    path = tmp_path_factory.mktemp("sound") / ".graft"
    store = open_store(path, quota_bytes=1 << 28, map_bytes=1 << 29)
    for turn in range(1, 31):
        store.commit(
            Turn(
                entries=[Entry(i, turn, b"entry %d;" % i + b"e" * 150) for i in range(20 * turn - 19, 20 * turn + 1)],
                changes=[("steps", key(i), b"step %d;" % i + b"s" * 100) for i in range(100 * turn, 100 * turn + 20)]
                + [("values", key(turn), b"v" * 300 * turn), ("runs", b"last", b"%d" % turn)],
                hard_state=b"%d" % turn,
                applied=20 * (turn - 1),
                purge_to=10 * (turn - 1),
            )
        )
    store.commit(Turn(truncate_from=598, changes=[("values", key(n), None) for n in range(1, 30, 3)]))
    store.close()
    assert verify(path).damages == ()
    return path


@pytest.fixture(scope="module")
def sound_odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose state came in a snapshot, so that it lies in the `.odd` tables; beside it are rows of the state
    before, half swept, and the log went on."""
    path = tmp_path_factory.mktemp("odd") / ".graft"
    store = open_store(path, quota_bytes=1 << 28, map_bytes=1 << 29)
    old = [("steps", key(n), b"old step %d;" % n + b"o" * 100) for n in range(SWEEP_STEP + 300)]
    store.commit(Turn(entries=[Entry(i, 1, b"e" * 50) for i in range(1, 31)], changes=old, applied=20))
    for turn in range(10):
        rows = [("steps", key(100 * turn + n), b"step %d;" % n + b"s" * 100) for n in range(40)]
        store.commit(Turn(staging=[*rows, ("values", key(turn), b"v" * 500 * turn)]))
    store.commit(Turn(hard_state=b"switched", switch=Switch(500, 7)))
    store.commit(Turn(sweep=True))
    for turn in range(20):
        store.commit(
            Turn(
                entries=[Entry(i, 8, b"entry %d;" % i + b"e" * 150) for i in range(501 + 10 * turn, 511 + 10 * turn)],
                changes=[("steps", key(50 * turn), b"new step %d;" % turn), ("runs", b"last", b"%d" % turn)],
                applied=500 + 10 * turn,
                purge_to=490 + 10 * turn,
            )
        )
    assert store.spare_rows() == 300
    store.close()
    assert verify(path).damages == ()
    return path


@pytest.fixture
def damaged(sound: Path, tmp_path: Path) -> Path:
    """A copy of `sound` to damage."""
    shutil.copytree(sound, tmp_path / ".graft")
    return tmp_path / ".graft"


def flip(path: Path, needle: bytes, shift: int = 0, mask: int = 0x10) -> None:
    """Flip bits of the byte `shift` after the start of `needle`, which is in the key or value of one record."""
    data = path / "store" / "data.mdb"
    content = bytearray(data.read_bytes())
    [place] = [start + node.index(needle) for start, node in records(bytes(content)) if needle in node]
    content[place + shift] ^= mask
    data.write_bytes(content)


def records(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(place, bytes) of every record that is in use and lies on a leaf page."""
    walk = Walk(lambda offset, size: content[offset : offset + size])
    assert walk.run() == ()
    for page in range(2, len(content) // PAGE):
        base = page * PAGE
        _number, _pad, flags, lower, _upper = HEADER.unpack_from(content, base)
        if not walk.is_live(page) or flags != LEAF:
            continue
        for (pointer,) in struct.iter_unpack("=H", content[base + HEADER.size : base + lower]):
            low, high, node_flags, key_size = struct.unpack_from("=HHHH", content, base + pointer)
            if node_flags == 0:
                start = base + pointer + 8
                yield start, content[start : start + key_size + (low | high << 16)]


# Detected where it is read, and named


@pytest.mark.parametrize("index", [291, 450, 597])
@pytest.mark.parametrize("shift", [3, TO_KEY])
def test_a_damaged_entry_is_named_and_is_not_the_end_of_the_log(damaged: Path, index: int, shift: int) -> None:
    """597 is the end of the log, so its last entry is the interesting one."""
    flip(damaged, b"entry %d;" % index, shift)
    store = open_store(damaged)
    bounds = store.bounds()
    assert (bounds.first, bounds.last) == (291, 597)
    assert [e.index for e in store.entries(291, index - 1, 1 << 30)] == list(range(291, index))
    for first, last in ((index, index), (291, 597), (index, 9999)):
        with pytest.raises(StoreCorrupt, match=rf"the store is damaged: log entry {index}: it"):
            store.entries(first, last, 1 << 30)
    store.close()
    assert any(damage.where == f"log entry {index}" for damage in verify(damaged).damages)


def test_a_damaged_record_is_named(damaged: Path) -> None:
    flip(damaged, b"step 1505;")
    for way in (open_store, open_reader):
        store = way(damaged)
        with pytest.raises(StoreCorrupt, match=rf"record {key(1505).hex()} of table steps: its checksum is wrong"):
            store.get("steps", key(1505))
        with pytest.raises(StoreCorrupt, match=rf"record {key(1505).hex()} of table steps: its checksum is wrong"):
            store.scan("steps")
        assert store.get("steps", key(1504)) is not None
        store.close()
    [damage] = verify(damaged).damages
    assert str(damage) == f"record {key(1505).hex()} of table steps: its checksum is wrong"


def test_a_damaged_record_of_a_snapshot_is_named(sound_odd: Path, tmp_path: Path) -> None:
    shutil.copytree(sound_odd, tmp_path / ".graft")
    flip(tmp_path / ".graft", b"new step 7;")
    [damage] = verify(tmp_path / ".graft").damages
    assert str(damage) == f"record {key(350).hex()} of table steps.odd: its checksum is wrong"
    with closing(open_store(tmp_path / ".graft")) as store:
        with pytest.raises(StoreCorrupt, match=rf"record {key(350).hex()} of table steps: its checksum is wrong"):
            store.get("steps", key(350))
        assert store.get("steps", key(400)) == b"new step 8;"


def test_damage_to_what_was_the_state_is_named_and_swept(sound_odd: Path, tmp_path: Path) -> None:
    shutil.copytree(sound_odd, tmp_path / ".graft")
    flip(tmp_path / ".graft", b"old step 2200;")
    [damage] = verify(tmp_path / ".graft").damages
    assert str(damage) == f"record {key(2200).hex()} of table steps: its checksum is wrong"
    with closing(open_store(tmp_path / ".graft")) as store:
        assert store.get("steps", key(2200)) is None
        store.commit(Turn(sweep=True))
    assert verify(tmp_path / ".graft").damages == ()


def test_a_damaged_key_does_not_make_a_record_disappear(damaged: Path) -> None:
    """Not found is an answer too: it has to be right."""
    flip(damaged, b"step 1505;", shift=-CHECKSUM_BYTES - 1, mask=0x80)
    store = open_store(damaged)
    with pytest.raises(StoreCorrupt, match="of table steps"):
        store.get("steps", key(1505))
    assert store.get("steps", key(999_999)) is None
    store.close()


def test_a_damaged_hard_state_is_named(damaged: Path) -> None:
    flip(damaged, b"hard", shift=4)
    with pytest.raises(StoreCorrupt, match="record 68617264 of table head: its checksum is wrong"):
        open_store(damaged)


def test_a_damaged_head_refuses_to_open(damaged: Path) -> None:
    flip(damaged, HEAD_KEY, shift=12)
    for way in (open_store, open_reader):
        with pytest.raises(StoreCorrupt, match="record 68656164 of table head: its checksum is wrong"):
            way(damaged)


@pytest.mark.parametrize("index", [291, 300, 350])
@pytest.mark.parametrize("shift", [3, TO_KEY - 1, TO_KEY])
def test_a_damaged_entry_can_be_purged(damaged: Path, index: int, shift: int) -> None:
    """The state covers it, so nobody needs it: neither its data nor its key stop the purge."""
    flip(damaged, b"entry %d;" % index, shift)
    assert verify(damaged).damages
    with closing(open_store(damaged)) as store:
        store.commit(Turn(purge_to=350))
        assert (store.bounds().first, store.bounds().last) == (351, 597)
        assert store.bounds().purged_term == (18 if index != 350 else 0)
        assert [entry.index for entry in store.entries(1, 9999, 1 << 30)] == list(range(351, 598))
    assert verify(damaged).damages == ()


@pytest.mark.parametrize("index", [590, 592, 597])
@pytest.mark.parametrize("shift", [3, TO_KEY - 1, TO_KEY])
def test_a_damaged_entry_can_be_cut_off(damaged: Path, index: int, shift: int) -> None:
    """Another leader's entries take the place of it and what is around it."""
    flip(damaged, b"entry %d;" % index, shift)
    with closing(open_store(damaged)) as store:
        store.commit(Turn(truncate_from=590, entries=[Entry(590, 40, b"of another leader")]))
        assert [entry.index for entry in store.entries(580, 9999, 1 << 30)] == list(range(580, 591))
    assert verify(damaged).damages == ()


# An older root must not pass as the newest


@pytest.mark.parametrize("bit", range(0, 64, 7))
@pytest.mark.parametrize("slot", [0, 1])
def test_a_flipped_transaction_number_cannot_bring_back_the_past(damaged: Path, slot: int, bit: int) -> None:
    data = damaged / "store" / "data.mdb"
    content = bytearray(data.read_bytes())
    content[slot * PAGE + 16 + 24 + 96 + 8 + bit // 8] ^= 1 << bit % 8
    data.write_bytes(content)
    for way in (open_store, open_reader):
        with pytest.raises(StoreCorrupt, match=f"the store in {damaged} is damaged: "):
            way(damaged)
    assert verify(damaged).damages[0].where == "structure"


def test_an_older_meta_page_in_both_places_is_found(damaged: Path) -> None:
    """The numbers fit, the head does not: somebody restored half of a file."""
    data = damaged / "store" / "data.mdb"
    content = bytearray(data.read_bytes())
    newest = read_newest(lambda offset, size: bytes(content[offset : offset + size]))
    older, newer = ((newest.transaction + 1) & 1) * PAGE, (newest.transaction & 1) * PAGE
    content[newer + 16 + 24 : newer + 16 + 24 + 96 + 8] = content[older + 16 + 24 : older + 16 + 24 + 96 + 8]
    data.write_bytes(content)
    with pytest.raises(
        StoreCorrupt, match=f"the head is of transaction {newest.transaction - 1}, the root of {newest.transaction}"
    ):
        open_store(damaged)
    assert "structure: the head is of transaction" in " ".join(map(str, verify(damaged).damages))


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 8192, 20_000])
def test_a_file_cut_short(damaged: Path, size: int) -> None:
    os.truncate(damaged / "store" / "data.mdb", size)
    with pytest.raises(StoreCorrupt):
        open_store(damaged).close()
    assert verify_damages(damaged)


def verify_damages(path: Path) -> bool:
    try:
        return bool(verify(path).damages)
    except StoreCorrupt:
        return True


# Any bit


def positions(path: Path) -> list[tuple[int, int]]:
    """(offset, mask): each byte of the meta pages, the heads of all pages, and random ones."""
    size = (path / "store" / "data.mdb").stat().st_size
    dice = random.Random(FLIPS)
    metas = [offset for base in (0, PAGE) for offset in range(base, base + 168, 3)]
    heads = [page + dice.randrange(24) for page in range(2 * PAGE, size, PAGE)]
    anywhere = [dice.randrange(2 * PAGE, size) for _ in range(FLIPS)]
    return [(offset, 1 << dice.randrange(8)) for offset in metas + heads + anywhere]


@pytest.mark.slow
@pytest.mark.parametrize("generation", ["even", "odd"])
def test_a_flipped_bit_is_detected_or_changes_nothing(
    sound: Path, sound_odd: Path, tmp_path: Path, generation: str
) -> None:
    """Prints, for the decision on `lmdb.verify`: who found it, and what reading the store did; `-s` shows it."""
    damaged = tmp_path / ".graft"
    shutil.copytree(sound if generation == "even" else sound_odd, damaged)
    flips = positions(damaged)
    outcomes = read_with_flips(damaged, flips)
    data = damaged / "store" / "data.mdb"
    content = bytearray(data.read_bytes())
    counts: Counter[tuple[str, str]] = Counter()
    for (offset, mask), outcome in zip(flips, outcomes, strict=True):
        content[offset] ^= mask
        data.write_bytes(content)
        found = Walk(lambda start, size: bytes(content[start : start + size])).run()
        theirs = lmdb_complains(data)
        content[offset] ^= mask
        assert found or outcome == "same", (offset, mask, outcome)
        assert found or not theirs, (offset, mask)
        assert outcome != "raised", (offset, mask)
        structure = any("checksum" not in damage.what for damage in found)
        kind = "structure" if structure else "record" if found else "nothing"
        counts[f"{kind}, {'both' if theirs else 'ours only' if found else 'neither'}", outcome] += 1
    assert sum(count for (_kind, outcome), count in counts.items() if outcome == "refused") > 50, counts
    assert counts["nothing, neither", "same"] > 20, counts
    assert counts["structure, both", "refused"] > 20, counts
    print(generation, sorted(counts.items()))


def lmdb_complains(data: Path) -> bool:
    """Whether py-lmdb's own walk over the file finds anything."""
    try:
        return bool(lmdb.verify.verify(str(data), subdir=False))
    except lmdb.verify.VerifyError:
        return True


def read_with_flips(path: Path, flips: list[tuple[int, int]]) -> list[str]:
    child = children.start("flip_and_read", path, stdin=subprocess.PIPE)
    output, _ = child.communicate("".join(f"{offset} {mask}\n" for offset, mask in flips))
    lines = [line.split() for line in output.splitlines()]
    assert [int(line[0]) for line in lines] == [offset for offset, _mask in flips]
    return [line[1] for line in lines]


@pytest.mark.parametrize("content", [b"", bytes(4), bytes(40), b"\xff" * 9])
def test_what_is_left_of_a_snapshot_that_arrived_is_thrown_away_when_it_cannot_be_read(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "arriving").write_bytes(b"x")
    (tmp_path / "arriving.meta").write_bytes(content)
    assert SnapshotDirectory(tmp_path).staged() is None


def test_a_directory_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "format").mkdir()
    with pytest.raises(StorageError, match=f"cannot use {tmp_path / 'format'}: Is a directory"):
        open_store(tmp_path)
