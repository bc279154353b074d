"""`graft member finalize-upgrade`: what it says, and whom it names that holds the version back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from graft.cluster.membership import Change, ClusterStatus, MemberView
from tests.cli.test_server import Cluster
from tests.support.background import background_server
from tests.support.commands import Graft


class Upgraded(Cluster):
    """Members with the versions that they understand; those in `down` do not run."""

    def __init__(self, *versions: int, down: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.versions, self.down, self.version, self.raised = versions, down, 1, list[int]()

    async def status(self) -> ClusterStatus:
        return attrs.evolve(await super().status(), cluster_version=self.version)

    async def members(self, *, stale: bool = False) -> tuple[MemberView, ...]:
        ids = [f"n{number}" for number in range(1, len(self.versions) + 1)]
        return tuple(
            MemberView(id, 1, "voter", "h:1", id not in self.down, version=version)
            for id, version in zip(ids, self.versions, strict=True)
        )

    async def raise_version(self, version: int) -> Change:
        self.raised.append(version)
        self.version = version
        return Change(5, f"the cluster's version is {version}")


INTENTION = (
    "the cluster's version goes from 1 to 3, which all its members understand (n1, n2, n3)\n"
    "there is no way back: from then on no program takes part that understands only 1, nor does one read this state\n"
)


def test_it_says_what_it_does_and_plan_stops_there(graft: Graft, tmp_path: Path) -> None:
    cluster = Upgraded(3, 3, 3)
    with background_server(tmp_path / "server", membership=cluster) as address:
        command = ("member", "finalize-upgrade", "--server", address)
        version = next(line for line in graft("status", "--server", address).out.splitlines() if "version" in line)
        assert version.endswith("; all members understand 3: `graft member finalize-upgrade`")
        ended = graft(*command, "--plan")
        assert (ended.code, ended.out, ended.err) == (0, "", INTENTION)
        record = {"from": 1, "to": 3, "members": {"n1": 3, "n2": 3, "n3": 3}, "held_back": {}, "done": False}
        assert json.loads(graft(*command, "--plan", "--json").out) == record
        assert cluster.raised == []
        ended = graft(*command)
        assert (ended.code, ended.out, ended.err) == (0, "the cluster's version is 3\n", INTENTION)
        assert cluster.raised == [3]
        ended = graft(*command)
        assert (ended.code, ended.out) == (0, "")
        assert ended.err == ("the cluster's version is 3, the newest that its members understand: nothing to do\n")
        assert cluster.raised == [3]
        assert "finalize-upgrade" not in graft("status", "--server", address).out
        cluster.version = 1
        assert json.loads(graft(*command, "--json").out) == record | {"done": True}


@pytest.mark.parametrize(
    ("cluster", "names", "why"),
    [
        (Upgraded(3, 1, 3), "n2", "n2 understands no newer than 1"),
        (Upgraded(3, 3, 3, down=("n3",)), "n3", "n3 is down, and might come back with an older program"),
        (Upgraded(2, 3, 0), "n1, n3", "n1 understands no newer than 2; n3 has not said yet"),
    ],
    ids=["an older one", "one that is down", "two"],
)
def test_who_holds_it_back_is_named(graft: Graft, tmp_path: Path, cluster: Any, names: str, why: str) -> None:
    with background_server(tmp_path / "server", membership=cluster) as address:
        for more in ((), ("--plan",), ("--json",)):
            ended = graft("member", "finalize-upgrade", *more, "--server", address)
            assert (ended.code, ended.out) == (2, "")
            assert ended.err == (
                f"error: the cluster's version stays 1, it cannot be 3: {why}\n"
                f"  upgrade or start {names} first; a member that will not come back: `graft member rm NAME`\n"
            )
        record = json.loads(graft("member", "finalize-upgrade", "--plan", "--json", "--server", address).out)
        assert list(record["held_back"]) == names.split(", ")
        assert cluster.raised == []


def test_a_process_alone_has_nothing_to_finalize(graft: Graft, tmp_path: Path) -> None:
    with background_server(tmp_path / "server") as address:
        ended = graft("member", "finalize-upgrade", "--server", address)
        assert (ended.code, ended.err) == (
            0, "the cluster's version is 1, the newest that its members understand: nothing to do\n"
        )  # fmt: skip
