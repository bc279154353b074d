"""A failure with as little as it needs: fewer faults, calmer links, fewer members, a shorter run.

Delta debugging (Zeller & Hildebrandt, *Simplifying and isolating failure-inducing input*, TSE 2002) over the schedule
of faults, then one field of the plan after the other set to its quiet default. Everything is in the plan, so "does it
still fail?" is one more run. A run fails *in the same way* when it breaks the same rule.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from graft.sim.faults import Fault, Plan
from graft.sim.network import Rates
from graft.sim.world import Result, run

_IN_ORDER = Rates(delay_us=0, floor_us=500)  # nothing lost, first in first out


def shrink(result: Result, *, runs: int = 600, show: Callable[[Plan], None] = lambda plan: None) -> Result:
    """The smallest plan found that fails like `result`, by at most `runs` runs. `show` is told of each smaller one.

    Raises ValueError when `result` did not fail.
    """
    if result.ok:
        raise ValueError("there is nothing to shrink: the run did not fail")
    return _Shrinker(result, runs, show).work()


class _Shrinker:
    def __init__(self, result: Result, runs: int, show: Callable[[Plan], None]) -> None:
        self.best = result
        self.left = runs
        self.show = show

    def work(self) -> Result:
        size = None
        while size != (size := self._size()) and self.left > 0:
            self._end_early()
            self._fewer_faults()
            self._quieter()
            self._shorter_faults()
        return self.best

    def _size(self) -> tuple[int, str]:
        return len(self.best.plan.faults), self.best.plan.dumps()

    def _try(self, plan: Plan) -> bool:
        """Keep `plan` if it fails in the same way."""
        if self.left <= 0 or plan == self.best.plan:
            return False
        self.left -= 1
        result = run(plan)
        if result.rule != self.best.rule:
            return False
        self.best = result
        self.show(plan)
        return True

    def _end_early(self) -> None:
        """What comes after the failure is not needed."""
        plan = self.best.plan
        if self.best.virtual_us < plan.safety_us:
            cut = tuple(f for f in plan.faults if f.at_us <= self.best.virtual_us)
            self._try(evolve(plan, faults=cut, safety_us=self.best.virtual_us + 1_000))

    def _fewer_faults(self) -> None:
        """ddmin: leave out blocks of faults, of ever smaller size."""
        size = max(1, len(self.best.plan.faults) // 2)
        while size:
            start = 0
            while start < len(self.best.plan.faults):
                faults = self.best.plan.faults
                if not self._try(evolve(self.best.plan, faults=faults[:start] + faults[start + size :])):
                    start += size
            size //= 2

    def _quieter(self) -> None:
        """One field after the other as in the plainest plan."""
        plain = Plan(self.best.plan.seed)
        for rates in (_IN_ORDER, plain.rates):
            if self._try(evolve(self.best.plan, rates=rates)):
                break
        for name in QUIET:
            self._try(evolve(self.best.plan, **{name: getattr(plain, name)}))
        for clients in range(1, self.best.plan.clients):
            if self._try(evolve(self.best.plan, clients=clients)):
                break

    def _shorter_faults(self) -> None:
        for position, fault in enumerate(self.best.plan.faults):
            self._swap(position, evolve(fault, for_us=fault.for_us // 2))

    def _swap(self, position: int, fault: Fault) -> None:
        faults = list(self.best.plan.faults)
        faults[position] = fault
        self._try(evolve(self.best.plan, faults=tuple(faults)))


QUIET = (
    "voters",
    "learners",
    "disk_us",
    "torn",
    "snapshot_fails",
    "skew_us",
    "drift_ppm",
    "keys",
    "think_us",
    "lost_replies",
    "duplicated",
    "patience_us",
    "election_seconds",
    "heartbeat_seconds",
    "pre_vote",
    "check_quorum",
    "lease_reads",
    "retain",
    "append_entries",
    "inflight",
    "chunk_bytes",
    "window_bytes",
)
"""Fields of a plan that are set back to their defaults, in this order, if the failure stays."""
