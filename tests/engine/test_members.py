"""Members: what they can run, where steps go, and what happens to their attempts when they go."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from graft.engine.commands import AttemptSettled, MemberDown, RegisterMember, StartRun
from graft.engine.records import ClusterConfig
from graft.plan import Node, Retry, RunAction
from tests.support.engines import Driven, flow, task


def members(*names: str, slots: int = 10, **offer: Any) -> Driven:
    driven = Driven(slots=(("*", slots),))
    for name in names:
        driven.register(name, **offer)
    return driven


def on(driven: Driven, name: str, run: int = 1) -> str:
    """The member that runs a step."""
    return driven.attempts[driven.key(name, run)].member


def reason(driven: Driven, name: str) -> str:
    return driven.engine.state.steps[driven.key(name)].reason


def load(driven: Driven) -> dict[str, int]:
    return dict(Counter(effect.member for effect in driven.attempts.values()))


def wide(count: int, **options: Any) -> Any:
    return flow(*(task(f"n{i}", **options) for i in range(count)))


# Going down


def test_a_member_that_goes_down_loses_its_attempts_once() -> None:
    driven = members("a", "b")
    driven.start(wide(4))
    assert load(driven) == {"a": 2, "b": 2}
    tokens = {key: effect.token for key, effect in driven.attempts.items()}
    assert driven.down("a").refused is None
    assert load(driven) == {"b": 4}
    again = [key for key, effect in driven.attempts.items() if effect.token != tokens[key]]
    assert [driven.attempts[key].token for key in again] == [2, 2]
    assert [driven.attempts[key].attempt for key in again] == [1, 1]  # not an attempt of the step's own code
    assert driven.engine.state.ledger.used("a") == 0


def test_only_the_live_incarnation_goes_down() -> None:
    driven = members("a")
    driven.start(flow(task("x")))
    old = driven.incarnation
    driven.register("a")
    before = dict(driven.attempts)
    for wrong in (old, old + 7):
        applied = driven.apply(MemberDown("a", wrong))
        assert (applied.refused, applied.effects) == ("that incarnation is not the live one", ())
    assert driven.apply(MemberDown("nobody", 1)).refused is not None
    assert driven.attempts == before
    driven.down("a")
    assert driven.apply(MemberDown("a", driven.incarnation)).refused == "that incarnation is not the live one"


def test_the_result_of_a_member_that_was_declared_down_is_refused() -> None:
    driven = members("a", "b")
    driven.start(flow(task("x")))
    key = driven.key("x")
    lost = driven.attempts[key]
    assert lost.member == "a"
    driven.down("a")
    assert on(driven, "x") == "b"
    late = driven.apply(AttemptSettled(*key, token=lost.token, status="succeeded", value=b"0"))
    assert late.refused == "the attempt no longer holds a valid token"
    driven.settle(key)
    assert driven.ended == {"r": "succeeded"}


def test_a_declared_incarnation_does_not_come_back() -> None:
    driven = members("a")
    driven.configure()
    driven.down("a")
    again = driven.apply(RegisterMember("a", driven.incarnation, (("*", 1),), version=1))
    assert again.refused == "this incarnation was declared down; a new one has to register"
    assert driven.engine.state.members["a"].live is False
    assert driven.register("a", version=1).refused is None
    late = driven.apply(RegisterMember("a", driven.incarnation - 1, (("*", 1),), version=1))
    assert late.refused == "a later incarnation has registered"


def test_registering_twice_is_harmless_and_may_change_what_is_offered() -> None:
    driven = members("a", slots=1)
    driven.start(wide(3))
    before = dict(driven.attempts)
    driven.apply(RegisterMember("a", driven.incarnation, (("*", 1),)))
    assert driven.attempts == before
    driven.apply(RegisterMember("a", driven.incarnation, (("*", 2),), labels=(("gpu", ""),)))
    assert len(driven.attempts) == 2
    assert driven.engine.state.members["a"].labels == (("gpu", ""),)


def test_a_step_that_brings_its_members_down_is_parked() -> None:
    driven = members("a", "b")
    driven.start(flow(task("x", retry=Retry(max_lost=2))))
    for name in ("a", "b", "a"):
        assert on(driven, "x") == name
        driven.down(name)
        driven.register(name)
    assert driven.attempts == {}
    assert reason(driven, "x").startswith("gave up")


def test_a_cancelled_attempt_on_a_member_that_goes_down_has_ended() -> None:
    driven = members("a")
    driven.start(flow(task("x")))
    driven.cancel()
    driven.down("a")
    assert driven.ended == {"r": "cancelled"}


def test_a_forgotten_member_leaves_nothing() -> None:
    driven = members("a", "b")
    driven.start(wide(4))
    assert driven.forget("a").refused is None
    assert load(driven) == {"b": 4}
    assert driven.forget("a").refused == "no such member"
    driven.drain()
    assert ("members", b"a") not in driven.stored
    driven.reload()
    driven.register("a")
    assert driven.engine.state.members["a"].live


def test_a_late_result_of_an_earlier_generation_is_refused() -> None:
    """The token began again with the generation: a member that was cut off could settle the step that it knew."""
    driven = members("a", "b")
    driven.configure()
    driven.start(flow(task("x")))
    key = driven.key("x")
    old = driven.attempts[key]
    driven.down("a")
    driven.settle(key, "failed")
    driven.retry()
    assert driven.attempts[key].token != old.token
    late = driven.apply(AttemptSettled(*key, token=old.token, status="succeeded", value=b"0"))
    assert late.refused == "the attempt no longer holds a valid token"
    driven.settle(key)
    assert driven.ended == {"r": "succeeded"}


# Draining


def test_nothing_new_goes_to_a_draining_member() -> None:
    driven = members("a", "b", slots=2)
    driven.start(wide(6))
    driven.drain_member("a")
    assert load(driven) == {"a": 2, "b": 2}  # what runs goes on
    for key in [key for key, effect in driven.attempts.items() if effect.member == "a"]:
        driven.settle(key)
    assert load(driven) == {"b": 2}
    driven.drain_member("a", draining=False)
    assert load(driven) == {"a": 2, "b": 2}


def test_an_operators_drain_outlasts_a_restart_and_a_stopping_process_does_not() -> None:
    driven = members("a")
    driven.drain_member("a")
    driven.register("a")
    driven.start(flow(task("x")))
    assert driven.attempts == {}
    assert driven.statuses() == {"x": "queued"}  # it may be taken back: not unplaceable
    driven.drain_member("a", draining=False)
    assert on(driven, "x") == "a"
    assert driven.drain_member("a", incarnation=99).refused is not None
    driven.drain_member("a", incarnation=driven.incarnation)
    driven.start(flow(task("x")), "second")
    assert len(driven.attempts) == 1
    driven.register("a")
    assert len(driven.attempts) == 2


def test_who_is_no_member_does_not_drain() -> None:
    driven = members("a")
    assert driven.drain_member("nobody").refused == "no such member"
    driven.down("a")
    assert driven.drain_member("a", incarnation=driven.incarnation).refused == "that incarnation is not the live one"


# Who can run what


def test_runs_on_chooses_members_by_label() -> None:
    driven = members("a")
    driven.register("b", labels=(("disk", "ssd"), ("gpu", "a100")))
    driven.start(
        flow(
            task("any_gpu", runs_on=(("gpu", "*"),)),
            task("this_gpu", runs_on=(("disk", "ssd"), ("gpu", "a100"))),
            task("other_gpu", runs_on=(("gpu", "h100"),)),
        )
    )
    assert (on(driven, "any_gpu"), on(driven, "this_gpu")) == ("b", "b")
    assert driven.statuses()["other_gpu"] == "waiting"
    assert reason(driven, "other_gpu") == "unplaceable: no live member has the label gpu=h100"
    driven.reload()
    driven.register("c", labels=(("gpu", "h100"),))
    assert on(driven, "other_gpu") == "c"


def test_a_step_waits_where_its_only_member_went_down_and_keeps_its_place() -> None:
    driven = members("a", slots=1)
    driven.register("b", labels=(("gpu", ""),))
    driven.start(flow(*(task(f"g{i}", runs_on=(("gpu", "*"),)) for i in range(3))))
    driven.down("b")
    assert {driven.engine.state.steps[driven.key(f"g{i}")].status for i in range(3)} == {"waiting"}
    driven.reload()
    driven.register("b", labels=(("gpu", ""),))
    assert [key[2] for key in sorted(driven.attempts)] == [1]  # g0 lost its attempt, and stands behind the others
    driven.settle(driven.key("g1"))
    assert [key[2] for key in sorted(driven.attempts)] == [2]


def test_node_types_and_slots_say_what_a_member_runs() -> None:
    driven = Driven()
    driven.register("a", (("*", 5), ("run", 0)))
    driven.register("b", (("*", 5),), node_types=("python", "http"))
    driven.start(flow(task("p"), Node("r", RunAction("true"))))
    assert reason(driven, "r") == "unplaceable: no live member has slots for run steps"
    driven.register("c", (("*", 5),), node_types=("run",))
    assert on(driven, "r") == "c"


def test_the_reason_names_what_each_member_lacks() -> None:
    driven = Driven()
    driven.register("a", labels=(("gpu", ""),))
    driven.register("b", labels=(("ssd", ""),))
    driven.start(flow(task("x", runs_on=(("gpu", "*"), ("ssd", "*")))))
    assert reason(driven, "x") == "unplaceable: a lacks the label ssd; b lacks the label gpu"
    driven.forget("b")
    assert reason(driven, "x") == "unplaceable: no live member has the label ssd"


def test_an_unplaceable_step_is_cancelled_and_timed_out_like_any_other() -> None:
    driven = members("a")
    driven.start(flow(task("x", runs_on=(("gpu", "*"),)), task("y", runs_on=(("gpu", "*"),), total_timeout_ms=100)))
    driven.cancel(1, 0, 0)
    assert driven.statuses()["x"] == "cancelled"
    driven.timers(100)
    assert driven.ended == {"r": "failed"}
    driven.register("b", labels=(("gpu", ""),))
    assert driven.attempts == {}


def test_a_person_cannot_retry_what_waits_for_a_member() -> None:
    driven = members("a")
    driven.start(flow(task("x", runs_on=(("gpu", "*"),))))
    assert driven.retry().refused == "no step of the run waits for a retry"


def test_an_unplaceable_step_of_a_paused_run_waits_on() -> None:
    driven = members("a")
    driven.start(flow(task("x", runs_on=(("gpu", "*"),))))
    driven.pause()
    driven.register("b", labels=(("gpu", ""),))
    assert driven.attempts == {}
    driven.unpause()
    assert on(driven, "x") == "b"


def test_old_members_get_nothing_new_during_an_upgrade() -> None:
    driven = members("a", version=1)
    driven.register("b", version=2)
    driven.configure(min_version=2)
    driven.start(wide(2))
    assert load(driven) == {"b": 2}
    driven.down("b")
    assert reason(driven, "n0") == "unplaceable: no live member has version 2"
    driven.configure()
    assert load(driven) == {"a": 2}


# Where steps go


def test_load_moves_to_a_member_that_joins() -> None:
    driven = members("a", slots=2)
    driven.start(wide(8))
    assert load(driven) == {"a": 2}
    driven.register("b")
    assert load(driven) == {"a": 2, "b": 2}


def test_a_chain_stays_on_its_member_and_a_fan_spreads() -> None:
    driven = members("a", "b", "c")
    driven.drain_member("a")  # the chain begins elsewhere than where ties go
    driven.start(flow(task("x"), task("y", needs=("x",)), *(task(f"z{i}", needs=("y",)) for i in range(9))))
    driven.drain_member("a", draining=False)
    assert on(driven, "x") == "b"
    driven.settle(driven.key("x"))
    assert on(driven, "y") == "b"
    driven.reload()
    driven.settle(driven.key("y"))
    assert load(driven) == {"a": 3, "b": 4, "c": 2}  # a near member is at most one ahead when it is preferred


def test_the_zone_of_the_previous_step_comes_before_the_name() -> None:
    driven = members("a", "b", zone="west")
    driven.register("c", zone="east")
    driven.register("d", zone="east")
    for name in ("a", "b", "d"):
        driven.drain_member(name)
    driven.start(flow(task("x"), task("y", needs=("x",))))
    assert on(driven, "x") == "c"
    for name in ("a", "b", "d"):
        driven.drain_member(name, draining=False)
    driven.drain_member("c")
    driven.settle(driven.key("x"))
    assert on(driven, "y") == "d"


def test_a_resumed_run_has_its_old_place_in_the_queue_also_after_a_restart() -> None:
    """The order of a line followed from when steps were pushed, so a member that loaded its state had another one."""
    driven = members("a", slots=1)
    driven.start(wide(2))
    driven.start(wide(2), "second")
    driven.pause(1)
    driven.unpause(1)
    order = []
    while driven.attempts:
        key = min(driven.attempts)
        order.append(key)
        if len(order) == 1:
            driven.reload()
        driven.settle(key)
    assert order == [(1, 0, 0), (1, 0, 1), (2, 0, 0), (2, 0, 1)]
    other = members("a", slots=1)
    other.start(wide(2))
    other.start(wide(2), "second")
    other.pause(1)
    other.unpause(1)
    for key in order:
        assert list(other.attempts) == [key]
        other.settle(key)


# The cluster's configuration


def test_quotas_bound_the_cluster() -> None:
    driven = members("a", "b")
    driven.configure(total=5, kinds=(("run", 1),), default_kind=3)
    runs = [Node(f"r{i}", RunAction("true")) for i in range(4)]
    driven.start(flow(*(task(f"n{i}") for i in range(8)), *runs))
    kinds = Counter(key[2] >= 8 for key in driven.attempts)
    assert kinds == {False: 3, True: 1}
    driven.configure(total=2)
    assert len(driven.attempts) == 4  # lowering stops nothing
    driven.settle(driven.key("n0"))
    assert len(driven.attempts) == 3
    driven.reload()
    driven.configure()
    assert len(driven.attempts) == 11
    driven.down("a")
    assert driven.engine.state.ledger.cluster_used() == len(driven.attempts) == 10


def test_first_come_first_served_over_kinds() -> None:
    """Kinds of node that share slots: the one whose name comes first does not starve the others."""
    driven = members("a", slots=1)
    driven.configure()
    driven.start(flow(task("p"), Node("r", RunAction("true")), task("q")))
    order = []
    while driven.attempts:
        (key,) = driven.attempts
        order.append(key[2])
        driven.settle(key)
    assert order == [0, 1, 2]


def test_starts_beyond_the_number_of_runs_are_refused() -> None:
    driven = members("a")
    driven.configure(max_runs=1)
    driven.start(flow(task("x")))
    refused = driven.start(flow(task("x")), "second").refused
    assert refused == "there are as many live runs as the cluster's configuration allows"
    assert driven.start(flow(task("x"))).refused == "exists"
    driven.settle(driven.key("x"), "failed")
    assert driven.start(flow(task("x")), "second").refused is None
    assert driven.retry(1).refused == refused
    driven.settle(driven.key("x", 2))
    driven.drain()
    assert driven.retry(1).refused is None


def test_a_node_without_retry_has_that_of_the_cluster() -> None:
    driven = members("a")
    driven.configure(retry_attempts=2, retry_backoff_ms=50)
    driven.reload()
    driven.start(flow(task("x"), task("y", retry=Retry(attempts=1), on_failure="continue")))
    driven.settle(driven.key("x"), "failed", dice=2**32 - 1)
    driven.settle(driven.key("y"), "failed")
    assert driven.attempts == {}
    driven.timers(50)
    driven.settle(driven.key("x"), "failed")
    assert driven.ended == {"r": "failed"}


@pytest.mark.parametrize("config", [{}, {"total": 4, "kinds": (("run", 2),)}])
def test_the_configuration_survives_a_restart(config: dict[str, Any]) -> None:
    driven = members("a")
    driven.configure(**config)
    kept = driven.engine.state.meta.config
    assert kept == ClusterConfig(**config)
    driven.reload()
    assert driven.engine.state.meta.config == kept
    assert driven.apply(StartRun("r", "0" * 64, b"{}")).refused is not None
    assert driven.engine.state.ledger.cluster_limit() == (config.get("total") or None)


def test_a_failed_section_of_a_loss_leaves_the_other_runs_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad run is quarantined; the attempts of the others are placed again, and the next loss ends its own."""
    from graft.engine import steps

    driven = members("a", "b")
    driven.check = False
    driven.engine.strict = False
    driven.start(flow(task("x")))
    driven.start(flow(task("x")), "second")
    for run in (1, 2):
        assert on(driven, "x", run) == ("a", "b")[run - 1]
    driven.drain_member("b")
    driven.start(flow(task("x")), "third")
    assert on(driven, "x", 3) == "a"
    driven.drain_member("b", draining=False)
    lose = steps._lose

    def broken(s: Any, step: Any, error: Any) -> None:
        assert step.run != 1
        lose(s, step, error)

    monkeypatch.setattr(steps, "_lose", broken)
    driven.down("a")
    assert driven.engine.state.runs[1].paused == "internal"
    assert on(driven, "x", 3) == "b"
    monkeypatch.undo()
    driven.forget("a")
    driven.unpause(1)
    assert on(driven, "x", 1) == "b"
    assert driven.engine.state.ledger.used("b") == 3
