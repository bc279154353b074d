"""What goes wrong on the way: exports that fail, files that rot, answers that never come, members that are too old."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from graft.raft import Config, Configuration, Entry, HardState, Kind, Member, Raft, Recovered
from graft.raft import effects as fx
from graft.raft import events as ev
from graft.raft import messages as ms
from graft.raft.transfer import Transfer
from tests.raft.cluster import Cluster, Server, dice, founding

SMALL = Config("", retain_entries=0, purge_step_entries=1, snapshot_chunk_bytes=4)


def lagging(*more: str) -> Cluster:
    """`a` leads; c (and `more`) lack what a and b have already discarded, and hear of it again."""
    c = Cluster("a", "b", "c", *more, config=SMALL)
    c.elect("a")
    c.partition("ab" if not more else "abd", "c" + "".join(more[1:]))
    for word in ("one", "two", "three"):
        c.propose("a", word)
    c.deliver()
    c.advance(0.1)
    c.heal()
    return c


def replace(server: Server, name: str, by: Callable[..., None]) -> Callable[..., Any]:
    before = getattr(server, name)
    setattr(server, name, by)
    return before  # type: ignore[no-any-return]


def test_an_export_that_fails_is_tried_again() -> None:
    c = lagging()
    failures: list[float] = []

    def fail(now: float) -> None:
        failures.append(now)
        if len(failures) == 2:
            c["a"].take_snapshot = take  # type: ignore[method-assign]
        c["a"].tell(ev.SnapshotFailed("", "no space left on device"), now)

    take = replace(c["a"], "take_snapshot", fail)
    c.advance(3)
    assert len(failures) == 2
    assert c["c"].state == ["one", "two", "three"]


def test_an_export_that_cannot_be_read_is_replaced() -> None:
    c = lagging()
    do = c["a"]._do

    def rotten(effect: fx.Effect, now: float) -> None:
        if isinstance(effect, fx.ReadChunk) and effect.id == "a-1" and effect.offset:
            c["a"].tell(ev.ChunkRead(effect.id, effect.target, effect.offset, None), now)
        elif not (isinstance(effect, fx.ReadChunk) and effect.id not in c["a"].files):
            do(effect, now)

    c["a"]._do = rotten  # type: ignore[method-assign]
    c.advance(3)
    assert c["a"].exports == 2
    assert c["c"].state == ["one", "two", "three"]


def test_a_file_that_arrives_damaged_is_sent_again_from_the_start() -> None:
    c = lagging()
    write, spoilt = c["c"].write_chunk, []

    def spoil(effect: fx.WriteChunk, now: float) -> None:
        if not spoilt and effect.offset == 4:
            spoilt.append(effect.meta.id)
            write(fx.WriteChunk(effect.meta, effect.offset, b"????"), now)
        else:
            write(effect, now)

    c["c"].write_chunk = spoil  # type: ignore[method-assign]
    c.advance(3)
    assert spoilt == ["a-1"]
    assert c["a"].exports == 1
    assert c["c"].state == ["one", "two", "three"]


def test_a_chunk_that_was_changed_on_the_way_is_as_good_as_lost() -> None:
    c = lagging()
    spoilt: list[ms.Message] = []
    pass_on = c.pass_on

    def spoil(m: ms.Message) -> None:
        if isinstance(m, ms.InstallSnapshot) and m.offset == 4 and not spoilt:
            spoilt.append(m)
            m = ms.InstallSnapshot(m.source, m.target, 1, m.term, m.meta, m.offset, b"????", m.checksum)
        pass_on(m)

    c.pass_on = spoil  # type: ignore[method-assign]
    c.advance(3)
    assert spoilt
    assert c["c"].state == ["one", "two", "three"]


def test_a_late_word_of_another_snapshot_does_not_end_the_one_that_is_sent() -> None:
    c = lagging()
    followed = c["a"].raft.state.progress["c"]
    while followed.snapshot is None:
        c.advance(0.01, deliver=False)
        c.deliver(lambda m: not isinstance(m, ms.SnapshotReply))
    term = c["a"].raft.state.term
    for match in (0, 1):
        late = ms.SnapshotReply("c", "a", 1, term, "a-0", 0, installed=True, match=match)
        again = [e.message for e in c.tell("a", ev.MessageReceived(late)) if isinstance(e, fx.Send)]
        assert not any(isinstance(m, ms.InstallSnapshot) for m in again), "it begins anew"
        assert followed.state == "snapshot"
    c.advance(3)
    assert c["a"].exports == 1
    assert c["c"].state == ["one", "two", "three"]


def test_one_export_serves_all_who_need_it() -> None:
    c = lagging("d", "e")
    c.advance(3)
    assert c["a"].exports == 1
    assert c["c"].state == c["e"].state == ["one", "two", "three"]
    assert c["a"].files == {}  # and is dropped when nobody needs it any more


def test_an_export_that_comes_after_the_leader_fell_is_dropped() -> None:
    c = lagging()
    replace(c["a"], "take_snapshot", lambda now: None)
    c.advance(0.2)
    assert c["a"].raft.state.taking_snapshot is not None
    c.tell("a", ev.MessageReceived(ms.StaleTerm("b", "a", 1, 9)))
    effects = c.tell("a", ev.SnapshotTaken("late", c["a"].applied, 3, ""))
    assert fx.DropSnapshot("late") in effects


def test_an_empty_state_is_a_snapshot_too() -> None:
    c = Cluster("a", "b", "c", config=SMALL)
    c.partition("ab", "c")
    c.elect("a")
    c.advance(0.1)
    c.heal()
    c.advance(2)
    assert c["c"].raft.state.log.first == 2
    assert c["c"].raft.state.commit == 1


def test_a_leader_that_cannot_apply_hands_over_to_one_that_can() -> None:
    """b's log is the longest, but entry 2 rotted before b applied it; a has it in its state only. a cannot win against
    b's log, so b must lead, to give a the last entry, and then a, to give b a snapshot. c is away."""
    c = Cluster("a", "b", "c", config=SMALL)
    c.elect("a")
    c["b"].auto_apply = False
    for word in ("x", "y"):
        c.propose("a", word)
    c.deliver()
    c["c"].crash()
    c["a"].auto_disk = False  # z reaches b's disk, and not a's
    c.propose("a", "z")
    c.deliver(lambda m: m.target == "b")
    c["a"].crash()
    c.drop()
    c["b"].crash()
    c["b"].damaged = {2}
    c["a"].auto_disk = c["b"].auto_apply = True
    c.restart("b")
    c.restart("a")
    c.advance(8)
    assert c["a"].state == c["b"].state == ["x", "y", "z"]
    assert c.leader("a")
    assert any(line.startswith("role: candidate -> leader") for line in c["b"].trace)
    assert not c["b"].raft.state.log.corrupt


