"""Who this member is and what its disk holds, when a process starts."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen

from graft import raft
from graft.errors import UsageError
from graft.interfaces import Entropy, LogBounds, Reader, Snapshots, Store, Turn
from graft.raft.view import View
from graft.raft_driver.hard_state import decode_hard_state, encode_hard_state


@frozen
class Identity:
    """`sole`: this member is the only voter, so all that its log holds is committed."""

    member: str
    incarnation: int
    sole: bool


def open_member(
    store: Store,
    member: str,
    entropy: Entropy,
    founders: Sequence[raft.Member] | None,
    snapshots: Snapshots | None,
    incarnation: int | None = None,
) -> tuple[Identity, raft.Recovered]:
    """What the core is told at a start; an empty store becomes a member first.

    `founders` are the first members of the cluster, the same on each of them; None: this one alone; empty: it joins a
    cluster that adds it. `incarnation` is what such a one told the cluster; None: one is drawn.
    """
    stored = store.hard_state()
    if stored is None:
        hard, drawn = found(store, member, entropy, founders, incarnation)
    else:
        hard, known = decode_hard_state(stored)
        members = hard.configurations[-1][1].members
        drawn = next(each.incarnation for each in members if each.id == member) if known is None else known
    bounds = store.bounds()
    view = View(*hard.configurations[-1], member, drawn)
    identity = Identity(member, drawn, view.sole)
    return identity, raft.Recovered(
        hard,
        bounds.first,
        bounds.last,
        bounds.applied,
        # Alone there is nobody to mend it: `replay` reads the same entries and names the damage.
        corrupt=() if view.sole else tuple(store.damaged(bounds.applied + 1, bounds.last)),
        staged=still_useful(snapshots, bounds),
        restarted=stored is not None,
    )


def found(
    store: Store,
    member: str,
    entropy: Entropy,
    founders: Sequence[raft.Member] | None,
    incarnation: int | None = None,
) -> tuple[raft.HardState, int]:
    """Make a member of an empty store."""
    if founders is None:
        founders = (raft.Member(member, entropy.u64() >> 1, "voter"),)
    named = next((each.incarnation for each in founders if each.id == member), None)
    if named is not None:
        incarnation = named
    elif incarnation is None:
        incarnation = entropy.u64() >> 1
    members = tuple(sorted(founders, key=lambda each: each.id))
    state = raft.HardState(configurations=((0, raft.Configuration(members)),))
    store.commit(Turn(hard_state=encode_hard_state(state, incarnation)))
    return state, incarnation


def is_of_many(store: Reader) -> bool:
    """Whether it is that of a member of a cluster that has others."""
    stored = store.hard_state()
    if stored is None:
        return False
    hard, _ = decode_hard_state(stored)
    newest = hard.configurations[-1][1]
    return len(newest.members) != 1 or newest.joint


def sole_member(store: Store) -> raft.Member:
    """Who alone is the cluster of a store, such as `graft run` makes. Raises UsageError when there are others."""
    stored = store.hard_state()
    assert stored is not None, "an empty store is nobody's"
    hard, _ = decode_hard_state(stored)
    members = hard.configurations[-1][1].members
    if is_of_many(store):
        names = ", ".join(each.id for each in members)
        raise UsageError(
            f"the data directory belongs to a member of a cluster ({names})",
            hint="serve it with `graft serve`, and reach the cluster with --server",
        )
    return members[0]


def adopt(store: Store, id: str) -> None:
    """Give the only member of a store another name: nobody else ever heard of it."""
    sole = sole_member(store)
    stored = store.hard_state()
    assert stored is not None
    hard, incarnation = decode_hard_state(stored)
    assert len(hard.configurations) == 1, "others have been told its name"
    renamed = raft.Member(id, sole.incarnation, sole.role)
    index = hard.configurations[0][0]
    state = evolve(
        hard,
        vote=None if hard.vote is None else id,
        configurations=((index, raft.Configuration((renamed,))),),
    )
    store.commit(Turn(hard_state=encode_hard_state(state, sole.incarnation if incarnation is None else incarnation)))


def still_useful(snapshots: Snapshots | None, bounds: LogBounds) -> raft.StagedSnapshot | None:
    """What has arrived of a snapshot that is newer than the state."""
    staged = None if snapshots is None else snapshots.staged()
    if snapshots is not None and staged is not None and staged.meta.index <= bounds.applied:
        snapshots.discard()  # it was installed, and a crash came before it was thrown away
        return None
    return staged
