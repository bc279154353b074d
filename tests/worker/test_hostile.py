"""Functions that raise what nobody raises, or do what no function should: the step settles, the worker goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from graft.cluster.embedded import open_embedded
from graft.errors import StorageError
from graft.plan import ErrorRecord
from graft.worker import Outcome
from graft.worker.functions import FORK_EXIT_CODE
from graft_dsl import compile_text
from tests.support.attempts import Bench, everywhere

STEPS = """
import os, trio

def half():
    raise ValueError("half a pair: \\ud800")

def deep():
    error = ValueError("the innermost")
    for _ in range(2000):
        error = ExceptionGroup("g", [error])
    raise error

kept = []

async def keep():
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.sleep_forever()
        except trio.Cancelled as error:
            kept.append(error)
    raise kept.pop()

async def keep_in_a_group():
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.sleep_forever()
        except trio.Cancelled as error:
            kept.append(error)
    raise BaseExceptionGroup("kept", [kept.pop()])

async def fork(path):
    pid = os.fork()
    if pid == 0:
        return "the child comes back, too"
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)

async def fine():
    return "fine"
"""


@pytest.fixture
def bench(bench: Bench) -> Bench:
    (bench.base / "hostilesteps.py").write_text(STEPS)
    return bench


def failed(outcome: Outcome) -> ErrorRecord:
    assert outcome.status == "failed", outcome
    assert outcome.error is not None
    return outcome.error


@everywhere
async def test_a_text_with_half_a_surrogate_pair(bench: Bench) -> None:
    assert failed(await bench.call("hostilesteps:half")).title == r"ValueError: half a pair: \ud800"


@everywhere
async def test_a_group_two_thousand_deep(bench: Bench) -> None:
    assert "the innermost" in failed(await bench.call("hostilesteps:deep")).title


@everywhere
@pytest.mark.parametrize("name", ["keep", "keep_in_a_group"])
async def test_a_cancel_that_was_kept_from_elsewhere(bench: Bench, name: str) -> None:
    assert "Cancelled" in failed(await bench.call(f"hostilesteps:{name}")).type
    outcome = await bench.call("hostilesteps:fine")
    assert outcome.value == b'"fine"'


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_a_fork_that_returns_ends(bench: Bench) -> None:
    """The child shares our loop's files: it must not go on with them."""
    outcome = await bench.call("hostilesteps:fork", path=str(bench.base))
    assert outcome.value == str(FORK_EXIT_CODE).encode()


async def test_a_data_directory_that_is_removed_ends_the_engine(tmp_path: Path) -> None:
    """What would be recorded nobody could ever read."""
    flow = "graft = 1\nname = 'gone'\n[nodes.a]\nrun = 'rm -r \"$DATA\"; echo done'\nenv = { DATA = '%s' }\n"
    data = tmp_path / "data"
    plan = compile_text(flow % data, filename="flow.toml", base=tmp_path).plan
    with pytest.raises(StorageError, match="was removed while it was in use"):
        async with open_embedded(data) as embedded:
            await embedded.wait_end(await embedded.start_run(plan, {}, base=tmp_path))
