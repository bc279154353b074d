"""The benchmark of a cluster runs; what it measures is for `python -m tests.bench cluster` on a quiet machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_every_part_of_the_benchmark_gives_its_figures() -> None:
    code = "from tests.bench.bench_cluster import SMALL, main; main([], SMALL)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    for what in (
        r"idle, leader [abc] +\d+\.\d+% \d+ MiB",
        r"idle, follower [abc] +\d+\.\d+% \d+ MiB",
        r"watch through another member, median +\d+\.\d ms",
        r"chain of 3 +\d+\.\d+ ms/step",
        r"fan-out of 10 +\d+ steps/s",
        r"4 in flight, 256 bytes, at the leader +\d+ /s",
        r"one in flight, through another +\d+\.\d+ ms",
        r"run starts, one client of the leader +\d+ /s",
        r"CPU in us a start: leader \d+, followers \d+, all worker hosts \d+, client \d+",
    ):
        assert re.search(what, ran.stdout), ran.stdout