def test_a_transfer_whose_outcome_is_never_heard_of_ends() -> None:
    c = Cluster("a", "b", "c")
    c.elect("a")
    c.tell("a", ev.TransferRequested(1, "b"))
    c.drop()
    c.tell("a", ev.MessageReceived(ms.StaleTerm("b", "a", 1, 5)))
    c.partition("a", "bc")
    c.advance(1)
    assert [e for e in c["a"].answers if isinstance(e, fx.AnswerRequest)] == [fx.AnswerRequest(1, "timed_out", None)]


def test_a_transfer_to_a_member_that_leaves_is_given_up() -> None:
    """The leader looked for the log of a member that was there no more (KeyError)."""
    c = Cluster("a", "b", "c", "d")
    c.elect("a")
    c.tell("a", ev.MembershipChangeRequested(1, (ev.Change("remove", "c"),)))
    state = c["a"].raft.state
    state.transfer = Transfer(2, "c", c.now + 9)
    c.cut = {("a", "c")}
    c.deliver()
    assert state.view.configuration.find("c") is None
    for _ in range(3):
        c.advance(0.1)
    assert c.leader("a")
    assert state.transfer is None
    assert fx.AnswerRequest(2, "timed_out", "a") in c["a"].answers


@pytest.mark.parametrize("window", [Config("", max_inflight_messages=3), Config("", max_inflight_bytes=99)])
@pytest.mark.parametrize("lost", [1, 2, 3])
def test_the_loss_of_a_full_window_shows_before_the_rpc_timeout(window: Config, lost: int) -> None:
    """The last `lost` messages of it; with all of them nothing more is sent, and nothing else is answered."""
    c = Cluster("a", "b", config=evolve(window, rpc_timeout_seconds=60.0))
    c.elect("a")
    c.advance(0.1)
    for word in "vwxyz":
        c.propose("a", word)
    appends = [m for m in c.wire if isinstance(m, ms.AppendEntries)]
    assert len(appends) == 3
    c.drop(lambda m: m in appends[3 - lost :])
    c.deliver(limit=10)
    c.advance(2 * c["a"].config.heartbeat_seconds)
    assert c["b"].state == list("vwxyz")


def test_a_version_that_is_truncated_is_taken_back() -> None:
    config = Config("", max_version=2)
    c = Cluster("a", "b", "c", config=config)
    c.elect("a")
    c.advance(0.1)
    c.partition("a", "bc")
    c.tell("a", ev.VersionRequested(1, 2))
    assert c["a"].raft.state.versions[-1][1] == 2
    c.quiet()
    c.expire("b")
    c.deliver()
    c.heal()
    c.advance(1)
    assert c["a"].raft.state.versions == c["b"].raft.state.versions == [(0, 1)]
    assert fx.AnswerRequest(1, "deposed", None) in c["a"].answers


def test_a_program_that_forgot_the_clusters_version_does_not_start() -> None:
    recovered = Recovered(HardState(configurations=((0, founding("a")),)), restarted=True)
    raft = Raft(Config("a", min_version=2, max_version=3), recovered, dice(1), 5.0)
    assert raft.next_deadline() == 5.0
    (stop,) = raft.handle(ev.DeadlinePassed(), 5.0)
    assert stop == fx.Stop("the cluster runs at version 1, this program understands 2 to 3")


