"""Engine time over changes of the leader, and states that are loaded where another one was.

The leader's shell tells engine time: what the state says when its term begins, and its own elapsed monotonic time
since. `Leader` is that rule; `graft.cluster.host` follows it.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from graft.engine import Engine
from graft.engine.commands import TimersDue, decode_command
from graft.engine.engine import TICK_MS
from graft.plan import Retry
from tests.support.engines import Driven, flow, load, load_and_apply, store, task


class Leader:
    """A term: `clock` is the monotonic clock of the member that leads, which begins anywhere."""

    def __init__(self, driven: Driven, clock: int) -> None:
        self.driven, self.clock = driven, clock
        self.origin, self.engine_origin = clock, driven.engine.state.meta.now

    def now(self) -> int:
        return self.engine_origin + self.clock - self.origin

    def lead(self, milliseconds: int) -> None:
        """Lead for a while, and tell time whenever the engine wants to be told."""
        end = self.clock + milliseconds
        while not self.driven.attempts:
            due, _ = self.driven.engine.next_timer()
            assert due is not None
            at = self.clock + max(due - self.now(), 0)
            if at > end:
                break
            self.clock = at
            self.driven.apply(TimersDue(now=self.now(), wall=1))
        if not self.driven.attempts:
            self.clock = end

    @property
    def led(self) -> int:
        return self.clock - self.origin


@given(
    terms=st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 4 * TICK_MS), st.booleans()), max_size=8),
    backoff=st.integers(1, 6 * TICK_MS),
)
def test_a_backoff_is_never_early_and_late_by_a_tick_a_term(terms: list[tuple[int, int, bool]], backoff: int) -> None:
    driven = Driven()
    driven.register()
    driven.start(flow(task("a", retry=Retry(initial_ms=backoff, max_ms=backoff, jitter=False))))
    driven.settle(driven.key("a"), "failed")
    led = 0
    for clock, milliseconds, reload in [*terms, (0, 10**9, False)]:
        leader = Leader(driven, clock)
        leader.lead(milliseconds)
        led += leader.led
        if driven.attempts:
            break
        if reload:
            driven.reload()  # it leads from a store that was loaded: its timers are those of the state
    assert backoff <= led <= backoff + len(terms) * TICK_MS


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=5))
def test_time_stands_still_while_nobody_leads(clocks: list[int]) -> None:
    driven = Driven()
    driven.register()
    driven.start(flow(task("a", total_timeout_ms=1000)))
    before = driven.engine.state.meta.now
    for clock in clocks:  # each is elected, tells nothing, and is gone
        assert Leader(driven, clock).now() == before
    assert driven.engine.next_timer() == (before + 1000, None)


def test_a_leader_whose_clock_is_behind_takes_nothing_back() -> None:
    driven = Driven()
    driven.register()
    driven.start(flow(task("a")))
    driven.apply(TimersDue(now=driven.now + 500, wall=driven.wall + 500))
    driven.apply(TimersDue(now=3, wall=3))
    meta = driven.engine.state.meta
    assert (meta.now, meta.wall) == (driven.now + 500, driven.wall + 500)


def many_things(driven: Driven) -> list[Any]:
    """The state after each of some entries, with what it was stored as."""
    images = []
    driven.configure(total=4, retry_attempts=2)
    driven.register("a")
    driven.register("b", labels=(("gpu", ""),))
    driven.start(
        flow(*(task(f"n{i}", retry=Retry(initial_ms=50)) for i in range(6)), task("g", runs_on=(("gpu", "*"),)))
    )
    driven.drain_member("a")
    driven.settle(driven.key("n0"), "failed", dice=7)
    driven.down("b")
    driven.timers(60)
    driven.register("b", zone="z")
    driven.drain_member("a", draining=False)
    driven.cancel(1, 0, 2)
    driven.pause()
    driven.forget("a")
    driven.unpause()
    while driven.attempts:
        driven.settle(min(driven.attempts))
        images.append(len(driven.log))
    return images


def test_a_snapshot_takes_the_place_of_any_state() -> None:
    """A member that fell behind throws its engine away, loads a snapshot, and is as if it had applied the log."""
    driven = Driven()
    many_things(driven)
    log = [decode_command(data) for data in driven.log]
    for at in range(1, len(log)):
        ahead, there = Engine(strict=True), dict[tuple[str, bytes], bytes]()
        for index, command in enumerate(log[:at], start=1):
            load_and_apply(ahead, there, index, command)
        store(ahead, there)
        behind = load(there, at)
        assert behind.state_hash() == ahead.state_hash()
        assert behind.outstanding() == ahead.outstanding()
        assert behind.next_timer()[1] == ahead.next_timer()[1]
        copy = dict(there)
        for index, command in enumerate(log[at:], start=at + 1):
            left, right = load_and_apply(ahead, there, index, command), load_and_apply(behind, copy, index, command)
            assert left == right, f"entry {index} after a snapshot of entry {at}"
        store(ahead, there)
        store(behind, copy)
        assert there == copy
        assert behind.state_hash() == ahead.state_hash()
