"""Random walks (see `chaos.py`): no promise broken, and after the faults a cluster that works."""

from __future__ import annotations

import pytest

from tests.raft.chaos import walk


@pytest.mark.parametrize("block", range(10))
def test_random_walks_keep_every_promise_and_end_in_a_working_cluster(block: int) -> None:
    for seed in range(20 * block, 20 * block + 20):
        walk(seed)


@pytest.mark.parametrize("seed", [33, 265, 355, 369, 567, 905, 1501, 1718, 2734, 4320, 4881, 5000])
def test_walks_that_once_failed(seed: int) -> None:
    """33: nobody could lead after the leader removed itself; 355, 369, 1718: damage in a joint configuration;
    905: a snapshot staged to its end before a crash; 567: a second snapshot while the first was put in place;
    4320, 4881: a damaged entry that the others had already forgotten."""
    walk(seed)
