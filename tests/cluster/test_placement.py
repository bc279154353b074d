"""What the engine decides about steps, as people and workers see it."""

from __future__ import annotations

from pathlib import Path

import trio

from graft.cluster.embedded import open_embedded
from graft.engine.commands import SetClusterConfig
from graft.engine.records import ClusterConfig
from graft_dsl import compile_text

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
