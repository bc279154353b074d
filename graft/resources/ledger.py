"""Slots of members: how many attempts of which class each may run, and how many it runs."""

from __future__ import annotations

from collections.abc import Mapping

TOTAL = "*"  # the limit over all classes


class Ledger:
    """Invariant: 0 <= used <= limit for every member and class that has a limit, `*` included.

    A class without a limit is bounded by `*` alone; a member without `*` has no total limit.
    """

    def __init__(self) -> None:
        self._limits: dict[str, Mapping[str, int]] = {}
        self._used: dict[str, dict[str, int]] = {}

    def open(self, member: str, limits: Mapping[str, int]) -> None:
        """Start or restart the account of `member`; nothing of it is in use."""
        self._limits[member] = limits
        self._used[member] = {TOTAL: 0}

    def close(self, member: str) -> None:
        self._limits.pop(member, None)
        self._used.pop(member, None)

    def choose(self, kind: str) -> str | None:
        """The member with a free slot for `kind` that runs the fewest attempts; ties go to the smaller name."""
        best: tuple[int, str] | None = None
        for member, limits in self._limits.items():
            used = self._used[member]
            total = used[TOTAL]
            if total < limits.get(TOTAL, total + 1) and used.get(kind, 0) < limits.get(kind, total + 1):
                offer = (total, member)
                if best is None or offer < best:
                    best = offer
        return None if best is None else best[1]

    def take(self, member: str, kind: str) -> None:
        used = self._used[member]
        used[TOTAL] += 1
        used[kind] = used.get(kind, 0) + 1

    def release(self, member: str, kind: str) -> None:
        """Give a slot back. A member whose account was closed meanwhile has nothing to give back to."""
        used = self._used.get(member)
        if used is not None:
            assert min(used[TOTAL], used.get(kind, 0)) > 0, f"{member} releases a {kind} slot that it never took"
            used[TOTAL] -= 1
            used[kind] -= 1

    def used(self, member: str, kind: str = TOTAL) -> int:
        return self._used.get(member, {}).get(kind, 0)

    def limit(self, member: str, kind: str = TOTAL) -> int | None:
        return self._limits.get(member, {}).get(kind)

    def members(self) -> list[str]:
        return list(self._limits)
