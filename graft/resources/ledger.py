"""Slots: how many attempts of which class each member may run and the cluster as a whole, and how many are running."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TOTAL: Final = "*"  # the limit over all classes


class Ledger:
    """Invariant: `take` keeps 0 <= used <= limit for every member and class that has a limit, `*` included.

    A class without a limit is bounded by `*` alone; a member without `*` has no total limit. A limit that was lowered
    below what is used lets nothing start until enough was released.
    Invariant: what the cluster uses is the sum over the members that have an account.
    """

    def __init__(self) -> None:
        self._limits: dict[str, Mapping[str, int]] = {}
        self._used: dict[str, dict[str, int]] = {}
        self._all: dict[str, int] = {TOTAL: 0}
        self._quotas: Mapping[str, int] = {}
        self._default_quota = 0

    # Accounts

    def open(self, member: str, limits: Mapping[str, int]) -> None:
        """Start or restart the account of `member`; nothing of it is in use."""
        self.close(member)
        self._limits[member] = limits
        self._used[member] = {TOTAL: 0}

    def change(self, member: str, limits: Mapping[str, int]) -> None:
        """Other limits for an account that is open; what it uses stays."""
        self._limits[member] = limits

    def close(self, member: str) -> None:
        """Forget an account: nothing of it counts any more."""
        self._limits.pop(member, None)
        for kind, count in self._used.pop(member, {}).items():
            self._all[kind] -= count

    def set_quotas(self, total: int, kinds: Mapping[str, int], default: int) -> None:
        """Limits of the whole cluster; 0 is no limit. `default` is that of a class that `kinds` does not name."""
        self._quotas = {**kinds, TOTAL: total}
        self._default_quota = default

    # Slots

    def has_quota(self, kind: str) -> bool:
        """Whether the cluster as a whole may start one more attempt of `kind`."""
        if not self._quotas:
            return True
        total, limit = self._quotas[TOTAL], self._quotas.get(kind, self._default_quota)
        return (not total or self._all[TOTAL] < total) and (not limit or self._all.get(kind, 0) < limit)

    def has_slot(self, member: str, kind: str) -> bool:
        """Whether the member, which has an account, has a free slot for `kind`."""
        used, limits = self._used[member], self._limits[member]
        total = used[TOTAL]
        return total < limits.get(TOTAL, total + 1) and used.get(kind, 0) < limits.get(kind, total + 1)

    def take(self, member: str, kind: str) -> None:
        used, everywhere = self._used[member], self._all
        used[TOTAL] += 1
        used[kind] = used.get(kind, 0) + 1
        everywhere[TOTAL] += 1
        everywhere[kind] = everywhere.get(kind, 0) + 1

    def release(self, member: str, kind: str) -> None:
        """Give a slot back. A member whose account was closed meanwhile has nothing to give back to."""
        used = self._used.get(member)
        if used is not None:
            assert min(used[TOTAL], used.get(kind, 0)) > 0, f"{member} releases a {kind} slot that it never took"
            used[TOTAL] -= 1
            used[kind] -= 1
            self._all[TOTAL] -= 1
            self._all[kind] -= 1

    # Looking

    def used(self, member: str, kind: str = TOTAL) -> int:
        return self._used.get(member, {}).get(kind, 0)

    def limit(self, member: str, kind: str = TOTAL) -> int | None:
        return self._limits.get(member, {}).get(kind)

    def cluster_used(self, kind: str = TOTAL) -> int:
        return self._all.get(kind, 0)

    def cluster_limit(self, kind: str = TOTAL) -> int | None:
        """The quota of the whole cluster, None where there is none."""
        default = 0 if kind == TOTAL else self._default_quota
        return self._quotas.get(kind, default) or None

    def members(self) -> list[str]:
        return list(self._limits)
