"""The engine's rules one by one, driven by hand."""

from __future__ import annotations

import pytest

from graft.engine import Decide, Happened
from graft.engine.commands import AttemptSettled, CancelRun, RegisterPlan, RetryRun, StartRun, TimersDue
from graft.engine.records import ITEMS, NONE, OUT, PARAMS, digest, value_key
from graft.engine.state import IllegalMove
from graft.plan import Block, Catch, ErrorRecord, ForEach, Node, Retry, SleepAction, encode
from graft.plan.records import FlowAction, GroupAction
from tests.support.engines import Driven, flow, group, load, task


@pytest.fixture
def driven() -> Driven:
    made = Driven()
    made.register()
    return made


def test_a_chain_runs_in_order(driven: Driven) -> None:
    driven.start(flow(task("a"), task("b", needs=("a",)), task("c", needs=("b",))))
    for name in "abc":
        assert list(driven.attempts) == [driven.key(name)]
        driven.settle(driven.key(name))
    assert driven.ended == {"r": "succeeded"}
    assert driven.statuses() == {"a": "succeeded", "b": "succeeded", "c": "succeeded"}


def test_a_second_start_with_the_same_id_gives_the_run_that_exists(driven: Driven) -> None:
    first = driven.start(flow(task("a")))
    driven.drain()
    again = driven.start(flow(task("other")))
    assert (first.result, first.refused) == (1, None)
    assert (again.result, again.refused) == (1, "exists")
    driven.settle(driven.key("a"))
    driven.restart()
    assert driven.start(flow(task("a"))).refused == "exists"  # final, on disk only


def test_a_plan_that_is_not_registered_starts_nothing(driven: Driven) -> None:
    assert driven.apply(StartRun("x", "ab" * 32, b"{}")).refused == "its plan is not registered"


def test_a_late_result_with_an_old_token_is_refused(driven: Driven) -> None:
    driven.start(flow(task("a")))
    key = driven.key("a")
    old = driven.attempts[key]
    driven.register()  # a new incarnation: the attempt is lost and starts again
    assert driven.attempts[key].token == old.token + 1
    assert driven.attempts[key].attempt == 1  # a lost member is not an attempt of the step's own code
    late = driven.apply(AttemptSettled(*key, token=old.token, status="succeeded", value=b"0"))
    assert late.refused is not None
    assert late.effects == ()
    driven.settle(key)
    assert driven.ended == {"r": "succeeded"}


def test_a_step_that_keeps_killing_its_member_is_parked(driven: Driven) -> None:
    driven.start(flow(task("a", retry=Retry(max_lost=2))))
    for _ in range(3):
        driven.register()
    assert driven.attempts == {}
    assert driven.statuses() == {"a": "waiting"}
    driven.retry()
    driven.settle(driven.key("a"))
    assert driven.ended == {"r": "succeeded"}


def test_a_step_for_which_every_machine_has_too_little_is_parked_and_says_why(driven: Driven) -> None:
    """It is no attempt of the step, so its retries are not used up by it."""
    error = ErrorRecord("shortage", "the input of the command cannot be written to /tmp: No space left on device")
    driven.start(flow(task("a", retry=Retry(attempts=2, initial_ms=1, jitter=False, max_lost=3))))
    key = driven.key("a")
    for _ in range(3):
        driven.settle(key, "lost", error=error)
        assert driven.attempts[key].attempt == 1
    driven.settle(key, "lost", error=error)
    assert driven.statuses() == {"a": "waiting"}
    assert driven.engine.state.steps[key].error == error
    driven.retry()
    driven.settle(driven.key("a"))
    assert driven.ended == {"r": "succeeded"}


def test_retries_back_off_and_give_up(driven: Driven) -> None:
    driven.start(flow(task("a", retry=Retry(attempts=3, initial_ms=100, jitter=False))))
    key = driven.key("a")
    driven.settle(key, "failed")
    assert driven.attempts == {}
    assert driven.engine.next_timer() == (driven.now + 100, None)
    driven.timers(99)
    assert driven.attempts == {}
    driven.timers(1)
    assert driven.attempts[key].attempt == 2
    driven.settle(key, "failed")
    driven.timers(200)
    driven.settle(key, "failed")
    assert driven.ended == {"r": "failed"}


