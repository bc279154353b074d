from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from graft.worker import WorkerSettings, open_worker
from tests.support.attempts import Bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A worker with a short grace, logs in `logs`, and the flow's directory `flow`."""
    base = tmp_path / "flow"
    base.mkdir()
    async with open_worker(WorkerSettings(log_dir=tmp_path / "logs", grace_ms=1000)) as worker:
        yield Bench(worker, base)
