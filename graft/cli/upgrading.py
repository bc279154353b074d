"""The end of a rolling upgrade: what raising the cluster's version would do, and who holds it back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from graft.errors import RunConflict

if TYPE_CHECKING:
    from graft.cluster.membership import MemberView


@frozen
class Upgrade:
    """From version `current` to `target`, the newest that any member understands. `held_back`: why not, by member."""

    current: int
    target: int
    understands: dict[str, int]
    held_back: dict[str, str]

    @property
    def is_needed(self) -> bool:
        return self.target > self.current


def upgrade_of(current: int, members: Sequence[MemberView]) -> Upgrade:
    """`members` with what each said when it was started last."""
    target = max((each.version for each in members), default=current)
    held_back = {}
    for each in members:
        if each.version < target:
            held_back[each.id] = f"understands no newer than {each.version}" if each.version else "has not said yet"
        elif not each.live:
            held_back[each.id] = "is down, and might come back with an older program"
    return Upgrade(current, max(target, current), {each.id: each.version for each in members}, held_back)


def check_held_back(upgrade: Upgrade) -> None:
    """Raises RunConflict that names every member that holds the version back."""
    if upgrade.is_needed and upgrade.held_back:
        why = "; ".join(f"{member} {reason}" for member, reason in upgrade.held_back.items())
        names = ", ".join(upgrade.held_back)
        raise RunConflict(
            f"the cluster's version stays {upgrade.current}, it cannot be {upgrade.target}: {why}",
            hint=f"upgrade or start {names} first; a member that will not come back: `graft member rm NAME`",
        )


def intention(upgrade: Upgrade) -> list[str]:
    if not upgrade.is_needed:
        return [f"the cluster's version is {upgrade.current}, the newest that its members understand: nothing to do"]
    return [
        f"the cluster's version goes from {upgrade.current} to {upgrade.target}, "
        f"which all its members understand ({', '.join(upgrade.understands)})",
        f"there is no way back: from then on no program takes part that understands only {upgrade.current}, "
        "nor does one read this state",
    ]


def upgrade_record(upgrade: Upgrade, *, done: bool) -> dict[str, Any]:
    return {
        "from": upgrade.current,
        "to": upgrade.target,
        "members": upgrade.understands,
        "held_back": upgrade.held_back if upgrade.is_needed else {},
        "done": done,
    }
