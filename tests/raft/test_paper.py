"""Sections 5 to 8 of *In Search of an Understandable Consensus Algorithm* (extended version, 2014): each test gives
the rule that it proves.

The quotation marks show what is the paper's; the words were written down from memory and not compared with the print,
so take each as *in substance*, and the section number as where to look."""

from __future__ import annotations

import pytest

from graft.raft import Config, Entry, Kind
from graft.raft import effects as fx
from graft.raft import events as ev
from graft.raft import messages as ms
from tests.raft.cluster import Cluster

NO_PRE_VOTE = Config("", pre_vote=False)


def role(c: Cluster, id: str) -> str:
    return c[id].raft.state.role


def term(c: Cluster, id: str) -> int:
    return c[id].raft.state.term


def sent(c: Cluster, kind: type, source: str | None = None) -> list[ms.Message]:
    return [m for m in c.wire if isinstance(m, kind) and source in (None, m.source)]


def append(c: Cluster, target: str, term_: int, prev: tuple[int, int], *terms: int, commit: int = 0) -> None:
    """An AppendEntries of the imaginary leader `z`."""
    entries = tuple(Entry(prev[0] + i, t, Kind.COMMAND, b"") for i, t in enumerate(terms, 1))
    c.tell(target, ev.MessageReceived(ms.AppendEntries("z", target, 1, term_, *prev, entries, commit)))


def vote(c: Cluster, target: str, term_: int, last: tuple[int, int] = (0, 0), source: str = "z") -> ms.VoteReply | None:
    """The answer to a RequestVote of `source`."""
    c.drop()
    c.tell(target, ev.MessageReceived(ms.RequestVote(source, target, 1, term_, *last)))
    replies = [m for m in c.wire if isinstance(m, ms.VoteReply)]
    return replies[0] if replies else None


# ---- 5.1 basics ----------------------------------------------------------------------------------------------------


def test_terms_grow() -> None:
    """5.1: "Each server stores a current term number, which increases monotonically over time." """
    c = Cluster("a", "b", "c", config=NO_PRE_VOTE)
    seen = [term(c, "a")]
    for event in (5, 3, 7, 6):
        vote(c, "a", event)
        seen.append(term(c, "a"))
    assert seen == [0, 5, 5, 7, 7]


def test_smaller_term_is_updated() -> None:
    """5.1: "if one server's current term is smaller than the other's, then it updates its current term to the larger
    value." """
    c = Cluster("a", "b", "c")
    append(c, "a", 4, (0, 0))
    assert term(c, "a") == 4


@pytest.mark.parametrize("as_role", ["leader", "candidate"])
def test_leader_or_candidate_of_an_old_term_reverts_to_follower(as_role: str) -> None:
    """5.1: "If a candidate or leader discovers that its term is out of date, it immediately reverts to follower
    state." """
    c = Cluster("a", "b", "c", config=NO_PRE_VOTE)
    if as_role == "leader":
        c.elect("a")
    else:
        c.expire("a")
    assert role(c, "a") == as_role
    append(c, "a", term(c, "a") + 1, (0, 0))
    assert role(c, "a") == "follower"


def test_request_of_a_stale_term_is_rejected() -> None:
    """5.1: "If a server receives a request with a stale term number, it rejects the request." """
    c = Cluster("a", "b", "c")
    append(c, "a", 5, (0, 0))
    c.drop()
    append(c, "a", 4, (0, 0), 4)
    assert c["a"].raft.state.log.last == 0
    assert [m.term for m in sent(c, ms.StaleTerm)] == [5]
    c.quiet()
    assert vote(c, "a", 4) is None
    assert [m.term for m in sent(c, ms.StaleTerm)] == [5]


