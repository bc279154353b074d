"""The small pure parts: majorities, configurations, progress, tables, lines, the hard state's way to the disk."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.raft import Config, Configuration, Entry, HardState, Kind, Member, Raft, Recovered, membership, quorum
from graft.raft import effects as fx
from graft.raft import events as ev
from graft.raft import messages as ms
from graft.raft.events import Change
from graft.raft.progress import TRANSITIONS, Progress
from graft.raft.roles import TRANSITIONS as ROLES
from graft.raft.trace import LINES
from tests.raft.cluster import Cluster, dice, founding

IDS = ("a", "b", "c", "d", "e", "f", "g")
groups = st.lists(st.sampled_from(IDS), min_size=1, unique=True).map(tuple)


# ---- quorum --------------------------------------------------------------------------------------------------------


@given(groups, groups | st.just(()), st.dictionaries(st.sampled_from(IDS), st.integers(0, 9)))
def test_agreed_is_the_greatest_value_that_a_majority_of_each_set_has_reached(
    incoming: tuple[str, ...], outgoing: tuple[str, ...], values: dict[str, int]
) -> None:
    def reached(v: int) -> bool:
        return all(
            2 * sum(values.get(id, 0) >= v for id in group) > len(group) for group in (incoming, outgoing) if group
        )

    got = quorum.agreed((incoming, outgoing), lambda id: values.get(id, 0))
    assert reached(got)
    assert not reached(got + 1)


@given(groups, groups | st.just(()), st.sets(st.sampled_from(IDS)), st.sets(st.sampled_from(IDS)))
def test_two_quorums_of_one_configuration_meet(
    incoming: tuple[str, ...], outgoing: tuple[str, ...], one: set[str], two: set[str]
) -> None:
    voters = (incoming, outgoing)
    if quorum.reached(voters, one) and quorum.reached(voters, two):
        assert one & two & set(incoming)
        assert not outgoing or one & two & set(outgoing)


@given(groups, groups | st.just(()), st.dictionaries(st.sampled_from(IDS), st.booleans()))
def test_an_election_is_not_won_and_lost(
    incoming: tuple[str, ...], outgoing: tuple[str, ...], votes: dict[str, bool]
) -> None:
    voters = (incoming, outgoing)
    won = quorum.reached(voters, [id for id, yes in votes.items() if yes])
    lost = quorum.lost(voters, votes)
    assert not (won and lost)
    if set(incoming) | set(outgoing) <= set(votes):
        assert won != lost


def test_nobody_is_no_quorum() -> None:
    assert not quorum.reached(((), ()), {"a"})
    assert quorum.agreed(((), ()), lambda id: 9) == 0


# ---- membership ----------------------------------------------------------------------------------------------------

changes = st.lists(
    st.builds(
        Change,
        st.sampled_from(["add", "promote", "demote", "remove", "dance"]),
        st.sampled_from(IDS),
        st.integers(0, 3),
        st.sampled_from(["voter", "learner", "executor", "king"]),
    ),
    min_size=1,
    max_size=4,
)


@given(st.lists(changes, max_size=6), st.sets(st.sampled_from(IDS)))
def test_quorums_of_neighbouring_configurations_meet(wishes: list[list[Change]], caught_up: set[str]) -> None:
    """Whatever is wished: every step from one configuration to the next keeps a common voter in any two quorums, no
    executor gets a vote, nobody comes back with the disk that was removed."""
    configuration = founding("a", "b", "c")
    chain = [configuration]
    for wish in wishes:
        try:
            first = membership.plan(chain[-1], wish, caught_up)
        except membership.Impossible:
            continue
        chain.append(first)
        if first.outgoing:
            chain.append(membership.leave(first))
    for before, after in pairwise(chain):
        assert voters(after)[0], "somebody can vote"
        assert meet(voters(before), voters(after))
        executors = {(m.id, m.incarnation) for m in before.members if m.role == "executor"}
        assert not executors & {(m.id, m.incarnation) for m in after.members if m.role == "voter"}
        assert not set(before.retired) & {(m.id, m.incarnation) for m in after.members}
        assert [m.id for m in after.members] == sorted({m.id for m in after.members})


def voters(c: Configuration) -> quorum.Voters:
    return tuple(m.id for m in c.members if m.role == "voter"), tuple(m.id for m in c.outgoing)


def meet(one: quorum.Voters, two: quorum.Voters) -> bool:
    """Any quorum of one and any quorum of two have a voter in common: some set of voters is needed by both."""
    return bool({frozenset(g) for g in one if g} & {frozenset(g) for g in two if g})


@given(st.lists(changes, max_size=3), st.sets(st.sampled_from(IDS)))
def test_configurations_survive_their_codec(wishes: list[list[Change]], caught_up: set[str]) -> None:
    configuration = founding("a", "b", learners=("c",), executors=("d",))
    for wish in wishes:
        try:
            configuration = membership.plan(configuration, wish, caught_up)
        except membership.Impossible:
            continue
        assert membership.decode(membership.encode(configuration)) == configuration
        configuration = membership.leave(configuration)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (Change("add", "a", 1), "no_change"),
        (Change("add", "a", 2), "incarnation_in_use"),
        (Change("add", "x", 7), "incarnation_in_use"),
        (Change("add", "", 7), "invalid"),
        (Change("add", "y", 1, "king"), "invalid"),
        (Change("promote", "z"), "unknown_member"),
        (Change("promote", "a", 9), "unknown_member"),
        (Change("promote", "a"), "no_change"),
        (Change("promote", "c"), "not_caught_up"),
        (Change("promote", "d"), "invalid"),
        (Change("demote", "c"), "invalid"),
        (Change("demote", "d"), "no_change"),
        (Change("remove", "z"), "unknown_member"),
        (Change("dance", "a"), "invalid"),
    ],
)
def test_changes_that_make_no_sense(change: Change, reason: str) -> None:
    base = founding("a", "b", learners=("c",), executors=("d",))
    old = Configuration(base.members, (), (("x", 7),))
    with pytest.raises(membership.Impossible, match=f"^{reason}$"):
        membership.plan(old, [change], set())


# ---- progress ------------------------------------------------------------------------------------------------------


def test_every_state_of_a_follower_can_be_left() -> None:
    assert {state for state, _ in TRANSITIONS} == {"probe", "replicate", "snapshot"} == set(TRANSITIONS.values())


def test_an_illegal_change_of_state_is_an_error() -> None:
    p = Progress("b", 1, 0.0)
    with pytest.raises(KeyError):
        p.move("installed", 0.0)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 100)), max_size=12), st.data())
def test_the_window_counts_what_is_not_answered(sends: list[tuple[int, int]], data: st.DataObject) -> None:
    p = Progress("b", 1, 0.0)
    p.move("accepted", 0.0)
    waiting: list[tuple[int, int]] = []
    for count, size in sends:
        last = p.next + count - 1
        p.sent(last, size, 0.0)
        waiting.append((last, size))
        if data.draw(st.booleans()):
            match = data.draw(st.integers(0, p.next - 1))
            p.accepted(match, 0.0)
            waiting = [w for w in waiting if w[0] > match]
        assert list(p.inflight) == waiting
        assert p.inflight_bytes == sum(size for _, size in waiting)
        assert p.match < p.next


# ---- tables and lines ----------------------------------------------------------------------------------------------


def test_every_role_can_be_left_but_by_no_cause_twice() -> None:
    roles = {"follower", "pre_candidate", "candidate", "leader"}
    assert {role for role, _ in ROLES} == roles == set(ROLES.values())
    assert {cause for role, cause in ROLES if role == "leader"} == {"higher_term", "stepped_down"}


def test_every_record_has_its_line_and_every_effect_its_handler() -> None:
    for union in (ms.Message, ev.Event, fx.Effect):
        assert set(union.__args__) <= set(LINES)  # type: ignore[attr-defined]


# ---- restarts ------------------------------------------------------------------------------------------------------


def test_a_member_that_restarts_knows_what_it_wrote() -> None:
    """Term, vote, terms of entries, membership: all from the hard state, without reading the log."""
    c = Cluster("a", "b", "c", joining=("d",))
    c.elect("a")
    c.propose("a", "x")
    c.tell("a", ev.MembershipChangeRequested(1, (Change("add", "d", 1, "executor"),)))
    c.deliver()
    before = c["b"].raft.state
    c.restart("b")
    after = c["b"].raft.state
    assert (after.term, after.vote) == (before.term, before.vote)
    assert (after.log.first, after.log.last) == (before.log.first, before.log.last)
    assert after.log.runs() == before.log.runs()
    assert after.view.configuration == before.view.configuration
    assert after.commit == c["b"].disk_applied


def test_a_member_without_a_configuration_is_patient() -> None:
    raft = Raft(Config("a"), Recovered(HardState(), restarted=False), dice(1), 0.0)
    for _ in range(5):
        deadline = raft.next_deadline()
        assert deadline is not None
        assert raft.handle(ev.DeadlinePassed(), deadline) == []
    assert raft.status().role == "follower"


def test_the_same_events_give_the_same_effects() -> None:
    """Purity: nothing but the arguments decides."""

    def run() -> list[str]:
        c = Cluster("a", "b", "c")
        c.elect("a")
        for word in "xyz":
            c.propose("a", word)
        c.advance(1)
        return [repr(server.effects) for server in c.servers.values()]

    assert run() == run()


def test_time_that_goes_back_is_time_that_stands_still() -> None:
    c = Cluster("a", "b", "c")
    c.elect("a")
    raft = c["a"].raft
    before = raft.next_deadline()
    raft.handle(ev.DeadlinePassed(), c.now - 100)
    assert raft.next_deadline() == before


def test_a_stopped_member_answers_and_does_nothing() -> None:
    c = Cluster("a", "b", "c")
    c.elect("a")
    raft = c["a"].raft
    assert raft.handle(ev.PersistFailed("EIO"), c.now)[-1] == fx.Stop("a write to the log failed: EIO")
    assert raft.next_deadline() is None
    assert raft.handle(ev.DeadlinePassed(), c.now + 9) == []
    assert raft.handle(ev.Proposed(1, b"x"), c.now) == [fx.RefuseProposal(1, "stopped")]
    assert raft.handle_many([ev.ReadRequested(2), ev.TransferRequested(3)], c.now) == [
        fx.RefuseRead((2,), "stopped"),
        fx.AnswerRequest(3, "stopped"),
    ]


def test_two_leaders_in_one_term_stop_the_process() -> None:
    c = Cluster("a", "b", "c")
    c.elect("a")
    message = ms.Heartbeat("b", "a", 1, 1, 0, 1)
    with pytest.raises(AssertionError, match="two leaders in term 1"):
        c["a"].raft.handle(ev.MessageReceived(message), c.now)


def test_a_committed_entry_is_never_truncated() -> None:
    """S15: a member would rather stop than believe that."""
    c = Cluster("a", "b", "c")
    c.elect("a")
    c.propose("a", "x")
    c.deliver()
    bad = ms.AppendEntries("c", "b", 1, 9, 0, 0, tuple(Entry(i, 9, Kind.COMMAND, b"") for i in (1, 2, 3)), 0)
    c["b"].raft.handle(ev.MessageReceived(bad), c.now)
    assert c.log_terms("b")[:2] == (1, 1)  # the committed part is skipped, whatever it says


def test_memory_stays_bounded_while_a_follower_is_away() -> None:
    """The window keeps what is not synced, and little more."""
    c = Cluster("a", "b", "c", config=Config("", max_window_bytes=1_000, retain_entries=100, purge_step_entries=10))
    c.elect("a")
    c.partition("ab", "c")
    for _ in range(40):
        for _ in range(10):
            c.propose("a", "x" * 20)
        c.deliver()
        log = c["a"].raft.state.log
        assert log.window_bytes <= 1_000 + 60
        assert len(log.run_starts) <= 3
        c.now += 0.01
        c.wake()
        c.deliver()
    assert c["a"].raft.state.log.first > 250


def test_members_are_compared_by_value() -> None:
    assert Member("a", 1) == Member("a", 1)
    assert Member("a", 1) != Member("a", 2)


def test_the_example_of_the_internals_page_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "internals" / "raft.md").read_text()
    exec(page.split("```python\n")[1].split("```")[0], {})
