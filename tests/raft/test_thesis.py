"""Rules of *Consensus: Bridging Theory and Practice* (Ongaro, 2014) on transfer, membership, reads, pre-vote and
parallel disk writes: each test gives or names the rule that it proves.

The quotation marks show what is the thesis's; the words were written down from memory and not compared with the print,
so take each as *in substance*, and the section number as where to look."""

from __future__ import annotations

from random import Random

import pytest
from attrs import evolve

from graft.raft import Config, Kind
from graft.raft import effects as fx
from graft.raft import events as ev
from graft.raft import messages as ms
from tests.raft.cluster import Cluster


def sent(c: Cluster, kind: type) -> list[ms.Message]:
    return [m for m in c.wire if isinstance(m, kind)]


def answers(c: Cluster, id: str, kind: type) -> list[fx.Effect]:
    return [e for e in c[id].answers if isinstance(e, kind)]


def leading(*ids: str, config: Config | None = None, **more: tuple[str, ...]) -> Cluster:
    """A cluster that `a` leads."""
    c = Cluster(*ids, config=config, **more)  # type: ignore[arg-type]
    c.elect("a")
    return c


def change(c: Cluster, *changes: ev.Change) -> None:
    c.tell("a", ev.MembershipChangeRequested(1, changes))


# ---- 3.10 leadership transfer --------------------------------------------------------------------------------------


def test_a_transfer_stops_new_requests_first() -> None:
    """3.10, 1: "The prior leader stops accepting new client requests." """
    c = leading("a", "b", "c")
    c.tell("a", ev.TransferRequested(1, "b"))
    assert c.propose("a", "x") == fx.RefuseProposal(1, "transferring", "a")


def test_a_transfer_brings_the_target_up_to_date_before_it_tells_it() -> None:
    """3.10, 2: "The prior leader fully updates the target server's log to match its own"."""
    c = leading("a", "b", "c")
    c.propose("a", "x")
    c.tell("a", ev.TransferRequested(1, "b"))
    assert not sent(c, ms.TimeoutNow)
    c.deliver(lambda m: isinstance(m, ms.AppendEntries | ms.AppendReply))
    assert [m.target for m in sent(c, ms.TimeoutNow)] == ["b"]


def test_the_target_stands_at_once() -> None:
    """3.10, 3: "This request has the same effect as the target server's election timer firing: the target server
    starts a new election (incrementing its term and becoming a candidate)." And the promises of 4.2.3 do not stop
    it."""
    c = leading("a", "b", "c")
    before = c.now
    c.tell("a", ev.TransferRequested(1, "b"))
    c.deliver()
    assert c.leader("b")
    assert c.now == before


def test_a_transfer_that_takes_an_election_timeout_is_given_up() -> None:
    """3.10: "If leadership transfer does not complete after about an election timeout, the current leader aborts the
    transfer and resumes accepting client requests." """
    c = leading("a", "b", "c")
    c.cut = {("a", "b")}
    c.tell("a", ev.TransferRequested(1, "b"))
    c.advance(c["a"].config.election_timeout_seconds + 2 * c["a"].config.heartbeat_seconds)
    assert answers(c, "a", fx.AnswerRequest) == [fx.AnswerRequest(1, "timed_out", "a")]
    assert isinstance(c.propose("a", "x"), fx.AcceptProposal)


# ---- 4.1 safety ----------------------------------------------------------------------------------------------------


def test_a_configuration_is_in_force_as_soon_as_it_is_in_the_log() -> None:
    """4.1: "The new configuration takes effect on each server as soon as it is added to that server's log"."""
    c = leading("a", "b", "c")
    change(c, ev.Change("remove", "c"))
    assert c["a"].raft.state.view.configuration.joint
    assert not c["b"].raft.state.view.configuration.joint
    c.deliver(lambda m: m.target == "b")
    assert c["b"].raft.state.view.configuration.joint


def test_a_server_falls_back_when_the_entry_is_removed() -> None:
    """4.1: "a server must be prepared to fall back to the previous configuration in its log." """
    c = leading("a", "b", "c")
    c.partition("a", "bc")
    change(c, ev.Change("remove", "c"))
    c.quiet()
    c.expire("b")
    c.deliver()
    c.heal()
    c.advance(0.5)
    assert c["a"].raft.state.view.configuration == c.configuration