@pytest.mark.parametrize("pre_vote", [False, True])
def test_a_late_request_of_an_older_term_is_no_refusal_of_the_present_one(pre_vote: bool) -> None:
    """5.1: a request with a stale term number is rejected, and nothing else follows from it: the candidate of a later
    term still gets the vote that it asks for in that term (5.2)."""
    c = Cluster("a", "b", config=Config("", pre_vote=pre_vote))
    c.expire("a")
    late = c.drop(lambda m: isinstance(m, ms.RequestVote))
    append(c, "b", 3, (0, 0))
    c.quiet()
    c.expire("a")
    c.deliver(lambda m: not isinstance(m, ms.VoteReply))  # a learns of term 3
    c.drop()
    c.quiet()
    c.expire("a")
    asked = c.drop(lambda m: isinstance(m, ms.RequestVote))
    assert {m.term for m in asked} == {4}
    for message in (*late, *late):
        c.pass_on(message)
    c.deliver()
    for message in asked:
        c.pass_on(message)
    c.deliver()
    assert c.leader("a")


def test_a_grant_stands_whatever_refusal_came_before_it() -> None:
    """5.2: a candidate wins with votes of a majority for the same term. A program before this one refuses what it is
    asked late in an older term, and its refusal looks like one of the present term."""
    c = Cluster("a", "b", "c", "d", config=NO_PRE_VOTE)
    c.expire("a")
    for voter, granted in (("b", False), ("b", True), ("c", True), ("c", False)):
        c.tell("a", ev.MessageReceived(ms.VoteReply(voter, "a", 1, term(c, "a"), granted)))
    assert c.leader("a")


# ---- 5.2 elections -------------------------------------------------------------------------------------------------


def test_servers_start_as_followers() -> None:
    """5.2: "When servers start up, they begin as followers." """
    assert set(Cluster("a", "b", "c").roles().values()) == {"follower"}


def test_a_follower_that_hears_a_leader_remains_follower() -> None:
    """5.2: "A server remains in follower state as long as it receives valid RPCs from a leader or candidate." """
    c = Cluster("a", "b", "c")
    for _ in range(20):
        append(c, "a", 1, (0, 0))
        c.now += 0.2
        c.tell("a", ev.DeadlinePassed())
        assert role(c, "a") == "follower"


def test_leaders_send_periodic_heartbeats() -> None:
    """5.2: "Leaders send periodic heartbeats … to all followers in order to maintain their authority." """
    c = Cluster("a", "b", "c")
    c.elect("a")
    for _ in range(3):
        c.now += c["a"].config.heartbeat_seconds
        c.wake()
        assert {m.target for m in sent(c, ms.Heartbeat, "a")} == {"b", "c"}
        c.deliver()


def test_silence_starts_an_election() -> None:
    """5.2: "If a follower receives no communication over a period of time called the election timeout, then it
    assumes there is no viable leader and begins an election"."""
    c = Cluster("a", "b", "c", config=NO_PRE_VOTE)
    c.expire("a")
    assert role(c, "a") == "candidate"


def test_a_candidate_increments_its_term_votes_for_itself_and_asks_all() -> None:
    """5.2: "a follower increments its current term and transitions to candidate state. It then votes for itself and
    issues RequestVote RPCs in parallel to each of the other servers"."""
    c = Cluster("a", "b", "c", config=NO_PRE_VOTE)
    c.expire("a")
    assert (term(c, "a"), c["a"].raft.state.vote) == (1, "a")
    assert {m.target for m in sent(c, ms.RequestVote)} == {"b", "c"}


@pytest.mark.parametrize(("size", "votes", "wins"), [(3, 0, False), (3, 1, True), (5, 1, False), (5, 2, True)])
def test_a_majority_of_the_full_cluster_wins(size: int, votes: int, wins: bool) -> None:
    """5.2: "A candidate wins an election if it receives votes from a majority of the servers in the full cluster for
    the same term." """
    ids = "abcde"[:size]
    c = Cluster(*ids, config=NO_PRE_VOTE)
    c.expire("a")
    for id in ids[1 : 1 + votes]:
        c.tell("a", ev.MessageReceived(ms.VoteReply(id, "a", 1, 1, True)))
    assert c.leader("a") == wins


def test_one_vote_a_term_first_come_first_served() -> None:
    """5.2: "Each server will vote for at most one candidate in a given term, on a first-come-first-served basis"."""
    c = Cluster("a", "b", "c")
    c.quiet()
    first, second, again = (vote(c, "a", 1, source=id) for id in ("b", "c", "b"))
    assert [r.granted for r in (first, second, again) if r] == [True, False, True]


