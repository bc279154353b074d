"""SIGKILL at random moments while a child commits: nothing acknowledged is lost, the log is never torn.

GRAFT_CRASHES sets how often; issue 3 asks for 200.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from graft.storage import open_store, verify
from tests.storage import children

CRASHES = int(os.environ.get("GRAFT_CRASHES", "8"))


@pytest.mark.parametrize("purge", ["keep", "purge"])
def test_nothing_acknowledged_is_lost(tmp_path: Path, purge: str) -> None:
    path = tmp_path / ".graft"
    moment = random.Random(purge)
    acknowledged = 0
    for _ in range(CRASHES):
        child = children.start("commit_for_ever", path, purge)
        assert child.stdout is not None
        acknowledged = max(acknowledged, int(child.stdout.readline()))
        time.sleep(moment.uniform(0, 0.1))
        child.kill()
        rest, _ = child.communicate()
        # The pipe may end in half a number: only whole lines are acknowledgements.
        acknowledged = max([acknowledged, *map(int, rest.rpartition("\n")[0].split())])
        check(path, acknowledged, purge)
    assert acknowledged >= CRASHES


def check(path: Path, acknowledged: int, purge: str) -> None:
    """Turn `acknowledged` is there, at most one more is, and each turn that is there is there as a whole."""
    assert verify(path).damages == ()
    store = open_store(path, inline_check_bytes=1 << 30)
    bounds = store.bounds()
    turns, left = divmod(bounds.last, 3)
    assert left == 0
    assert turns >= acknowledged
    assert store.get("runs", b"counter") == store.hard_state() == b"%d" % turns
    assert bounds.applied == max(0, 3 * (turns - 2))
    entries = store.entries(1, bounds.last, 1 << 40)
    assert [entry.index for entry in entries] == list(range(bounds.first, bounds.last + 1))
    assert all(entry.data.startswith(b"%d:" % entry.index) and entry.term == -(-entry.index // 3) for entry in entries)
    assert bounds.first == 1 or purge == "purge"
    values = store.scan("values")
    assert [int.from_bytes(key, "big") for key, _value in values] == list(range(1, turns + 1))
    store.close()