def test_a_leader_accepts_one_change_at_a_time() -> None:
    """4.1: a further change "can only be made once the previous one is committed"; and (Ongaro's correction of 2015)
    only after the leader has committed an entry of its own term."""
    c = leading("a", "b", "c")
    change(c, ev.Change("remove", "c"))
    change(c, ev.Change("demote", "b"))
    assert answers(c, "a", fx.AnswerRequest) == [fx.AnswerRequest(1, "busy", "a")]
    d = Cluster("a", "b", "c")
    d.expire("a")
    d.deliver(lambda m: isinstance(m, ms.RequestVote | ms.VoteReply))
    assert d.leader("a")
    change(d, ev.Change("remove", "c"))
    assert answers(d, "a", fx.AnswerRequest) == [fx.AnswerRequest(1, "too_early", "a")]


def test_servers_accept_a_leader_that_is_not_in_their_configuration() -> None:
    """4.1: "A server accepts AppendEntries requests from a leader that is not part of the server's latest
    configuration." Otherwise a new server could never be added."""
    c = leading("a", "b", "c", joining=("d",))
    assert not c["d"].raft.state.view.incarnations
    change(c, ev.Change("add", "d", 1))
    c.deliver(lambda m: "d" in (m.source, m.target))
    assert c["d"].raft.state.log.last == 2


def test_servers_vote_for_a_candidate_that_is_not_in_their_configuration() -> None:
    """4.1: "A server also grants its vote to a candidate that is not part of the server's latest configuration"."""
    c = Cluster("a", "b", "c")
    c.quiet()
    c.tell("a", ev.MessageReceived(ms.RequestVote("z", "a", 1, 1, 0, 0)))
    (reply,) = sent(c, ms.VoteReply)
    assert reply.granted


# ---- 4.2 availability ----------------------------------------------------------------------------------------------


def test_catching_up_in_rounds() -> None:
    """4.2.1: "each round replicates all the log entries present in the leader's log at the start of the round … If the
    last round lasts less than an election timeout, then the leader adds the new server to the cluster"."""
    c = leading("a", "b", "c", joining=("d",))
    limit = c["a"].config.promotion_rounds_seconds
    change(c, ev.Change("add", "d", 1))
    c.deliver()
    for _ in range(2):  # two rounds that take too long
        c.propose("a", "x")
        slow = c.drop(lambda m: m.target == "d")
        c.deliver()
        c.now += limit + 0.01
        for message in slow:
            c.pass_on(message)
        c.deliver()
        assert not c["a"].raft.state.progress["d"].caught_up
    c.advance(2 * c["a"].config.heartbeat_seconds + 0.02)  # and a quick one
    assert "d" in c["a"].raft.state.view.voters[0]


@pytest.mark.parametrize("heartbeat", [0.05, 0.3, 1.0, 5.0])
def test_a_round_that_has_nothing_to_bring_takes_no_time(heartbeat: float) -> None:
    """4.2.1: a round lasts as long as it takes to replicate what was in the log when it began. In an idle cluster that
    is nothing, whatever time passes until the next heartbeat is answered."""
    config = Config("", heartbeat_seconds=heartbeat, election_timeout_seconds=3 * heartbeat)
    c = leading("a", "b", "c", config=config, learners=("d",))
    c.advance(3 * heartbeat, step=heartbeat / 5)
    assert "d" in c["a"].raft.state.view.voters[0]


@pytest.mark.parametrize(("share", "caught_up"), [(0.9, True), (1.1, False)])
@pytest.mark.parametrize("timeout", [0.2, 1.0, 7.0])
def test_the_last_round_must_last_less_than_an_election_timeout(timeout: float, share: float, caught_up: bool) -> None:
    """4.2.1, as above, with the election timeout of the configuration."""
    c = leading("a", "b", "c", config=Config("", election_timeout_seconds=timeout), learners=("d",))
    c.propose("a", "x")
    slow = c.drop(lambda m: m.target == "d")
    c.deliver()
    c.now += share * timeout
    for message in slow:
        c.pass_on(message)
    c.deliver(lambda m: m.source == "d")
    assert c["a"].raft.state.progress["d"].caught_up is caught_up


