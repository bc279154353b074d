"""Each promise, broken on purpose in front of the checker: S1 to S16, and what it must let pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from graft.raft.effects import Persist, SwitchToSnapshot
from graft.raft.messages import AppendReply, SnapshotReply, VoteReply
from graft.raft.records import Configuration, Entry, HardState, Kind, Member, SnapshotMeta
from graft.sim.disk import Image
from graft.sim.invariants import Ledger, Violation, Watch, is_quorum, voter_sets

ABC = Configuration((Member("a", 1), Member("b", 1), Member("c", 1)))
AB = Configuration((Member("a", 1), Member("b", 1)))


def entry(index: int, term: int, data: bytes = b"", kind: int = Kind.COMMAND) -> Entry:
    return Entry(index, term, kind, data or f"{index}/{term}".encode())


class Stage:
    """Three members with the same log, nothing committed: term 2, entries of the terms 1, 1, 2."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.images: dict[str, Image] = {}
        self.watches: dict[str, Watch] = {}
        for id in "abc":
            self.add(id)

    def add(self, id: str) -> None:
        hard = HardState(2, "a", ((0, 0), (1, 1), (3, 2)), ((0, ABC),))
        image = self.images[id] = Image(hard, entries=[entry(1, 1), entry(2, 1), entry(3, 2)])
        self.watches[id] = Watch.of(self.ledger, (id, 1), image, image.recovered())

    def lead(self, id: str = "a", term: int = 2) -> Watch:
        self.ledger.granted[term] = {(voter, 1): id for voter in "abc" if voter != id}
        self.images[id].hard_state = HardState(term, id)
        self.watches[id].became_leader(term, self.images[id])
        return self.watches[id]


def append(index: int, term: int, ticket: int = 1, **more: object) -> Persist:
    return Persist(ticket, (entry(index, term),), **more)  # type: ignore[arg-type]


def two_leaders(s: Stage) -> None:
    s.lead("a")
    s.ledger.granted[2] = {("a", 1): "b", ("c", 1): "b"}
    s.watches["b"].became_leader(2, s.images["b"])


def elected_by_nobody(s: Stage) -> None:
    s.watches["a"].became_leader(2, s.images["b"])


def one_entry_two_contents(s: Stage) -> None:
    s.watches["a"].persist(append(4, 2))
    s.watches["b"].persist(Persist(1, (entry(4, 2, b"other"),)))


def one_entry_two_predecessors(s: Stage) -> None:
    s.watches["a"].persist(append(4, 4))
    s.watches["b"].persist(Persist(1, (entry(3, 3), entry(4, 4)), truncate_from=3))


def a_hole(s: Stage) -> None:
    s.watches["a"].persist(append(6, 2))


def a_wrong_repair(s: Stage) -> None:
    s.watches["a"].persist(Persist(1, repaired=(entry(2, 2),)))


def an_incomplete_leader(s: Stage) -> None:
    s.lead("a").committed(3, by_counting=True)
    del s.watches["b"].terms[2:]
    s.lead("b", 3)


def a_leader_with_another_entry(s: Stage) -> None:
    s.lead("a").committed(3, by_counting=True)
    s.watches["b"].terms[2] = 1
    s.lead("b", 3)


def another_state(s: Stage) -> None:
    s.ledger.saw_state(1, 11, ("a", 1))
    s.ledger.saw_state(1, 12, ("b", 1))


def another_commit(s: Stage) -> None:
    s.watches["a"].committed(3, by_counting=False)
    s.watches["b"].terms[2] = 1
    s.watches["b"].committed(3, by_counting=False)


def applied_another(s: Stage) -> None:
    s.watches["a"].committed(3, by_counting=False)
    s.watches["a"].apply([entry(1, 2)])


def committed_on_one(s: Stage) -> None:
    watch = s.lead("a")
    watch.persist(append(4, 2))
    s.images["a"].commit(append(4, 2), 0, [])
    watch.committed(4, by_counting=True)


def committed_on_one_half_of_a_joint_configuration(s: Stage) -> None:
    watch = s.lead("a")
    joint = Configuration((Member("d", 1), Member("e", 1)), ABC.members)
    watch.configurations.append((3, joint))
    watch.committed(3, by_counting=True)


def the_term_goes_back(s: Stage) -> None:
    s.watches["a"].persist(Persist(1, hard_state=HardState(1)))


