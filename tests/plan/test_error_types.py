"""Patterns of error types: what the language accepts, the engine matches."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.engine.retries import find_catch, is_retryable
from graft.plan import Catch, ErrorRecord, Retry
from graft.plan.error_types import (
    FAMILIES,
    PLAIN,
    SIGNALS,
    WrongErrorType,
    canonical_pattern,
    matches,
    own_type_problem,
    signal_name,
)

OWN = ("out_of_stock", "shop.out-of-stock", "a.b.c")
GIVEN: dict[str, list[str]] = {
    "exit": [f"exit.{code}" for code in (1, 2, 75, 126, 255)],
    "signal": [f"signal.{signal_name(number)}" for number in range(1, 65)],
    "http": ["http.302", "http.404", "http.429", "http.500", "http.503", "http.connect"],
    "python": ["python.ValueError", "python.Zoë", "python.StopIteration"],
}
"""By family: types as the worker gives them."""

TYPES = [*PLAIN, *OWN, *(each for family in GIVEN.values() for each in family)]


def test_the_signals_are_those_of_this_machine() -> None:
    assert {each.value: each.name for each in signal.Signals} == SIGNALS


def test_every_family_is_tried() -> None:
    assert set(GIVEN) == set(FAMILIES)


@pytest.mark.parametrize("family", GIVEN)
@pytest.mark.parametrize("spelling", ["{}", "{}.*"])
def test_a_family_means_all_of_its_types_and_no_other(family: str, spelling: str) -> None:
    pattern = canonical_pattern(spelling.format(family))
    assert {each for each in TYPES if matches(pattern, each)} == set(GIVEN[family])


@pytest.mark.parametrize("error_type", TYPES)
def test_a_type_means_itself(error_type: str) -> None:
    assert [each for each in TYPES if matches(canonical_pattern(error_type), each)] == [error_type]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http.4xx", ["http.404", "http.429"]),
        ("http.5xx", ["http.500", "http.503"]),
        ("signal.KILL", ["signal.SIGKILL"]),
        ("signal.9", ["signal.SIGKILL"]),
        ("signal.SIGCLD", ["signal.SIGCHLD"]),
        ("signal.SIGRTMIN+3", ["signal.SIG37"]),
        ("exit.075", ["exit.75"]),
        ("shop.*", ["shop.out-of-stock"]),
        ("a.b.*", ["a.b.c"]),
        ("timeout.*", ["timeout"]),
        ("*", TYPES),
    ],
)
def test_other_spellings(written: str, meant: list[str]) -> None:
    assert [each for each in TYPES if matches(canonical_pattern(written), each)] == meant


NEVER = """exit.0 exit.256 exit.one exit. exit.-1 exit.١ signal.NOPE signal.0 signal.65
    signal.sigkill http.99 http.999 http.2xx http.3xx http.5XX http.connection python.shop.Refused python. python.1
    group group.* 404 .x x. x..y x* **"""


@pytest.mark.parametrize("written", [*NEVER.split(), "", " timeout", "exit.1\n", "timeout\n"])
def test_what_could_never_match_is_refused(written: str) -> None:
    with pytest.raises(WrongErrorType):
        canonical_pattern(written)


@given(st.one_of(st.from_regex(r"[a-z]{1,8}(\.[A-Za-z0-9*+_]{0,6})?", fullmatch=True), st.text(max_size=12)))
def test_what_is_accepted_matches_some_type(written: str) -> None:
    """A pattern that compiles can match: it means a type in the spelling of the worker, or of a `fail` node."""
    try:
        pattern = canonical_pattern(written)
    except WrongErrorType:
        return
    assert canonical_pattern(pattern) == pattern
    family, _, rest = pattern.partition(".")
    if pattern in ("*", "http.4xx", "http.5xx") or (family in FAMILIES and not rest):
        assert any(matches(pattern, each) for each in TYPES)
        return
    assert matches(pattern, pattern)
    match family:
        case "exit":
            assert 1 <= int(rest) <= 255
        case "signal":
            assert rest in [signal_name(number) for number in range(1, signal.NSIG)]
        case "http" | "python":
            pass
        case _:
            assert pattern in PLAIN or own_type_problem(pattern) is None


@pytest.mark.parametrize("written", ["exit", "exit.*", "exit.1", "*"])
def test_retry_and_catch_ask_the_same_matcher(written: str) -> None:
    error = ErrorRecord("exit.1", "the command exited with 1")
    pattern = canonical_pattern(written)
    assert is_retryable(Retry(on=(pattern,)), error)
    assert not is_retryable(Retry(never=(pattern,)), error)
    assert find_catch((Catch((pattern,), "other"),), ErrorRecord("group", "", cause=(error, error))) is not None


@pytest.mark.parametrize("name", ["group", "exit", "http.4xx", "*", "exit.*", "a b", "", "exit.007", "signal.KILL"])
def test_a_fail_node_gives_no_type_that_cannot_be_named(name: str) -> None:
    assert own_type_problem(name) is not None


@pytest.mark.parametrize("name", [*OWN, "exit.3", "http.503", "timeout"])
def test_a_fail_node_may_give_any_type_that_can(name: str) -> None:
    assert own_type_problem(name) is None
