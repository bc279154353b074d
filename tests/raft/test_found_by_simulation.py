"""What the simulator found in the core, each as the shortest story that shows it."""

from __future__ import annotations

import zlib

from graft.raft import Config, Configuration, Entry, HardState, Kind, Member, Raft, Recovered, SnapshotMeta
from graft.raft import effects as fx
from graft.raft import events as ev
from graft.raft import messages as ms

THREE = Configuration((Member("a", 1), Member("b", 1), Member("c", 1)))


def _raft(configuration: Configuration = THREE) -> Raft:
    hard = HardState(configurations=((0, configuration),))
    return Raft(Config("a"), Recovered(hard, restarted=False), entropy=lambda: 1 << 62, now=0.0)


def _sync(raft: Raft, effects: list[fx.Effect], now: float) -> list[fx.Effect]:
    tickets = [e.ticket for e in effects if isinstance(e, fx.Persist)]
    return raft.handle(ev.Persisted(max(tickets)), now)


def _heard(raft: Raft, message: ms.Message, now: float) -> list[fx.Effect]:
    return raft.handle(ev.MessageReceived(message), now)


def _elect(raft: Raft, now: float) -> float:
    """Let the member become leader by the vote of b. Returns the time."""
    now = max(now, raft.next_deadline() or 0.0)
    raft.handle(ev.DeadlinePassed(), now)
    term = raft.state.term + 1
    effects = _heard(raft, ms.VoteReply("b", "a", 1, term, True, True), now)
    _sync(raft, effects, now)
    _heard(raft, ms.VoteReply("b", "a", 1, term, True), now)
    assert raft.state.role == "leader"
    return now


def test_a_read_that_was_asked_of_another_leader_is_refused_in_time_by_a_leader() -> None:
    """Seed 9: the deadline of the read stayed in the past, and nothing was done about it: a busy loop."""
    raft = _raft()
    _heard(raft, ms.Heartbeat("b", "a", 1, 1, 0, 1), 0.0)
    raft.handle(ev.ReadRequested(7), 0.01)
    _elect(raft, 0.02)
    refused = []
    for _ in range(200):
        now = raft.next_deadline()
        assert now is not None
        _heard(raft, ms.HeartbeatReply("b", "a", 1, raft.state.term, raft.state.round), now)
        refused += [e for e in raft.handle(ev.DeadlinePassed(), now) if isinstance(e, fx.RefuseRead)]
    assert [e.requests for e in refused] == [(7,)]
    assert (raft.next_deadline() or 0.0) > raft.state.now


def test_a_deadline_that_is_named_is_acted_upon() -> None:
    """Seed 74: `now - sent >= timeout` and `now >= sent + timeout` differ by a rounding."""
    for step in range(2_000):
        raft = _raft()
        sent = 7.5 + step / 1_000_000
        _heard(raft, ms.Heartbeat("b", "a", 1, 1, 0, 1), sent)
        raft.handle(ev.ReadRequested(1), sent)
        due = sent + raft.state.config.rpc_timeout_seconds
        _heard(raft, ms.Heartbeat("b", "a", 1, 1, 0, 2), due - 0.001)
        assert raft.next_deadline() == due
        effects = raft.handle(ev.DeadlinePassed(), due)
        assert any(isinstance(e, fx.RefuseRead) for e in effects), sent


def test_a_transfer_is_answered_though_the_former_leader_leads_again() -> None:
    """Seed 238: winning the next election dropped the question who would lead."""
    raft = _raft()
    now = _elect(raft, 0.0)
    effects = raft.handle(ev.TransferRequested(5, "b"), now)
    effects += _sync(raft, [fx.Persist(raft.state.ticket)], now)
    effects += _heard(raft, ms.AppendReply("b", "a", 1, 1, True, 1), now)
    assert any(isinstance(e, fx.Send) and isinstance(e.message, ms.TimeoutNow) for e in effects)
    _heard(raft, ms.StaleTerm("c", "a", 1, 2), now)
    assert raft.state.role == "follower"
    effects = []
    raft.handle(ev.DeadlinePassed(), now := raft.state.election_deadline)
    assert raft.state.role == "pre_candidate"
    term = raft.state.term + 1
    effects += _heard(raft, ms.VoteReply("b", "a", 1, term, True, True), now)
    effects += _sync(raft, effects, now)
    effects += _heard(raft, ms.VoteReply("b", "a", 1, term, True), now)
    assert raft.state.role == "leader"
    answered = [e for e in effects if isinstance(e, fx.AnswerRequest)]
    assert [(e.request, e.reason) for e in answered] == [(5, "deposed")]


