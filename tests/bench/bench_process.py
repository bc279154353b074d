"""Whole processes: how long `graft --help` and a small run take, how much memory; how fast a large store opens."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from graft.cluster.embedded import open_embedded
from graft.engine.records import Run, encode_record, id_key, run_key
from graft.interfaces import Turn
from graft.storage import open_store
from tests.bench.floor import python_seconds, row

HELLO = Path("examples/hello/flow.toml").absolute()
FINISHED, REPEATS = 100_000, 7


def process(*words: str, cwd: str) -> tuple[float, float]:
    """Wall seconds and peak memory (MiB, the largest single process) of one `graft` command."""
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "graft", *words], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, f"graft {words} exited with {child.returncode}"
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def measure(what: str, aim: str, floor: float, *words: str) -> None:
    with tempfile.TemporaryDirectory() as cwd:
        process(*words, cwd=cwd)
        taken = [process(*words, cwd=cwd) for _ in range(REPEATS)]
    seconds = statistics.median(wall for wall, _ in taken)
    memory = statistics.median(peak for _, peak in taken)
    row(what, f"{seconds:.3f} s {memory:.0f} MiB", f"{floor:.3f} s", seconds / floor, aim)


def fill(path: Path) -> None:
    store = open_store(path)
    for first in range(1, FINISHED + 1, 2000):
        changes: list[tuple[str, bytes, bytes | None]] = []
        for no in range(first, first + 2000):
            run = Run(no=no, id=f"run-{no}", name="f", plan="0" * 64, status="succeeded", ended_wall=1)
            changes += [("runs", run_key(no), encode_record(run)), ("keys", id_key(run.id), run_key(no))]
        store.commit(Turn(changes=changes))
    store.close()


async def open_once(path: Path) -> float:
    began = time.perf_counter()
    async with open_embedded(path):
        return time.perf_counter() - began


def main() -> None:
    floor = python_seconds()
    measure("graft --help", "0.150 s", floor, "--help")
    measure("graft run examples/hello/flow.toml", "0.6 s, 80 MiB", floor, "run", str(HELLO))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "data"
        fill(path)
        seconds = statistics.median(trio.run(open_once, path) for _ in range(REPEATS))
        row(f"open a store with {FINISHED} finished runs", f"{seconds:.3f} s", aim="0.3 s")


if __name__ == "__main__":
    main()
