"""Random numbers that are the same on every machine and every Python: integers only, no libm, no `random` module.

The generator is SplitMix64 (Steele, Lea, Flood: *Fast splittable pseudorandom number generators*, OOPSLA 2014). It is
the quickest good one in pure Python: one multiplication fewer than PCG, no rotation as in xoshiro. It passes BigCrush;
it is not for secrets.

Streams: every part of a run (scheduler, network, disk, clock, workload, each member) owns a stream that is derived
from the master seed and its own name, so that one more draw in one part shifts nothing in the others.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_LN2_16 = 45426  # ln 2 in units of 2**-16


class Entropy:
    """One stream. Satisfies `graft.interfaces.Entropy`."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def u64(self) -> int:
        """Uniform in `[0, 2**64)`."""
        z = self._state = (self._state + _GAMMA) & _MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def below(self, n: int) -> int:
        """Uniform in `[0, n)`, n >= 1. The bias of the multiplication is below n / 2**64."""
        return (self.u64() * n) >> 64

    def between(self, low: int, high: int) -> int:
        """Uniform in `[low, high]`, both included."""
        return low + ((self.u64() * (high - low + 1)) >> 64)

    def chance(self, per_mille: int) -> bool:
        """True in `per_mille` of a thousand draws. Draws even when it is 0, so that a rate of 0 shifts no stream."""
        return (self.u64() * 1000) >> 64 < per_mille

    def random(self) -> float:
        """A float in `[0, 1)` with 53 bits: exact arithmetic, the same everywhere. For cores that ask for one."""
        return (self.u64() >> 11) * (1.0 / (1 << 53))

    def exponential(self, mean: int) -> int:
        """About exponentially distributed with the given mean (at most 44 times it), by integers only.

        -ln u = ln 2 · -log2 u, and log2 is the position of the highest bit plus the bits behind it taken as a straight
        line, which is never more than 0.087 off.
        """
        u = self.u64() | 1
        bits = u.bit_length()
        fraction = ((u << (64 - bits)) >> 47) & 0xFFFF  # the 16 bits below the highest one
        log2 = ((64 - (bits - 1)) << 16) - fraction
        return (mean * log2 * _LN2_16) >> 32

    def choice(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """`count` different items in random order."""
        pool = list(items)
        self.shuffle(pool)
        return pool[:count]

    def shuffle(self, items: MutableSequence[T]) -> None:
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]


def stream(seed: int, *name: str | int) -> Entropy:
    """The stream called `name` of the run with this master seed."""
    text = "\x1f".join(map(str, (seed, *name)))
    return Entropy(int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big"))