def _chunk(meta: SnapshotMeta, offset: int, data: bytes) -> ms.InstallSnapshot:
    return ms.InstallSnapshot("b", "a", 1, 1, meta, offset, data, zlib.crc32(data))


def test_a_late_chunk_of_an_old_snapshot_does_not_begin_the_new_one_anew() -> None:
    """Seed 170 of bridge crashes: the switch was ordered behind a write that emptied the staging area again."""
    raft = _raft()
    new = SnapshotMeta("b-2", 9, 1, THREE, 0, 4)
    old = SnapshotMeta("b-1", 0, 0, THREE, 0, 2)
    effects = _heard(raft, _chunk(new, 0, b"ab"), 0.0) + _heard(raft, _chunk(new, 2, b"cd"), 0.0)
    assert [e.offset for e in effects if isinstance(e, fx.WriteChunk)] == [0, 2]
    effects = _heard(raft, _chunk(old, 0, b"xy"), 0.0) + _heard(raft, _chunk(new, 0, b"ab"), 0.0)
    assert not [e for e in effects if isinstance(e, fx.WriteChunk)]
    effects = raft.handle(ev.ChunkWritten("b-2", 4), 0.0)
    assert [e.meta.id for e in effects if isinstance(e, fx.SwitchToSnapshot)] == ["b-2"]


def test_an_acknowledgement_of_what_was_staged_before_counts_for_nothing() -> None:
    """The same, by way of a third snapshot: what was ordered anew is not there yet."""
    raft = _raft()
    new, other = SnapshotMeta("b-2", 9, 1, THREE, 0, 4), SnapshotMeta("b-3", 10, 1, THREE, 0, 4)
    for chunk in (_chunk(new, 0, b"ab"), _chunk(new, 2, b"cd"), _chunk(other, 0, b"zz"), _chunk(new, 0, b"ab")):
        _heard(raft, chunk, 0.0)
    effects = raft.handle(ev.ChunkWritten("b-2", 4), 0.0)
    assert not [e for e in effects if isinstance(e, fx.SwitchToSnapshot)]


def test_a_removed_member_with_a_damaged_log_does_not_depose_the_leader() -> None:
    """Seed 206: its elections were ignored, its repair requests with the term of the last one were not."""
    raft = _raft()
    _heard(raft, ms.Heartbeat("b", "a", 1, 1, 0, 1), 1.0)
    effects = _heard(raft, ms.RepairRequest("c", "a", 1, 77, 6, 2), 1.01)
    assert (raft.state.term, raft.state.leader) == (1, "b")
    (reply,) = [e.message for e in effects if isinstance(e, fx.Send)]
    assert isinstance(reply, ms.RepairReply)
    assert (reply.term, reply.absent) == (1, True)
    _heard(raft, ms.RepairRequest("c", "a", 1, 77, 6, 2), 1.0 + raft.state.config.election_timeout_seconds + 0.01)
    assert raft.state.term == 77


def test_a_good_copy_that_comes_after_the_purge_is_not_written() -> None:
    """The member would write an entry below the first one of its log."""
    entries = tuple(Entry(i, 1, Kind.COMMAND, b"x") for i in range(1, 5))
    hard = HardState(1, None, ((0, 0), (1, 1)), ((0, THREE),))
    recovered = Recovered(hard, first=1, last=4, applied=4)
    raft = Raft(Config("a"), recovered, entropy=lambda: 1 << 62, now=0.0)
    asked = raft.handle(ev.CorruptionFound(2), 0.0)
    assert {e.message.index for e in asked if isinstance(e, fx.Send) and isinstance(e.message, ms.RepairRequest)} == {2}
    raft.handle(ev.CompactionRequested(3), 0.0)
    effects = _heard(raft, ms.RepairReply("b", "a", 1, 1, 2, 1, entries[1]), 0.0)
    assert not [e for e in effects if isinstance(e, fx.Persist)]
    assert raft.state.repair is None