def test_a_removed_leader_steps_down_after_its_last_commit() -> None:
    """4.2.2: "a leader that is removed from the configuration steps down once the C_new entry is committed." """
    c = leading("a", "b", "c")
    change(c, ev.Change("remove", "a"))
    c.deliver()
    s = c["a"].raft.state
    assert s.role == "follower"
    assert s.commit == s.log.last
    assert not s.view.is_voter


def test_who_is_not_in_its_own_configuration_may_still_stand() -> None:
    """4.2.2: "a server that is not part of its own latest configuration should still start new elections, as it might
    still be needed until the C_new entry is committed … It does not count its own vote in elections unless it is
    part of its latest configuration." """
    c = leading("a", "b")
    change(c, ev.Change("remove", "a"))
    while c["a"].raft.state.view.configuration.joint:
        c.pass_on(c.wire.pop(0))
    c.drop()  # C_new is on a only
    c.restart("a")
    assert not c["a"].raft.state.view.is_voter
    c.quiet()
    c.expire("a")
    assert c["a"].raft.state.role == "pre_candidate"  # its own voice is none, b's is needed
    c.deliver()
    assert c["b"].raft.state.view.configuration.members == c["a"].raft.state.view.configuration.members
    c.advance(2)
    assert c.leader("b")


def test_a_removed_server_does_not_disrupt() -> None:
    """4.2.3: "if a server receives a RequestVote request within the minimum election timeout of hearing from a current
    leader, it does not update its term or grant its vote." """
    c = leading("a", "b", "c", config=Config("", pre_vote=False))
    c.partition("ab", "c")
    change(c, ev.Change("remove", "c"))
    c.advance(1)  # longer than the leader tries to tell it
    c.heal()
    c.advance(5)
    assert c["c"].raft.state.term > 3
    assert c["a"].raft.state.term == 1
    assert c.leader("a")


def shuffle(c: Cluster, dice: Random, seconds: float) -> None:
    """Messages keep their order on each way and come in any order otherwise. None is lost."""
    end = c.now + seconds
    while c.now < end:
        c.now += 0.01
        c.wake()
        while c.wire and dice.random() < 0.9:
            way = dice.choice(sorted({(m.source, m.target) for m in c.wire}))
            message = next(m for m in c.wire if (m.source, m.target) == way)
            c.wire.remove(message)
            c.pass_on(message)


def has_learned(c: Cluster, id: str) -> bool:
    """It knows of a committed configuration that it is not in."""
    s = c[id].raft.state
    return s.view.index <= s.commit and s.view.configuration.find(id) is None


@pytest.mark.parametrize("removed", ["e", "a", "de", "ae"])
def test_a_removed_server_learns_it(removed: str) -> None:
    """4.2.3: a server that is not in C_new should be shut down. It learns that it is not from its leader, in whatever
    order the messages come; and from the next leader if the leader is removed too."""
    for seed in range(60):
        c = leading("a", "b", "c", "d", "e")
        change(c, *(ev.Change("remove", id) for id in removed))
        shuffle(c, Random(seed), 2.0)
        assert [id for id in removed if not has_learned(c, id)] == [], seed
        leader = next(id for id in "abcde" if c.leader(id))
        assert leader not in removed
        assert sorted(c[leader].raft.state.progress) == sorted(set("abcde") - {leader, *removed})


def test_who_comes_back_as_another_server_is_followed_from_the_start() -> None:
    """S13: (id, incarnation) is the server. The new one is sent the log, while the old one is still to be told."""
    c = leading("a", "b", "c")
    c.cut = {("a", "c")}
    change(c, ev.Change("remove", "c"))
    c.deliver()
    assert "c" in c["a"].raft.state.departing
    change(c, ev.Change("add", "c", 2))
    assert c["a"].raft.state.departing == {}
    assert c["a"].raft.state.progress["c"].match == 0


def test_a_removed_program_that_is_too_old_stands_against_no_new_version() -> None:
    c = leading("a", "b", "c", config=Config("", max_version=2))
    c["c"].config = evolve(c["c"].config, max_version=1)
    c.restart("c")
    c.advance(0.2)
    c.cut = {("a", "c")}
    change(c, ev.Change("remove", "c"))
    c.deliver()
    c.tell("a", ev.VersionRequested(2, 2))
    c.advance(0.2)
    assert fx.AnswerRequest(2, "", "a") in answers(c, "a", fx.AnswerRequest)


