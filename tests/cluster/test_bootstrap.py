"""Founding: whatever the order of questions, crashes and wipes, there is at most one cluster."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from graft import raft
from graft.cluster.bootstrap import Found, Join, Seen, Wait, decide, propose
from graft.cluster.identity import Identity, belong, check_name, cluster_id, load_identity, save_identity
from graft.config import DiscoverySettings
from graft.errors import StorageError, StoreCorrupt, UsageError

NAMES = ("a", "b", "c")


class World:
    """Members that ask each other when the test says so. What they know of each other is what they were told last.

    `names`: whom each one's settings name.
    """

    def __init__(self, members: Sequence[str] = NAMES) -> None:
        self.incarnations = 0
        self.identity: dict[str, Identity] = {}
        self.seen: dict[str, dict[str, Seen]] = {}
        self.names: dict[str, Sequence[str]] = dict.fromkeys(members, members)
        for name in members:
            self.wipe(name)
        self.founded: dict[str, Found] = {}
        self.majorities: set[str] = set()

    def wipe(self, name: str) -> None:
        """The disk is empty; a founder that was wiped is none any more."""
        self.incarnations += 1
        self.identity[name] = Identity(name, self.incarnations)
        self.seen[name] = {}
        if hasattr(self, "founded"):
            self.founded.pop(name, None)

    def restart(self, name: str, names: Sequence[str] = ()) -> None:
        """With the settings changed to `names`, if there are any."""
        self.seen[name] = {}
        self.names[name] = names or self.names[name]

    def proposal(self, name: str) -> tuple[raft.Member, ...]:
        """What it tells others; it is bound by it then, as `Meeting` sees to."""
        found = propose(self.identity[name], self.names[name], 0, self.seen[name])
        if found and not self.identity[name].agreed:
            self.identity[name] = evolve(self.identity[name], agreed=tuple(sorted(self.names[name])))
        return found

    def answer(self, name: str) -> Seen:
        me, found = self.identity[name], self.founded.get(name)
        if found is not None:
            return Seen(name, me.incarnation, name, found.cluster, found.founders)
        return Seen(name, me.incarnation, name, "", self.proposal(name))

    def ask(self, name: str, other: str) -> None:
        if name not in self.founded:
            self.seen[name][other] = self.answer(other)

    def meet(self, name: str, other: str) -> None:
        """A question tells of the one who asks, too; the answer may get lost on its way (`ask` is an answer alone)."""
        if other not in self.founded:
            self.seen[other][name] = self.answer(name)

    def act(self, name: str) -> None:
        if name in self.founded:
            return
        try:
            decision = decide(self.identity[name], "n", self.names[name], 0, self.seen[name])
        except UsageError:
            return
        if isinstance(decision, Found):
            self.founded[name] = decision

    def check(self) -> None:
        """A cluster can elect a leader only where a majority of its founders, in those incarnations, began with it."""
        for found in self.founded.values():
            began = [
                each.id
                for each in found.founders
                if self.founded.get(each.id) == found and self.identity[each.id].incarnation == each.incarnation
            ]
            if 2 * len(began) > len(found.founders):
                self.majorities.add(found.cluster)
        assert len(self.majorities) <= 1, self.majorities


STEP = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.tuples(st.just("meet"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("act"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("restart"), st.sampled_from(NAMES), st.none()),
)


@settings(max_examples=120, deadline=None)
@given(
    st.lists(STEP, min_size=20, max_size=60),
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from(NAMES)), max_size=1),
)
def test_at_most_one_cluster_is_founded(steps: list[tuple[str, str, str | None]], wipes: list[tuple[int, str]]) -> None:
    """One disk may be lost at any moment, as Raft allows; answers are as old as they like."""
    world = World()
    lost = dict(wipes)
    for i, (what, name, other) in enumerate(steps):
        if i in lost:
            world.wipe(lost[i])
        if what == "ask":
            assert other is not None
            if other != name:
                world.ask(name, other)
        elif what == "meet":
            for each in NAMES:
                if each != name:
                    world.ask(name, each)
        elif what == "act":
            world.act(name)
        else:
            world.restart(name)
        world.check()


PODS = tuple(f"graft-{n}" for n in range(4))
POD = st.sampled_from(PODS)
REPLICAS = st.integers(1, 4)
POD_STEP = st.one_of(
    st.tuples(st.just("ask"), POD, POD),
    st.tuples(st.just("meet"), POD, POD),
    st.tuples(st.just("all"), POD, POD),
    st.tuples(st.just("act"), POD, POD),
    st.tuples(st.just("all act"), POD, POD),
    st.tuples(st.just("scale"), POD, REPLICAS),
    st.tuples(st.just("scale"), st.just(PODS[0]), st.just(1)),
)


def ordinals(count: int) -> tuple[str, ...]:
    return DiscoverySettings(founders=(f"graft-{{0..{count - 1}}}",)).initial_set()


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(REPLICAS.map(lambda count: [count] * 4), st.lists(REPLICAS, min_size=4, max_size=4)),
    st.lists(POD_STEP, min_size=10, max_size=40),
    st.lists(st.tuples(st.integers(0, 40), POD), max_size=1),
)
def test_whatever_number_of_replicas_the_settings_name_there_is_one_cluster(
    counts: list[int], steps: list[tuple[str, str, Any]], wipes: list[tuple[int, str]]
) -> None:
    """Each pod has a number of its own, and any of them may start again with another one, whenever it likes.

    One disk may be lost, too; not that of graft-0, which a setting of one replica lets found alone.
    """
    world = World(PODS)
    for name, count in zip(PODS, counts, strict=True):
        world.names[name] = ordinals(count)
    lost = {at: name for at, name in wipes if name != PODS[0]}
    for i, (what, name, other) in enumerate(steps):
        if i in lost:
            world.wipe(lost[i])
        if what == "scale":
            world.restart(name, ordinals(other))
        elif what == "all":
            for one, another in (*permutations(PODS, 2), *permutations(PODS, 2)):
                world.ask(one, another)
                world.meet(one, another)
        elif what == "act":
            world.act(name)
        elif what == "all act":
            for each in PODS:
                world.act(each)
        elif name != other:
            getattr(world, what)(name, other)
        world.check()
        for each, found in world.founded.items():
            assert each in {founder.id for founder in found.founders}, "one that no list names has founded"


def test_a_member_that_agreed_founds_with_no_others_after_its_settings_changed() -> None:
    """graft-1 and graft-2 go by what graft-0 said before it was started again with one replica."""
    world = World(PODS[:3])
    for _ in range(2):
        for name in PODS[:3]:
            for other in PODS[:3]:
                if other != name:
                    world.ask(name, other)
    world.restart("graft-0", ordinals(1))
    world.act("graft-0")
    world.act("graft-1")
    world.act("graft-2")
    assert set(world.founded) == {"graft-1", "graft-2"}
    decision = decide(world.identity["graft-0"], "n", ordinals(1), 0, {})
    assert isinstance(decision, Wait)
    assert "agreed to found with graft-0, graft-1, graft-2" in decision.why
    world.ask("graft-0", "graft-1")
    world.act("graft-0")
    assert set(world.founded) == {"graft-0", "graft-1", "graft-2"}
    world.check()


def test_an_ordinal_beyond_the_initial_replicas_joins_and_never_founds() -> None:
    """Also with a number that was raised afterwards, when the first three are a cluster already."""
    founders = tuple(raft.Member(f"graft-{n}", n + 1) for n in range(3))
    running = {each.id: Seen(each.id, each.incarnation, f"{each.id}:1", "n-1", founders) for each in founders}
    for count in (3, 4, 5):
        assert isinstance(decide(Identity("graft-3", 9), "n", ordinals(count), 0, {}), Wait)
        assert isinstance(decide(Identity("graft-3", 9), "n", ordinals(count), 0, running), Join)
        alone = {"graft-0": running["graft-0"]}
        assert isinstance(decide(Identity("graft-3", 9), "n", ordinals(count), 0, alone), Join)
    new = {"graft-4": Seen("graft-4", 10, "graft-4:1", "", ())}
    assert decide(Identity("graft-3", 9), "n", ordinals(5), 0, new) == Wait("waiting for graft-0, graft-1, graft-2")


def test_three_founders_found_one_cluster() -> None:
    world = World()
    for _ in range(2):
        for name in NAMES:
            for other in NAMES:
                if other != name:
                    world.ask(name, other)
    for name in NAMES:
        world.act(name)
    assert len({found.cluster for found in world.founded.values()}) == 1
    assert set(world.founded) == set(NAMES)


def test_nobody_founds_before_all_others_agree() -> None:
    world = World()
    world.ask("a", "b")
    world.ask("a", "c")
    decision = decide(world.identity["a"], "n", NAMES, 0, world.seen["a"])
    assert isinstance(decision, Wait)
    assert "same founders" in decision.why


def test_a_lost_disk_and_old_answers_found_no_second_cluster() -> None:
    """a and b begin; b loses its disk; c, which knows a only from before, and the new b may not begin without a."""
    world = World()
    for name in NAMES:
        for other in NAMES:
            if other != name:
                world.ask(name, other)
    world.ask("a", "b")
    world.ask("a", "c")
    world.ask("b", "a")
    world.ask("b", "c")
    world.act("a")
    world.act("b")
    world.check()
    assert world.majorities
    world.wipe("b")
    world.ask("c", "b")
    world.seen["b"] = {"a": Seen("a", 1, "a"), "c": world.answer("c")}
    world.ask("c", "b")
    world.act("c")
    world.act("b")
    world.check()
    assert "b" not in world.founded
    world.ask("b", "a")
    assert isinstance(decide(world.identity["b"], "n", NAMES, 0, world.seen["b"]), Join)


def test_a_founder_that_is_late_begins_as_the_others_did_and_a_wiped_one_joins() -> None:
    founders = (raft.Member("a", 1), raft.Member("b", 2), raft.Member("c", 3))
    seen = {"a": Seen("a", 1, "a:1", "n-1", founders)}
    assert decide(Identity("c", 3), "n", NAMES, 0, seen) == Found("n-1", founders)
    assert decide(Identity("c", 4), "n", NAMES, 0, seen) == Join("n-1", ("a:1",))
    assert decide(Identity("d", 9), "n", NAMES, 0, seen) == Join("n-1", ("a:1",))


def test_two_clusters_are_refused() -> None:
    seen = {"a": Seen("a", 1, "a:1", "n-1"), "b": Seen("b", 2, "b:1", "n-2")}
    with pytest.raises(UsageError, match="different clusters: n-1, n-2"):
        decide(Identity("c", 3), "n", (), 0, seen)


def test_who_waits_says_for_whom() -> None:
    me = Identity("a", 1)
    assert decide(me, "n", NAMES, 0, {"b": Seen("b", 2, "b:1")}) == Wait("waiting for c")
    assert "is not one of its founders" in decide(Identity("d", 1), "n", NAMES, 0, {}).why  # type: ignore[union-attr]
    assert "discovery.founders" in decide(me, "n", (), 0, {}).why  # type: ignore[union-attr]
    assert decide(me, "n", (), 3, {}) == Wait("waiting for 3 members, 1 are here")
    assert isinstance(decide(me, "n", ("a",), 0, {}), Found)
    assert isinstance(decide(me, "n", (), 1, {}), Found)


def test_who_was_told_other_founders_says_which() -> None:
    me = Identity("a", 1)
    ours = tuple(raft.Member(name, number) for number, name in enumerate("abc", start=1))
    for theirs, why in (
        ((), "b does not name the same founders yet"),
        ((*ours[:2], evolve(ours[2], incarnation=9)), "b does not name the same founders yet"),
        (ours[:2], "b names the founders a, b instead of a, b, c: discovery.founders has to be the same"),
    ):
        seen = {"b": Seen("b", 2, "b", "", theirs), "c": Seen("c", 3, "c", "", ours)}
        decision = decide(me, "n", NAMES, 0, seen)
        assert isinstance(decision, Wait)
        assert decision.why.startswith(why)


def test_an_identity_is_kept_and_never_changes_clusters(tmp_path: object) -> None:
    from pathlib import Path

    directory = Path(str(tmp_path))
    assert load_identity(directory) is None
    founders = (raft.Member("a", 7), raft.Member("b", 8))
    identity = belong(Identity("a", 7, agreed=("a", "b"), forgot="all"), cluster_id("n", founders), founders)
    save_identity(directory, identity)
    assert load_identity(directory) == identity
    assert belong(identity, identity.cluster, founders) == identity
    with pytest.raises(StorageError, match="two clusters never merge"):
        belong(identity, "n-other")
    with pytest.raises(UsageError, match="belongs to the member a"):
        check_name(identity, "b", directory)
    assert cluster_id("n", founders) != cluster_id("n", [evolve(founders[0], incarnation=9), founders[1]])
    (directory / "member.json").write_text("{")
    with pytest.raises(StoreCorrupt, match=r"member\.json is damaged"):
        load_identity(directory)