def test_a_definite_error_is_not_retried(driven: Driven) -> None:
    driven.start(flow(task("a", retry=Retry(never=("http.4xx",)))))
    driven.settle(driven.key("a"), "failed", error=ErrorRecord("http.402", "no money"))
    assert driven.ended == {"r": "failed"}


def test_then_pause_parks_a_dead_letter(driven: Driven) -> None:
    driven.start(flow(task("a", retry=Retry(attempts=1, then="pause"))))
    driven.settle(driven.key("a"), "failed")
    assert driven.statuses() == {"a": "waiting"}
    driven.restart()
    assert driven.retry().refused is None
    driven.settle(driven.key("a"))
    assert driven.ended == {"r": "succeeded"}


@pytest.mark.parametrize(
    ("then", "error", "status"),
    [
        ("pause_on", "exit.75", "waiting"),
        ("pause_on", "exit.1", "failed"),
        ("pause_on", "timeout", "failed"),
        ("pause_on", "exit.2", "failed"),
        ("pause", "exit.1", "waiting"),
        ("fail", "exit.75", "failed"),
    ],
)
def test_only_what_on_names_is_parked(driven: Driven, then: str, error: str, status: str) -> None:
    """`pause` stands in plans made before `pause_on` came, and goes on parking after every error."""
    on, never = ("exit.75", "exit.2"), ("exit.2",)
    driven.start(flow(task("a", retry=Retry(attempts=1, on=on, never=never, then=then))))  # type: ignore[arg-type]
    driven.settle(driven.key("a"), "failed", error=ErrorRecord(error, "no"))
    assert driven.statuses() == {"a": status}


def test_a_failure_cancels_the_siblings_and_waits_for_them(driven: Driven) -> None:
    driven.start(flow(task("a"), task("b"), task("after", needs=("a", "b"))))
    driven.settle(driven.key("a"), "failed")
    assert [effect.key for effect in driven.cancels] == [driven.key("b")]
    assert driven.cancels[0].reason == "a step failed: exit.1: it broke"
    assert driven.ended == {}
    driven.settle(driven.key("b"), "cancelled")
    assert driven.ended == {"r": "failed"}
    assert driven.statuses() == {"a": "failed", "b": "cancelled"}  # `after` never became a step


def test_a_success_after_the_cancel_is_recorded_and_nothing_follows_it(driven: Driven) -> None:
    driven.start(flow(task("a"), task("b"), task("c", needs=("b",))))
    driven.settle(driven.key("a"), "failed")
    driven.settle(driven.key("b"), "succeeded")
    assert driven.attempts == {}
    assert driven.ended == {"r": "failed"}
    assert driven.statuses()["b"] == "succeeded"


def test_finally_runs_under_a_shield(driven: Driven) -> None:
    plan = flow(task("a"), finals=(task("report"), task("mail", needs=("report",))))
    driven.start(plan)
    driven.cancel()
    driven.settle(driven.key("a"), "cancelled")
    assert list(driven.attempts) == [driven.key("report")]
    driven.cancel()  # again: the finally goes on
    driven.settle(driven.key("report"))
    driven.settle(driven.key("mail"))
    assert driven.ended == {"r": "cancelled"}


def test_finally_has_a_deadline_of_its_own(driven: Driven) -> None:
    driven.start(flow(task("a"), finals=(task("report"),)))
    driven.settle(driven.key("a"))
    driven.timers(10 * 60_000)
    assert [effect.key for effect in driven.cancels] == [driven.key("report")]
    driven.settle(driven.key("report"), "cancelled")
    assert driven.ended == {"r": "failed"}


def test_a_failed_finally_spoils_the_success_and_others_go_on(driven: Driven) -> None:
    driven.start(flow(task("a"), finals=(task("report"), task("mail"))))
    driven.settle(driven.key("a"))
    driven.settle(driven.key("report"), "failed")
    driven.settle(driven.key("mail"))
    assert driven.ended == {"r": "failed"}