# ---- 4.3 arbitrary changes by joint consensus ----------------------------------------------------------------------


def test_the_leader_goes_on_to_c_new_by_itself() -> None:
    """4.3: once C_old,new has been committed, "it is now safe for the leader to create" C_new."""
    c = leading("a", "b", "c", joining=("d",))
    change(c, ev.Change("remove", "b"), ev.Change("add", "d", 1, "executor"))
    c.deliver()
    kinds = [entry.kind for _, entry in sorted(c["a"].disk_log.items())]
    assert kinds == [Kind.NOOP, Kind.CONFIGURATION, Kind.CONFIGURATION]
    assert [m.id for m in c["a"].raft.state.view.configuration.members] == ["a", "c", "d"]


@pytest.mark.parametrize("before", ["a", "ab", "abc", "abcde"])
@pytest.mark.parametrize("how", ["remove", "demote"])
@pytest.mark.parametrize("first", [True, False])
def test_replacing_a_voter_takes_none_away_before_the_new_one_has_caught_up(before: str, how: str, first: bool) -> None:
    """4.2.1: a server that is added without the log could leave the cluster unable to commit. 4.3: an arbitrary change
    is one joint step. So whoever is replaced votes until that step, and the number of voters never falls below what it
    was, whatever stands first in the request."""
    for seed in range(6):
        c = leading(*before, joining=("x",))
        changes = [ev.Change("add", "x", 1), ev.Change(how, before[-1])]
        change(c, *(changes if first else reversed(changes)))
        shuffle(c, Random(seed), 2.0)
        after = {*before[:-1], "x"}
        configurations = {
            e.index: e.configuration for id in c.servers for e in c[id].effects if isinstance(e, fx.ReportMembership)
        }
        joint = [each for each in configurations.values() if each.joint]
        assert len(joint) == 1, seed
        assert {m.id for m in joint[0].outgoing} == set(before)
        assert {m.id for m in joint[0].members if m.role == "voter"} == after
        sizes = [sum(m.role == "voter" for m in each.members) for each in configurations.values()]
        assert min(sizes) == len(before), seed
        assert fx.AnswerRequest(1, "", "a") in answers(c, "a", fx.AnswerRequest), seed
        leader = next(id for id in c.servers if c.leader(id))
        assert set(c[leader].raft.state.view.voters[0]) == after


def test_elections_need_both_majorities() -> None:
    """4.3: "Agreement (for elections and entry commitment) requires majorities from both the old and new
    configurations." """
    c = leading("a", "b", "c")
    change(c, ev.Change("remove", "c"))  # (a b) leaving (a b c)
    c.deliver(lambda m: m.source == "a")
    c.drop()
    c["a"].crash()
    c.quiet()
    c.expire("b")  # b and c are a majority of the old, b is none of the new
    c.deliver()
    assert c["b"].raft.state.role == "pre_candidate"


# ---- 6.2 finding the cluster's leader, check-quorum ----------------------------------------------------------------


def test_a_leader_without_a_majority_steps_down() -> None:
    """6.2: "a leader in Raft steps down if an election timeout elapses without a successful round of heartbeats to a
    majority of its cluster"."""
    c = leading("a", "b", "c")
    c.partition("a", "bc")
    c.advance(c["a"].config.election_timeout_seconds + 2 * c["a"].config.heartbeat_seconds)
    assert not c.leader("a")


# ---- 6.4 read-only queries -----------------------------------------------------------------------------------------


def test_reads_wait_for_a_commit_of_the_term() -> None:
    """6.4, 1: "If the leader has not yet marked an entry from its current term committed, it waits until it has done
    so." """
    c = Cluster("a", "b", "c", logs=dict.fromkeys("abc", (1, 1)))
    c.quiet()
    c.expire("a")
    c.deliver(lambda m: isinstance(m, ms.RequestVote | ms.VoteReply))
    c.tell("a", ev.ReadRequested(1))
    c.deliver(lambda m: isinstance(m, ms.Heartbeat | ms.HeartbeatReply))
    assert not answers(c, "a", fx.AnswerRead)
    c.deliver()
    assert answers(c, "a", fx.AnswerRead) == [fx.AnswerRead((1,), 3)]