def test_a_new_leader_establishes_its_authority_at_once() -> None:
    """5.2: "It then sends heartbeat messages to all of the other servers to establish its authority and prevent new
    elections." Here the append with the no-op is that message."""
    c = Cluster("a", "b", "c", config=NO_PRE_VOTE)
    c.expire("a")
    c.deliver(lambda m: isinstance(m, ms.RequestVote | ms.VoteReply))
    assert {m.target for m in sent(c, ms.AppendEntries, "a")} == {"b", "c"}


@pytest.mark.parametrize(("leader_term", "becomes"), [(0, "candidate"), (1, "follower"), (2, "follower")])
def test_a_candidate_meets_a_leader(leader_term: int, becomes: str) -> None:
    """5.2: "If the leader's term … is at least as large as the candidate's current term, then the candidate recognizes
    the leader as legitimate and returns to follower state. If the term in the RPC is smaller … the candidate
    rejects the RPC and continues in candidate state." """
    c = Cluster("a", "b", "c", config=NO_PRE_VOTE)
    c.expire("a")
    append(c, "a", leader_term, (0, 0))
    assert role(c, "a") == becomes


def test_a_split_vote_times_out_into_the_next_term() -> None:
    """5.2: "each candidate will time out and start a new election by incrementing its term and initiating another
    round of RequestVote RPCs." """
    c = Cluster("a", "b", "c", config=NO_PRE_VOTE)
    c.expire("a")
    c.drop()
    c.expire("a")
    assert term(c, "a") == 2
    assert {m.term for m in sent(c, ms.RequestVote)} == {2}


def test_election_timeouts_are_random_in_a_fixed_interval() -> None:
    """5.2: "election timeouts are chosen randomly from a fixed interval"."""
    c = Cluster("a", "b", "c")
    base = c["a"].config.election_timeout_seconds
    seen = set()
    for _ in range(200):
        append(c, "a", 1, (0, 0))
        seen.add(c["a"].raft.state.election_deadline - c.now)
    assert len(seen) > 150
    assert min(seen) >= base
    assert max(seen) < 2 * base
    assert max(seen) - min(seen) > 0.8 * base


def test_a_candidate_restarts_its_timeout_at_the_start_of_an_election() -> None:
    """5.2: "Each candidate restarts its randomized election timeout at the start of an election"."""
    c = Cluster("a", "b", "c", config=NO_PRE_VOTE)
    c.expire("a")
    assert c["a"].raft.state.election_deadline >= c.now + c["a"].config.election_timeout_seconds


# ---- 5.3 replication -----------------------------------------------------------------------------------------------


def test_the_leader_appends_and_sends_in_parallel() -> None:
    """5.3: "The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in parallel to
    each of the other servers"."""
    c = Cluster("a", "b", "c")
    c.elect("a")
    c.propose("a", "x")
    assert c["a"].raft.state.log.last == 2
    assert {m.target: [e.data for e in m.entries] for m in sent(c, ms.AppendEntries)} == {"b": [b"x"], "c": [b"x"]}


def test_the_leader_applies_when_it_is_safely_replicated() -> None:
    """5.3: "When the entry has been safely replicated … the leader applies the entry to its state machine"."""
    c = Cluster("a", "b", "c")
    c.elect("a")
    c.propose("a", "x")
    assert c["a"].state == []
    c.deliver()
    assert c["a"].state == ["x"]


def test_lost_messages_are_retried_for_ever() -> None:
    """5.3: "If followers crash or run slowly, or if network packets are lost, the leader retries AppendEntries RPCs
    indefinitely … until all followers eventually store all log entries." """
    c = Cluster("a", "b", "c")
    c.elect("a")
    c["c"].crash()
    c.propose("a", "x")
    c.advance(5)
    c.restart("c")
    c.advance(2)
    assert c["c"].state == ["x"]


