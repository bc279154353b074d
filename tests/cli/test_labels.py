"""A flow with `runs_on` whose labels nobody has: said before the first step, with the labels and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from graft.cluster.membership import MemberView
from tests.cli.test_server import Cluster
from tests.support.background import background_server
from tests.support.commands import Graft

FLOW = """
    graft = 1
    name = "train"
    [nodes.here]
    run = "true"
    [nodes.there]
    needs = ["here"]
    run = "true"
    runs_on = { gpu = "a100", zone = "*" }
"""
WARNING = "there will wait: it runs only on a member with gpu=a100 and zone, and none has that\n"
ADVICE = "  start a member that has it (`resources.labels` in its settings), and the step goes on by itself\n"


@pytest.fixture(autouse=True)
def flow(write: Any) -> None:
    write("train.toml", FLOW)


def test_a_run_alone_says_at_once_which_labels_are_missing(graft: Graft) -> None:
    ended = graft("run", "train.toml", "--id", "t")
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.startswith(WARNING + ADVICE)
    assert "a `graft run` alone has no labels: `--server` gives a run to a cluster that has them\n" in ended.err
    assert "there  unplaceable: no live member has the label gpu=a100 and the label zone\n" + ADVICE in ended.err
    # Only what helps is advised: there is nothing to retry, and no use in waiting here.
    assert "graft cancel t  if no such member will come" in ended.err
    assert "graft retry" not in ended.err
    assert "graft resume" not in ended.err
    ended = graft("retry", "t", "--plan")
    assert (ended.code, ended.err.splitlines()[0]) == (2, "error: run t has not ended")


def test_it_is_said_to_programs_too(graft: Graft) -> None:
    ended = graft("run", "train.toml", "--json", "--ephemeral")
    assert WARNING in ended.err
    assert json.loads(ended.out.splitlines()[-1])["exit_code"] == 3


class Labelled(Cluster):
    """n2 has the labels; it may be down."""

    up = True

    async def members(self, *, stale: bool = False) -> tuple[MemberView, ...]:
        labels = {"gpu": "a100", "zone": "eu"}
        return (
            MemberView("n1", 1, "voter", "h:1", True, labels={"gpu": "h100", "zone": "eu"}),
            MemberView("n2", 2, "voter", "h:2", self.up, labels=labels),
        )


def test_a_cluster_is_asked_for_the_labels_of_its_members(graft: Graft, tmp_path: Path) -> None:
    cluster = Labelled()
    with background_server(tmp_path / "server", membership=cluster) as address:
        at = ("--detach", "--server", address)
        assert "will wait" not in graft("run", "train.toml", *at).err
        cluster.up = False
        assert WARNING + ADVICE in graft("run", "train.toml", *at).err
