"""What the storage tests run in processes of their own, by name, with `start` or `run`.

A child that is killed, limited or faulted must not take the tests with it. Each prints lines that its test reads.
"""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from graft.errors import StorageError
from graft.interfaces import TABLES, Entry, Turn
from graft.storage import open_reader, open_store

ROOT = Path(__file__).resolve().parents[2]


def start(name: str, *arguments: object, prefix: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[str]:
    """Start the child `name`; its standard output is a pipe."""
    program = f"import sys; sys.path.append({str(ROOT)!r}); from tests.storage import children; children.main()"
    command = [*prefix, sys.executable, "-P", "-c", program, name, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def run(name: str, *arguments: object, prefix: tuple[str, ...] = (), **options: Any) -> tuple[int, list[str]]:
    """The exit code of the child `name` and the lines that it printed."""
    child = start(name, *arguments, prefix=prefix, **options)
    output, _ = child.communicate(timeout=600)
    return child.returncode, output.splitlines()


def say(*words: object) -> None:
    print(*words, flush=True)


def turn_number(n: int, size: int = 200) -> Turn:
    """Turn n: entries 3n-2 … 3n, one value that is overwritten, one that stays; applied two turns later."""
    entries = [Entry(i, n, b"%d:" % i + b"e" * size) for i in range(3 * n - 2, 3 * n + 1)]
    changes = [("runs", b"counter", b"%d" % n), ("values", n.to_bytes(8, "big"), b"%d:" % n + b"v" * size)]
    return Turn(entries=entries, changes=changes, hard_state=b"%d" % n, applied=max(0, 3 * (n - 2)))


def hold(path: str) -> None:
    """Hold the directory until standard input closes."""
    store = open_store(path, command="graft run flow.toml")
    store.commit(turn_number(1))
    say("held", os.getpid())
    sys.stdin.read()
    store.close()


def commit_for_ever(path: str, purge: str) -> None:
    """Commit turns and acknowledge each, until killed."""
    store = open_store(path, quota_bytes=1 << 28, map_bytes=1 << 29)
    n = store.bounds().last // 3
    while True:
        n += 1
        store.commit(turn_number(n))
        say(n)
        if purge == "purge" and n % 10 == 0:
            store.commit(Turn(purge_to=3 * (n - 5)))


def commit_until_refused(path: str, limit: str) -> None:
    """Commit turns until the store refuses one; then read all of it, shrink it, go on, and close."""
    if int(limit):
        store = open_store(path)
        store.close()
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    store = open_store(path, quota_bytes=1 << 30)
    n = 0
    try:
        while n < 2000:
            store.commit(turn_number(n + 1, size=3000))
            n += 1
    except StorageError as error:
        say(type(error).__name__, "after", n, "|", str(error).replace("\n", " "))
    intact = [e.index for e in store.entries(1, 3 * n, 1 << 30)] == list(range(1, 3 * n + 1))
    say("intact", intact and store.get("runs", b"counter") == b"%d" % n)
    try:
        store.commit(Turn(purge_to=3 * n, changes=[("values", i.to_bytes(8, "big"), None) for i in range(1, n)]))
        store.commit(Turn(entries=[Entry(3 * n + 1, 1, b"x" * 3000)]))
        say("goes on", store.bounds().last == 3 * n + 1)
    except StorageError as error:
        say("refuses", type(error).__name__)
    store.close()


def open_as_nobody(path: str, way: str) -> None:
    """Open as a user without rights."""
    os.setgid(65534)
    os.setuid(65534)
    try:
        (open_store if way == "store" else open_reader)(path).close()
        say("opened")
    except StorageError as error:
        say(type(error).__name__, "|", str(error).replace("\n", " |"))


def read_all(path: str) -> None:
    """Everything in a store, one line each, or the name of the error."""
    signal.alarm(300)
    try:
        store = open_reader(path)
        bounds = store.bounds()
        say("bounds", bounds, store.hard_state())
        for entry in store.entries(bounds.first, bounds.last, 1 << 30):
            say("entry", entry.index, entry.term, entry.data.hex())
        for table in TABLES:
            for key, value in store.scan(table):
                say(table, key.hex(), value.hex(), store.get(table, key) == value)
        store.close()
    except StorageError as error:
        say(type(error).__name__, "|", str(error).replace("\n", " |"))
        sys.exit(3)


def hold_a_read(path: str) -> None:
    """Read once, then sleep in the middle of a read transaction until killed."""
    reader = open_reader(path)
    with reader._environment.begin() as transaction:
        say("reading", transaction.id())
        time.sleep(600)


def flip_and_read(path: str) -> None:
    """For each `OFFSET MASK` on standard input: flip these bits of the data file, read all in a fork, put them back.

    Prints `OFFSET same`, `OFFSET different`, `OFFSET refused` or `OFFSET died`. LMDB crashes on some damage, so the
    fork is part of the test.
    """
    data = Path(path) / "store" / "data.mdb"
    expected = digest(path)
    descriptor = os.open(data, os.O_RDWR)
    for line in sys.stdin:
        offset, mask = map(int, line.split())
        original = os.pread(descriptor, 1, offset)
        os.pwrite(descriptor, bytes([original[0] ^ mask]), offset)
        say(offset, outcome_of_reading(path, expected))
        os.pwrite(descriptor, original, offset)


def outcome_of_reading(path: str, expected: bytes) -> str:
    pid = os.fork()
    if pid == 0:
        signal.alarm(120)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            os._exit(0 if digest(path) == expected else 1)
        except StorageError:
            os._exit(2)
        except BaseException:
            traceback.print_exc()
            os._exit(4)
    _pid, status = os.waitpid(pid, 0)
    return {0: "same", 256: "different", 512: "refused"}.get(status, "died" if os.WIFSIGNALED(status) else "raised")


def digest(path: str) -> bytes:
    """A hash of all that a store says."""
    store = open_reader(path)
    bounds = store.bounds()
    found = [bounds, store.hard_state(), store.entries(bounds.first, bounds.last, 1 << 40)]
    for table in TABLES:
        rows = store.scan(table)
        found.append(rows)
        if [store.get(table, key) for key, _value in rows] != [value for _key, value in rows]:
            found.append("get differs")
    store.close()
    return hashlib.sha256(repr(found).encode()).digest()


CHILDREN: dict[str, Callable[..., None]] = {
    child.__name__: child
    for child in (hold, commit_for_ever, commit_until_refused, open_as_nobody, read_all, hold_a_read, flip_and_read)
}


def main() -> None:
    CHILDREN[sys.argv[1]](*sys.argv[2:])