def test_an_entry_carries_the_term_in_which_the_leader_received_it() -> None:
    """5.3: "Each log entry stores a state machine command along with the term number when the entry was received by
    the leader." """
    c = Cluster("a", "b", "c", term=6)
    c.elect("a")
    accepted = c.propose("a", "x")
    assert isinstance(accepted, fx.AcceptProposal)
    assert accepted.term == term(c, "a") == c["a"].raft.state.log.term_at(accepted.index)


def test_committed_once_on_a_majority_and_all_before_it_too() -> None:
    """5.3: "A log entry is committed once the leader that created the entry has replicated it on a majority of the
    servers … This also commits all preceding entries in the leader's log, including entries created by previous
    leaders." """
    c = Cluster("a", "b", "c", logs={"a": (1, 1, 2), "b": (1, 1, 2), "c": ()})
    c.cut = {("c", "a")}
    c.elect("a")
    assert c.commits()["a"] == 4


def test_followers_learn_the_commit_index_and_apply_in_log_order() -> None:
    """5.3: "The leader keeps track of the highest index it knows to be committed, and it includes that index in future
    AppendEntries RPCs … Once a follower learns that a log entry is committed, it applies the entry to its local
    state machine (in log order)." """
    c = Cluster("a", "b", "c")
    append(c, "a", 1, (0, 0), 1, 1, 1, commit=0)
    assert c["a"].raft.state.commit == 0
    append(c, "a", 1, (3, 1), commit=2)
    assert c["a"].applied == 2
    applied = [e.index for effect in c["a"].effects if isinstance(effect, fx.ApplyEntries) for e in effect.entries]
    assert applied == [1, 2]


def test_the_commit_index_goes_no_further_than_the_last_new_entry() -> None:
    """Figure 2, AppendEntries, 5: "If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last
    new entry)". What stands behind may be another leader's."""
    c = Cluster("a", "b", "c", logs={"a": (1, 2, 2)})
    append(c, "a", 3, (1, 1), commit=3)
    assert c["a"].raft.state.commit == 1


@pytest.mark.parametrize(
    ("log", "prev", "accepted"),
    [
        ((), (1, 1), False),
        ((1, 1), (2, 2), False),
        ((1, 2), (2, 2), True),
        ((1, 2, 3), (2, 2), True),
        ((), (0, 0), True),
    ],
)
def test_consistency_check(log: tuple[int, ...], prev: tuple[int, int], accepted: bool) -> None:
    """5.3: "the leader includes the index and term of the entry in its log that immediately precedes the new entries.
    If the follower does not find an entry in its log with the same index and term, then it refuses the new
    entries." """
    c = Cluster("a", "b", "c", logs={"a": log})
    append(c, "a", 4, prev, 4)
    (reply,) = sent(c, ms.AppendReply)
    assert reply.success == accepted


def test_conflicting_entries_are_overwritten() -> None:
    """5.3: "conflicting entries in follower logs will be overwritten with entries from the leader's log." """
    c = Cluster("a", "b", "c", logs={"a": (1, 2, 2, 2)})
    append(c, "a", 4, (1, 1), 3, 4)
    assert c.log_terms("a") == (1, 3, 4)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_entries_that_are_there_are_ignored(count: int) -> None:
    """5.5: "if a follower receives an AppendEntries request that includes log entries already present in its log, it
    ignores those entries in the new request." And nothing behind them is lost (figure 2, 3: only "if an existing
    entry conflicts with a new one")."""
    c = Cluster("a", "b", "c", logs={"a": (1, 1, 1)})
    append(c, "a", 1, (0, 0), *(1,) * count)
    assert c.log_terms("a") == (1, 1, 1)
    assert not [e for e in c["a"].effects if isinstance(e, fx.Persist) and (e.entries or e.truncate_from)]


def test_next_index_begins_just_after_the_last_entry() -> None:
    """5.3: "When a leader first comes to power, it initializes all nextIndex values to the index just after the last
    one in its log"."""
    c = Cluster("a", "b", "c", logs={"a": (1, 1), "b": (1,), "c": ()}, config=NO_PRE_VOTE)
    c.expire("a")
    c.deliver(lambda m: isinstance(m, ms.RequestVote | ms.VoteReply))
    assert {m.prev_index for m in sent(c, ms.AppendEntries, "a")} == {2}


