"""Bad data directories, each with its message; the format; the lock that names its holder."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from attrs import evolve

from graft.errors import StorageError, StoreCorrupt, StoreFormatUnknown, StoreHeld
from graft.interfaces import Turn
from graft.storage import open_reader, open_store, read_holder
from graft.storage.directory import FORMAT, Layout, bring_up_to_date, write_format
from graft.storage.lock import DirectoryLock, Holder, start_ticks
from tests.storage import children

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root to become somebody else")


def refuse(path: Path, error: type[StorageError] = StorageError) -> str:
    """The message with which both ways to open `path` refuse it."""
    with pytest.raises(error) as caught:
        open_store(path)
    return str(caught.value)


# What the path is


def test_directories_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / ".graft"
    open_store(path).close()
    assert sorted(os.listdir(path)) == [".gitignore", "format", "lock", "store"]
    assert path.stat().st_mode & 0o777 == 0o700
    assert (path / "store" / "data.mdb").stat().st_mode & 0o777 == 0o600
    open_store(path).close()


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    assert (tmp_path / "format").exists()


def test_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flow.toml"
    path.write_text("x")
    assert refuse(path) == f"{path} is a file, not a directory\n  name another directory with --data"
    assert refuse(path / ".graft") == f"{path} is a file, not a directory\n  name another directory with --data"
    assert path.read_text() == "x"


def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    assert refuse(tmp_path) == (
        f"{tmp_path} is not empty and holds no Graft data\n  name another directory with --data"
    )
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_reading_where_there_is_nothing(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(StorageError, match=f"there is no Graft data in {path}"):
            open_reader(path)
    assert os.listdir(tmp_path) == []


def let_all_look_into(path: Path) -> None:
    """Also into what pytest made around it."""
    for each in (path, *path.parents):
        if "pytest-" in str(each):
            each.chmod(0o755)


@as_root
def test_a_directory_of_somebody_else(tmp_path: Path) -> None:
    let_all_look_into(tmp_path)
    path = tmp_path / ".graft"
    assert children.run("open_as_nobody", path, "store")[1] == [
        f"StoreReadOnly | cannot use {path}: Permission denied"
        " |  give yourself the right to write there, or name another directory with --data"
    ]
    open_store(path).close()
    path.chmod(0o755)
    (path / "store").chmod(0o755)
    for way in ("store", "reader"):
        [line] = children.run("open_as_nobody", path, way)[1]
        assert line.startswith(f"StoreReadOnly | cannot use {path}: Permission denied"), line


@as_root
def test_a_directory_without_the_right_to_write(tmp_path: Path) -> None:
    let_all_look_into(tmp_path)
    path = tmp_path / ".graft"
    path.mkdir(mode=0o555)
    [line] = children.run("open_as_nobody", path, "store")[1]
    assert line.startswith(f"StoreReadOnly | cannot use {path}: Permission denied |  give yourself the right"), line
    assert os.listdir(path) == []


# The format


def test_a_newer_format_is_refused_before_anything_else(tmp_path: Path) -> None:
    path = tmp_path / ".graft"
    open_store(path).close()
    (path / "format").write_text('{"format":7,"made_by":"graft 9.1.0"}\n')
    (path / "store" / "data.mdb").write_bytes(b"a layout that nobody knows")
    before = (path / "store" / "data.mdb").read_bytes(), (path / "lock").read_bytes()
    for way in (open_store, open_reader):
        with pytest.raises(StoreFormatUnknown) as caught:
            way(path)
        assert re.fullmatch(
            rf"{path} has storage format 7, written by graft 9.1.0; "
            rf"this is graft \S+, which knows formats up to {FORMAT}\n"
            r"  use that version or a newer one; nothing was changed",
            str(caught.value),
        )
    assert ((path / "store" / "data.mdb").read_bytes(), (path / "lock").read_bytes()) == before


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"format":"x","made_by":""}', "\0\0\0"])
def test_a_format_file_that_cannot_be_read(tmp_path: Path, content: str) -> None:
    path = tmp_path / ".graft"
    open_store(path).close()
    (path / "format").write_text(content)
    assert refuse(path, StoreCorrupt).startswith(f"{path}/format cannot be read: ")


def test_a_missing_format_or_store_is_not_a_new_directory(tmp_path: Path) -> None:
    path = tmp_path / ".graft"
    open_store(path).close()
    (path / "format").rename(tmp_path / "format")
    assert f"{path}/format is missing" in refuse(path, StoreCorrupt)
    (tmp_path / "format").rename(path / "format")
    (path / "store").rename(tmp_path / "store")
    assert f"{path}/store is missing" in refuse(path, StoreCorrupt)
    (tmp_path / "store").rename(path / "store")
    (path / "store" / "data.mdb").unlink()
    assert f"{path}/store/data.mdb is missing" in refuse(path, StoreCorrupt)


@pytest.mark.parametrize("left", [["lock"], ["lock", "format.new"], ["lock", "store.new"], ["store.new", "format"]])
def test_a_start_that_died_early_is_finished_by_the_next(tmp_path: Path, left: list[str]) -> None:
    path, other = tmp_path / ".graft", tmp_path / "other"
    open_store(other).close()
    path.mkdir()
    for name in left:
        if name == "store.new":
            (path / name).mkdir()
            (path / name / "data.mdb").write_bytes((other / "store" / "data.mdb").read_bytes()[:5000])
        else:
            (path / name).write_bytes((other / name).read_bytes() if name == "format" else b"")
    store = open_store(path)
    store.commit(Turn(hard_state=b"x"))
    store.close()
    assert sorted(os.listdir(path)) == [".gitignore", "format", "lock", "store"]


def test_migrations_run_step_by_step_and_survive_a_crash(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    write_format(layout, FORMAT - 2)
    ran: list[str] = []

    def step(name: str, layout: Layout) -> None:
        ran.append(name)
        if name == "b" and ran.count("b") == 1:
            raise RuntimeError("crash")

    steps = {FORMAT - 2: lambda layout: step("a", layout), FORMAT - 1: lambda layout: step("b", layout)}
    with pytest.raises(RuntimeError):
        bring_up_to_date(layout, steps)
    bring_up_to_date(layout, steps)
    assert ran == ["a", "b", "b"]
    bring_up_to_date(layout, steps)
    assert ran == ["a", "b", "b"]


def test_an_old_format_without_a_migration_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    write_format(layout, FORMAT - 1)
    with pytest.raises(StoreFormatUnknown, match="use an older version of Graft; nothing was changed"):
        bring_up_to_date(layout, {})


# The lock


def test_the_holder_is_named(tmp_path: Path) -> None:
    path = tmp_path / ".graft"
    child = children.start("hold", path, stdin=children.subprocess.PIPE)
    try:
        assert child.stdout is not None
        pid = int(child.stdout.readline().split()[1])
        with pytest.raises(StoreHeld) as caught:
            open_store(path)
        assert re.fullmatch(
            rf"{path} is held by process {pid} \(graft run flow.toml, since \d\d:\d\d\)\n"
            r"  wait until it is done, stop it, or name another directory with --data",
            str(caught.value),
        )
        assert caught.value.pid == pid
        # A reader needs no lock.
        reader = open_reader(path)
        assert reader.get("runs", b"counter") == b"1"
        assert reader.holder is not None
        assert reader.holder.is_alive()
        reader.close()
    finally:
        child.communicate()
    store = open_store(path)
    assert store.get("runs", b"counter") == b"1"
    store.close()


def test_this_process_may_not_open_it_twice(tmp_path: Path) -> None:
    path = tmp_path / ".graft"
    store = open_store(path, command="graft test")
    with pytest.raises(StoreHeld, match=rf"is held by process {os.getpid()} \(graft test, since"):
        open_store(path)
    with pytest.raises(StorageError, match="already open in this process"):
        open_reader(path)
    store.commit(Turn(hard_state=b"unharmed"))
    store.close()


def test_a_killed_holder_leaves_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for either."""
    monkeypatch.setattr("graft.storage.lock.ORPHAN_PATIENCE_SECONDS", 600.0)
    path = tmp_path / ".graft"
    child = children.start("hold", path, stdin=children.subprocess.PIPE)
    assert child.stdout is not None
    pid = int(child.stdout.readline().split()[1])
    child.kill()
    child.communicate()
    holder = read_holder(path / "lock")
    assert holder is not None
    assert (holder.pid, holder.is_alive(), holder.closed_at) == (pid, False, None)
    started = time.monotonic()
    store = open_store(path)
    assert time.monotonic() - started < 300
    store.close()


