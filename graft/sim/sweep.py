"""Many seeds, on several cores: what failed, what fired, how fast.

Seeds go to worker processes in blocks; results come back in order, so the output of a sweep depends on nothing but its
seeds. A fault that never struck is a failure of the sweep, not a success of the code: `missing` names those.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context

from attrs import Factory, define

from graft.raft.buggify import POINTS
from graft.sim.bugbank import BY_NAME, hunt
from graft.sim.chaos import FUSES, STRIKES
from graft.sim.faults import draw
from graft.sim.world import run

BLOCK = 25
ENOUGH_SEEDS = 1_000  # for every fault to have struck
ENOUGH_FOR_RARE = 20_000

REQUIRED: frozenset[str] = frozenset(
    set(STRIKES)
    | {"net.cut", "net.drop", "net.duplicate", "net.overflow", "net.replayed", "membership.done", "transfer.done"}
    | {"disk.unsynced_lost", "disk.torn", "disk.snapshot_failed", "disk.scrub_found", "disk.corrupt_read"}
    | {"disk.misdirected_stale", "stopped.rolled_back", "stopped.version", "version.done", "version.unsupported"}
    | {f"crash_before.{name}" for name in FUSES}
    | {f"buggify.{point}" for point in POINTS}
    | {"client.timeout", "client.elsewhere", "client.lost_reply", "client.duplicate", "client.echo"}
    | {"snapshot.installed"}
    | {"reached.truncation", "reached.truncation_unsynced", "reached.lease_read"}
    | {"reached.hold_full", "reached.hold_silent", "reached.drill"}
)
"""What must have happened at least once in a sweep of `ENOUGH_SEEDS` seeds."""

RARE: frozenset[str] = frozenset({"stopped.version", "disk.misdirected_stale"})
"""What only `ENOUGH_FOR_RARE` seeds are sure to bring about: it happens once in a thousand seeds, or less often."""


@define
class Summary:
    """`failures`: (seed, rule, text). `seconds` is processor time, summed over the workers."""

    seeds: int = 0
    events: int = 0
    seconds: float = 0.0
    failures: list[tuple[int, str, str]] = Factory(list)
    fired: Counter[str] = Factory(Counter)

    def add(self, other: Summary) -> None:
        self.seeds += other.seeds
        self.events += other.events
        self.seconds += other.seconds
        self.failures += other.failures
        self.fired += other.fired

    def missing(self) -> list[str]:
        """Faults that never struck, if there were seeds enough for all of them."""
        if self.seeds < ENOUGH_SEEDS:
            return []
        return sorted(REQUIRED - set(self.fired) - (RARE if self.seeds < ENOUGH_FOR_RARE else set()))


def work(seeds: Sequence[int]) -> Summary:
    """Run each seed's plan, in this process."""
    summary = Summary()
    began = time.process_time()
    for seed in seeds:
        result = run(draw(seed))
        summary.seeds += 1
        summary.events += result.events
        summary.fired.update(result.fired)
        if not result.ok:
            summary.failures.append((seed, result.rule, result.text))
    summary.seconds = time.process_time() - began
    return summary


def sweep(seeds: Iterable[int], jobs: int, tell: Callable[[Summary], None] = lambda summary: None) -> Summary:
    """Run all seeds on `jobs` processes. `tell` gets the sum so far after each block."""
    total = Summary()
    rest = iter(seeds)
    blocks = list(iter(lambda: list(islice(rest, BLOCK)), []))
    if jobs == 1:
        for block in blocks:
            total.add(work(block))
            tell(total)
        return total
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for summary in pool.map(work, blocks):
            total.add(summary)
            tell(total)
    return total


@define
class Hunt:
    """How a planted bug was found in one range of seeds. `seeds`: how many it took, 0 when it was not found."""

    bug: str
    first: int
    seeds: int
    rule: str
    events: int
    seconds: float


def hunt_one(task: tuple[str, int, int]) -> Hunt:
    name, first, limit = task
    began = time.process_time()
    result = hunt(BY_NAME[name], first, limit)
    seconds = time.process_time() - began
    if result is None:
        return Hunt(name, first, 0, "", 0, seconds)
    return Hunt(name, first, result.plan.seed - first + 1, result.rule, result.events, seconds)


def hunt_all(
    names: Sequence[str], ranges: int, limit: int, jobs: int, tell: Callable[[Hunt], None] = lambda hunt: None
) -> list[Hunt]:
    """Hunt each bug in `ranges` disjoint ranges of `limit` seeds, beginning at 1,000,000."""
    tasks = [(name, 1_000_000 + number * limit, limit) for name in names for number in range(ranges)]
    found = []
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for one in pool.map(hunt_one, tasks):
            found.append(one)
            tell(one)
    return found