def test_a_leader_never_removes_entries_of_its_own() -> None:
    """5.3, Leader Append-Only: "a leader never overwrites or deletes entries in its own log"."""
    c = Cluster("a", "b", "c", logs={"a": (1, 2), "b": (1, 1), "c": (1,)})
    c.elect("a")
    c.propose("a", "x")
    c.deliver()
    assert c.log_terms("a")[:2] == (1, 2)
    assert not [e for e in c["a"].effects if isinstance(e, fx.Persist) and e.truncate_from is not None]


# ---- 5.4 safety ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "last", "granted"),
    [
        ((1, 1), (2, 1), True),
        ((1, 1), (1, 1), False),
        ((1, 1), (3, 1), True),
        ((1, 1), (1, 2), True),
        ((1, 2), (9, 1), False),
        ((), (0, 0), True),
    ],
)
def test_only_an_up_to_date_candidate_gets_the_vote(
    mine: tuple[int, ...], last: tuple[int, int], granted: bool
) -> None:
    """5.4.1: "the voter denies its vote if its own log is more up-to-date than that of the candidate … If the logs
    have last entries with different terms, then the log with the later term is more up-to-date. If the logs end
    with the same term, then whichever log is longer is more up-to-date." """
    c = Cluster("a", "b", "c", logs={"a": mine})
    c.quiet()
    reply = vote(c, "a", 5, last)
    assert reply is not None
    assert reply.granted == granted


def test_older_terms_are_not_committed_by_counting() -> None:
    """5.4.2: "Raft never commits log entries from previous terms by counting replicas. Only log entries from the
    leader's current term are committed by counting replicas"."""
    c = Cluster("a", "b", "c", logs={"a": (1, 2), "b": (1,), "c": (1,)}, config=NO_PRE_VOTE)
    c.quiet()
    c.expire("a")
    c.deliver(lambda m: isinstance(m, ms.RequestVote | ms.VoteReply))
    for id in "bc":
        c.tell("a", ev.MessageReceived(ms.AppendReply(id, "a", 1, term(c, "a"), True, 2)))
    assert c["a"].raft.state.commit == 0
    c.tell("a", ev.MessageReceived(ms.AppendReply("b", "a", 1, term(c, "a"), True, 3)))
    assert c["a"].raft.state.commit == 3


def test_messages_may_come_twice() -> None:
    """5.5: "Raft RPCs are idempotent, so this causes no harm." """
    c = Cluster("a", "b", "c")
    c.elect("a")
    c.propose("a", "x")
    for _ in range(3):
        for message in list(c.wire):
            c.pass_on(message)
    c.deliver()
    assert [server.state for server in c.servers.values()] == [["x"]] * 3


@pytest.mark.parametrize("what", ["vote", "append"])
def test_the_disk_comes_before_the_answer(what: str) -> None:
    """Figure 2, state: "Persistent state on all servers: (Updated on stable storage before responding to RPCs)"."""
    c = Cluster("a", "b", "c")
    c.quiet()
    c["a"].auto_disk = False
    if what == "vote":
        c.tell("a", ev.MessageReceived(ms.RequestVote("b", "a", 1, 1, 0, 0)))
    else:
        append(c, "a", 1, (0, 0), 1)
    assert not c.wire
    c["a"].sync(c.now)
    c.collect()
    assert len(c.wire) == 1
    assert c["a"].disk_hard.term == 1


# ---- 6 membership --------------------------------------------------------------------------------------------------


def joint(c: Cluster, *changes: ev.Change) -> None:
    """The leader `a` begins a change; nothing is delivered."""
    c.tell("a", ev.MembershipChangeRequested(99, changes))
    assert c["a"].raft.state.view.configuration.joint


def test_entries_go_to_all_servers_of_both_configurations() -> None:
    """6: "Log entries are replicated to all servers in both configurations." """
    c = Cluster("a", "b", "c")
    c.elect("a")
    joint(c, ev.Change("remove", "c"))
    assert {m.target for m in sent(c, ms.AppendEntries)} == {"b", "c"}