def test_a_leader_that_cannot_replicate_its_own_damaged_entry_steps_down() -> None:
    """Seed 6615: nobody else had the entry, all answered its heartbeats, and it led for ever without committing."""
    hard = HardState(configurations=((0, THREE),))
    config = Config("a", max_window_bytes=0)
    raft = Raft(config, Recovered(hard, restarted=False), entropy=lambda: 1 << 62, now=0.0)
    now = _elect(raft, 0.0)
    _sync(raft, raft.handle(ev.Proposed(1, b"x"), now), now)
    raft.handle(ev.Persisted(raft.state.ticket), now)
    assert raft.state.log.window_first == 3, "entry 2 is in the store only"
    asked = raft.handle(ev.CorruptionFound(2), now)
    assert any(isinstance(e, fx.Send) and isinstance(e.message, ms.RepairRequest) for e in asked)
    for id in "bc":
        _heard(raft, ms.RepairReply(id, "a", 1, 1, 2, 1, absent=True), now)
    end = now + 4 * config.rpc_timeout_seconds
    while raft.state.role == "leader" and now < end:
        now = max(now, raft.next_deadline() or now)
        raft.handle(ev.DeadlinePassed(), now)
        for id in "bc":
            _heard(raft, ms.HeartbeatReply(id, "a", 1, 1, raft.state.round), now)
    assert raft.state.role == "follower"


def _answers_to_c(incarnation: int, retired: tuple[tuple[str, int], ...]) -> list[bool]:
    """What `a`, in whose log c has incarnation 1, answers to a pre-vote of c."""
    raft = _raft(Configuration(THREE.members, retired=retired))
    request = ms.RequestVote("c", "a", incarnation, 1, 7, 1, pre_vote=True)
    sent = [e.message for e in _heard(raft, request, 0.0) if isinstance(e, fx.Send)]
    return [m.granted for m in sent if isinstance(m, ms.VoteReply)]


def test_a_member_that_was_away_votes_for_one_that_has_a_new_disk_since() -> None:
    """Seed 8861: all that is left are three of four voters, two of them newer than what the third has in its log. It
    ignored the only one that could win, because it knew another incarnation of it."""
    assert _answers_to_c(2, ()) == [True]
    assert _answers_to_c(2, (("c", 2),)) == []


def test_a_write_before_a_snapshot_takes_over_still_knows_the_terms_of_all_entries() -> None:
    """Seed 941: the log was damaged, stays behind the snapshot, and is written once more before the switch. A crash
    between the two left entries on the disk whose terms nobody knew."""
    hard = HardState(2, None, ((0, 0), (1, 1), (3, 2)), ((0, THREE),))
    recovered = Recovered(hard, first=1, last=6, applied=1, corrupt=(2,))
    raft = Raft(Config("a"), recovered, entropy=lambda: 1 << 62, now=0.0)
    meta = SnapshotMeta("s", 4, 2, THREE, 0, 0)
    effects = _heard(raft, ms.InstallSnapshot("b", "a", 1, 3, meta, 0, b"", 0), 0.0)
    (switch,) = [e for e in effects if isinstance(e, fx.SwitchToSnapshot)]
    assert switch.keep_log
    before = [e.hard_state for e in effects if isinstance(e, fx.Persist) and e.ticket < switch.ticket]
    assert [hard.runs for hard in before if hard is not None] == [((0, 0), (1, 1), (3, 2))]


def test_a_purge_that_a_crash_left_unfinished_leaves_no_entries_of_unknown_term() -> None:
    """Seed 71: the terms before a purge are forgotten with the next hard state, its entries later, in steps."""
    hard = HardState(2, None, ((5, 2),), ((0, THREE),))
    raft = Raft(Config("a"), Recovered(hard, first=3, last=8, applied=6), entropy=lambda: 1 << 62, now=0.0)
    assert raft.status().first == 6
    assert raft.state.log.matches(5, 2)
    assert not raft.state.log.matches(4, 2)
    assert fx.PurgeLog(6) in raft.handle(ev.CompactionRequested(6), 0.0)


