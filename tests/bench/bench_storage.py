"""What the store costs, beside the floor of this machine: `python tests/bench/bench_storage.py [--runs 100000]`.

The floor is LMDB alone: one small record, one commit, one fsync. Everything of ours is printed as a multiple of it,
because the disk decides more than the code: the same machine gives 0.25 ms in one minute and 8 ms in the next when
something else writes to the disk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import lmdb

from graft.interfaces import Change, Entry, Turn
from graft.storage import LmdbStore, open_store, verify

ROUNDS = 200


def milliseconds(work: Callable[[int], object], rounds: int = ROUNDS) -> list[float]:
    """How long each round took, sorted."""
    times = []
    for n in range(1, rounds + 1):
        started = time.perf_counter()
        work(n)
        times.append((time.perf_counter() - started) * 1000)
    return sorted(times)


def show(name: str, times: list[float], floor: float | None = None) -> float:
    median = statistics.median(times)
    ratio = "" if floor is None else f"   {median / floor:6.2f} × floor"
    print(f"{name:44} median {median:8.3f} ms   p99 {times[int(len(times) * 0.99) - 1]:8.3f} ms{ratio}")
    return median


def key(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(8, "big") for number in numbers)


# The floor


def floor(directory: Path) -> float:
    """One record of 100 bytes, one commit, one fsync, by LMDB alone."""
    directory.mkdir()
    environment = lmdb.Environment(str(directory), map_size=1 << 30)

    def commit(n: int) -> None:
        with environment.begin(write=True) as transaction:
            transaction.put(key(n), b"x" * 100)

    times = milliseconds(commit)
    environment.close()
    return show("floor: one LMDB commit with fsync", times)


def floor_of_bytes(directory: Path, rows: int, size: int) -> float:
    """`rows` new records of `size` bytes in one commit, ready-made, by LMDB alone."""
    directory.mkdir()
    environment = lmdb.Environment(str(directory), map_size=1 << 32)
    batches = iter([[(key(n, i), b"x" * size) for i in range(rows)] for n in range(40)])

    def commit(_n: int) -> None:
        with environment.begin(write=True) as transaction:
            transaction.cursor().putmulti(next(batches))

    times = milliseconds(commit, 40)
    environment.close()
    return show(f"floor: {rows} ready-made records in one commit", times)


# Ours


def small_turn(n: int) -> Turn:
    """What one step of a chain writes: its entry, its record, its result."""
    changes: list[Change] = [("steps", key(1, n), b"s" * 90), ("values", key(1, n), b"v" * 60)]
    return Turn(entries=[Entry(n, 1, b"e" * 150)], changes=changes, applied=n)


def big_turn(n: int) -> Turn:
    """1000 entries and 3000 changes; a third of the changes replace one of the same turn."""
    first = 1000 * (n - 1) + 1
    changes: list[Change] = []
    for i in range(1000):
        changes += [("steps", key(n, i), b"s" * 80), ("values", key(n, i), b"v" * 60), ("steps", key(n, i), b"t" * 90)]
    return Turn(entries=[Entry(first + i, 1, b"e" * 150) for i in range(1000)], changes=changes, applied=first)


def turns(directory: Path, make: Callable[[int], Turn], rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of whole commits, and of the part up to `staged`."""
    store = open_store(directory)
    ready = iter([make(n) for n in range(1, rounds + 1)])
    staging = []

    def commit(_n: int) -> None:
        started = time.perf_counter()
        store.commit(next(ready), lambda: staging.append((time.perf_counter() - started) * 1000))

    whole = milliseconds(commit, rounds)
    store.close()
    return whole, sorted(staging)


def beside_a_busy_thread(directory: Path, handshake: bool) -> float:
    """Milliseconds of a big turn committed by a thread while this one computes, waiting for `staged` or not."""
    store = open_store(directory)
    times = []
    for n in range(1, 6):
        turn, staged, done = big_turn(n), threading.Event(), threading.Event()

        def commit(turn: Turn = turn, staged: threading.Event = staged, done: threading.Event = done) -> None:
            store.commit(turn, staged.set)
            done.set()

        started = time.perf_counter()
        thread = threading.Thread(target=commit)
        thread.start()
        if handshake:
            staged.wait()
        while not done.is_set():
            sum(range(200))
        times.append((time.perf_counter() - started) * 1000)
        thread.join()
    store.close()
    return statistics.median(times)


def reads(store: LmdbStore) -> None:
    some = store.scan("steps", limit=1)[0][0]
    for name, read in {
        "get, there": lambda: store.get("steps", some),
        "get, not there": lambda: store.get("steps", key(1 << 40)),
        "scan of 100": lambda: store.scan("values", limit=100),
        "100 entries of the log": lambda: store.entries(1, 100, 1 << 30),
    }.items():
        rounds = 2000
        started = time.perf_counter()
        for _ in range(rounds):
            read()
        print(f"{name:44} {(time.perf_counter() - started) / rounds * 1e6:8.2f} µs")


def many_runs(directory: Path, count: int) -> None:
    """Opening a store with `count` finished runs of five steps, and walking it."""
    store = open_store(directory)
    for base in range(0, count, 1000):
        changes: list[Change] = []
        for run in range(base, min(base + 1000, count)):
            changes += [("runs", key(run), b"r" * 200), ("keys", key(run * 7919 % count, run), key(run))]
            changes += [("steps", key(run, i), b"s" * 90) for i in range(5)]
            changes += [("values", key(run, i), b"v" * 60) for i in range(5)]
            changes += [("events", key(run, i), b"e" * 300) for i in range(2)]
        store.commit(Turn(changes=changes))
    store.close()
    megabytes = (directory / "store" / "data.mdb").stat().st_size >> 20
    os.sync()

    def reopen(_n: int) -> None:
        open_store(directory).close()

    show(f"open and close, {count} runs, {megabytes} MiB", milliseconds(reopen, 20))
    report = verify(directory)
    print(f"{'walk of all of it':44} {report.seconds:8.2f} s    {report.records} records, {report.pages} pages")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="graft-bench-", dir=Path.cwd()) as name:
        directory = Path(name)
        one = floor(directory / "floor")
        whole, staging = turns(directory / "small", small_turn, ROUNDS)
        show("commit of one step's turn", whole, one)
        show("  of that until only the sync is left", staging, one)
        thousand = floor_of_bytes(directory / "bytes", 3000, 100)
        whole, staging = turns(directory / "big", big_turn, 40)
        show("commit of 1000 entries and 3000 changes", whole, thousand)
        show("  of that until only the sync is left", staging, thousand)
        print(f"{'again, beside a busy thread':44} {beside_a_busy_thread(directory / 'busy', False):8.1f} ms")
        print(f"{'again, and that one waits for `staged`':44} {beside_a_busy_thread(directory / 'wait', True):8.1f} ms")
        store = open_store(directory / "big")
        reads(store)
        store.close()
        many_runs(directory / "many", arguments.runs)


if __name__ == "__main__":
    main()