def test_a_server_of_either_configuration_may_lead() -> None:
    """6: "Any server from either configuration may serve as leader." """
    c = Cluster("a", "b", "c")
    c.elect("a")
    joint(c, ev.Change("remove", "c"))
    c.deliver(lambda m: m.source == "a")
    c.drop()
    c["a"].crash()
    c.quiet()
    c.expire("c")  # c is in the old configuration only; b's vote makes a majority of the old, a's is missing of the new
    c.deliver()
    assert role(c, "c") == "pre_candidate"
    c.restart("a")
    c.quiet()
    c.expire("c")
    c.deliver()
    assert term(c, "c") == 2
    assert c.leader("c") or c["c"].raft.state.commit >= 3  # it led, and perhaps already committed its own removal


@pytest.mark.parametrize(
    ("answers", "committed"), [("b", False), ("d", False), ("bc", False), ("de", False), ("bd", True)]
)
def test_agreement_needs_separate_majorities(answers: str, committed: bool) -> None:
    """6: "Agreement (for elections and entry commitment) requires separate majorities from both the old and new
    configurations." Here a b c -> a d e, so one of b, c and one of d, e must answer beside a."""
    c = Cluster("a", "b", "c", learners=("d", "e"), config=Config("", promotion_rounds_seconds=0))
    c.elect("a")
    for id in "de":
        c["a"].raft.state.progress[id].caught_up = True
    joint(c, ev.Change("promote", "d"), ev.Change("promote", "e"), ev.Change("remove", "b"), ev.Change("remove", "c"))
    index = c["a"].raft.state.log.last
    for id in answers:
        c.tell("a", ev.MessageReceived(ms.AppendReply(id, "a", 1, term(c, "a"), True, index)))
    assert (c["a"].raft.state.commit >= index) == committed


def test_the_latest_configuration_in_the_log_counts_committed_or_not() -> None:
    """6: "a server always uses the latest configuration in its log, regardless of whether the entry is committed"."""
    c = Cluster("a", "b", "c")
    c.elect("a")
    joint(c, ev.Change("remove", "c"))
    c.deliver(lambda m: m.target == "b")
    assert c["b"].raft.state.commit == 1
    assert c["b"].raft.state.view.configuration.joint


def test_new_servers_join_without_a_vote() -> None:
    """6: "new servers join the cluster as non-voting members (the leader replicates log entries to them, but they are
    not considered for majorities)"."""
    c = Cluster("a", "b", "c", joining=("d",))
    c.elect("a")
    c.tell("a", ev.MembershipChangeRequested(1, (ev.Change("add", "d", 1),)))
    view = c["a"].raft.state.view
    assert view.learners == {"d"}
    assert view.voters == (("a", "b", "c"), ())
    assert {m.target for m in sent(c, ms.AppendEntries)} == {"b", "c", "d"}


def test_a_leader_outside_the_new_configuration_steps_down_when_it_is_committed() -> None:
    """6: "the leader steps down (returns to follower state) once it has committed the log entry of C_new … there will
    be a period of time … when the leader is managing a cluster that does not include itself; it replicates log
    entries but does not count itself in majorities." """
    c = Cluster("a", "b", "c")
    c.elect("a")
    joint(c, ev.Change("remove", "a"))
    while c["a"].raft.state.view.configuration.joint:
        c.pass_on(c.wire.pop(0))
    index = c["a"].raft.state.log.last  # C_new, to be on a and b; a does not count, and b alone is half of b, c
    c.deliver(lambda m: "c" not in (m.source, m.target))
    assert c["a"].raft.state.commit == index - 1
    assert c.leader("a")
    c.deliver()
    assert not c.leader("a")
    assert c["a"].raft.state.commit == index


def test_who_hears_a_leader_disregards_candidates() -> None:
    """6: "if a server receives a RequestVote RPC within the minimum election timeout of hearing from a current leader,
    it does not update its term or grant its vote." """
    c = Cluster("a", "b", "c")
    c.elect("a")
    assert vote(c, "b", 9, (9, 9), source="c") is None
    assert term(c, "b") == 1
    c.now += c["b"].config.election_timeout_seconds + 0.001
    assert vote(c, "b", 9, (9, 9), source="c") is not None


