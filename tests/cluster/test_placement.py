"""A step that no member can run, as people see it: its view says what is missing."""

from __future__ import annotations

from pathlib import Path

import trio

from graft.cluster.embedded import open_embedded
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
