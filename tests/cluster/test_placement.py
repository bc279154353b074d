"""What the engine decides about steps, as people and workers see it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import trio

from graft.cli.board import Board, row_pieces
from graft.cli.following import _Follower
from graft.cluster.embedded import open_embedded
from graft.cluster.views import RunView
from graft.engine.commands import DrainMember, SetClusterConfig
from graft.engine.records import ClusterConfig
from graft_dsl import compile_text
from tests.cluster.members import until

FLOW = """
[nodes.here]
run = "true"

[nodes.there]
run     = "true"
runs_on = { gpu = "a100" }
"""


async def test_the_view_of_an_unplaceable_step_says_what_is_missing(tmp_path: Path) -> None:
    plan = compile_text(FLOW, filename="flow.toml", base=tmp_path).plan
    with trio.fail_after(60):
        async with open_embedded(tmp_path / ".graft") as graft:
            run = await graft.start_run(plan, {}, base=tmp_path)
            steps = {step.path: step for step in graft.run_view(run).steps}
            while steps["here"].status != "succeeded":
                await trio.sleep(0.01)
                steps = {step.path: step for step in graft.run_view(run).steps}
            assert steps["there"].status == "waiting"
            assert steps["there"].reason == "unplaceable: no live member has the label gpu=a100"
            assert graft.run_view(run).status == "running"
            await graft.cancel(run)
            assert (await graft.wait(run)).status == "cancelled"


async def test_a_step_that_waits_for_members_that_drain_says_so(tmp_path: Path) -> None:
    """In the view, in the tree, and to whoever follows the run."""
    plan = compile_text(FLOW, filename="flow.toml", base=tmp_path).plan
    why = "every member that could run it is draining: local"
    with trio.fail_after(60):
        async with open_embedded(tmp_path / ".graft") as graft:
            await graft.host.propose(DrainMember("local", True, **graft.host.stamp()))
            run = await graft.start_run(plan, {}, base=tmp_path)
            view = graft.run_view(run)
            while (step := {step.path: step for step in view.steps}["here"]).status != "queued":
                await trio.sleep(0.01)
                view = graft.run_view(run)
            assert step.reason == why
            rows = Board.of(view).rows(10)
            assert any(why in text for row in rows for text, _ in row_pieces(row, 0, 20, unicode=True))
            said: list[str] = []

            async def look(run_id: str) -> RunView:
                return graft.run_view(run_id)

            screen = SimpleNamespace(say=lambda pieces: said.append("".join(text for text, _ in pieces)))
            engine: Any = SimpleNamespace(run_view=look)
            follower = _Follower(engine, run, Board.of(view), cast(Any, screen), wait=True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follower._tell_queued)
                await until(lambda: bool(said))
                await graft.host.propose(DrainMember("local", False, **graft.host.stamp()))
                await until(lambda: len(said) > 1)
                nursery.cancel_scope.cancel()
            assert said == [f"here is queued: {why}", ""]
            await graft.cancel(run)
            assert (await graft.wait(run)).status == "cancelled"


SLOW = """
[nodes.slow]
run        = "sleep 600"
on_failure = "continue"

[nodes.own]
run     = "sleep 0.3"
timeout = "5m"
"""


async def test_a_step_without_a_timeout_has_that_of_the_cluster(tmp_path: Path) -> None:
    plan = compile_text(SLOW, filename="flow.toml", base=tmp_path).plan
    with trio.fail_after(60):
        async with open_embedded(tmp_path / ".graft") as graft:
            await graft.host.propose(SetClusterConfig(ClusterConfig(attempt_timeout_ms=100), **graft.host.stamp()))
            view = await graft.wait(await graft.start_run(plan, {}, base=tmp_path))
            assert {step.path: step.status for step in view.steps} == {"slow": "timed_out", "own": "succeeded"}