# ---- 7 snapshots ---------------------------------------------------------------------------------------------------

SMALL = Config("", retain_entries=0, purge_step_entries=1)


def lagging() -> Cluster:
    """c lacks what a and b have already discarded."""
    c = Cluster("a", "b", "c", config=SMALL)
    c.elect("a")
    c.partition("ab", "c")
    for word in ("x", "y", "z"):
        c.propose("a", word)
    c.deliver()
    c.heal()
    return c


def test_a_snapshot_goes_to_who_needs_discarded_entries() -> None:
    """7: "when the leader has already discarded the next log entry that it needs to send to a follower"."""
    c = lagging()
    assert c["a"].raft.state.log.first == 5
    c.advance(1)
    assert c["c"].state == ["x", "y", "z"]
    assert c["a"].exports == 1


def test_a_snapshot_carries_last_index_term_and_configuration() -> None:
    """7: "the last included index … and the last included term … To enable cluster membership changes, the snapshot
    also includes the latest configuration in the log as of last included index." """
    c = lagging()
    c.now += 0.06
    c.wake()
    c.deliver(lambda m: not isinstance(m, ms.InstallSnapshot))
    (message,) = sent(c, ms.InstallSnapshot)
    assert (message.meta.index, message.meta.term, message.meta.configuration) == (4, 1, c.configuration)


def install(c: Cluster, target: str, index: int, term_: int, leader_term: int) -> None:
    """A whole snapshot in one message, without bytes."""
    from graft.raft import SnapshotMeta

    meta = SnapshotMeta("s", index, term_, c.configuration, 0, 0, "0")
    c[target].disk_staged = None
    c.tell(target, ev.MessageReceived(ms.InstallSnapshot("z", target, 1, leader_term, meta, 0, b"", 0)))


def test_a_snapshot_of_something_new_replaces_the_whole_log() -> None:
    """7: "In this case, the follower discards its entire log; it is all superseded by the snapshot and may possibly
    have uncommitted entries that conflict with the snapshot." """
    c = Cluster("a", "b", "c", logs={"a": (1, 1, 2)})
    install(c, "a", 3, 4, 5)
    assert (c["a"].raft.state.log.first, c["a"].raft.state.log.last) == (4, 3)
    assert c["a"].raft.state.commit == 3


def test_a_snapshot_of_a_prefix_keeps_what_follows() -> None:
    """7: "If instead the follower receives a snapshot that describes a prefix of its log … entries following the
    snapshot are still valid and must be retained." """
    c = Cluster("a", "b", "c", logs={"a": (1, 1, 2)})
    install(c, "a", 2, 1, 5)
    assert c.log_terms("a") == (1, 1, 2)
    assert c["a"].raft.state.commit == 2
    assert not [e for e in c["a"].effects if isinstance(e, fx.SwitchToSnapshot)]


# ---- 8 clients -----------------------------------------------------------------------------------------------------


def test_a_follower_names_the_leader() -> None:
    """8: "If the client's first choice is not the leader, that server will reject the client's request and supply
    information about the most recent leader it has heard from"."""
    c = Cluster("a", "b", "c")
    c.elect("a")
    assert c.propose("b", "x") == fx.RefuseProposal(1, "not_leader", "a")


def test_a_leader_begins_its_term_with_a_no_op() -> None:
    """8: "having each leader commit a blank no-op entry into the log at the start of its term." """
    c = Cluster("a", "b", "c")
    c.elect("a")
    entry = c["a"].disk_log[1]
    assert (entry.kind, entry.data) == (Kind.NOOP, b"")


def test_a_read_asks_a_majority_first() -> None:
    """8: "Raft handles this by having the leader exchange heartbeat messages with a majority of the cluster before
    responding to read-only requests." """
    c = Cluster("a", "b", "c")
    c.elect("a")
    c.tell("a", ev.ReadRequested(1))
    assert not [e for e in c["a"].answers if isinstance(e, fx.AnswerRead)]
    c.deliver(lambda m: m.target == "b" or m.source == "b")
    assert [e for e in c["a"].answers if isinstance(e, fx.AnswerRead)] == [fx.AnswerRead((1,), 1)]