def test_a_catch_starts_its_target_and_skips_other_dependants(driven: Driven) -> None:
    plan = flow(
        task("charge", catch=(Catch(("http.402",), "declined"),)),
        task("ship", needs=("charge",)),
        task("declined", after=("charge",), ends="failed"),
    )
    driven.start(plan)
    driven.settle(driven.key("charge"), "failed", error=ErrorRecord("http.402", "no money"))
    assert list(driven.attempts) == [driven.key("declined")]
    driven.settle(driven.key("declined"))
    assert driven.statuses() == {"charge": "failed", "ship": "skipped", "declined": "succeeded"}
    assert driven.ended == {"r": "failed"}


def test_a_catch_target_is_skipped_when_nothing_is_caught(driven: Driven) -> None:
    driven.start(flow(task("charge", catch=(Catch(("*",), "declined"),)), task("declined")))
    driven.settle(driven.key("charge"))
    assert driven.statuses() == {"charge": "succeeded", "declined": "skipped"}
    assert driven.ended == {"r": "succeeded"}


def test_an_error_that_no_catch_names_fails_the_scope(driven: Driven) -> None:
    driven.start(flow(task("charge", catch=(Catch(("http.402",), "declined"),)), task("declined")))
    driven.settle(driven.key("charge"), "failed", error=ErrorRecord("http.500", "down"))
    assert driven.ended == {"r": "failed"}


@pytest.mark.parametrize(
    ("join", "outcomes", "expected"),
    [
        ("none_failed", ("succeeded", "succeeded"), "succeeded"),
        ("none_failed", ("failed", "succeeded"), "skipped"),
        ("all_succeeded", ("succeeded", "failed"), "skipped"),
        ("all_done", ("failed", "failed"), "succeeded"),
        ("any_failed", ("failed", "succeeded"), "succeeded"),
        ("any_failed", ("succeeded", "succeeded"), "skipped"),
        ("any_succeeded", ("failed", "failed"), "skipped"),
        ("any_succeeded", ("failed", "succeeded"), "succeeded"),
    ],
)
def test_joins(driven: Driven, join: str, outcomes: tuple[str, str], expected: str) -> None:
    nodes = [task(name, on_failure="continue") for name in "ab"]
    driven.start(flow(*nodes, task("j", needs=("a", "b"), join=join)))
    for name, outcome in zip("ab", outcomes, strict=True):
        driven.settle(driven.key(name), outcome)
    if expected == "succeeded":
        driven.settle(driven.key("j"))
    assert driven.statuses()["j"] == expected
    assert driven.ended == {"r": "succeeded"}


def test_any_succeeded_cancels_the_losers(driven: Driven) -> None:
    driven.start(
        flow(
            task("fast"),
            task("slow"),
            task("shared"),
            task("j", needs=("fast", "shared", "slow"), join="any_succeeded"),
            task("other", needs=("shared",)),
        )
    )
    driven.settle(driven.key("fast"))
    assert [effect.key for effect in driven.cancels] == [driven.key("slow")]  # `other` still waits for `shared`
    for name in ("slow", "shared", "j", "other"):
        driven.settle(driven.key(name), "cancelled" if name == "slow" else "succeeded")
    assert driven.ended == {"r": "succeeded"}


def test_losers_that_left_the_memory_are_not_made_again(driven: Driven) -> None:
    driven.start(flow(task("a", on_failure="continue"), task("b"), task("j", needs=("a", "b"), join="any_succeeded")))
    driven.settle(driven.key("a"), "failed")
    driven.drain()
    driven.settle(driven.key("b"))
    driven.settle(driven.key("j"))
    assert driven.statuses() == {"a": "failed", "b": "succeeded", "j": "succeeded"}


def test_a_node_whose_needs_were_all_skipped_is_skipped(driven: Driven) -> None:
    driven.start(flow(task("a", when=("const", False)), task("b", needs=("a",)), task("c", needs=("b",))))
    driven.decide(driven.decides[0], "skip", reason="no")
    assert driven.statuses() == {"a": "skipped", "b": "skipped", "c": "skipped"}
    assert driven.ended == {"r": "succeeded"}


