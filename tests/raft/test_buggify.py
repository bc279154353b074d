"""The unlikely ways that a simulation may ask for: each is taken, and none without a hook."""

from __future__ import annotations

from graft.raft import Config
from graft.raft.buggify import POINTS
from tests.raft.cluster import Cluster


def _cluster(*points: str) -> tuple[Cluster, list[str]]:
    c = Cluster("a", "b", "c", config=Config("", max_window_bytes=1, retain_entries=100))
    asked: list[str] = []

    def hook(point: str) -> bool:
        asked.append(point)
        return point in points

    for id in "abc":
        c[id].raft.state.buggify = hook
    return c, asked


def _run(c: Cluster) -> None:
    c.elect("a")
    c.partition("ab", "c")
    for word in ("one", "two", "three", "four"):
        c.propose("a", word)
    c.deliver()
    c.heal()
    c.advance(2)


def test_whichever_way_is_taken_all_members_get_there() -> None:
    for point in (*POINTS, ""):
        c, asked = _cluster(point)
        _run(c)
        states = [c[id].state for id in "abc"]
        assert states == [["one", "two", "three", "four"]] * 3, point
        assert not point or point in asked


def test_a_snapshot_is_sent_though_the_log_would_do() -> None:
    c, _ = _cluster("snapshot.early")
    _run(c)
    assert c["c"].raft.state.log.first > 1
    calm, _ = _cluster()
    _run(calm)
    assert calm["c"].raft.state.log.first == 1


def test_production_has_no_hook() -> None:
    c = Cluster("a")
    assert c["a"].raft.state.buggify is None
    assert not any(c["a"].raft.state.takes(point) for point in POINTS)
