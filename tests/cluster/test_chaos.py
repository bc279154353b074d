"""Clusters under load while members die, come back, part, lag, pause, drain, join and leave. In one process: seconds a
seed, so there can be many.

`GRAFT_CHAOS_SEEDS=100-199` runs those seeds instead of the few of the suite.
"""

from __future__ import annotations

import os
import random
import sys
import types
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve

from graft.cluster.host import Host
from graft.cluster.leases import LeaseTimes
from graft.engine import invariants
from graft.engine.commands import AttemptSettled
from graft.engine.lifecycle import FINAL
from graft.errors import GraftError, NoQuorum, Rejected, UnknownRun, UsageError
from tests.cluster.dump import describe
from tests.cluster.members import CONFIG, Cluster, Node, open_cluster, until
from tests.cluster.pulse import Pulse

MODULE = "chaoticsteps"
FLOW = """
[params]
id = { type = "string" }
[nodes.first]
python = "chaoticsteps:work"
with = { id = "${ params.id }", node = "first" }
[nodes.each]
python = "chaoticsteps:work"
for_each = "${ range(4) }"
with = { id = "${ params.id }", node = "each[${ item }]", before = "${ first.out }" }
[nodes.last]
python = "chaoticsteps:work"
with = { id = "${ params.id }", node = "last", before = "${ each.out }" }
[outputs]
result = "${ last.out }"
"""
TIMES = LeaseTimes(lease=0.8, grace=0.4)
SECONDS = 3.0  # of faults
MOST_MEMBERS = 5
MOST_OPEN = 30  # starts that nobody has acknowledged yet
RECOVER_SECONDS = 90.0


def seeds() -> list[int]:
    first, _, last = os.environ.get("GRAFT_CHAOS_SEEDS", "1-2").partition("-")
    return list(range(int(first), int(last or first) + 1))


StepId = tuple[str, str]  # run, path


def step_ids(host: Host, command: AttemptSettled) -> list[StepId]:
    """Which step it is about; none of a run that is not loaded."""
    state = host.engine.state
    run, scope = state.runs.get(command.run), state.scopes.get((command.run, command.scope))
    if run is None or scope is None:
        return []
    nodes = state.graph_of(scope).nodes
    if scope.kind == "map":
        return [(run.id, f"{nodes[scope.node].name}[{command.ordinal}]")]
    return [(run.id, nodes[command.ordinal].name)]


