"""The worker's own bookkeeping: every attempt settles once, whatever happens around it."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from graft.plan import PythonAction
from graft.worker import WorkerSettings, open_worker
from tests.support.attempts import Bench, const, everywhere

STEPS = """
import trio

async def nothing():
    pass

async def nap(seconds):
    await trio.sleep(seconds)
    return seconds

async def fail():
    await trio.sleep(0.5)
    raise ValueError("no")

async def shielded():
    with trio.CancelScope(shield=True):
        await trio.sleep(2)
    await trio.sleep(1)
"""

WHAT = {
    "nothing": {},
    "nap": {"seconds": 1},
    "fail": {},
    "shielded": {},
}

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.sampled_from(sorted(WHAT)), st.integers(1, 3), st.sampled_from([None, 700])),
        st.tuples(st.just("again"), st.integers(0, 9)),
        st.tuples(st.just("cancel"), st.integers(0, 9)),
        st.tuples(st.just("drop"), st.integers(1, 3)),
        st.tuples(st.just("sleep"), st.sampled_from([0.0, 0.4, 0.8])),
    ),
    max_size=25,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("flow")
    (directory / "worker_steps.py").write_text(STEPS)
    return directory


@given(OPERATIONS)
def test_every_attempt_settles_exactly_once(base: Path, operations: list[tuple[object, ...]]) -> None:
    async def main() -> None:
        async with open_worker(WorkerSettings(capture_print=False)) as worker:
            bench = Bench(worker, base)
            started = []
            cancelled = set()
            for name, *arguments in operations:
                match name, arguments:
                    case "start", [str(what), int(run), timeout]:
                        action = PythonAction(f"worker_steps:{what}", const(WHAT[what]))
                        started.append(bench.start(bench.assign(action, run_no=run, timeout_ms=timeout)))
                    case "again", [int(index)] if index < len(started) and started[index].outcome is None:
                        worker.start(started[index].assignment, started[index].settle)
                    case "cancel", [int(index)] if index < len(started):
                        cancelled.add(index)
                        started[index].cancel()
                    case "drop", [int(run)]:
                        worker.drop_run(run)
                    case "sleep", [float(seconds)]:
                        await trio.sleep(seconds)
            for index, pending in enumerate(started):
                outcome = await pending.wait()
                assert outcome.status != "cancelled" or index in cancelled
                assert outcome.status != "timed_out" or pending.assignment.node.timeout_ms is not None
                assert (outcome.value is not None) == (outcome.status == "succeeded")
                assert (outcome.error is not None) >= (outcome.status in ("failed", "timed_out"))
            assert worker.running() == 0
            assert len(bench.settled) == len(started)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_cancel_before_the_first_turn_keeps_even_a_step_without_a_checkpoint_from_running(bench: Bench) -> None:
    (bench.base / "touching.py").write_text("import pathlib\nasync def touch(at): pathlib.Path(at).touch()\n")
    file = bench.base / "touched"
    pending = bench.start(bench.assign(PythonAction("touching:touch", const({"at": str(file)}))))
    pending.cancel()
    assert (await pending.wait()).status == "cancelled"
    assert not file.exists()


@everywhere
async def test_a_run_can_go_on_after_it_was_dropped(bench: Bench) -> None:
    """A retry of a final run opens its next generation."""
    (bench.base / "dropped.py").write_text("async def one(): return 1\n")
    for _ in range(3):
        assert (await bench.call("dropped:one")).status == "succeeded"
        bench.worker.drop_run(1)
        bench.worker.drop_run(1)


async def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_worker():
            raise ZeroDivisionError


async def test_stop_settles_nothing_and_refuses_what_comes(bench: Bench) -> None:
    (bench.base / "stopping.py").write_text("import trio\nasync def wait(): await trio.sleep_forever()\n")
    action = PythonAction("stopping:wait")
    running = bench.start(bench.assign(action))
    await trio.testing.wait_all_tasks_blocked()
    bench.worker.stop(grace_ms=0)
    late = bench.start(bench.assign(action))
    await trio.testing.wait_all_tasks_blocked()
    assert (running.outcome, late.outcome, bench.worker.running()) == (None, None, 0)


def test_paths_of_many_items_have_logs_of_their_own(tmp_path: Path) -> None:
    from graft.worker import LogStore

    logs = LogStore(tmp_path)
    paths = [f"pick[{item}]/{name}" for item, name in itertools.product((0, 1, "a/b", "ü", ".."), ("a", "b"))]
    assert len({logs.file("r1", path) for path in paths}) == len(paths)
    assert all(logs.file("../r1", path).parent.parent == tmp_path for path in paths)


async def test_a_start_between_a_cancel_and_its_notice_is_let_go(base: Path) -> None:
    """Who applies commands may have its turn after the task that keeps the run's nursery, when both are cancelled."""
    with trio.CancelScope() as scope:
        async with open_worker(WorkerSettings(capture_print=False)) as worker:
            bench = Bench(worker, base)
            first = bench.start(bench.assign(PythonAction("worker_steps:nothing", const({})), run_no=1))
            await first.wait()
            scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()
                late = bench.start(bench.assign(PythonAction("worker_steps:nothing", const({})), run_no=1))
                await trio.testing.wait_all_tasks_blocked()
    assert late.outcome is None
    assert worker.running() == 0