def the_vote_changes(s: Stage) -> None:
    s.watches["a"].persist(Persist(1, hard_state=HardState(2, "b")))


def the_synced_vote_changes(s: Stage) -> None:
    s.images["a"].hard_state = HardState(2, "c")
    s.watches["a"].synced(s.images["a"])


def the_synced_state_goes_back(s: Stage) -> None:
    s.images["a"].applied = 2
    s.watches["a"].synced(s.images["a"])
    s.images["a"].applied = 1
    s.watches["a"].synced(s.images["a"])


def the_commit_goes_back(s: Stage) -> None:
    s.watches["a"].committed(2, by_counting=False)
    s.watches["a"].committed(1, by_counting=False)


def marks_out_of_order(s: Stage) -> None:
    s.watches["a"].marks(0, 3, 2, 3)


def a_purge_beyond_the_state(s: Stage) -> None:
    s.watches["a"].purge(1, s.images["a"])


def applied_uncommitted(s: Stage) -> None:
    s.ledger.committed.append(1)
    s.watches["a"].apply([entry(1, 1)])


def applied_twice(s: Stage) -> None:
    s.watches["a"].committed(2, by_counting=False)
    s.watches["a"].apply([entry(1, 1)])
    s.watches["a"].apply([entry(1, 1)])


def counted_an_older_term(s: Stage) -> None:
    s.lead("a").committed(2, by_counting=True)


def granted_before_the_sync(s: Stage) -> None:
    s.watches["a"].leaves(VoteReply("a", "b", 1, 3, True), s.images["a"])


def granted_twice(s: Stage) -> None:
    s.watches["a"].leaves(VoteReply("a", "a", 1, 2, True), s.images["a"])
    s.images["a"].hard_state = HardState(2, "b")
    s.watches["a"].leaves(VoteReply("a", "b", 1, 2, True), s.images["a"])


def acknowledged_before_the_sync(s: Stage) -> None:
    s.watches["b"].leaves(AppendReply("b", "a", 1, 2, True, 4), s.images["b"])


def acknowledged_torn(s: Stage) -> None:
    s.images["b"].tear(2)
    s.watches["b"].leaves(AppendReply("b", "a", 1, 2, True, 3), s.images["b"])


def acknowledged_another_entry(s: Stage) -> None:
    s.watches["b"].persist(Persist(1, (entry(3, 3),), truncate_from=3, hard_state=HardState(3)))
    s.watches["b"].leaves(AppendReply("b", "a", 1, 3, True, 3), s.images["b"])


def acknowledged_a_snapshot_that_is_not_there(s: Stage) -> None:
    s.watches["b"].leaves(SnapshotReply("b", "a", 1, 2, "x", 0, True, match=9), s.images["b"])


def two_configurations(s: Stage) -> None:
    watch = s.lead("a")
    watch.committed(3, by_counting=True)
    change = Persist(1, (entry(4, 2, kind=Kind.CONFIGURATION),), None, HardState(2, "a", configurations=((4, AB),)))
    watch.persist(change)
    watch.persist(Persist(2, (entry(5, 2, kind=Kind.CONFIGURATION),)))


def a_configuration_too_early(s: Stage) -> None:
    watch = s.lead("a")
    watch.commit = 2
    watch.persist(Persist(1, (entry(4, 2, kind=Kind.CONFIGURATION),)))


def a_lost_disk_comes_back(s: Stage) -> None:
    s.ledger.lost_disk(("a", 1))
    s.add("a")


SNAPSHOT = SnapshotMeta("s", 5, 2, AB, 4, 0)


def _switch(meta: SnapshotMeta = SNAPSHOT, kept: Configuration = AB, keep_log: bool = False) -> SwitchToSnapshot:
    return SwitchToSnapshot(1, meta, HardState(2, "a", configurations=((4, kept),)), keep_log)


def a_snapshot_without_its_membership(s: Stage) -> None:
    s.watches["c"].switch(_switch(kept=ABC))


def a_snapshot_below_the_commit_index(s: Stage) -> None:
    s.watches["c"].commit = 6
    s.watches["c"].switch(_switch())


def a_snapshot_below_the_state(s: Stage) -> None:
    s.watches["c"].applied = 5
    s.watches["c"].switch(_switch(keep_log=True))


def a_snapshot_of_what_was_not_committed(s: Stage) -> None:
    s.watches["c"].switch(_switch())


