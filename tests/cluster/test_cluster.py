"""A member that a program of one's own embeds: `graft.Factory` and `graft.Cluster`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

import graft
from graft.config import Settings, load
from graft_dsl import compile_text

FLOW = """
graft = 1
name = "double"
[params.x]
type = "int"
[nodes.twice]
value = "${ params.x * 2 }"
[outputs]
result = "${ twice.out }"
"""


def settings(base: Path, **more: Any) -> Settings:
    flags = {
        "node_id": "a",
        "storage.directory": str(base / "a"),
        "storage.quota": "256MiB",
        "storage.map_size": "1GiB",
        "transport.listen_host": "127.0.0.1",
        "transport.listen_port": 0,
        "discovery.founders": ["a"],
        "resources.worker_processes": 1,
        "security.plaintext": True,
    }
    return load(flags=flags | more).settings


async def test_a_program_may_be_a_member(tmp_path: Path) -> None:
    said: list[str] = []
    factory = graft.Factory(settings(tmp_path), tell=said.append)
    assert factory.cluster is None
    plan = compile_text(FLOW, filename="flow.toml", base=tmp_path).plan
    with trio.fail_after(60):
        async with factory.open() as cluster:
            assert factory.cluster is cluster
            assert isinstance(cluster, graft.Cluster)
            assert (cluster.member, cluster.leader, cluster.running) == ("a", "a", 0)
            run_id = await cluster.runs.start_run(plan, {"x": 4}, base=tmp_path)
            await cluster.runs.wait(run_id)
            assert cluster.runs.run_view(run_id).outputs == {"result": 8}
            new = settings(tmp_path, **{"resources.labels": {"disk": "fast"}})
            await factory.use(new, ["resources.labels"])
            (member,) = await cluster.operators.members()
            assert (member.id, member.address, dict(member.labels)) == ("a", cluster.address, {"disk": "fast"})
            async with graft.Client(cluster.address) as client:
                assert (await client.get(run_id)).outputs == {"result": 8}
                assert (await client.status()).cluster == cluster.id
            await cluster.stop()
        assert factory.cluster is None
    assert f"a takes part in the cluster {cluster.id}" in said


async def test_what_ends_a_member_ends_the_block(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("no directory")
    with pytest.raises(BaseExceptionGroup) as group, trio.fail_after(60):
        async with graft.Factory(settings(tmp_path)).open():
            raise AssertionError("it has no data directory")
    assert group.group_contains(graft.errors.StorageError, match="not a directory")