def test_a_map_keeps_its_slots_and_gives_results_in_order(driven: Driven) -> None:
    driven.start(flow(task("m", for_each=ForEach(("list",), max_parallel=3))))
    driven.items(driven.decides[0], 10)
    seen = 0
    while driven.attempts:
        assert len(driven.attempts) <= 3
        driven.settle(max(driven.attempts))  # the youngest first: order of ends is not order of items
        seen += 1
    assert seen == 10
    assert driven.ended == {"r": "succeeded"}


def test_an_empty_map_succeeds(driven: Driven) -> None:
    driven.start(flow(task("m", for_each=ForEach(("list",))), task("b", needs=("m",))))
    driven.items(driven.decides[0], 0)
    driven.settle(driven.key("b"))
    assert driven.ended == {"r": "succeeded"}


@pytest.mark.parametrize(
    ("tolerate", "percent", "failures", "status"),
    [(1, False, 1, "succeeded"), (1, False, 2, "failed"), (50, True, 2, "succeeded"), (50, True, 3, "failed")],
)
def test_a_map_tolerates_failed_items(tolerate: int, percent: bool, failures: int, status: str, driven: Driven) -> None:
    each = ForEach(("list",), max_parallel=1, tolerate=tolerate, tolerate_percent=percent)
    driven.start(flow(task("m", for_each=each)))
    driven.items(driven.decides[0], 4)
    for i in range(4):
        if driven.attempts:
            driven.settle(next(iter(driven.attempts)), "failed" if i < failures else "succeeded")
    assert driven.ended == {"r": status}


def test_a_group_is_a_scope(driven: Driven) -> None:
    ship = group("ship", task("label"), task("pack", needs=("label",)))
    driven.start(flow(Node("ship", GroupAction(1)), task("done", needs=("ship",)), blocks=(ship,)))
    driven.settle((1, 1, 0))
    driven.settle((1, 1, 1))
    driven.settle(driven.key("done"))
    assert driven.ended == {"r": "succeeded"}


def test_a_deadline_of_a_scope_ends_it(driven: Driven) -> None:
    ship = group("ship", task("label"))
    driven.start(flow(Node("ship", GroupAction(1), timeout_ms=500), task("done", needs=("ship",)), blocks=(ship,)))
    driven.timers(500)
    driven.settle((1, 1, 0), "cancelled")
    assert driven.statuses()["ship"] == "timed_out"
    assert driven.ended == {"r": "failed"}


def test_the_deadline_of_the_run(driven: Driven) -> None:
    driven.start(flow(task("a"), timeout_ms=1000))
    driven.timers(1000)
    driven.settle(driven.key("a"), "cancelled")
    assert driven.ended == {"r": "timed_out"}


def test_total_timeout_ends_a_backoff(driven: Driven) -> None:
    driven.start(flow(task("a", retry=Retry(attempts=9, initial_ms=5000, jitter=False), total_timeout_ms=1000)))
    driven.settle(driven.key("a"), "failed")
    driven.timers(1000)
    assert driven.statuses() == {"a": "timed_out"}
    assert driven.ended == {"r": "failed"}


def test_a_sleep_is_durable_and_on_wall_time(driven: Driven) -> None:
    driven.start(flow(Node("nap", SleepAction(("const", 5000))), task("b", needs=("nap",))))
    driven.decide(driven.decides[0], "sleep", number=5000)
    driven.restart()
    driven.wall += 6000  # the machine was off: engine time stood still, wall time did not
    driven.timers(0)
    driven.settle(driven.key("b"))
    assert driven.ended == {"r": "succeeded"}


def test_a_repeated_unpause_does_not_undo_a_later_pause(driven: Driven) -> None:
    driven.start(flow(task("a")))
    driven.pause()
    first = driven.engine.state.runs[1].paused_at
    assert driven.unpause(paused_at=first).refused is None
    driven.timers(5)
    driven.pause()
    assert driven.unpause(paused_at=first).refused == "the run was paused again since"
    assert driven.engine.state.runs[1].paused == "person"
    assert driven.unpause(paused_at=driven.engine.state.runs[1].paused_at).refused is None
    driven.pause()
    assert driven.unpause().refused is None  # one from a log of before names no pause


