"""When a peer that does not answer is tried again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from graft.transport.breaker import TRANSITIONS, Breaker


def make() -> Breaker:
    return Breaker(3, 0.05, 2.0)


def test_it_opens_after_failures_in_a_row_and_closes_after_a_probe() -> None:
    breaker = make()
    now = 100.0
    for _ in range(2):
        breaker.failed(now, 0)
        assert breaker.allows(now)
    wait = breaker.failed(now, 0)
    assert breaker.state == "open"
    assert not breaker.allows(now)
    assert breaker.allows(now + wait)
    assert breaker.state == "half_open"
    assert not breaker.allows(now + wait), "one probe at a time"
    breaker.succeeded()
    assert breaker.state == "closed"
    assert breaker.failures == 0


def test_a_probe_that_fails_opens_it_again_for_longer() -> None:
    breaker = make()
    waits = [breaker.failed(0.0, 0) for _ in range(3)]
    assert breaker.allows(10.0)
    again = breaker.failed(10.0, 0)
    assert breaker.state == "open"
    assert again == 2 * waits[-1]
    assert breaker.retry_at == 10.0 + again


@given(st.lists(st.tuples(st.sampled_from(["failed", "succeeded", "asked"]), st.integers(0, 2**64 - 1))))
def test_waits_are_bounded_and_states_are_those_of_the_table(events: list[tuple[str, int]]) -> None:
    breaker, now = make(), 0.0
    for event, die in events:
        now += 0.3
        if event == "failed":
            wait = breaker.failed(now, die)
            full = min(0.05 * 2 ** (breaker.failures - 1), 2.0)
            assert full / 2 <= wait <= full
        elif event == "succeeded":
            breaker.succeeded()
            assert breaker.state == "closed"
        else:
            breaker.allows(now)
        assert breaker.state in {state for state, _ in TRANSITIONS}
        assert breaker.failures < 3 or breaker.state != "closed"
