"""What is known of a run that nobody works on: how long it went on, and what its log holds beyond the state."""

from __future__ import annotations

from pathlib import Path

import trio
from hypothesis import given
from hypothesis import strategies as st

from graft.cluster.embedded import open_embedded
from graft.cluster.history import open_history
from graft.cluster.views import active_ms
from graft.engine.commands import CancelRun, PauseRun, UnpauseRun, encode_command
from graft.engine.records import NONE
from graft.interfaces import Entry, Turn
from graft.raft import Kind
from graft.storage import open_store
from graft_dsl import compile_text
from tests.support.engines import Driven, flow, task

HOUR_MS = 3_600_000
moments = st.integers(0, 1000)


@given(moments, moments, st.lists(st.tuples(moments, moments), max_size=5), st.booleans())
def test_only_the_time_counts_in_which_the_run_went_on(
    since: int, until: int, pauses: list[tuple[int, int]], lasts: bool
) -> None:
    """Beside a model that looks at every millisecond."""
    bounds = sorted({moment for pair in pauses for moment in pair})
    idle = list(zip(bounds[::2], bounds[1::2], strict=False))
    if lasts and len(bounds) % 2:
        idle.append((bounds[-1], 0))
    active = [
        moment
        for moment in range(since, until)
        if not any(begin <= moment and (not end or moment < end) for begin, end in idle)
    ]
    assert active_ms(since, until, tuple(idle)) == len(active)


def paused_run(since: int, until: int) -> Driven:
    driven = Driven()
    driven.register()
    driven.start(flow(task("a")))
    run = driven.key("a")[0]
    driven.wall = since + 10 * HOUR_MS
    driven.apply(PauseRun(run, "interrupted", since, **driven.stamp()))
    driven.wall = until
    driven.apply(UnpauseRun(run, **driven.stamp()))
    return driven


def test_a_run_remembers_since_when_it_stood_still() -> None:
    driven = paused_run(since=5 * HOUR_MS, until=20 * HOUR_MS)
    (run,) = driven.engine.state.runs.values()
    assert run.idle == ((5 * HOUR_MS, 20 * HOUR_MS),)


def test_what_a_later_process_says_of_an_earlier_one_stays_within_reason() -> None:
    """A lock file's time is anybody's to set."""
    driven = Driven()
    driven.register()
    driven.start(flow(task("a")))
    run, began = driven.key("a")[0], driven.wall
    driven.wall += 1000
    for said, kept in ((began + 10 * HOUR_MS, began + 1000), (1, began)):
        driven.apply(PauseRun(run, "interrupted", said, **driven.stamp()))
        assert driven.engine.state.runs[run].idle[-1] == (kept, 0)
        driven.apply(UnpauseRun(run, **driven.stamp()))


async def test_the_log_behind_the_state_is_read(tmp_path: Path) -> None:
    data = tmp_path / ".graft"
    text = 'graft = 1\nname = "f"\n[nodes.long]\nsleep = "1h"\n'
    plan = compile_text(text, filename="flow.toml", base=tmp_path).plan
    with trio.fail_after(60):
        async with open_embedded(data) as graft:
            run_id = await graft.start_run(plan, {}, base=tmp_path)
            no = graft.host.engine.state.live_runs()[0].no
    with open_history(data) as history:
        assert history.status(run_id) == "running"
    store = open_store(data)
    last = store.bounds().last
    entry = store.entries(last, last)[0]
    command = CancelRun(no, NONE, NONE, "by hand")
    store.commit(Turn(entries=(Entry(last + 1, entry.term, bytes((Kind.COMMAND,)) + encode_command(command)),)))
    store.close()
    with open_history(data) as history:
        assert history.status(run_id) == "cancelled"
        assert [(step.path, step.status) for step in history.run_view(run_id).steps] == [("long", "cancelled")]
        assert list(history.events(run_id))[-1].what == "cancelled"