class Evidence:
    """What steps did, told by the steps themselves, and what members recorded of them."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.begun: Counter[StepId] = Counter()
        self.active: Counter[StepId] = Counter()
        self.succeeded: set[StepId] = set()  # by what any member has applied
        self.wrong: list[str] = []

    async def work(self, id: str, node: str, before: Any = None) -> str:
        step = (id, node)
        if step in self.succeeded:
            self.wrong.append(f"{step} began again after its success was recorded")
        if self.active[step]:
            self.wrong.append(f"{step} runs twice at once")
        self.begun[step] += 1
        self.active[step] += 1
        try:
            await trio.sleep(self.dice.choice((0, 0, 0.01, 0.1, 0.5)))
        finally:
            self.active[step] -= 1
        return node

    def listen(self, node: Node) -> None:
        """Note what `node` applies: a success that any member has applied is recorded for good."""
        host = node.member.host
        apply = host.apply

        def applied(index: int, command: Any) -> Any:
            ids: list[StepId] = []
            if isinstance(command, AttemptSettled) and command.status == "succeeded":
                ids = step_ids(host, command)
            result = apply(index, command)
            if result.refused is None:
                self.succeeded.update(ids)
            return result

        host.apply = applied  # type: ignore[method-assign]


class Chaos:
    """One seed's cluster, its load and its faults."""

    def __init__(self, cluster: Cluster, dice: random.Random, evidence: Evidence) -> None:
        self.cluster, self.dice, self.evidence = cluster, dice, evidence
        self.acknowledged: set[str] = set()
        self.cancelled: set[str] = set()
        self.removed: set[str] = set()
        self.told: list[str] = []  # faults, in their order
        self.started = 0
        self.stopping = False
        self.pulse = Pulse()

    # Members

    async def start(self, node: Node, founders: Any = ()) -> None:
        await node.start(founders)
        self.evidence.listen(node)

    def pick(self) -> Node:
        """Raises NoQuorum when none is up."""
        if not self.cluster.running:
            raise NoQuorum("all are dead")
        return self.dice.choice(self.cluster.running)

    @property
    def leader(self) -> Node | None:
        return next((node for node in self.cluster.running if node.member.host.leads), None)

    @property
    def members(self) -> list[Node]:
        return [node for node in self.cluster.nodes.values() if node.id not in self.removed]

    # Load

    async def load(self) -> None:
        async with trio.open_nursery() as nursery:
            while not self.stopping:
                if self.started > len(self.acknowledged) + MOST_OPEN:
                    await trio.sleep(0.05)
                    continue
                self.started += 1
                nursery.start_soon(self.one, f"r{self.started}")
                await trio.sleep(self.dice.choice((0, 0.02, 0.1)))

    async def one(self, id: str) -> None:
        """Start a run, often at two members at once, until some member acknowledged it."""
        async with trio.open_nursery() as nursery:
            for _ in range(self.dice.choice((1, 2))):
                nursery.start_soon(self.begin, id)
        if self.dice.random() < 0.1:
            await self.act(id)

    async def begin(self, id: str) -> None:
        while True:
            try:
                with trio.move_on_after(3):
                    node = self.pick()
                    assert await self.cluster.start(FLOW, node, id, id=id) == id
                    self.acknowledged.add(id)
                    return
            except Rejected:
                pass
            await trio.sleep(0.05)

    async def act(self, id: str) -> None:
        """Cancel it, or ask for nonsense."""
        await trio.sleep(self.dice.random() / 2)
        with suppress(GraftError), trio.move_on_after(3):
            runs = self.pick().member.runs
            await runs.fresh(1)
            if self.dice.random() < 0.5:
                self.cancelled.add(id)
                await runs.cancel(id)
            else:
                await runs.retry(id)

    # Faults

    async def rage(self) -> None:
        faults: list[Callable[[], Awaitable[None]]] = [
            self.kill, self.kill, self.kill_leader, self.restart, self.restart, self.restart_at_once, self.isolate,
            self.isolate_leader, self.heal, self.heal, self.hold, self.lag, self.pause, self.drain, self.transfer,
            self.join, self.remove, self.compact, self.compact, self.stop_gracefully,
        ]  # fmt: skip
        until_then = trio.current_time() + SECONDS
        while trio.current_time() < until_then:
            fault = self.dice.choice(faults)
            self.told.append(fault.__name__)
            with trio.move_on_after(2), suppress(Rejected, UnknownRun, UsageError):
                await fault()
            await trio.sleep(self.dice.choice((0, 0.1, 0.3, 0.6)))

    async def kill(self) -> None:
        await self.pick().kill()

    async def kill_leader(self) -> None:
        if self.leader is not None:
            await self.leader.kill()

    async def restart(self) -> None:
        dead = [node for node in self.members if not node.is_running]
        if dead:
            self.cluster.network.heal()
            await self.start(self.dice.choice(dead))

    async def restart_at_once(self) -> None:
        node = self.pick()
        if node.id not in self.removed:
            await node.kill()
            self.cluster.network.heal()
            await self.start(node)

    async def isolate(self) -> None:
        self.cluster.network.isolate(self.pick().id)

    async def isolate_leader(self) -> None:
        if self.leader is not None:
            self.cluster.network.isolate(self.leader.id)

    async def heal(self) -> None:
        self.cluster.network.heal()

    async def hold(self) -> None:
        self.cluster.network.hold(self.pick().id)

    async def lag(self) -> None:
        node = self.pick()
        for other in self.members:
            self.cluster.network.delay(node.id, other.id, self.dice.choice((0.01, 0.1, 0.3)))

    async def pause(self) -> None:
        """A follower was not run for a while. A leader's clock cannot jump alone: its members' leases end meanwhile."""
        node = self.pick()
        if not node.member.host.door.leads:
            self.cluster.network.hold(node.id)
            node.clock.jump(self.dice.choice((0.3, 1.0, 3.0)))

    async def drain(self) -> None:
        await self.pick().member.changes.drain(self.pick().id, undo=self.dice.random() < 0.6)

    async def transfer(self) -> None:
        await self.pick().member.changes.transfer(None)

    async def join(self) -> None:
        if len(self.members) >= MOST_MEMBERS:
            return
        node = self.cluster.add(f"n{len(self.cluster.nodes)}")
        await self.start(node)
        self.removed.add(node.id)  # until it is in
        await self.add(node)

    async def add(self, node: Node) -> None:
        others = [each for each in self.cluster.running if each is not node]
        self.removed.discard(node.id)
        if not others:
            return
        other = self.dice.choice(others)
        await other.member.changes.join(node.id, node.member.incarnation, "voter", node.offer.address)

    async def remove(self) -> None:
        if len(self.members) <= 3:
            return
        node = self.pick()
        if node.id in self.removed:
            return
        await self.pick().member.changes.remove(node.id)
        self.removed.add(node.id)

    async def compact(self) -> None:
        door = self.pick().member.host.door
        door.compact(door.applied)

    async def stop_gracefully(self) -> None:
        """As `graft serve` does it, all at once."""
        node = self.pick()
        with suppress(Rejected, UnknownRun, UsageError), trio.move_on_after(0.3):
            await node.member.changes.drain(node.id)
            await node.member.changes.transfer(None)
        node.member.host.lose_attempts()
        await trio.sleep(self.dice.choice((0, 0.1)))
        await node.kill()

    # The end

    async def recover(self) -> None:
        """No more faults: members that are none by now end, all others are up."""
        for node in self.cluster.nodes.values():
            if node.scope.cancel_called:
                await node.ended.wait()  # a fault does not wait for ever for the end of whom it kills
        self.cluster.network.heal()
        for node in self.members:
            if not node.is_running:
                await self.start(node)

        def configured() -> set[str] | None:
            node = self.leader
            if node is None:
                return None
            status = node.member.host.door.status()
            return {each.id for each in status.configuration.members} if status.applied == status.commit else None

        try:
            ids = await until(configured, RECOVER_SECONDS)
        except trio.TooSlowError:
            how = describe(self.cluster)
            raise AssertionError(f"there is no leader\n{self.told}\n{self.pulse}\n{how}") from None
        for node in self.cluster.nodes.values():
            if node.id not in ids and node.is_running:
                await node.kill()
            elif node.id in ids and not node.is_running:
                await self.start(node)
        self.cluster.network.heal()
        node = await self.cluster.leader()
        for id in ids:
            with suppress(UsageError):
                await node.member.changes.drain(id, undo=True)

    async def judge(self) -> None:
        try:
            await until(self.is_over, RECOVER_SECONDS)
        except trio.TooSlowError:
            node = self.leader or self.cluster.running[0]
            open_runs = node.member.host.engine.state.live_runs()
            steps = [step for run in open_runs[:3] for step in node.member.host.engine.state.steps_of_run(run.no)]
            members = node.member.host.engine.state.members
            how = describe(self.cluster)
            raise AssertionError(f"{open_runs[:3]}\n{steps}\n{members}\n{self.told}\n{self.pulse}\n{how}") from None
        await self.cluster.settled()
        for node in self.cluster.running:
            invariants.check(node.member.host.engine.state)
            with trio.fail_after(RECOVER_SECONDS):
                await node.member.host.wait_idle()
            for id in self.acknowledged:
                view = node.member.runs.run_view(id)
                wanted = ("succeeded", "cancelled") if id in self.cancelled else ("succeeded",)
                assert view.status in wanted, (id, view.status, view.reason, self.told)
        assert not self.evidence.wrong, (self.evidence.wrong, self.told)

    def is_over(self) -> bool:
        for node in self.cluster.running:
            for id in self.acknowledged:
                try:
                    if node.member.runs.status(id) not in FINAL:
                        return False
                except UnknownRun:
                    return False  # it lags behind, or has just joined
        return True


