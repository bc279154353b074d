from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from graft.worker import HostSettings, WorkerSettings, open_hosted_worker, open_worker
from tests.support.attempts import Bench


@pytest.fixture
def place(request: pytest.FixtureRequest) -> str:
    """Where attempts run: `here`, or `hosted` in tests that are marked `everywhere`."""
    return str(getattr(request, "param", "here"))


@pytest.fixture
async def bench(tmp_path: Path, place: str) -> AsyncIterator[Bench]:
    """A worker with a short grace, logs in `logs`, and the flow's directory `flow`."""
    base = tmp_path / "flow"
    base.mkdir()
    settings = WorkerSettings(log_dir=tmp_path / "logs", grace_ms=1000)
    if place == "here":
        async with open_worker(settings) as worker:
            yield Bench(worker, base)
    else:
        async with open_hosted_worker(HostSettings(settings, hosts=1)) as hosted:
            yield Bench(hosted, base)
