"""What every kind of discovery promises, asked of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import trio

from graft import interfaces
from graft.discovery import GROUP, Discovery, PeerChange, open_discovery
from graft.errors import DiscoveryError
from tests.support.discovery import (
    DnsWorld,
    KubernetesWorld,
    MdnsWorld,
    PluginWorld,
    StaticWorld,
    World,
    has_multicast,
    settings,
)

QUICK = ("static", "dns", "kubernetes", "plugin")
SECONDS = 40  # mDNS on a busy machine; the others need milliseconds


class Entry:
    """An entry point of the group `graft.discovery`."""

    name = "plugin"
    value = "tests:plugin"

    def __init__(self, world: PluginWorld) -> None:
        self.world = world

    def load(self) -> Any:
        return lambda here: self.world.source


@pytest.fixture
async def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    if request.param == "static":
        yield StaticWorld()
    elif request.param == "dns":
        yield DnsWorld()
    elif request.param == "kubernetes":
        yield KubernetesWorld(tmp_path)
    elif request.param == "plugin":
        made = PluginWorld()
        monkeypatch.setattr(metadata, "entry_points", lambda group: [Entry(made)] if group == GROUP else [])
        yield made
    else:
        pytest.importorskip("zeroconf")
        if not has_multicast():
            pytest.skip("no multicast on this machine's loopback")
        async with trio.open_nursery() as nursery:
            yield MdnsWorld(nursery)
            nursery.cancel_scope.cancel()


every_kind = pytest.mark.parametrize("world", [*QUICK, "mdns"], indirect=True)
quick_kinds = pytest.mark.parametrize("world", QUICK, indirect=True)  # of the rest all kinds share the code


def others(peers: frozenset[Any]) -> set[tuple[str, str]]:
    """Address and source-given id of all but the looker itself."""
    return {(peer.address, peer.id) for peer in peers if peer.address != MdnsWorld.OWN}


async def until(discovery: Discovery, *addresses: str) -> None:
    with trio.fail_after(SECONDS):
        async for change in discovery.subscribe():
            if {address for address, _ in others(change.peers)} == set(addresses):
                return
        raise AssertionError("the subscription ended")


@every_kind
async def test_members_come_and_go(world: World) -> None:
    await world.add("a", "127.0.0.1:7401")
    async with world.open() as discovery:
        seam: interfaces.Discovery = discovery  # checked by mypy, where it looks
        assert seam.peers == discovery.peers
        await until(discovery, "127.0.0.1:7401")
        await world.add("b", "127.0.0.1:7402")
        await until(discovery, "127.0.0.1:7401", "127.0.0.1:7402")
        await world.remove("a")
        await until(discovery, "127.0.0.1:7402")
        assert {address for address, _ in others(discovery.peers)} == {"127.0.0.1:7402"}
        assert {identity for _, identity in others(discovery.peers)} <= {"b", ""}
        assert all(peer.source for peer in discovery.peers)
        assert discovery.problem is None


@quick_kinds
async def test_every_subscriber_sees_what_is_there_and_then_what_changes(world: World) -> None:
    seen: dict[str, list[PeerChange]] = {"early": [], "late": []}

    async def follow(name: str, discovery: Discovery) -> None:
        async for change in discovery.subscribe():
            seen[name].append(change)

    def rebuilt(name: str) -> set[Any]:
        known: set[Any] = set()
        for change in seen[name]:
            assert not change.added & known
            assert change.removed <= known
            known = (known - change.removed) | change.added
            assert known == change.peers
        return known

    async with trio.open_nursery() as nursery:
        async with world.open() as discovery:
            nursery.start_soon(follow, "early", discovery)  # noqa: ASYNC111 - it ends with the block, that is the test
            await world.add("a", "127.0.0.1:7401")
            await until(discovery, "127.0.0.1:7401")
            nursery.start_soon(follow, "late", discovery)  # noqa: ASYNC111
            await world.add("b", "127.0.0.1:7402")
            await until(discovery, "127.0.0.1:7401", "127.0.0.1:7402")
            await trio.testing.wait_all_tasks_blocked()
            assert rebuilt("early") == rebuilt("late") == set(discovery.peers)
        with trio.fail_after(SECONDS):  # both loops end with the block, or the nursery would hang
            await trio.testing.wait_all_tasks_blocked()


@quick_kinds
async def test_a_slow_subscriber_gets_one_change_for_several(world: World) -> None:
    async with world.open() as discovery:
        slow = discovery.subscribe()
        await world.add("a", "127.0.0.1:7401")
        await until(discovery, "127.0.0.1:7401")
        await world.add("b", "127.0.0.1:7402")
        await until(discovery, "127.0.0.1:7401", "127.0.0.1:7402")
        await world.remove("a")
        await until(discovery, "127.0.0.1:7402")
        with trio.fail_after(SECONDS):
            change = await anext(slow)
        assert change.peers == change.added == discovery.peers
        assert change.removed == frozenset()


@every_kind
async def test_no_task_outlives_the_block(world: World) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    for _ in range(2):
        async with world.open() as discovery:
            await discovery.first_look()
        assert trio.lowlevel.current_statistics().tasks_living == before
    assert [change async for change in discovery.subscribe() if not change.peers] == []


@every_kind
async def test_a_cancelled_block_ends_soon(world: World) -> None:
    began = trio.current_time()
    with trio.move_on_after(0.05) as scope:
        async with world.open():
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() - began < SECONDS


@quick_kinds
async def test_what_the_block_raises_comes_out_alone_in_a_group(world: World) -> None:
    async def fail() -> None:
        async with world.open() as discovery:
            await discovery.first_look()
            raise KeyError("mine")

    with pytest.RaisesGroup(pytest.RaisesExc(KeyError, match="mine")):
        await fail()


class Flaky:
    about = "flaky"

    def __init__(self, failures: int) -> None:
        self.left = failures
        self.times: list[float] = []

    async def watch(self, report: Callable[[Any], None]) -> None:
        self.times.append(trio.current_time())
        if self.left:
            self.left -= 1
            raise DiscoveryError("nobody answers", hint="ask again")
        report(())
        await trio.sleep_forever()


async def test_failures_are_kept_as_problem_and_tried_again_with_longer_pauses(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    source = Flaky(9)
    async with open_discovery(settings(), source=source, jitter=lambda: 1.0) as discovery:
        assert await discovery.first_look() == frozenset()
        assert discovery.problem is not None
        assert "nobody answers" in discovery.problem
        await trio.sleep(200)
        assert discovery.problem is None
    pauses = [round(later - earlier, 3) for earlier, later in zip(source.times, source.times[1:], strict=False)]
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]
    assert sum("nobody answers" in record.message for record in caplog.records) == 1  # not once a try