def test_the_read_index_is_the_commit_index_when_the_round_begins() -> None:
    """6.4, 2: "The leader saves its current commit index in a local variable readIndex." """
    c = leading("a", "b", "c")
    c.tell("a", ev.ReadRequested(1))
    round_one = c.drop(lambda m: isinstance(m, ms.Heartbeat))
    c.propose("a", "later")
    c.deliver()
    for message in round_one:
        c.pass_on(message)
    c.deliver()
    assert fx.AnswerRead((1,), 1) in c["a"].answers
    assert c["a"].raft.state.commit == 2


@pytest.mark.parametrize("answering", ["", "b"])
def test_a_round_must_be_answered_by_a_majority(answering: str) -> None:
    """6.4, 3: "It issues a new round of heartbeats and waits for their acknowledgments from a majority of the
    cluster." """
    c = leading("a", "b", "c", "d", "e")
    c.tell("a", ev.ReadRequested(1))
    c.deliver(lambda m: answering in (m.source, m.target))
    assert not answers(c, "a", fx.AnswerRead)
    c.deliver()
    assert answers(c, "a", fx.AnswerRead)


def test_one_round_serves_all_reads_that_have_gathered() -> None:
    """6.4: "a single round of heartbeats for any number of read-only queries that it has accumulated"."""
    c = leading("a", "b", "c")
    server = c["a"]
    server.carry_out(server.raft.handle_many([ev.ReadRequested(n) for n in range(50)], c.now), c.now)
    c.collect()
    assert len(sent(c, ms.Heartbeat)) == 2
    c.deliver()
    assert answers(c, "a", fx.AnswerRead) == [fx.AnswerRead(tuple(range(50)), 1)]


def test_a_follower_asks_for_the_read_index() -> None:
    """6.4: "the follower could issue a request to the leader that just asks for a current readIndex (the leader would
    execute steps 1–3 above); the follower could then execute steps 4 and 5"."""
    c = leading("a", "b", "c")
    c.tell("b", ev.ReadRequested(1))
    assert [m.target for m in sent(c, ms.ReadIndex)] == ["a"]
    c.deliver()
    assert answers(c, "b", fx.AnswerRead) == [fx.AnswerRead((1,), 1)]


def test_an_answer_for_an_earlier_process_of_the_follower_is_no_answer_for_this_one() -> None:
    """Between the lines of 6.4: the index must have been asked for after the read began."""
    c = leading("a", "b", "c")
    c.tell("b", ev.ReadRequested(1))
    c.deliver(lambda m: not isinstance(m, ms.ReadIndexReply))
    old = c.drop(lambda m: isinstance(m, ms.ReadIndexReply))
    assert len(old) == 1
    c.restart("b")
    c.advance(0.1)
    c.tell("b", ev.ReadRequested(1))
    for message in old:
        c.pass_on(message)
    assert not answers(c, "b", fx.AnswerRead)


# ---- 6.4.1 leases --------------------------------------------------------------------------------------------------

LEASES = Config("", lease_reads=True, max_clock_drift=0.25)


def lease_read(c: Cluster) -> list[fx.Effect]:
    c["a"].answers = []
    c.tell("a", ev.ReadRequested(7, lease=True))
    return answers(c, "a", fx.AnswerRead)


def test_the_lease_is_counted_from_the_start_of_the_round() -> None:
    """6.4.1: "Once the leader's heartbeats were acknowledged by a majority of the cluster, the leader would extend its
    lease to start + election timeout / clock drift bound"."""
    c = leading("a", "b", "c", config=LEASES)
    c.now += 0.05
    c.wake()
    start = c.now
    c.now += 0.1  # the acknowledgements take their time
    c.deliver()
    (answer,) = lease_read(c)
    assert isinstance(answer, fx.AnswerRead)
    assert answer.valid_until == pytest.approx(start + LEASES.election_timeout_seconds / 1.25)


def test_after_the_lease_nothing_is_answered_without_a_round() -> None:
    c = leading("a", "b", "c", config=LEASES)
    c.advance(0.1)
    assert lease_read(c)
    c.now += 0.25
    assert not lease_read(c)


