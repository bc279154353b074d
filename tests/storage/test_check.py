"""When a store is walked, what the walk costs a start, and what happens when it finds something later."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from graft.errors import StorageError, StoreCorrupt
from graft.interfaces import Entry, Turn
from graft.storage import open_reader, open_store, read_holder, verify
from graft.storage.check import BackgroundCheck
from graft.storage.walk import Walk
from tests.storage import children
from tests.storage.test_damage import flip


def unclean(path: Path) -> None:
    """Make the store at `path` look like the store of a killed process."""
    lock = path / "lock"
    lock.write_bytes(lock.read_bytes().replace(b'"closed_at":', b'"closed_at":9'))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    store = open_store(tmp_path / ".graft", quota_bytes=1 << 28)
    store.commit(Turn(entries=[Entry(i, 1, b"entry %d;" % i) for i in range(1, 200)], hard_state=b"vote"))
    store.close()
    return tmp_path / ".graft"


def test_a_stop_in_order_is_noted_with_its_transaction(path: Path) -> None:
    holder = read_holder(path / "lock")
    assert holder is not None
    assert holder.closed_at == 2  # the creation, and one turn
    flip(path, b"entry 77;")
    open_store(path).close()  # not walked: nothing happened since


def test_after_an_unclean_stop_a_small_store_is_walked_at_once(path: Path) -> None:
    unclean(path)
    open_store(path).close()
    unclean(path)
    flip(path, b"entry 77;")
    for _ in range(2):
        with pytest.raises(StoreCorrupt) as caught:
            open_store(path)
        assert str(caught.value) == (
            f"the store in {path} is damaged: log entry 77: its checksum is wrong\n"
            "  nothing was changed; put back a copy of the directory, or move it away to start with an empty one"
        )


def test_a_large_store_is_walked_beside_the_work(path: Path) -> None:
    unclean(path)
    store = open_store(path, inline_check_bytes=0)
    assert store.check is not None
    assert store.check.wait() is None
    assert store.check.report is not None
    assert store.check.report.damages == ()
    assert store.check.report.records == 201
    store.commit(Turn(hard_state=b"on"))
    store.close()
    holder = read_holder(path / "lock")
    assert holder is not None
    assert holder.closed_at == 3


def test_damage_found_beside_the_work_stops_the_store(path: Path) -> None:
    unclean(path)
    flip(path, b"entry 77;")
    store = open_store(path, inline_check_bytes=0)
    deadline = time.monotonic() + 300
    with pytest.raises(StoreCorrupt, match="log entry 77: its checksum is wrong"):  # noqa: PT012
        while time.monotonic() < deadline:
            store.commit(Turn(hard_state=b"%f" % time.monotonic()))
            time.sleep(0.02)
    with pytest.raises(StoreCorrupt):
        store.commit(Turn(hard_state=b"never"))
    store.close()
    with pytest.raises(StoreCorrupt):  # it is walked again
        open_store(path)


def test_a_walk_that_was_cut_off_begins_again(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o700)
    unclean(path)
    monkeypatch.setattr(sys, "executable", str(slow))
    store = open_store(path, inline_check_bytes=0)
    assert store.check is not None
    assert store.check.is_running
    started = time.monotonic()
    store.close()
    assert time.monotonic() - started < 300
    holder = read_holder(path / "lock")
    assert holder is not None
    assert holder.closed_at is None
    flip(path, b"entry 77;")
    with pytest.raises(StoreCorrupt):
        open_store(path)


def test_a_walk_that_cannot_run_harms_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    check = BackgroundCheck(path)
    assert check.wait() is None
    assert check.report is None
    assert check.poll() is None
    check.stop()


def test_a_walk_while_somebody_writes(tmp_path: Path) -> None:
    """The walk's snapshot is pinned: pages that the writer frees are not reused under it."""
    path = tmp_path / ".graft"
    child = children.start("commit_for_ever", path, "purge")
    try:
        assert child.stdout is not None
        child.stdout.readline()
        for _ in range(40):
            report = verify(path)
            assert report.damages == ()
            assert report.records > 0
    finally:
        child.kill()
        child.communicate()


def test_verify_as_a_program(path: Path, tmp_path: Path) -> None:
    def run(where: Path) -> tuple[int, bytes]:
        done = subprocess.run([sys.executable, "-m", "graft.storage", where], capture_output=True, check=False)
        return done.returncode, done.stdout

    code, output = run(path)
    assert code == 0
    assert b'"damages":[]' in output
    flip(path, b"entry 77;")
    code, output = run(path)
    assert code == 3
    assert b'"where":"log entry 77"' in output
    assert run(tmp_path / "none")[0] == 1


def test_verify_where_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no Graft data"):
        verify(tmp_path)


def test_the_walk_agrees_with_the_one_of_lmdb(path: Path) -> None:
    """py-lmdb 3 brings a walker of its own: whatever structure it complains about, ours does too."""
    theirs = pytest.importorskip("lmdb.verify")
    data = path / "store" / "data.mdb"
    content = bytearray(data.read_bytes())
    assert theirs.verify(str(data), subdir=False) == []
    found = 0
    for offset in range(8192, len(content), 37):
        content[offset] ^= 0x21
        data.write_bytes(content)
        ours = Walk(lambda start, size: bytes(content[start : start + size])).run()
        if theirs.verify(str(data), subdir=False):
            assert ours, offset
            found += 1
        content[offset] ^= 0x21
    assert found > 5


# Readers


def test_a_reader_follows_a_writer(tmp_path: Path) -> None:
    path = tmp_path / ".graft"
    child = children.start("commit_for_ever", path, "purge")
    try:
        assert child.stdout is not None
        child.stdout.readline()
        reader = open_reader(path)
        seen: list[int] = []
        deadline = time.monotonic() + 300
        while (not seen or seen[-1] < seen[0] + 20) and time.monotonic() < deadline:
            bounds = reader.bounds()
            entries = reader.entries(bounds.first, bounds.last, 1 << 30)
            indexes = [entry.index for entry in entries]
            if indexes:  # else the writer has purged all of them since
                assert indexes == list(range(indexes[0], indexes[-1] + 1))
                assert indexes[-1] >= bounds.last
            seen.append(int(reader.get("runs", b"counter") or b"0"))
            assert len(reader.scan("values", limit=5)) > 0
        assert seen == sorted(seen)
        assert seen[-1] >= seen[0] + 20
        assert reader.usage().used_bytes > 0
        reader.close()
    finally:
        child.kill()
        child.communicate()


def test_a_dead_reader_does_not_pin_pages_for_ever(tmp_path: Path) -> None:
    path = tmp_path / ".graft"
    store = open_store(path)
    store.commit(Turn(hard_state=b"0"))
    child = children.start("hold_a_read", path)
    assert child.stdout is not None
    child.stdout.readline()

    def grow(turns: int) -> int:
        before = (path / "store" / "data.mdb").stat().st_size
        for n in range(turns):
            store.commit(Turn(changes=[("runs", b"k", b"%d" % n + b"v" * 40_000)]))
        return (path / "store" / "data.mdb").stat().st_size - before

    assert grow(100) > 3_000_000  # a live reader pins what it sees
    child.kill()
    child.communicate()
    store.forget_dead_readers()
    assert grow(100) == 0
    store.close()