def test_a_reused_process_number_is_not_the_holder() -> None:
    ours = Holder.of_this_process("graft")
    assert ours.is_alive()
    assert start_ticks(os.getpid()) == ours.started > 0
    assert not evolve(ours, started=ours.started - 1).is_alive()
    assert not evolve(ours, boot="another boot").is_alive()


def test_a_lock_that_outlives_its_holder_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graft.storage.lock.ORPHAN_PATIENCE_SECONDS", 0.1)
    path = tmp_path / "lock"
    lock = DirectoryLock.take(path, "graft run")
    lock._write(evolve(lock.holder, started=1))
    with pytest.raises(StoreHeld, match=r"still held by something that process \d+ \(graft run, .* left behind"):
        DirectoryLock.take(path)
    lock.release(None)
    DirectoryLock.take(path).release(None)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff\xfe", b"[]", b'{"pid":"x"}', b"7", b"{}" * 9000])
def test_a_lock_file_with_any_content(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / ".graft"
    open_store(path).close()
    (path / "lock").write_bytes(content)
    open_store(path).close()
    holder = read_holder(path / "lock")
    assert holder is not None
    assert holder.pid == os.getpid()


def test_times_and_hosts_in_a_name() -> None:
    holder = evolve(Holder.of_this_process("graft run"), since=0.0, host="elsewhere", pid=7)
    assert re.fullmatch(
        r"process 7 on host elsewhere \(graft run, since 19\d\d-\d\d-\d\d \d\d:\d\d\)", holder.describe()
    )
