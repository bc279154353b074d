"""The process of `graft serve` from within: what it tells discovery."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from attrs import evolve

from graft.cli import serving
from graft.cluster import cluster
from graft.config import load
from graft.discovery.mdns import make as make_mdns
from graft.discovery.records import Here


async def test_discovery_is_told_the_port_that_the_system_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `listen_port = 0` multicast DNS announced port 0; and a reload announced it again."""
    flags = {
        "node_id": "a",
        "storage.directory": str(tmp_path / "a"),
        "storage.quota": "256MiB",
        "storage.map_size": "1GiB",
        "transport.listen_port": 0,
        "discovery.founders": ["a"],
        "discovery.interval": "10s",
        "resources.worker_processes": 1,
        "security.plaintext": True,
    }
    opened: list[str] = []
    used: list[Here] = []

    @asynccontextmanager
    async def open_discovery(settings: Any, *, address: str) -> AsyncIterator[Any]:
        opened.append(address)
        yield SimpleNamespace(peers=frozenset(), use=used.append)

    monkeypatch.setattr(cluster, "open_discovery", open_discovery)
    monkeypatch.setattr(cluster, "make_source", lambda here: here)
    box, stopping = serving._Box(load(flags=flags)), trio.Event()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serving._run, box, stopping)
            while box.factory.cluster is None:  # noqa: ASYNC110
                await trio.sleep(0.01)
            box.loaded = evolve(box.loaded, sources=evolve(box.loaded.sources, flags=flags | {"discovery.interval": 5}))
            await serving._reload(box)
            inside = box.factory.cluster._serving
            assert inside.member is not None
            (registered,) = inside.member.host.engine.state.members.values()
            address = box.factory.cluster.address
            hello = inside.hello()
            stopping.set()
    port = int(address.rpartition(":")[2])
    assert port > 0
    assert opened == [address]
    assert [each.address for each in used] == [address]
    assert registered.address == hello.address == address
    pytest.importorskip("zeroconf")
    assert make_mdns(used[0]).own.port == port


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("form", ["auto", "text", "json"])
def test_a_line_of_the_log_has_date_level_and_member(
    root_logger: logging.Logger, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    """Lines of several members that are read together could not be told apart, nor the days."""
    serving.set_up_logging(load(flags={"node_id": "graft-0", "observability.log_format": form}))
    logging.getLogger("graft.serve").info("one\nline")
    logging.getLogger("graft.serve").warning("beware")
    first, second = capsys.readouterr().err.splitlines()
    if form == "json":
        found = [json.loads(line) for line in (first, second)]
        assert [(each["level"], each["member"]) for each in found] == [("info", "graft-0"), ("warning", "graft-0")]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z", each["at"]) for each in found)
        assert found[0]["text"] == "one\nline"
    else:
        moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4}"
        assert re.fullmatch(rf"{moment} info graft-0: one.*line", first)
        assert re.fullmatch(rf"{moment} warning graft-0: beware", second)
