"""Steps that skip themselves, in clusters whose members may run older programs."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from graft.engine.commands import CLUSTER_VERSION
from tests.cluster.members import CONFIG, open_cluster, until

FLOW = "[nodes.a]\nrun = 'exit 99'\nskip_on = [99]\n"


@pytest.mark.parametrize("version", [1, CLUSTER_VERSION])
async def test_only_a_cluster_that_knows_skips_records_them(tmp_path: Path, version: int) -> None:
    async with open_cluster(tmp_path, "abc", config=evolve(CONFIG, max_version=version)) as cluster:
        leader = await cluster.leader()
        await until(lambda: leader.member.host.door.version == version)
        view = await cluster.end(leader, await cluster.start(FLOW, leader))
        (step,) = view.steps
        if version == 1:
            assert (view.status, step.status) == ("failed", "failed")
            assert step.error is not None
            assert step.error.type == "exit.99"
            assert "finalize-upgrade" in step.error.detail
        else:
            assert (view.status, step.status) == ("succeeded", "skipped")
            assert step.reason == "the step skipped itself: the command exited with 99"