def test_a_transfer_ends_the_lease() -> None:
    """6.4.1: "a leader would need to expire its lease when transferring leadership"."""
    c = leading("a", "b", "c", config=LEASES)
    c.advance(0.1)
    c.cut = {("a", "b")}
    c.tell("a", ev.TransferRequested(1, "b"))
    assert not lease_read(c)
    c.advance(1)  # given up; but the TimeoutNow may still arrive
    assert not lease_read(c)


def test_a_restarted_voter_waits_before_it_votes() -> None:
    """A lease is a quorum's promise; who forgot what it promised keeps still as long as the promise may last."""
    c = leading("a", "b", "c", config=LEASES)
    c.advance(0.1)
    c.restart("b")
    restarted = c.now
    request = ms.RequestVote("c", "b", 1, 9, 9, 9)
    c.now = restarted + 2 * LEASES.election_timeout_seconds - 0.01
    c.tell("b", ev.MessageReceived(request))
    assert c["b"].raft.state.term == 1
    c.now += 0.02
    c.tell("b", ev.MessageReceived(request))
    assert [m.granted for m in sent(c, ms.VoteReply)] == [True]


def test_the_promise_outlives_the_term() -> None:
    """A follower that learns of a later term must not vote earlier for that."""
    c = leading("a", "b", "c", config=LEASES)
    c.advance(0.1)
    c.tell("b", ev.MessageReceived(ms.StaleTerm("c", "b", 1, 5)))
    assert c["b"].raft.state.term == 5
    c.tell("b", ev.MessageReceived(ms.RequestVote("c", "b", 1, 5, 9, 9)))
    assert not sent(c, ms.VoteReply)


# ---- 9.6 pre-vote --------------------------------------------------------------------------------------------------


def test_a_candidate_increments_its_term_only_when_a_majority_would_vote_for_it() -> None:
    """9.6: "a candidate only increments its term if it first learns from a majority of the cluster that they would be
    willing to grant the candidate their votes"."""
    c = Cluster("a", "b", "c", "d", "e")
    c.quiet()
    c.expire("a")
    assert c["a"].raft.state.term == 0
    c.deliver(lambda m: m.target == "b" or m.source == "b")
    assert c["a"].raft.state.term == 0
    c.deliver(lambda m: m.target == "c" or m.source == "c")
    assert c["a"].raft.state.term == 1


def test_a_pre_vote_is_asked_of_who_has_not_heard_of_a_leader() -> None:
    """9.6: voters answer yes only if "the candidate's log is sufficiently up-to-date, and the voters have not received
    heartbeats from a valid leader for at least a baseline election timeout"."""
    c = leading("a", "b", "c")
    c.tell("b", ev.MessageReceived(ms.RequestVote("c", "b", 1, 2, 1, 1, pre_vote=True)))
    assert not c.wire
    c.quiet()
    c.tell("b", ev.MessageReceived(ms.RequestVote("c", "b", 1, 2, 0, 0, pre_vote=True)))
    c.tell("b", ev.MessageReceived(ms.RequestVote("c", "b", 1, 2, 1, 1, pre_vote=True)))
    assert [m.granted for m in sent(c, ms.VoteReply)] == [False, True]
    assert c["b"].raft.state.term == 1
    assert c["b"].raft.state.vote == "a"


# ---- 10.2.1 writing to the leader's disk in parallel ---------------------------------------------------------------


def test_the_leader_sends_before_it_has_written() -> None:
    """10.2.1: "the leader can write to its disk in parallel with replicating to the followers and them writing to
    their disks"."""
    c = leading("a", "b", "c")
    c["a"].auto_disk = False
    c.propose("a", "x")
    assert {m.target for m in sent(c, ms.AppendEntries)} == {"b", "c"}
    assert 2 not in c["a"].disk_log


def test_an_entry_may_be_committed_before_the_leader_has_written_it() -> None:
    """10.2.1: "the leader may mark an entry committed even before it has been written to its own disk, if a majority
    of followers have written it to their disks; this is still safe." """
    c = leading("a", "b", "c")
    c["a"].auto_disk = False
    c.propose("a", "x")
    c.deliver()
    assert c["a"].raft.state.commit == 2
    assert 2 not in c["a"].disk_log
