"""The generator gives the published numbers, and its derived draws have the shape they promise."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from graft.sim.entropy import Entropy, stream


def test_the_first_numbers_are_those_of_the_paper() -> None:
    # Reference output of SplitMix64 for the seed 1234567, as published with the Java and C versions.
    entropy = Entropy(1234567)
    assert [entropy.u64() for _ in range(5)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_streams_are_separate_and_repeatable() -> None:
    first = [stream(1, "network").u64() for _ in range(2)]
    assert first[0] == first[1]
    drawn = {
        stream(seed, *name).u64()
        for seed in range(50)
        for name in (("network",), ("disk",), ("member", 1), ("member", 2))
    }
    assert len(drawn) == 200


def test_a_rate_of_zero_still_draws() -> None:
    one, other = Entropy(3), Entropy(3)
    assert not one.chance(0)
    assert other.chance(1000)
    assert one.u64() == other.u64()


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**40), st.integers(0, 1000))
def test_ranges_hold(seed: int, n: int, low: int) -> None:
    entropy = Entropy(seed)
    assert 0 <= entropy.below(n) < n
    assert low <= entropy.between(low, low + n) <= low + n
    assert 0.0 <= entropy.random() < 1.0
    assert 0 <= entropy.exponential(n) <= 45 * n


def test_the_exponential_has_its_mean_and_its_tail() -> None:
    entropy = Entropy(11)
    drawn = [entropy.exponential(10_000) for _ in range(40_000)]
    assert 9_800 < sum(drawn) / len(drawn) < 10_800
    assert 0.33 < sum(d > 10_000 for d in drawn) / len(drawn) < 0.41  # 1/e = 0.368
    assert 0.04 < sum(d > 30_000 for d in drawn) / len(drawn) < 0.06  # 1/e^3 = 0.050


def test_a_shuffle_is_fair_enough_and_loses_nothing() -> None:
    entropy = Entropy(5)
    first = [0] * 4
    for _ in range(8_000):
        items = [0, 1, 2, 3]
        entropy.shuffle(items)
        assert sorted(items) == [0, 1, 2, 3]
        first[items[0]] += 1
    assert all(1_850 < count < 2_150 for count in first)
    assert entropy.sample(range(10), 3) != entropy.sample(range(10), 3)
