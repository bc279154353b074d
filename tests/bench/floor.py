"""What this machine can do at best, measured beside every figure: a figure without its floor says nothing."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import trio


def median_of(times: int, measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(times))


def commit_seconds(directory: Path | None = None) -> float:
    """One LMDB commit of one small record with fsync: the median of 200."""
    with tempfile.TemporaryDirectory(dir=directory) as path:
        environment = lmdb.open(path, map_size=1 << 30)
        taken = []
        for i in range(200):
            began = time.perf_counter()
            with environment.begin(write=True) as transaction:
                transaction.put(i.to_bytes(8, "big"), b"x" * 200)
            taken.append(time.perf_counter() - began)
        environment.close()
    return statistics.median(taken)


def trio_task_seconds(tasks: int = 5000) -> float:
    """Start and end of one Trio task that does nothing."""

    async def nothing() -> None:
        pass

    async def main() -> float:
        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(tasks):
                nursery.start_soon(nothing)
        return (time.perf_counter() - began) / tasks

    return trio.run(main)


def python_seconds() -> float:
    """A Python process that does nothing: the median of 7."""

    def once() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        return time.perf_counter() - began

    return median_of(7, once)


def row(what: str, value: str, floor: str = "", ratio: float | None = None, aim: str = "") -> None:
    """One line: the figure, the floor and the ratio between them, the aim."""
    beside = f"  floor {floor}  ratio {ratio:.2f}" if ratio is not None else ""
    print(f"{what:<42} {value:>14}{beside}" + (f"  (aim: {aim})" if aim else ""), flush=True)


__all__: list[Any] = ["commit_seconds", "median_of", "python_seconds", "row", "trio_task_seconds"]
