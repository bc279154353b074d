"""What has to be true of a fleet and its load when the faults are over (ARCHITECTURE §5).

Three records are compared: what the client was told, what the steps wrote when they ran, and the history of each run as
each member tells it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import trio

from graft.client.client import Client
from graft.cluster.views import EventView
from graft.engine.lifecycle import FINAL
from graft.errors import UnknownRun
from tests.chaos.load import MAP_LIMIT, RESULT, Execution, Load

END_SECONDS: Final = 120.0
CLOCK_MS: Final = 2.0  # events have whole milliseconds


async def judge(load: Load) -> dict[str, int]:
    """Raises AssertionError for whatever should not be. Gives some numbers, for a person."""
    fleet = load.fleet
    assert not load.problems, "\n".join(load.problems[:20])
    async with fleet.client(*fleet.running) as client:
        existing = await _await_ends(load, client)
    await fleet.settled()
    histories = await _histories(load, existing)
    executions = load.executions()
    counts = Counter(runs=len(load.runs), existing=len(existing), reads=load.reads)
    for run_id in existing:
        events = histories[run_id]
        _check_map_limit(run_id, events)
        for path, of_step in _by_step(events).items():
            ran = executions.get((run_id, path), [])
            if ran or not path.endswith("each"):
                counts["executions"] += len(ran)
                counts["again"] += len(ran) > 1
                _check_step(run_id, path, of_step, ran)
    _check_slots(load)
    return dict(counts)


async def _await_ends(load: Load, client: Client) -> list[str]:
    """The runs that exist. All that were acknowledged do, all end, and well: nothing of them fails by itself."""
    existing = []
    with trio.fail_after(END_SECONDS):
        for run_id, told in load.runs.items():
            try:
                while (view := await client.get(run_id)).status not in FINAL:  # noqa: ASYNC110
                    await trio.sleep(0.1)
            except UnknownRun:
                assert told.started is None, f"the acknowledged run {run_id} is lost"
                continue
            existing.append(run_id)
            assert view.status == "succeeded", f"{run_id} {view.status}: {view.reason}"
            assert view.outputs == {"result": RESULT}, f"{run_id}: {view.outputs}"
    return existing


async def _histories(load: Load, existing: Sequence[str]) -> dict[str, Sequence[EventView]]:
    """As one member tells them; the others have to tell the same."""
    found: dict[str, Sequence[EventView]] = {}
    for id in load.fleet.running:
        async with load.fleet.client(id) as client:
            for run_id in existing:
                events = await client.events(run_id, stale=True)
                assert found.setdefault(run_id, events) == events, f"{id} has another history of {run_id}"
    return found


def _by_step(events: Sequence[EventView]) -> dict[str, list[EventView]]:
    found: dict[str, list[EventView]] = {}
    for event in events:
        if event.path:
            found.setdefault(event.path, []).append(event)
    return found


def _check_step(run_id: str, path: str, events: Sequence[EventView], ran: Sequence[Execution]) -> None:
    """It ran as often as the history says at most, to the end at least once, and not after that was recorded."""
    where = f"{run_id} {path}: {[(e.what, e.at, e.reason) for e in events]} {ran}"
    recorded = [event.at for event in events if event.what == "succeeded"]
    assert len(recorded) == 1, where
    assert len(ran) <= sum(event.what == "running" for event in events), f"it ran more often than it was given: {where}"
    assert any(each.ended is not None for each in ran), f"it never ran to its end: {where}"
    late = [each for each in ran if each.began > recorded[0] + CLOCK_MS]
    assert not late, f"it ran again after its success was recorded: {where}"


def _check_map_limit(run_id: str, events: Sequence[EventView]) -> None:
    running: set[str] = set()
    for event in events:
        if event.path.startswith("each["):
            (running.add if event.what == "running" else running.discard)(event.path)
            assert len(running) <= MAP_LIMIT, f"{run_id} ran {sorted(running)} at once"


def _check_slots(load: Load) -> None:
    """No member ever ran more steps at once than it has slots. Those that were stopped left no end and are not seen."""
    slots = int(load.fleet.settings["resources.total"])
    moments: list[tuple[float, int, str]] = []
    for each in load.evidence():
        if each.ended is not None:
            moments += [(each.began, 1, each.member), (each.ended, -1, each.member)]
    running: Counter[str] = Counter()
    for _, change, member in sorted(moments):
        running[member] += change
        assert running[member] <= slots, f"{member} ran {running[member]} steps at once and has {slots} slots"