def test_a_paused_run_starts_nothing_and_does_not_time_out(driven: Driven) -> None:
    driven.start(flow(task("a"), task("b", needs=("a",)), timeout_ms=1000))
    driven.pause()
    driven.settle(driven.key("a"))
    assert driven.attempts == {}
    driven.timers(5000)
    driven.restart()
    assert driven.attempts == {}
    driven.unpause()
    driven.settle(driven.key("b"))
    assert driven.ended == {"r": "succeeded"}


def test_cancelling_one_step_skips_what_follows(driven: Driven) -> None:
    driven.start(flow(task("a"), task("b", needs=("a",)), task("c")))
    key = driven.key("a")
    driven.cancel(1, key[1], key[2])
    driven.settle(key, "cancelled")
    driven.settle(driven.key("c"))
    assert driven.statuses() == {"a": "cancelled", "b": "skipped", "c": "succeeded"}
    assert driven.ended == {"r": "cancelled"}


def test_slots_limit_attempts(driven: Driven) -> None:
    driven = Driven(slots=(("*", 2),))
    driven.register()
    driven.start(flow(*[task(name) for name in "abcde"]))
    for _ in range(5):
        assert len(driven.attempts) <= 2
        driven.settle(next(iter(driven.attempts)))
    assert driven.ended == {"r": "succeeded"}


def test_retrying_a_failed_run_keeps_what_succeeded(driven: Driven) -> None:
    driven.start(flow(task("a"), task("b", needs=("a",)), task("c", needs=("b",))))
    driven.settle(driven.key("a"))
    driven.settle(driven.key("b"), "failed")
    driven.restart()
    assert driven.retry().refused is None
    assert [key[2] for key in driven.attempts] == [1]
    driven.settle((1, 0, 1))
    driven.settle((1, 0, 2))
    assert driven.ended == {"r": "succeeded"}


def test_retrying_a_map_runs_only_the_items_that_failed(driven: Driven) -> None:
    driven.start(flow(task("m", for_each=ForEach(("list",), max_parallel=2)), task("b", needs=("m",))))
    driven.items(driven.decides[0], 6)
    ran = []
    for i in range(3):
        key = min(driven.attempts)
        ran.append(key[2])
        driven.settle(key, "failed" if i == 2 else "succeeded")
    for key in list(driven.attempts):
        driven.settle(key, "cancelled")
    assert driven.ended == {"r": "failed"}
    driven.retry()
    again = []
    while driven.attempts:
        assert len(driven.attempts) <= 2
        key = min(driven.attempts)
        again.append(key)
        driven.settle(key)
    assert sorted(key[2] for key in again if key[1] == 1) == [2, 3, 4, 5]
    assert driven.ended == {"r": "succeeded"}


def test_running_again_from_a_step_runs_what_follows_it(driven: Driven) -> None:
    driven.start(flow(task("a"), task("b", needs=("a",)), task("c", needs=("b",)), task("d", needs=("a",))))
    for _ in range(4):
        driven.settle(next(iter(driven.attempts)))
    driven.drain()
    assert driven.retry().refused is not None  # it succeeded: say from where
    assert driven.retry(1, 0, 1).refused is None
    ran = []
    while driven.attempts:
        key = next(iter(driven.attempts))
        ran.append(key[2])
        driven.settle(key)
    assert ran == [1, 2]