def truncated_though_committed(s: Stage) -> None:
    s.watches["a"].committed(3, by_counting=False)
    s.watches["b"].persist(Persist(1, (entry(3, 3),), truncate_from=3))


def truncated_though_it_agrees(s: Stage) -> None:
    s.watches["b"].persist(Persist(1, (entry(3, 2),), truncate_from=3))


def a_stale_read(s: Stage) -> None:
    s.ledger.saw_read(4, 5, ("a", 1))


BROKEN: list[tuple[str, Callable[[Stage], None]]] = [
    ("S1", two_leaders),
    ("S1", elected_by_nobody),
    ("S2", one_entry_two_contents),
    ("S2", one_entry_two_predecessors),
    ("S2", a_hole),
    ("S2", a_wrong_repair),
    ("S3", an_incomplete_leader),
    ("S3", a_leader_with_another_entry),
    ("S4", another_state),
    ("S5", another_commit),
    ("S5", applied_another),
    ("S6", committed_on_one),
    ("S6", committed_on_one_half_of_a_joint_configuration),
    ("S7", the_term_goes_back),
    ("S7", the_vote_changes),
    ("S7", the_synced_vote_changes),
    ("S7", the_synced_state_goes_back),
    ("S7", the_commit_goes_back),
    ("S8", marks_out_of_order),
    ("S8", a_purge_beyond_the_state),
    ("S8", applied_uncommitted),
    ("S8", applied_twice),
    ("S9", counted_an_older_term),
    ("S10", granted_before_the_sync),
    ("S10", granted_twice),
    ("S11", acknowledged_before_the_sync),
    ("S11", acknowledged_torn),
    ("S11", acknowledged_another_entry),
    ("S11", acknowledged_a_snapshot_that_is_not_there),
    ("S12", two_configurations),
    ("S12", a_configuration_too_early),
    ("S13", a_lost_disk_comes_back),
    ("S14", a_snapshot_without_its_membership),
    ("S14", a_snapshot_below_the_commit_index),
    ("S14", a_snapshot_below_the_state),
    ("S5", a_snapshot_of_what_was_not_committed),
    ("S15", truncated_though_committed),
    ("S15", truncated_though_it_agrees),
    ("S16", a_stale_read),
]


@pytest.mark.parametrize(("rule", "break_it"), BROKEN, ids=[act.__name__ for _, act in BROKEN])
def test_a_broken_promise_is_seen(rule: str, break_it: Callable[[Stage], None]) -> None:
    stage = Stage()
    with pytest.raises(Violation) as caught:
        break_it(stage)
    assert caught.value.rule == rule, str(caught.value)


def test_all_sixteen_are_broken_here() -> None:
    assert {rule for rule, _ in BROKEN} == {f"S{number}" for number in range(1, 17)}


def test_what_is_right_passes() -> None:
    stage = Stage()
    leader = stage.lead("a")
    leader.committed(3, by_counting=True)
    leader.apply([entry(1, 1), entry(2, 1), entry(3, 2)])
    for id in "abc":
        write = append(4, 2)
        stage.watches[id].persist(write)
        stage.images[id].commit(write, 0, [])
        stage.watches[id].synced(stage.images[id])
    stage.watches["b"].leaves(AppendReply("b", "a", 1, 2, True, 4), stage.images["b"])
    leader.committed(4, by_counting=True)
    stage.watches["b"].committed(4, by_counting=False)
    stage.watches["c"].persist(Persist(2, (entry(5, 3),), None, HardState(3, "b")))
    stage.watches["c"].persist(Persist(3, (entry(5, 4),), 5, HardState(4)))
    stage.ledger.saw_read(4, 4, ("b", 1))


def test_a_stale_leader_of_an_older_term_need_not_hold_later_commits() -> None:
    stage = Stage()
    stage.lead("a").committed(3, by_counting=True)
    stage.ledger.commit_in_term = {5: 3}
    del stage.watches["b"].terms[2:]
    stage.lead("b", 4)


def test_a_quorum_needs_both_halves() -> None:
    joint = Configuration(AB.members, ABC.members)
    assert [len(voters) for voters in voter_sets(joint)] == [2, 3]
    assert is_quorum(lambda who: who[0] in "ab", joint)
    assert not is_quorum(lambda who: who[0] in "ac", joint)
    assert not is_quorum(lambda who: who[0] in "bc", joint)
    assert not is_quorum(lambda who: who == ("a", 2) or who[0] == "b", AB)