@pytest.fixture
def evidence() -> Iterator[Evidence]:
    """Where the steps find it: they run in this process."""
    evidence = Evidence(random.Random(0))
    module = types.ModuleType(MODULE)
    module.work = evidence.work  # type: ignore[attr-defined]
    sys.modules[MODULE] = module
    yield evidence
    del sys.modules[MODULE]


@pytest.mark.parametrize("seed", seeds())
async def test_nothing_acknowledged_is_lost_or_done_twice(tmp_path: Path, evidence: Evidence, seed: int) -> None:
    dice = evidence.dice = random.Random(seed)
    config = evolve(CONFIG, retain_entries=20, purge_step_entries=10)
    on_disk = seed % 3 == 0
    with trio.fail_after(4 * RECOVER_SECONDS):
        async with open_cluster(
            tmp_path, times=TIMES, config=config, start=False, on_disk=on_disk, slots=(("*", 8),)
        ) as cluster:
            chaos = Chaos(cluster, dice, evidence)
            cluster.nursery.start_soon(chaos.pulse.run)
            for node in cluster.nodes.values():
                await chaos.start(node, cluster.founders)
            await cluster.leader()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(chaos.load)
                await chaos.rage()
                chaos.stopping = True
                await chaos.recover()
            await chaos.judge()
    assert chaos.acknowledged