def test_an_exception_in_an_apply_quarantines_the_run(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    driven.start(flow(task("a"), task("b", needs=("a",))))
    driven.start(flow(task("a")), run_id="other")
    driven.engine.strict = False

    def broken(*_: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("graft.engine.steps.finish", broken)
    before = driven.engine.state_hash()
    applied = driven.settle(driven.key("a"))
    monkeypatch.undo()
    assert applied.refused == "internal"
    run = driven.engine.state.runs[1]
    assert run.paused == "internal"
    assert driven.engine.state.steps[1, 0, 0].status == "running"  # the change was dropped
    driven.settle((2, 0, 0))
    assert driven.ended == {"other": "succeeded"}
    assert before != driven.engine.drain()  # and the state can still be written


def test_steps_of_an_ended_run_leave_the_memory(driven: Driven) -> None:
    driven.start(flow(task("a")))
    driven.settle(driven.key("a"))
    driven.drain()
    state = driven.engine.state
    for index in (state.runs, state.scopes, state.steps, state.children, state.keys_of_run):
        assert not index
    assert driven.cancel().refused == "the run has ended"
    assert driven.apply(AttemptSettled(1, 0, 0, token=1, status="succeeded")).refused is not None
    assert driven.cancel(7, NONE, NONE).refused is not None


def test_asking_twice_reaches_no_later_generation(driven: Driven) -> None:
    driven.start(flow(task("a")))
    driven.settle(driven.key("a"), "failed")
    driven.drain()
    retry = RetryRun(1, NONE, NONE, generation=1)
    assert driven.apply(retry).refused is None
    driven.settle(driven.key("a"), "failed")
    driven.drain()
    assert driven.apply(retry).refused == "the run has another generation"
    assert driven.ended == {"r": "failed"}
    driven.drain()
    assert driven.engine.state.runs == {}  # what was loaded for it has left again
    assert driven.retry().refused is None
    assert driven.apply(CancelRun(1, NONE, NONE, generation=2)).refused == "the run has another generation"
    assert driven.apply(CancelRun(1, NONE, NONE, generation=3)).refused is None


def errors(driven: Driven, run: int = 1) -> ErrorRecord | None:
    driven.drain()
    return load(driven.stored, len(driven.log), final=True).state.runs[run].error


def test_the_error_of_a_run_is_that_of_its_step_or_a_group_of_them(driven: Driven) -> None:
    first, second = ErrorRecord("exit.1", "one"), ErrorRecord("exit.2", "two")
    driven.start(flow(task("a"), task("b"), task("c")))
    driven.settle(driven.key("a"), "failed", error=first)
    assert errors(driven) is None
    driven.settle(driven.key("b"), "failed", error=second)
    driven.settle(driven.key("c"), "cancelled")
    assert errors(driven) == ErrorRecord("group", "a step failed: exit.1: one", cause=(first, second))
    driven.start(flow(task("a"), task("b")), "second")
    driven.settle((2, 0, 0), "failed", error=first)
    driven.settle((2, 0, 1), "cancelled")
    assert errors(driven, 2) == first
    driven.retry(2)
    assert errors(driven, 2) is None
    driven.settle((2, 0, 0))
    driven.settle((2, 0, 1))
    assert errors(driven, 2) is None


def test_a_map_keeps_the_errors_of_the_first_items_and_counts_all(driven: Driven) -> None:
    driven.start(flow(task("m", for_each=ForEach(("list",), tolerate=19))))
    driven.items(driven.decides[0], 20)
    failures = [ErrorRecord(f"exit.{i}", "no") for i in range(20)]
    for key in sorted(driven.attempts):
        driven.settle(key, "failed", error=failures[key[2]])
    assert errors(driven) == ErrorRecord("group", "20 of 20 items failed", cause=tuple(failures[:16]))


def test_a_caught_error_is_told_and_kept_with_its_scope(driven: Driven) -> None:
    declined = ErrorRecord("http.402", "no money")
    driven.start(flow(task("charge", catch=(Catch(("http.402",), "declined"),)), task("declined")))
    effects = driven.settle(driven.key("charge"), "failed", error=declined).effects
    told = [event for effect in effects if isinstance(effect, Happened) for event in effect.events]
    assert (0, 0, "caught", "by declined", 1) in told
    assert driven.engine.state.scopes[1, 0].errors == (declined,)
    driven.settle(driven.key("declined"))
    assert errors(driven) is None
    assert driven.ended == {"r": "succeeded"}


def test_results_params_items_and_outputs_are_stored_where_the_records_say(driven: Driven) -> None:
    inner = Block("flow", "inner", (task("x"),), outputs=("dict",))
    nodes = (Node("sub", FlowAction(1)), task("m", for_each=ForEach(("list",))))
    driven.start(flow(*nodes, blocks=(inner,), outputs=("dict",)))
    driven.decide(driven.decides[0], "params", data=b"{1}")
    driven.items(driven.decides[0], 1)
    for key in sorted(driven.attempts):
        driven.settle(key)
    driven.decide(driven.decides[0], "outputs", data=b"{2}")
    driven.decide(driven.decides[0], "outputs", data=b"{3}")
    assert driven.ended == {"r": "succeeded"}
    driven.drain()
    values = {key: value for (table, key), value in driven.stored.items() if table == "values"}
    state = load(driven.stored, len(driven.log), final=True).state
    named = {value_key(1, 0, NONE, OUT): state.runs[1].out}
    named |= {value_key(*key, OUT): step.out for key, step in state.steps.items()}
    for key, scope in state.scopes.items():
        named |= {value_key(*key, NONE, PARAMS): scope.params, value_key(*key, NONE, ITEMS): scope.items}
    assert {key: each for key, each in named.items() if each} == {key: digest(value) for key, value in values.items()}
    assert sorted(values.values()) == [b"1", b"1", b"[null,[0]]", b"{1}", b"{2}", b"{3}", b"{}"]


def test_results_of_an_earlier_run_are_taken_and_nodes_left_out(driven: Driven) -> None:
    plan = flow(task("a"), task("b"), task("c", needs=("a",)), task("d", needs=("b",)), task("e", needs=("c",)))
    hash = driven.apply(RegisterPlan(encode(plan), **driven.stamp())).result
    driven.apply(StartRun("r", hash, b"{}", given=((0, b"7"), (2, b"8")), excluded=(1,), **driven.stamp()))
    assert list(driven.attempts) == [(1, 0, 4)]
    assert driven.told[1, 0, 0] == ("succeeded", "taken from an earlier run", 0)
    driven.settle((1, 0, 4))
    expected = {"a": "succeeded", "b": "skipped", "c": "succeeded", "d": "skipped", "e": "succeeded"}
    assert driven.statuses() == expected
    assert driven.ended == {"r": "succeeded"}
    state = load(driven.stored, len(driven.log), final=True).state
    for ordinal, value in ((0, b"7"), (2, b"8")):
        step = state.steps[1, 0, ordinal]
        assert driven.stored["values", value_key(1, 0, ordinal, OUT)] == value
        assert (step.out, step.started_wall, step.ended_wall) == (digest(value), driven.wall, driven.wall)


def test_what_is_undecided_is_what_a_restart_would_ask(driven: Driven) -> None:
    inner = Block("flow", "inner", (task("x"),), outputs=("dict",))
    driven.start(flow(Node("sub", FlowAction(1)), task("w", when=("const", True)), task("t"), blocks=(inner,)))
    driven.decide(driven.decides[0], "params", data=b"{}")
    driven.settle((1, 1, 0))
    asked = [effect for effect in driven.engine.outstanding() if isinstance(effect, Decide)]
    assert {effect.key for effect in asked} == {driven.key("w"), (1, 1, NONE)}
    assert sorted(driven.engine.undecided(), key=str) == sorted(asked, key=str)
    walk = driven.engine.undecided()
    first = next(walk)
    driven.cancel()  # the state changes under the walk
    assert first.key == driven.key("w")
    assert list(walk) == []
    driven.reload()
    engine = driven.engine
    assert engine.restore(engine.applied, engine.state_hash()) == engine.outstanding()


def test_steps_whose_followers_have_begun_leave_the_memory(driven: Driven) -> None:
    driven.start(flow(task("n0"), *(task(f"n{i}", needs=(f"n{i - 1}",)) for i in range(1, 20))))
    for i in range(19):
        driven.settle((1, 0, i))
        driven.drain()
        assert list(driven.engine.state.steps) == [(1, 0, i + 1)]


def test_a_run_that_is_retried_has_its_whole_time_again(driven: Driven) -> None:
    ship = group("ship", task("x"), timeout_ms=300)
    nodes = (Node("ship", GroupAction(1)), task("t", total_timeout_ms=200))
    driven.start(flow(*nodes, blocks=(ship,), timeout_ms=1000))
    driven.timers(150)
    driven.settle((1, 1, 0), "failed")
    driven.settle(driven.key("t"), "cancelled")
    driven.timers(150)
    driven.retry()
    state = driven.engine.state
    deadlines = [state.scopes[1, 0].deadline, state.scopes[1, 1].deadline, state.steps[1, 0, 1].deadline]
    assert deadlines == [driven.now + 1000, driven.now + 300, driven.now + 200]
    ship_step = state.steps[driven.key("ship")]
    assert (ship_step.status, ship_step.error, ship_step.ending, ship_step.ended_wall) == ("running", None, "", 0)
    for key in sorted(driven.attempts):
        driven.settle(key)
    assert driven.ended == {"r": "succeeded"}


def test_a_failed_finally_goes_no_further_and_its_error_is_that_of_the_run(driven: Driven) -> None:
    driven.start(flow(task("a"), finals=(task("report"), task("mail", needs=("report",), join="all_done"))))
    driven.settle(driven.key("a"))
    driven.settle(driven.key("report"), "failed")
    assert driven.engine.state.steps[driven.key("report")].contained
    driven.settle(driven.key("mail"))
    assert errors(driven) == ErrorRecord("exit.1", "it broke")
    assert driven.told[1, 0, NONE] == ("failed", "a finally step failed", 1)


def test_a_move_that_is_not_in_the_table_is_refused(driven: Driven) -> None:
    driven.start(flow(task("a")))
    state = driven.engine.state
    with pytest.raises(IllegalMove, match="step 1/0/0 is running: no move 'join'"):
        state.move(state.steps[1, 0, 0], "join")
    with pytest.raises(IllegalMove, match="scope 1/0 is running: no move 'reopen'"):
        state.move_scope(state.scopes[1, 0], "reopen")
    with pytest.raises(IllegalMove, match="run r is running: no move 'reopen'"):
        state.move_run(state.runs[1], "reopen")


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_what_says_something_of_the_machine_is_not_blamed_on_the_run(
    driven: Driven, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    driven.start(flow(task("a")))
    driven.engine.strict = False

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr("graft.engine.steps.settle", broken)
    with pytest.raises(error):
        driven.settle(driven.key("a"))
    assert driven.engine.state.runs[1].paused == ""


def test_an_entry_is_applied_once(driven: Driven) -> None:
    with pytest.raises(AssertionError, match="entry 1 was applied before"):
        driven.engine.apply(1, TimersDue())


def test_run_ids_that_are_known_are_bounded_and_asked_for_again(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graft.engine.engine.MAX_KNOWN_IDS", 3)
    for number in range(10):
        driven.start(flow(task("a")), f"r{number}")
        driven.drain()
        assert len(driven.engine.state.known_ids) <= 3
    assert driven.start(flow(task("a")), "r0").refused == "exists"


def test_running_again_from_a_step_in_two_groups_opens_both_and_forgets_its_result(driven: Driven) -> None:
    inner = group("inner", task("x"), task("y", needs=("x",)), task("w"))
    outer = group("outer", Node("inner", GroupAction(2)))
    driven.start(flow(Node("outer", GroupAction(1)), task("z", needs=("outer",)), blocks=(outer, inner)))
    while driven.attempts:
        driven.settle(min(driven.attempts))
    driven.drain()
    assert driven.retry(1, 2, 1).refused is None
    assert list(driven.attempts) == [(1, 2, 1)]
    driven.drain()
    assert [("values", value_key(1, 2, ordinal, OUT)) in driven.stored for ordinal in (0, 1, 2)] == [True, False, True]
    assert ("values", value_key(1, 0, 1, OUT)) not in driven.stored
    driven.settle((1, 2, 1))
    assert list(driven.attempts) == [(1, 0, 1)]
    driven.settle((1, 0, 1))
    assert driven.ended == {"r": "succeeded"}
    assert driven.retry(1, 0, 7).refused == "that step never began"


def test_a_step_that_skips_itself_is_no_attempt_that_failed(driven: Driven) -> None:
    error = ErrorRecord("exit.99", "the command exited with 99")
    driven.start(
        flow(task("a", retry=Retry(attempts=3)), task("b", needs=("a",)), task("c", needs=("a",), join="all_done"))
    )
    driven.settle(driven.key("a"), "skipped", error=error)
    assert set(driven.attempts) == {driven.key("c")}
    driven.settle(driven.key("c"))
    assert driven.statuses() == {"a": "skipped", "b": "skipped", "c": "succeeded"}
    assert driven.ended == {"r": "succeeded"}
