"""The history of a cluster in a member's log: a line for what changed between two looks.

Looks, not hooks: a member that catches up, or a cluster that flaps, goes through many states between two looks and gets
one line. Lines about the leader become rarer while it changes again and again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from attrs import Factory, evolve, field, frozen, mutable

from graft.cluster.member import ClusterMember

CALM_SECONDS: Final = 60.0  # after so long without a change of the leader, the next one is told at once
FIRST_WAIT: Final = 1.0  # seconds between two lines about the leader; doubled with each
MAX_WAIT: Final = 32.0


@frozen
class Registered:
    """A member in the engine's state."""

    incarnation: int
    live: bool
    draining: bool = False
    stopping: bool = False


@frozen
class Standing:
    """What the lines are made of. `servers`: incarnation and role by member; `leader`: "" while none is known."""

    member: str
    term: int = 0
    leader: str = ""
    servers: Mapping[str, tuple[int, str]] = Factory(dict)
    registered: Mapping[str, Registered] = Factory(dict)
    holds_lease: bool = True
    snapshots: int = 0  # installed since the start
    applied: int = 0


def standing(member: ClusterMember) -> Standing:
    host = member.host
    found = host.door.status()
    return Standing(
        member.id,
        found.term,
        found.leader or "",
        {each.id: (each.incarnation, each.role) for each in found.configuration.members},
        {
            each.id: Registered(each.incarnation, each.live, each.draining, each.stopping)
            for each in host.engine.state.members.values()
        },
        member.lease.holds,
        host.snapshots_installed,
        found.applied,
    )


def leader_line(before: Standing, after: Standing) -> str:
    """What is to be said about who leads; "" when nothing changed."""
    if (before.leader, before.term) == (after.leader, after.term) or before.leader == after.leader == "":
        return ""
    if after.leader == after.member:
        return f"{after.member} leads now, in term {after.term}"
    if after.leader:
        return f"follows {after.leader}, in term {after.term}"
    lost = "it leads no more" if before.leader == before.member else f"{before.leader} leads no more"
    return f"no leader is known, {lost}: without a quorum nothing is written"


def other_lines(before: Standing, after: Standing) -> Iterator[str]:
    """What is to be said about everything else."""
    if after.snapshots != before.snapshots:
        yield f"installed a snapshot: it has the state as of log index {after.applied} now"
    yield from _servers(before, after)
    for name in sorted(after.registered.keys() & after.servers.keys()):
        yield from _member(name, before.registered.get(name), after.registered[name])
    if after.holds_lease and not before.holds_lease:
        yield "holds a lease again: it runs steps"


def _servers(before: Standing, after: Standing) -> Iterator[str]:
    for name in sorted(before.servers.keys() | after.servers.keys()):
        was, now = before.servers.get(name), after.servers.get(name)
        if was == now:
            continue
        if now is None:
            yield f"{name} was removed from the cluster"
        elif was is None:
            yield f"{name} joined as {now[1]}"
        elif was[0] != now[0]:
            yield f"{name} has another data directory, and is {now[1]}"
        else:
            yield f"{name} is {now[1]} now, it was {was[1]}"


def _member(name: str, was: Registered | None, now: Registered) -> Iterator[str]:
    is_new = was is None or was.incarnation != now.incarnation
    if now.live and (is_new or (was is not None and not was.live)):
        lost = was is not None and was.live
        yield f"{name} has registered" + (" anew: what it ran before is begun again" if lost else "")
    elif was is not None and was.live and not now.live:
        dead = f"{name} was declared dead: what it ran is begun again"
        yield f"{name} has stopped" if now.stopping else dead
    draining = was is not None and was.draining
    if now.draining != draining:
        yield f"{name} is drained: it gets no new steps" if now.draining else f"{name} takes new steps again"
    if now.live and now.stopping and (is_new or (was is not None and not was.stopping)):
        yield f"{name} is stopping"


@mutable
class Chronicle:
    """Gives the lines, look by look."""

    _others: Standing
    _leader: Standing = field(init=False)  # as it was told last
    _told_at: float = field(default=float("-inf"), init=False)
    _wait: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._leader = evolve(self._others, leader="")

    def look(self, now: float, after: Standing) -> list[str]:
        """`now` in seconds."""
        lines = [*self._about_leader(now, after), *other_lines(self._others, after)]
        self._others = after
        return lines

    def _about_leader(self, now: float, after: Standing) -> Iterator[str]:
        since = now - self._told_at
        line = leader_line(self._leader, after)
        if not line or since < self._wait:
            return
        self._wait = FIRST_WAIT if since >= CALM_SECONDS else min(MAX_WAIT, max(FIRST_WAIT, 2 * self._wait))
        self._leader, self._told_at = after, now
        yield line


__all__ = ["Chronicle", "Registered", "Standing", "leader_line", "other_lines", "standing"]
