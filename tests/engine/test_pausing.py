"""Pauses: what they hold up, what they leave alone, and what a run remembers of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from graft.engine.commands import PauseRun, RegisterMember, SetClockOffset, TimersDue
from graft.engine.pausing import MAX_IDLE
from graft.engine.records import NONE
from graft.plan import Block, Node, Retry, SleepAction
from graft.plan.records import FlowAction
from tests.support.engines import Driven, flow, task


def begun(*, rules: int = 1) -> Driven:
    driven = Driven()
    driven.register(rules=rules)
    return driven


@given(
    st.lists(
        st.tuples(st.sampled_from(["pause", "since", "unpause", "clock"]), st.integers(0, 10_000)),
        max_size=12,
    )
)
def test_a_run_remembers_its_pauses_by_the_clock_that_people_read(moves: list[tuple[str, int]]) -> None:
    driven = begun()
    driven.start(flow(task("a")))
    began = clock = driven.wall
    idle: list[tuple[int, int]] = []
    for move, n in moves:
        driven.timers(n)
        clock += n
        paused = bool(idle) and not idle[-1][1]
        if move == "clock":  # it may go back
            offset = n - 5000
            driven.apply(SetClockOffset(offset, **driven.stamp()))
            clock = driven.wall + offset
        elif move == "unpause":
            assert (driven.unpause().refused is None) == paused
            if paused:
                idle[-1] = (idle[-1][0], max(clock, idle[-1][0]))
        else:
            since = began + n * 2 - 5000 if move == "since" else 0
            refused = driven.apply(PauseRun(1, "person", since, **driven.stamp())).refused
            assert refused == ("the run is paused already" if paused else None)
            if not paused:
                idle.append((max(began, min(since or clock, clock)), 0))
        assert driven.engine.state.runs[1].idle == tuple(idle)
        assert driven.engine.state.meta.clock == clock
    driven.reload()
    assert driven.engine.state.runs[1].idle == tuple(idle)


def test_only_the_last_pauses_are_remembered() -> None:
    driven = begun()
    driven.start(flow(task("a")))
    for _ in range(MAX_IDLE + 5):
        driven.pause()
        driven.timers(1)
        driven.unpause()
    idle = driven.engine.state.runs[1].idle
    assert len(idle) == MAX_IDLE
    assert idle[-1] == (driven.wall - 1, driven.wall)


def test_a_log_from_before_remembers_no_pauses_and_names_no_members() -> None:
    driven = begun(rules=0)
    driven.register("other", rules=0)
    driven.start(flow(task("a"), task("b")))
    driven.pause()
    run, step = driven.engine.state.runs[1], driven.engine.state.steps[driven.key("a")]
    assert (run.idle, step.reason, step.ran_on) == ((), "", "")
    driven.unpause()
    driven.register("third")
    driven.apply(RegisterMember("other", driven.incarnations["other"], (("*", 5),)))  # an old program: no way back
    driven.start(flow(task("a")), "second")
    step = driven.engine.state.steps[driven.key("a", 2)]
    assert (step.reason, step.ran_on) == (f"on {step.member}", step.member)
    driven.pause(2)
    assert len(driven.engine.state.runs[2].idle) == 1


def test_a_member_is_named_in_the_history_where_there_are_several() -> None:
    driven = begun()
    driven.start(flow(task("a"), task("b", needs=("a",))))
    assert driven.told[driven.key("a")] == ("running", "", 1)
    assert driven.engine.state.steps[driven.key("a")].ran_on == "m"
    driven.register("z")
    driven.settle(driven.key("a"))
    assert driven.told[driven.key("b")] == ("running", "on m", 1)
    driven.settle(driven.key("b"), "failed")
    driven.retry()
    driven.engine.drain()
    assert driven.engine.state.steps[driven.key("b")].ran_on == driven.attempts[driven.key("b")].member


def test_a_run_that_ends_while_it_is_paused_does_not_stand_still_in_its_next_generation() -> None:
    driven = begun()
    driven.start(flow(task("a")))
    began = driven.wall
    driven.pause()
    driven.timers(1000)
    driven.settle(driven.key("a"), "failed")
    driven.timers(1000)
    driven.retry()
    assert driven.engine.state.runs[1].idle == ((began, began + 1000),)
    assert driven.engine.state.runs[1].paused == ""


@given(before=st.integers(0, 90), still=st.integers(0, 5000))
def test_every_deadline_moves_by_the_time_that_the_run_stood_still(before: int, still: int) -> None:
    driven = begun()
    backing_off = task("b", retry=Retry(initial_ms=100, jitter=False), total_timeout_ms=500)
    driven.start(flow(task("a", total_timeout_ms=300), backing_off, timeout_ms=900))
    driven.settle(driven.key("b"), "failed")
    driven.timers(before)
    driven.pause()
    driven.timers(still)
    assert list(driven.attempts) == [driven.key("a")]
    assert driven.cancels == []
    driven.unpause()
    state, began = driven.engine.state, driven.now - before - still
    a, b = (state.steps[driven.key(name)] for name in "ab")
    expected = [began + each + still for each in (300, 500, 100, 900)]
    assert [a.deadline, b.deadline, b.due, state.scopes[1, 0].deadline] == expected
    driven.timers(100 - before)
    assert driven.key("b") in driven.attempts
    driven.timers(200)
    assert [cancel.key for cancel in driven.cancels] == [driven.key("a")]


def test_what_is_asked_while_a_run_is_paused_is_asked_again() -> None:
    driven = begun()
    inner = Block("flow", "inner", (task("x"),), outputs=("dict",))
    driven.start(flow(Node("sub", FlowAction(1)), task("w", when=("const", True)), blocks=(inner,)))
    sub = next(each for each in driven.decides if each.key == driven.key("sub"))
    driven.decide(sub, "params", data=b"{}")
    driven.settle((1, 1, 0))
    asked = {each.key for each in driven.decides}
    assert asked == {driven.key("w"), (1, 1, NONE)}
    driven.pause()
    driven.decides.clear()
    assert {each.key for each in driven.engine.undecided()} == asked
    driven.unpause()
    assert {each.key for each in driven.decides} == asked


def test_a_sleep_that_is_over_while_the_run_is_paused_ends_when_it_goes_on() -> None:
    driven = begun()
    driven.start(flow(Node("nap", SleepAction(("const", 50))), task("b", needs=("nap",))))
    driven.decide(driven.decides[0], "sleep", number=50)
    driven.pause()
    driven.timers(60)
    assert driven.statuses() == {"nap": "waiting"}
    driven.unpause()
    driven.apply(TimersDue(**driven.stamp()))
    assert driven.statuses() == {"nap": "succeeded", "b": "running"}
