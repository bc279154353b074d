"""How a cluster comes to be, and how a member with an empty data directory finds its place (no split brain).

A cluster is founded by a named set of members, and only by all of them together: each has drawn an incarnation for its
empty data directory, asks all others who they are, and founds when every one of them answered with the very same list
of (name, incarnation) that it has itself. Then they all begin with the same configuration at index 0, and Raft elects.

Whoever finds a cluster that is running founds nothing. If that cluster's list has its name and incarnation, it was one
of the founders and begins as they did; otherwise it joins. So a member that lost its disk (another incarnation) never
founds a second time, and two members that cannot reach each other never found two clusters.

Settings may change while a cluster is being founded, and differ among members. So a member that told others that it
would found with some names is bound to them (`Identity.agreed`, written before it is said): those who heard it may
have begun. It founds with no other names; it may still join.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from graft import raft
from graft.cluster.identity import Identity, cluster_id
from graft.errors import UsageError


@frozen
class Seen:
    """What another member said when it was asked.

    `cluster` is empty while it is in none. `founders`: the list that it would found with (empty while it has not
    found all of them), or that its cluster was founded with.
    """

    member: str
    incarnation: int
    address: str
    cluster: str = ""
    founders: tuple[raft.Member, ...] = ()


@frozen
class Found:
    """Begin with these members; the same on all of them."""

    cluster: str
    founders: tuple[raft.Member, ...]


@frozen
class Join:
    """Ask `addresses` to be taken into `cluster`."""

    cluster: str
    addresses: tuple[str, ...]


@frozen
class Wait:
    """Look again. `why` is for a person."""

    why: str


def propose(me: Identity, founders: Sequence[str], expect: int, seen: Mapping[str, Seen]) -> tuple[raft.Member, ...]:
    """The list that this member would found with, sorted; empty while it has not found all of them.

    `founders` are the names in the settings. Without them, `expect` (for development) takes the first that met.
    """
    known = {each.member: each.incarnation for each in seen.values()} | {me.member: me.incarnation}
    names = tuple(founders) or (tuple(known) if expect and len(known) == expect else ())
    if me.member not in names or any(name not in known for name in names) or _is_bound_otherwise(me, names):
        return ()
    return tuple(raft.Member(name, known[name]) for name in sorted(names))


def _is_bound_otherwise(me: Identity, names: Sequence[str]) -> bool:
    return bool(me.agreed) and me.agreed != tuple(sorted(names))


def decide(
    me: Identity, name: str, founders: Sequence[str], expect: int, seen: Mapping[str, Seen]
) -> Found | Join | Wait:
    """What to do after a round of questions. Raises UsageError when the members that answered are of two clusters."""
    running = [each for each in seen.values() if each.cluster]
    if running:
        return _enter(me, running)
    proposal = propose(me, founders, expect, seen)
    if not proposal:
        return Wait(_missing(me, founders, expect, seen))
    for each in proposal:
        other = seen.get(each.id)
        if other is not None and other.founders != proposal:
            return Wait(_differs(other, proposal))
    return Found(cluster_id(name, proposal), proposal)


def _differs(other: Seen, proposal: Sequence[raft.Member]) -> str:
    theirs, ours = ([each.id for each in founders] for founders in (other.founders, proposal))
    if not theirs or theirs == ours:
        return f"{other.member} does not name the same founders yet"
    return (
        f"{other.member} names the founders {', '.join(theirs)} instead of {', '.join(ours)}: "
        "discovery.founders has to be the same on all of them"
    )


def _enter(me: Identity, running: Sequence[Seen]) -> Found | Join:
    clusters = sorted({each.cluster for each in running})
    if len(clusters) > 1:
        raise UsageError(
            f"the members that were found belong to different clusters: {', '.join(clusters)}",
            hint="two clusters never merge; let `discovery` name the members of one of them",
        )
    first = running[0]
    if any(each.id == me.member and each.incarnation == me.incarnation for each in first.founders):
        return Found(first.cluster, first.founders)
    return Join(first.cluster, tuple(each.address for each in running))


def _missing(me: Identity, founders: Sequence[str], expect: int, seen: Mapping[str, Seen]) -> str:
    if _is_bound_otherwise(me, founders):
        return (
            f"this directory agreed to found with {', '.join(me.agreed)}, and the settings name others now; one of "
            "those may have begun: set `discovery.founders` back, or empty this directory if none of them has"
        )
    if founders:
        if me.member not in founders:
            return f"there is no cluster yet, and {me.member} is not one of its founders ({', '.join(founders)})"
        missing = [name for name in founders if name != me.member and name not in seen]
        return f"waiting for {', '.join(missing)}"
    if expect:
        return f"waiting for {expect} members, {len(seen) + 1} are here"
    return "no cluster was found, and discovery.founders does not say who founds one"
