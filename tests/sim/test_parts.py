"""Heap, clocks, links, the replicated registers and the trace, each by itself."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from graft.sim.clocks import MemberClock
from graft.sim.entropy import Entropy
from graft.sim.heap import Heap
from graft.sim.machine import Command, Machine, decode
from graft.sim.network import SHAPES, Network, Rates, both_ways
from graft.sim.trace import Trace, first_divergence


def test_events_of_one_moment_keep_their_order() -> None:
    heap, seen = Heap(), list[str]()
    heap.after(5, seen.append, "b")
    heap.at(5, seen.append, "c")
    heap.after(0, lambda: (seen.append("a"), heap.at(0, seen.append, "a2")))  # type: ignore[func-returns-value]
    heap.run_until(5)
    assert seen == ["a", "a2", "b", "c"]
    assert heap.now_us == 5
    assert not heap.step()


@example(offset=-1009, drift=-1, now=0, wait=0)
@given(st.integers(-(10**9), 10**9), st.integers(-200_000, 200_000), st.integers(0, 10**9), st.integers(0, 10**7))
def test_a_timer_is_due_when_the_clock_says_so(offset: int, drift: int, now: int, wait: int) -> None:
    clock = MemberClock(offset, drift)
    deadline = clock.seconds(now) + wait / 1_000_000
    delay = clock.true_delay_us(now, deadline)
    assert clock.seconds(now + delay) >= deadline
    assert delay <= 2 + 2 * wait


def test_a_clock_jumps_and_changes_its_pace_without_a_gap() -> None:
    clock = MemberClock(1_000, 500_000)
    assert clock.local_us(2_000) == 4_000
    clock.set_drift(2_000, 0)
    assert clock.local_us(2_100) == 4_100
    clock.jump(2_100, -600)
    assert clock.local_us(2_100) == 3_500


class Wire:
    """A network between a, b, … and what came out of it."""

    def __init__(self, seed: int = 1) -> None:
        self.heap = Heap()
        self.fired: Counter[str] = Counter()
        self.came: list[tuple[str, str, int]] = []
        deliver = lambda source, target, message: self.came.append((source, target, message))  # noqa: E731
        self.net = Network(self.heap, Entropy(seed), deliver, self.fired, is_answer=lambda message: message >= 1000)

    def send(self, count: int, source: str = "a", target: str = "b", first: int = 0) -> None:
        for number in range(first, first + count):
            self.net.send(source, target, number)

    def run(self, us: int = 10_000_000) -> list[int]:
        self.heap.run_until(self.heap.now_us + us)
        came, self.came = [m for _, _, m in self.came], []
        return came


def test_a_calm_link_carries_everything_and_lets_messages_overtake() -> None:
    wire = Wire()
    wire.send(200)
    came = wire.run()
    assert sorted(came) == list(range(200))
    assert came != sorted(came)
    assert not wire.fired


@pytest.mark.parametrize(("rate", "low", "high"), [(100, 60, 140), (300, 240, 360)])
def test_drops_and_duplicates_come_at_their_rates(rate: int, low: int, high: int) -> None:
    wire = Wire()
    wire.net.rates = Rates(drop=rate)
    wire.send(1000)
    assert low <= 1000 - len(wire.run()) == wire.fired["net.drop"] <= high
    wire.net.rates = Rates(duplicate=rate)
    wire.send(1000)
    assert low <= len(wire.run()) - 1000 == wire.fired["net.duplicate"] <= high


def test_a_bounded_queue_loses_the_rest() -> None:
    wire = Wire()
    wire.net.rates = Rates(queue=3)
    wire.send(10)
    assert sorted(wire.run()) == [0, 1, 2]
    assert wire.fired == {"net.overflow": 7}


def test_a_cut_takes_what_is_on_its_way_and_cuts_add_up() -> None:
    wire = Wire()
    wire.send(5)
    wire.net.cut([("a", "b")])
    wire.net.cut([("a", "b")])
    assert wire.run() == []
    wire.net.heal([("a", "b")])
    wire.send(5)
    assert wire.run() == []
    wire.net.heal([("a", "b")])
    wire.send(5)
    assert len(wire.run()) == 5
    assert wire.fired == {"net.cut": 10}


def test_a_clog_holds_and_then_releases_a_burst() -> None:
    wire = Wire()
    wire.net.clog([("a", "b")])
    wire.send(5)
    assert wire.run() == []
    wire.net.unclog([("a", "b")])
    assert sorted(wire.run(0)) == [0, 1, 2, 3, 4]


def test_a_half_open_connection_loses_only_answers() -> None:
    wire = Wire()
    wire.net.deafen([("a", "b")])
    wire.send(3)
    wire.send(3, first=1000)
    assert sorted(wire.run()) == [0, 1, 2]
    wire.net.heal_all(["a", "b"])
    wire.send(3, first=1000)
    assert len(wire.run()) == 3


def test_fault_rates_do_not_shift_the_noise() -> None:
    quiet, noisy = Wire(9), Wire(9)
    noisy.net.rates = Rates(drop=300, duplicate=300)
    for wire in (quiet, noisy):
        wire.send(50)
        wire.net.rates = Rates()
        wire.run()
        wire.send(1, first=77)
    assert quiet.heap.now_us == noisy.heap.now_us
    quiet_at, noisy_at = (next(t for t in range(10**6) if wire.run(1)) for wire in (quiet, noisy))
    assert quiet_at == noisy_at


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=st.integers(0, 1000), size=st.integers(2, 7))
def test_every_shape_is_a_set_of_links_between_members(shape: str, seed: int, size: int) -> None:
    members = list("abcdefg"[:size])
    pairs = SHAPES[shape](members, Entropy(seed))
    assert len(pairs) == len(set(pairs))
    assert all(a != b and a in members and b in members for a, b in pairs)


def test_a_ring_leaves_everyone_a_different_majority() -> None:
    for size in (4, 5, 6, 7):
        members = list("abcdefg"[:size])
        cut = set(SHAPES["ring"](members, Entropy(size)))
        sees = {m: frozenset(o for o in members if (m, o) not in cut) for m in members}
        assert all(len(seen) > size // 2 for seen in sees.values())
        assert len(set(sees.values())) == size


def test_a_bridge_joins_two_sides_by_one_member() -> None:
    cut = set(SHAPES["bridge"](list("abcde"), Entropy(3)))
    degree = Counter(a for a, _ in cut)
    assert sorted(degree[m] for m in "abcde") == [0, 2, 2, 2, 2]


def test_both_ways_has_both() -> None:
    assert sorted(both_ways("a", "bc")) == [("a", "b"), ("a", "c"), ("b", "a"), ("c", "a")]


def test_a_register_swaps_only_what_it_holds() -> None:
    machine = Machine()
    assert machine.apply(Command("a1", "write", "x", 1).encode())
    assert not machine.apply(Command("a2", "cas", "x", 3, 2).encode())
    assert machine.apply(Command("a3", "cas", "x", 3, 1).encode())
    assert machine.apply(Command("a4", "cas", "y", 5).encode())
    assert (machine.read("x"), machine.read("y"), machine.read("z")) == (3, 5, None)


def test_a_command_that_comes_again_is_answered_and_not_applied() -> None:
    machine = Machine()
    first = Command("a1", "cas", "x", 1).encode()
    assert machine.apply(first)
    machine.apply(Command("b1", "write", "x", 2).encode())
    before = machine.state_hash
    assert machine.apply(first)
    assert (machine.read("x"), machine.state_hash) == (2, before)


def test_a_snapshot_carries_the_answers() -> None:
    machine, other = Machine(), Machine()
    first = Command("a1", "write", "x", 1).encode()
    machine.apply(first)
    machine.apply(Command("b1", "write", "x", 2).encode())
    other.apply(Command("z", "write", "q", 9).encode())
    other.load(machine.dump())
    assert other.state_hash == machine.state_hash
    other.apply(first)
    assert other.read("x") == 2


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 2), st.integers(0, 3)), max_size=30))
def test_the_incremental_hash_is_the_hash_of_the_state(script: list[tuple[int, bool, int, int]]) -> None:
    machine, fresh = Machine(), Machine()
    for serial, write, key, value in script:
        command = Command(f"c{serial}", "write" if write else "cas", f"k{key}", value, None if write else value - 1)
        assert decode(command.encode()) == command
        machine.apply(command.encode())
    fresh.load(machine.dump())
    assert fresh.state_hash == machine.state_hash
    assert fresh.dump() == machine.dump()


def test_what_is_no_command_is_refused() -> None:
    with pytest.raises(ValueError, match="not a command"):
        decode(b"a b c 1 -")


def test_a_trace_is_its_hash() -> None:
    digests = set()
    for changed in (None, 700, 999):
        trace = Trace(keep=None)
        for number in range(1000):
            trace.add((number, "x" if number != changed else "y", None))
        digests.add(trace.hexdigest())
        assert trace.count == len(trace.records()) == 1000
    assert len(digests) == 3


def test_the_first_divergence_is_named() -> None:
    one: list[tuple[int | str | None, ...]] = [(1, "a"), (2, "b"), (3, "c")]
    assert first_divergence(one, one) == ""
    assert first_divergence(one, [(1, "a"), (2, "x"), (3, "c")]).startswith("record 1: (2, 'b') against (2, 'x')")
    assert "ends after 2" in first_divergence(one, one[:2])
