"""`python -m tests.chaos`: faults in random order for some minutes, under load; `nox -s chaos` calls it.

`GRAFT_CHAOS_MINUTES` (5), `GRAFT_CHAOS_SEED` (drawn, and printed), `GRAFT_CHAOS_MEMBERS` ("3 5": rounds of three and of
five members by turns), `GRAFT_CHAOS_FAULTS` (names; all). A round is a new cluster, eight faults one after the other,
and a verdict. The order of the faults depends on the seed only; what they meet does not.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import trio

from tests.chaos.faults import FAULTS
from tests.chaos.fleet import open_fleet
from tests.chaos.load import Load
from tests.chaos.verdict import judge

FAULTS_A_ROUND: Final = 8
SETTINGS: Final = {"lease": "2s", "grace": "0.5s", "resources.total": 8}


async def one_round(members: int, faults: list[str], seed: int, until: float) -> None:
    """Raises AssertionError, TooSlowError."""
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="graft-chaos-") as directory:
        base = Path(directory)
        async with open_fleet(base, "abcde"[:members], relayed=True, **SETTINGS) as fleet:
            load = Load(fleet, base / "flows", rate=5, seed=seed)
            finished = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(load.run, finished)
                for name in faults:
                    if time.monotonic() < until:
                        print(f"  {name}", flush=True)
                        await FAULTS[name](fleet, dice)
                finished.set()
            print(f"  {await judge(load)}", flush=True)


def main() -> int:
    minutes = float(os.environ.get("GRAFT_CHAOS_MINUTES", "5"))
    seed = int(os.environ.get("GRAFT_CHAOS_SEED") or random.SystemRandom().randrange(1_000_000))
    sizes = [int(size) for size in os.environ.get("GRAFT_CHAOS_MEMBERS", "3 5").split()]
    names = os.environ.get("GRAFT_CHAOS_FAULTS", "").split() or sorted(FAULTS)
    print(f"seed {seed}, {minutes:g} minutes", flush=True)
    dice, number = random.Random(seed), 0
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        members = sizes[number % len(sizes)]
        faults = [dice.choice(names) for _ in range(FAULTS_A_ROUND)]
        print(f"round {number}: {members} members", flush=True)
        trio.run(one_round, members, faults, dice.randrange(1 << 30), end)
        number += 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
