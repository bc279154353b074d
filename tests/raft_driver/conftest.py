from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(params=["memory", "lmdb"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Where members keep what they have; None: in memory."""
    return None if request.param == "memory" else tmp_path
