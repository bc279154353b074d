"""Removing runs: gone at once, swept in pieces, and nothing else touched."""

from __future__ import annotations

from graft.engine import RunRemoved
from graft.engine.commands import DropPlans, RegisterPlan, RemoveRuns, StartRun, SweepRun
from graft.engine.engine import NO_PLAN
from graft.engine.records import OF_RUN, REMOVED, id_key, run_key
from graft.plan import Plan, encode, plan_hash
from tests.engine.test_properties import check_replay
from tests.support.engines import Driven, flow, task

TWO = flow(task("a"), task("b", needs=("a",)))


def ended(driven: Driven, run_id: str, plan: Plan = TWO) -> int:
    """The number of a run that has ended."""
    run: int = driven.start(plan, run_id).result
    while driven.attempts:
        driven.settle(min(driven.attempts))
    return run


def remove(driven: Driven, *runs: tuple[int, int]) -> list[int]:
    applied = driven.apply(RemoveRuns(runs, **driven.stamp()))
    assert [effect.run for effect in applied.effects if isinstance(effect, RunRemoved)] == applied.result
    result: list[int] = applied.result
    return result


def sweep(driven: Driven, run: int, limit: int = 3) -> int:
    """How many commands it took."""
    for count in range(1, 100):
        applied = driven.apply(SweepRun(run, limit, **driven.stamp()))
        assert applied.refused is None
        if applied.result:
            return count
    raise AssertionError("it never ends")


def rows_of(driven: Driven, run: int) -> list[tuple[str, bytes]]:
    driven.drain()
    return [(table, key) for table, key in driven.stored if table in ("runs", *OF_RUN) and key[:8] == run_key(run)]


def begun() -> Driven:
    driven = Driven()
    driven.register()
    return driven


def test_a_removed_run_leaves_nothing_and_the_state_is_as_if_it_had_never_been_there() -> None:
    driven, other = begun(), begun()
    kept = [ended(each, "kept") for each in (driven, other)]
    run = ended(driven, "gone")
    assert rows_of(driven, run)
    assert remove(driven, (run, 1)) == [run]
    assert ("runs", run_key(run)) not in rows_of(driven, run)
    assert driven.stored["live", run_key(run)] == REMOVED
    assert ("keys", id_key("gone")) not in driven.stored
    driven.reload()  # what is left to sweep is known after a restart
    assert driven.engine.state.removed == {run}
    assert sweep(driven, run) > 1
    assert rows_of(driven, run) == []
    assert ("live", run_key(run)) not in driven.stored
    assert rows_of(driven, kept[0]) == rows_of(other, kept[1])
    # All that is left of it is in the counters.
    for each in (driven, other):
        meta = each.engine.state.meta
        each.engine.state.begin()
        each.engine.state.edit(meta)
        meta.next_run = meta.next_position = 99
        each.engine.state.commit()
        each.drain()
    assert driven.engine.state_hash() == other.engine.state_hash()


def test_the_same_log_gives_the_same_state_however_it_was_drained() -> None:
    driven = begun()
    runs = [ended(driven, f"r{number}") for number in range(3)]
    remove(driven, (runs[0], 1), (runs[2], 1))
    driven.apply(SweepRun(runs[2], 2, **driven.stamp()))
    ended(driven, "r0")  # its id is free
    sweep(driven, runs[0])
    check_replay(driven)


def test_what_ended_and_was_removed_between_two_drains() -> None:
    driven = begun()
    run = ended(driven, "r")
    remove(driven, (run, 1))
    state = driven.engine.state
    for index in (state.runs, state.steps, state.scopes, state.keys_of_run, state.children):
        assert not index
    sweep(driven, run)
    assert rows_of(driven, run) == []
    assert driven.engine.state.removed == set()


def test_only_a_run_that_has_ended_in_the_generation_that_is_meant() -> None:
    driven = begun()
    live: int = driven.start(TWO, "live").result
    run = ended_failed(driven, "again")
    driven.retry(run)
    assert remove(driven, (live, 1), (run, 1), (run, 2), (99, 1)) == []  # both are in flight
    while driven.attempts:
        driven.settle(min(driven.attempts))
    assert remove(driven, (run, 1)) == []
    driven.reload()
    assert remove(driven, (run, 2)) == [run]
    assert remove(driven, (run, 2)) == []  # asked twice
    assert remove(driven, (live, 1)) == [live]
    check_replay(driven)


def ended_failed(driven: Driven, run_id: str) -> int:
    run: int = driven.start(TWO, run_id).result
    mine = [key for key in driven.attempts if key[0] == run]
    driven.settle(mine[0], "failed")
    return run


def test_the_id_of_a_removed_run_is_free_and_its_rows_are_not_those_of_the_next() -> None:
    driven = begun()
    first = ended(driven, "r")
    remove(driven, (first, 1))
    second = ended(driven, "r")
    assert second != first
    sweep(driven, first)
    assert driven.statuses(second) == {"a": "succeeded", "b": "succeeded"}
    assert driven.start(TWO, "r").refused == "exists"


def test_a_retry_of_a_run_that_was_just_removed_brings_nothing_of_it_back() -> None:
    """The store still has the run while the turn that removed it is not written."""
    driven = begun()
    run = ended(driven, "r")
    driven.drain()
    remove(driven, (run, 1))
    assert driven.retry(run).refused == "no such run"
    state = driven.engine.state
    for index in (state.runs, state.steps, state.scopes, state.keys_of_run, state.children):
        assert not index
    sweep(driven, run)
    check_replay(driven)


def test_a_sweep_of_a_run_that_is_there_is_refused() -> None:
    driven = begun()
    run = ended(driven, "r")
    before = rows_of(driven, run)
    assert driven.apply(SweepRun(run, 100, **driven.stamp())).refused == "the run left nothing behind"
    assert rows_of(driven, run) == before


def test_plans_are_dropped_unless_a_run_was_started_since_somebody_looked() -> None:
    driven = begun()
    run = ended(driven, "r")
    hash = plan_hash(TWO)
    remove(driven, (run, 1))
    seen = driven.engine.state.meta.next_run
    ended(driven, "s")
    assert driven.apply(DropPlans((hash,), seen, **driven.stamp())).refused == "a run was started since"
    remove(driven, (seen, 1))
    driven.apply(DropPlans((hash,), driven.engine.state.meta.next_run, **driven.stamp()))
    driven.drain()
    assert ("plans", bytes.fromhex(hash)) not in driven.stored
    assert driven.apply(StartRun("t", hash, b"{}", **driven.stamp())).refused == NO_PLAN
    driven.apply(RegisterPlan(encode(TWO), **driven.stamp()))
    assert driven.apply(StartRun("t", hash, b"{}", **driven.stamp())).refused is None
    check_replay(driven)
