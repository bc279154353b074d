"""A follower whose disk was put back to an older copy: its leader notices, and counts on it no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from graft.raft import Config
from graft.raft import effects as fx
from graft.raft import events as ev
from graft.raft import messages as ms
from tests.raft.cluster import Cluster, Server

DISK = ("disk_hard", "disk_log", "disk_first", "disk_applied", "disk_state", "disk_staged")


def copy_of(server: Server) -> dict[str, Any]:
    found = {name: getattr(server, name) for name in DISK}
    return {name: value.copy() if isinstance(value, dict | list) else value for name, value in found.items()}


def put_back(c: Cluster, id: str, image: dict[str, Any]) -> None:
    c[id].crash()
    for name, value in image.items():
        setattr(c[id], name, value)
    c[id].boot(c.now)
    c.drop(lambda m: id in (m.source, m.target))


def reports(c: Cluster) -> list[fx.ReportForgotten]:
    return [e for e in c["a"].effects if isinstance(e, fx.ReportForgotten)]


def with_words(c: Cluster, *words: str) -> None:
    for word in words:
        c.propose("a", word)
    c.deliver()
    c.advance(0.1)


@pytest.fixture
def rolled_back() -> Cluster:
    """a leads and all have four words; b has the disk of the time before the last two."""
    c = Cluster("a", "b", "c")
    c.elect("a")
    with_words(c, "one", "two")
    image = copy_of(c["b"])
    with_words(c, "three", "four")
    assert c["a"].raft.state.progress["b"].match == 5
    put_back(c, "b", image)
    return c


def test_the_leader_reports_it_though_nothing_is_written(rolled_back: Cluster) -> None:
    """The first answer to a heartbeat tells."""
    c = rolled_back
    c.advance(0.1)
    assert reports(c)[0] == fx.ReportForgotten("b", 1, 5, 3)
    (b,) = [each for each in c["a"].raft.status().followers if each.id == "b"]
    assert b.match == 0


def test_it_is_reported_again_but_not_with_every_answer(rolled_back: Cluster) -> None:
    c = rolled_back
    c.advance(1.0)
    once = Config("").election_timeout_seconds
    assert 2 <= len(reports(c)) <= 1.0 / once + 1
    assert c.leader("a")
    assert c["b"].raft.state.role == "follower", "the heartbeats go on, or it would stand"


def test_it_counts_neither_for_commits_nor_for_reads_nor_for_leadership(rolled_back: Cluster) -> None:
    c = rolled_back
    c.advance(0.1)
    c.partition("ab", "c")
    before = c["a"].raft.state.commit
    c.propose("a", "five")
    c.tell("a", ev.ReadRequested(77))
    c.deliver()
    assert c["a"].raft.state.commit == before
    assert not [e for e in c["a"].answers if isinstance(e, fx.AnswerRead)]
    c.heal()
    c.advance(0.1)
    assert c["a"].raft.state.commit == before + 1
    assert [e.requests for e in c["a"].answers if isinstance(e, fx.AnswerRead)] == [(77,)]
    c.partition("ab", "c")
    c.advance(2 * Config("").election_timeout_seconds)
    assert not c.leader("a"), "no quorum is left without it"


def test_it_gets_no_commit_index_that_its_log_may_not_deserve(rolled_back: Cluster) -> None:
    c = rolled_back
    c.advance(0.1)
    c.drop()
    seen = []
    for _ in range(30):
        c.advance(0.01, deliver=False)
        seen += [m for m in c.drop() if m.target == "b"]
    assert seen
    assert all(isinstance(m, ms.Heartbeat) and m.commit == 0 for m in seen)


def test_an_older_program_is_found_out_by_what_it_rejects(rolled_back: Cluster) -> None:
    """It does not say how far its log goes."""
    c = rolled_back
    c.drop()
    pass_on = c.pass_on

    def older(message: ms.Message) -> None:
        if isinstance(message, ms.HeartbeatReply):
            message = evolve(message, log_end=0)
        pass_on(message)

    c.pass_on = older  # type: ignore[method-assign]
    c.advance(0.2)
    assert reports(c) == []
    c.propose("a", "five")
    c.advance(0.2)
    assert reports(c)[0] == fx.ReportForgotten("b", 1, 5, 3)


def test_a_leader_hands_over_to_somebody_else(rolled_back: Cluster) -> None:
    c = rolled_back
    c.advance(0.1)
    c.tell("a", ev.TransferRequested(9, None))
    c.deliver()
    assert c.leader("c")


def test_with_a_new_disk_it_is_welcome(rolled_back: Cluster) -> None:
    c = rolled_back
    c.advance(0.1)
    c.tell("a", ev.MembershipChangeRequested(1, (ev.Change("remove", "b"),)))
    c.advance(0.2)
    fresh = Cluster("x", joining="b")["b"]
    c.servers["b"] = Server(evolve(c["a"].config, id="b", incarnation=2), fresh.disk_hard, now=c.now)
    c.tell("a", ev.MembershipChangeRequested(2, (ev.Change("add", "b", 2, "voter"),)))
    known = len(reports(c))
    c.advance(1.0)
    with_words(c, "five")
    assert c["b"].state == ["one", "two", "three", "four", "five"]
    assert len(reports(c)) == known


# Who has forgotten nothing


def nothing(c: Cluster) -> None:
    pass


def overtaken(c: Cluster) -> None:
    """Two heartbeats are answered before an append arrives; the answers come after its acknowledgement."""
    c.propose("a", "three")
    appends = c.drop(lambda m: isinstance(m, ms.AppendEntries))
    answers: list[ms.Message] = []
    for _ in range(12):
        c.advance(0.01, deliver=False)
        c.deliver(lambda m: isinstance(m, ms.Heartbeat))
        answers += c.drop(lambda m: isinstance(m, ms.HeartbeatReply))
    assert answers
    c.drop()
    c.wire += appends
    c.deliver()
    c.wire += answers
    c.deliver()


def restarted(c: Cluster) -> None:
    c.restart("b")
    c.advance(0.2)


def cut_off(c: Cluster) -> None:
    c.partition("ac", "b")
    with_words(c, "three", "four")
    c.heal()
    c.advance(0.5)


@pytest.mark.parametrize("what", [nothing, overtaken, restarted, cut_off])
def test_who_has_all_that_it_acknowledged_is_never_reported(what: Callable[[Cluster], None]) -> None:
    c = Cluster("a", "b", "c")
    c.elect("a")
    with_words(c, "one", "two")
    what(c)
    with_words(c, "last")
    assert reports(c) == []
    assert {tuple(c[id].state) for id in "abc"} == {tuple(c["a"].state)}
    assert c["a"].state[-1] == "last"


def test_an_answer_from_before_the_acknowledgement_says_nothing() -> None:
    """It is of the same round, and was overtaken on its way."""
    c = Cluster("a", "b", "c")
    c.elect("a")
    with_words(c, "one")
    s = c["a"].raft.state
    p = s.progress["b"]
    for reply in (
        ms.HeartbeatReply("b", "a", 1, s.term, p.match_round, log_end=1),
        ms.AppendReply("b", "a", 1, s.term, False, 0, p.match, 1, 0, p.match_round),
    ):
        c.tell("a", ev.MessageReceived(reply))
        assert reports(c) == []
    c.tell("a", ev.MessageReceived(ms.HeartbeatReply("b", "a", 1, s.term, p.match_round + 1, log_end=2)))
    assert reports(c) == [fx.ReportForgotten("b", 1, 2, 1)]