def test_reads_of_followers_are_bounded() -> None:
    c = Cluster("a", "b", "c", config=Config("", max_pending_reads=2))
    c.elect("a")
    for request in range(4):
        c.tell("b", ev.ReadRequested(request))
    refused = [e for e in c["b"].answers if isinstance(e, fx.RefuseRead)]
    assert [e.reason for e in refused] == ["overloaded", "overloaded"]
    for request in range(10, 14):
        c.tell("a", ev.ReadRequested(request))
    assert [e.reason for e in c["a"].answers if isinstance(e, fx.RefuseRead)] == ["overloaded"]


def test_a_follower_without_a_leader_refuses_reads() -> None:
    c = Cluster("a", "b", "c")
    c.tell("b", ev.ReadRequested(1))
    assert c["b"].answers == [fx.RefuseRead((1,), "not_leader", None)]


@pytest.mark.parametrize("kind", [ms.AppendReply, ms.SnapshotReply, ms.HeartbeatReply])
def test_answers_to_a_leader_of_the_past_are_ignored(kind: type) -> None:
    c = Cluster("a", "b", "c")
    c.elect("a")
    c.tell("a", ev.MessageReceived(ms.StaleTerm("b", "a", 1, 2)))
    reply = {
        ms.AppendReply: ms.AppendReply("b", "a", 1, 2, True, 1),
        ms.SnapshotReply: ms.SnapshotReply("b", "a", 1, 2, "s", 0),
        ms.HeartbeatReply: ms.HeartbeatReply("b", "a", 1, 2, 1),
    }[kind]
    assert c.tell("a", ev.MessageReceived(reply)) == []


def test_a_message_for_somebody_else_is_ignored() -> None:
    c = Cluster("a", "b", "c")
    assert c.tell("a", ev.MessageReceived(ms.Heartbeat("b", "c", 1, 9, 0, 1))) == []


def test_an_acknowledgement_of_what_was_never_sent_commits_nothing() -> None:
    c = Cluster("a", "b", "c")
    c.elect("a")
    c.tell("a", ev.MessageReceived(ms.AppendReply("b", "a", 1, 1, True, 99)))
    assert c["a"].raft.state.commit == 1


def test_repair_answers_what_it_does_not_ask_for() -> None:
    c = Cluster("a", "b", "c")
    c.elect("a")
    entry = Entry(1, 1, Kind.COMMAND, b"forged")
    assert c.tell("b", ev.MessageReceived(ms.RepairReply("a", "b", 1, 1, 1, 1, entry))) == []
    c["b"].damaged = {1}
    asked = c.tell("a", ev.MessageReceived(ms.RepairRequest("b", "a", 1, 1, 7, 1)))
    (send,) = asked
    assert isinstance(send, fx.Send)
    assert isinstance(send.message, ms.RepairReply)
    assert send.message.absent


def _restarted() -> Raft:
    """Entries 1 and 2 of term 1, then 3 of term 2, none of them applied; `b` leads term 2 and has committed them."""
    members = Configuration((Member("a", 1), Member("b", 1), Member("c", 1)))
    hard = HardState(2, None, ((0, 0), (1, 1), (3, 2)), ((0, members),))
    raft = Raft(Config("a"), Recovered(hard, first=1, last=3), entropy=lambda: 1 << 62, now=0.0)
    return raft


def test_an_old_entry_with_a_good_checksum_is_damage() -> None:
    """A write that went elsewhere left in its place what a later term had overwritten. Applying it would be silent
    divergence; before the terms were compared it was applied."""
    raft = _restarted()
    effects = raft.handle(ev.MessageReceived(ms.Heartbeat("b", "a", 1, 2, 3, 1)), 0.0)
    (read,) = [e for e in effects if isinstance(e, fx.ReadEntries)]
    stored = (Entry(1, 1, Kind.COMMAND, b"x"), Entry(2, 1, Kind.COMMAND, b"y"), Entry(3, 1, Kind.COMMAND, b"old"))
    effects = raft.handle(ev.EntriesRead(read.read, stored), 0.0)
    assert [entry.index for e in effects if isinstance(e, fx.ApplyEntries) for entry in e.entries] == [1, 2]
    asked = [e.message for e in effects if isinstance(e, fx.Send) and isinstance(e.message, ms.RepairRequest)]
    assert {(m.index, m.entry_term) for m in asked} == {(3, 2)}


def test_a_read_from_before_a_truncation_is_no_damage() -> None:
    raft = _restarted()
    effects = raft.handle(ev.MessageReceived(ms.Heartbeat("b", "a", 1, 2, 2, 1)), 0.0)
    (read,) = [e for e in effects if isinstance(e, fx.ReadEntries)]
    new = (Entry(3, 3, Kind.NOOP, b""),)
    raft.handle(ev.MessageReceived(ms.AppendEntries("c", "a", 1, 3, 2, 1, new, 2)), 0.0)
    stored = (Entry(1, 1, Kind.COMMAND, b"x"), Entry(2, 1, Kind.COMMAND, b"y"), Entry(3, 2, Kind.COMMAND, b"old"))
    raft.handle(ev.EntriesRead(read.read, stored), 0.0)
    assert not raft.state.log.corrupt
