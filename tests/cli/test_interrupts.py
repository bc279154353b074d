"""Ctrl-C at every moment. Signals are delivered by calling the handler; `test_process.py` sends real ones."""

from __future__ import annotations

import signal

import pytest
import trio

from graft.cli.interrupts import BOUNCE_SECONDS, Interrupts
from graft.cli.session import run_in_loop


class Bench:
    """An `Interrupts` whose process does not leave and whose clock is a number."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.said: list[str] = []
        self.interrupts = Interrupts(leave=lambda code: self.said.append(f"left {code}"), now=lambda: self.seconds)

    def press(self, number: int = signal.SIGINT) -> None:
        self.seconds += 1
        self.interrupts.handle(number, None)

    def listen(self) -> None:
        self.interrupts.listen(lambda: self.said.append("cancel"), lambda: self.said.append("stop"))


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench()
    monkeypatch.setattr("signal.setitimer", lambda which, seconds: made.said.append(f"timer {seconds}"))
    return made


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_before_the_loop_the_first_raises_and_the_second_leaves(bench: Bench, number: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        bench.press(number)
    bench.press(number)
    assert bench.said == ["left 130"]


def test_while_the_loop_runs_the_first_cancels_the_second_stops_the_third_leaves(bench: Bench) -> None:
    bench.listen()
    bench.press()
    assert bench.said == ["cancel"]
    bench.press(signal.SIGTERM)
    assert bench.said == ["cancel", "timer 1.0", "stop"]
    bench.press()
    assert bench.said[3:] == ["left 130"]


def test_a_stop_that_takes_too_long_leaves(bench: Bench) -> None:
    bench.listen()
    bench.press()
    bench.press()
    bench.interrupts.handle(signal.SIGALRM, None)
    assert bench.said[-1] == "left 130"


def test_a_signal_that_was_forwarded_counts_once(bench: Bench) -> None:
    bench.listen()
    bench.press()
    bench.seconds += BOUNCE_SECONDS / 2
    bench.interrupts.handle(signal.SIGINT, None)
    assert bench.said == ["cancel"]


def test_before_a_run_is_followed_the_first_ends_it_all(bench: Bench) -> None:
    """Not by an exception in the middle of the loop's own machinery."""
    cleaned = []

    async def main() -> int:
        try:
            bench.press()
            await trio.sleep_forever()
        finally:
            cleaned.append(True)
        return 0

    with pytest.raises(KeyboardInterrupt):
        run_in_loop(main, bench.interrupts)
    assert cleaned


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)] == before