def test_a_follower_is_held_for_though_another_one_holds_more() -> None:
    """Seed 194: c was compared with what b still needed, counted as caught up, and lost its place in the log when b
    was."""
    raft = Raft(Config("a", retain_entries=1, purge_step_entries=1), _three(), entropy=lambda: 1 << 62, now=0.0)
    now = _elect(raft, 0.0)
    for request in range(8):
        _sync(raft, raft.handle(ev.Proposed(request, b"x"), now), now)
    _heard(raft, ms.AppendReply("b", "a", 1, 1, True, 9), now)
    for follower, match in (("b", 2), ("c", 4)):
        progress = raft.state.progress[follower]
        progress.held_since, progress.match, progress.heard_at = raft.state.log.taken_bytes, match, now
    raft.handle(ev.Applied(9), now)
    cut = [e for e in raft.handle(ev.Persisted(0, 7), now) if isinstance(e, fx.PurgeLog)]
    _heard(raft, ms.AppendReply("b", "a", 1, 1, True, 9), now)
    cut += [e for e in raft.handle(ev.Persisted(0, 9), now) if isinstance(e, fx.PurgeLog)]
    assert cut == [fx.PurgeLog(2), fx.PurgeLog(4)]


def _three() -> Recovered:
    return Recovered(HardState(configurations=((0, THREE),)), restarted=False)


def test_a_lease_is_extended_though_appends_are_answered_first() -> None:
    """Seed 5044: the answer to an append confirmed the round, and the promise that came behind it for the same round
    was kept for the next one."""
    raft = Raft(Config("a", lease_reads=True), _three(), entropy=lambda: 1 << 62, now=0.0)
    now = _elect(raft, 0.0)
    _sync(raft, [fx.Persist(raft.state.ticket)], now)
    now = raft.state.heartbeat_due
    raft.handle(ev.DeadlinePassed(), now)
    round = raft.state.round
    _heard(raft, ms.AppendReply("b", "a", 1, 1, True, 1, round=round), now)
    _heard(raft, ms.HeartbeatReply("b", "a", 1, 1, round, lease=True), now)
    (answer,) = raft.handle(ev.ReadRequested(3, lease=True), now)
    assert isinstance(answer, fx.AnswerRead)
    assert answer.valid_until is not None


def test_a_snapshot_file_goes_when_its_follower_has_the_entries_after_all() -> None:
    """Seed 146: an append that was late came before the snapshot, and the file stayed until the next one was needed."""
    raft = Raft(Config("a"), _three(), entropy=lambda: 1 << 62, now=0.0)
    now = _elect(raft, 0.0)
    _sync(raft, [fx.Persist(raft.state.ticket)], now)
    _heard(raft, ms.AppendReply("c", "a", 1, 1, True, 1), now)
    raft.handle(ev.Applied(1), now)
    raft.handle(ev.Persisted(0, 1), now)
    raft.handle(ev.CompactionRequested(1), now)
    effects = _heard(raft, ms.AppendReply("b", "a", 1, 1, False, 0, 0, 0, 0), now)
    effects += _heard(raft, ms.HeartbeatReply("b", "a", 1, 1, 1), now)
    assert fx.TakeSnapshot(1) in effects
    raft.handle(ev.SnapshotTaken("s", 1, 10), now)
    assert raft.state.progress["b"].state == "snapshot"
    assert fx.DropSnapshot("s") in _heard(raft, ms.AppendReply("b", "a", 1, 1, True, 1), now)


def test_a_transfer_is_done_when_the_target_is_heard_of_first_as_a_leader() -> None:
    """The request for votes was lost: the first that came of the new term was the target's heartbeat, and the transfer
    was said to have timed out."""
    raft = _raft()
    now = _elect(raft, 0.0)
    raft.handle(ev.TransferRequested(5, "b"), now)
    _sync(raft, [fx.Persist(raft.state.ticket)], now)
    _heard(raft, ms.AppendReply("b", "a", 1, 1, True, 1), now)
    effects = _heard(raft, ms.Heartbeat("b", "a", 1, 2, 0, 1), now)
    assert fx.AnswerRequest(5, "", "b") in effects


def test_what_a_snapshot_kept_from_being_forgotten_is_forgotten_when_it_is_taken() -> None:
    """A configuration that was replaced stayed until the next entry was applied, in an idle cluster for ever."""
    hard = HardState(1, None, ((0, 0), (1, 1)), ((0, THREE), (2, THREE)))
    raft = Raft(Config("a"), Recovered(hard, first=1, last=3, applied=1), entropy=lambda: 1 << 62, now=0.0)
    raft.state.taking_snapshot = 1
    _heard(raft, ms.Heartbeat("b", "a", 1, 1, 3, 1), 0.0)
    raft.state.applying = 3
    raft.handle(ev.Persisted(0, 3), 0.0)
    assert len(raft.state.configurations) == 2
    raft.handle(ev.SnapshotTaken("s", 1, 10), 0.0)
    assert len(raft.state.configurations) == 1
