"""Disks that are full, limited, read-only or broken: the right error, nothing lost, and the store opens again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from graft.errors import StoreFull, StoreReadOnly
from graft.interfaces import Turn
from graft.storage import open_store, verify
from tests.storage import children

STRACE = shutil.which("strace")


def check_survivor(path: Path, turns: int) -> None:
    """The store holds exactly the turns 1 … `turns` (less what the child purged), or shrank and went on after."""
    report = verify(path)
    assert report.damages == ()
    store = open_store(path)
    assert store.get("runs", b"counter") == b"%d" % turns
    store.close()


# Full


def test_a_file_size_limit(tmp_path: Path) -> None:
    """`ulimit -f`: the kernel's SIGXFSZ is ignored by Python, LMDB reports EIO, the probe finds the limit."""
    path = tmp_path / ".graft"
    code, lines = children.run("commit_until_refused", path, 1 << 20)
    assert code == 0
    error, _, turns, *_ = lines[0].split()
    assert error == "StoreFull"
    assert int(turns) > 10
    assert f"no space left for {path}" in lines[0]
    assert "nothing that was recorded is lost" in lines[0]
    assert lines[1:] == ["intact True", "goes on True"]
    check_survivor(path, int(turns))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk]).returncode:
        pytest.skip("cannot mount a small tmpfs here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    path = small_disk / ".graft"
    code, lines = children.run("commit_until_refused", path, 0)
    assert code == 0
    error, _, turns, *_ = lines[0].split()
    assert error == "StoreFull"
    assert lines[1:] == ["intact True", "goes on True"]
    check_survivor(path, int(turns))


def test_a_disk_that_is_full_from_the_start(small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(bytes((1 << 21) - 8192))
    with pytest.raises(StoreFull, match=r"no space left for .*\.graft"):
        open_store(small_disk / ".graft")
    (small_disk / "filler").unlink()
    open_store(small_disk / ".graft").close()


def test_a_read_only_disk(small_disk: Path) -> None:
    path = small_disk / ".graft"
    store = open_store(path)
    store.commit(Turn(hard_state=b"x"))
    store.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StoreReadOnly) as caught:
        open_store(path)
    assert str(caught.value) == (
        f"cannot use {path}: Read-only file system\n"
        "  give yourself the right to write there, or name another directory with --data"
    )
    with pytest.raises(StoreReadOnly):
        open_store(small_disk / "other")
    code, lines = children.run("read_all", path)  # reading needs no right to write
    assert (code, lines[0].split()[-1]) == (0, "b'x'")


# Broken


@pytest.mark.skipif(STRACE is None, reason="needs strace to inject faults")
@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
def test_a_broken_disk_stops_the_store(tmp_path: Path, call: str) -> None:
    """From some call on, every write or every sync fails: the store stops, and what was acknowledged is there."""
    path = tmp_path / ".graft"
    open_store(path).close()
    inject = (
        STRACE or "",
        "-f",
        "-qq",
        "-o",
        os.devnull,
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:error=EIO:when=25+",
    )
    code, lines = children.run("commit_until_refused", path, 0, prefix=inject)
    assert (code, lines[1:]) == (0, ["intact True", "refuses SyncFailed"])
    error, _, turns, *_ = lines[0].split()
    assert error == "SyncFailed"
    assert f"writing to {path} failed: " in lines[0]
    store = open_store(path)
    assert int(turns) <= int(store.get("runs", b"counter") or b"0") <= int(turns) + 1
    store.close()
    assert verify(path).damages == ()
