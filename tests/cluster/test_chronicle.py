"""What the log of a member tells of the cluster's history."""

from __future__ import annotations

import pytest
from attrs import evolve

from graft.cluster.chronicle import CALM_SECONDS, Chronicle, Registered, Standing

CALM = Standing(
    "a",
    3,
    "a",
    {"a": (1, "voter"), "b": (2, "voter"), "c": (3, "voter")},
    {"a": Registered(11, True), "b": Registered(12, True), "c": Registered(13, True)},
)


def but(before: Standing = CALM, **changes: Registered) -> Standing:
    return evolve(before, registered={**before.registered, **changes})


def lines(before: Standing, after: Standing) -> list[str]:
    chronicle = Chronicle(before)
    chronicle.look(0.0, before)
    assert chronicle.look(CALM_SECONDS, before) == []
    return chronicle.look(2 * CALM_SECONDS, after)


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (evolve(CALM, leader="b"), evolve(CALM, term=4), "a leads now, in term 4"),
        (CALM, evolve(CALM, term=4), "a leads now, in term 4"),
        (CALM, evolve(CALM, term=4, leader="c"), "follows c, in term 4"),
        (CALM, evolve(CALM, leader=""), "no leader is known, it leads no more: without a quorum nothing is written"),
        (
            evolve(CALM, leader="b"),
            evolve(CALM, leader=""),
            "no leader is known, b leads no more: without a quorum nothing is written",
        ),
        (evolve(CALM, leader=""), CALM, "a leads now, in term 3"),
        (CALM, but(b=Registered(12, False)), "b was declared dead: what it ran is begun again"),
        (CALM, but(b=Registered(12, True, stopping=True)), "b is stopping"),
        (but(b=Registered(12, True, stopping=True)), but(b=Registered(12, False, stopping=True)), "b has stopped"),
        (CALM, but(b=Registered(99, True)), "b has registered anew: what it ran before is begun again"),
        (but(b=Registered(12, False)), but(b=Registered(99, True)), "b has registered"),
        (CALM, but(b=Registered(12, True, draining=True)), "b is drained: it gets no new steps"),
        (but(b=Registered(12, True, draining=True)), CALM, "b takes new steps again"),
        (CALM, evolve(CALM, servers={**CALM.servers, "d": (4, "learner")}), "d joined as learner"),
        (CALM, evolve(CALM, servers={**CALM.servers, "c": (3, "executor")}), "c is executor now, it was voter"),
        (
            CALM,
            evolve(CALM, servers={**CALM.servers, "c": (9, "learner")}),
            "c has another data directory, and is learner",
        ),
        (CALM, evolve(CALM, servers={"a": (1, "voter"), "b": (2, "voter")}), "c was removed from the cluster"),
        (CALM, evolve(CALM, snapshots=1, applied=70), "installed a snapshot: it has the state as of log index 70 now"),
        (evolve(CALM, holds_lease=False), CALM, "holds a lease again: it runs steps"),
    ],
)
def test_one_line_for_each_change(before: Standing, after: Standing, line: str) -> None:
    assert lines(before, after) == [line]


def test_it_begins_with_who_leads() -> None:
    assert Chronicle(CALM).look(0.0, CALM) == ["a leads now, in term 3"]
    follows = evolve(CALM, leader="b")
    assert Chronicle(follows).look(0.0, follows) == ["follows b, in term 3"]


def test_a_leader_that_changes_again_and_again_gets_few_lines_and_the_last_one_is_told() -> None:
    chronicle = Chronicle(CALM)
    chronicle.look(0.0, CALM)
    told = []
    for n in range(600):
        told += chronicle.look(100 + n / 2, evolve(CALM, term=4 + n, leader="bc"[n % 2]))
    assert 5 < len(told) < 20
    last = evolve(CALM, term=1000, leader="")
    told = [line for n in range(100) for line in chronicle.look(400 + n, last)]
    assert len(told) == 1
