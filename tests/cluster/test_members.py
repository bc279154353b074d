"""Clusters of whole members: work is shared, survives its members, and is done once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve

from graft.cluster.leases import LeaseTimes
from graft.errors import NoQuorum, Rejected, UsageError
from graft.transport.letters import Answer
from tests.cluster.members import open_cluster, until

STEPS = """
import pathlib
import trio

async def double(x):
    return x * 2

async def note(x, path):
    with open(path, "a") as file:
        file.write(f"{x}\\n")
    return x

async def slow(x, seconds=0.2):
    await trio.sleep(seconds)
    return x

async def gate(path):
    with open(path + ".started", "a") as file:
        file.write("started\\n")
    while not pathlib.Path(path).exists():
        await trio.sleep(0.01)
    return "open"
"""

CHAIN = """
[params]
x = { type = "int" }
[nodes.a]
python = "clustersteps:double"
with = { x = "${ params.x }" }
[nodes.b]
python = "clustersteps:double"
with = { x = "${ a.out }" }
[outputs]
result = "${ b.out }"
"""

MAP = """
[nodes.each]
python = "clustersteps:slow"
for_each = "${ range(30) }"
with = { x = "${ item }", seconds = 0.05 }
"""

GATE = """
[params]
path = { type = "string" }
[nodes.wait]
python = "clustersteps:gate"
with = { path = "${ params.path }" }
"""


def starts(gate: Path) -> int:
    """How often a `gate` step began."""
    started = Path(f"{gate}.started")
    return started.read_text().count("\n") if started.exists() else 0


def open_gate(gate: Path) -> None:
    gate.write_text("")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "clustersteps.py").write_text(STEPS)
    return tmp_path


async def test_any_member_starts_a_run_and_all_of_them_know_it(base: Path) -> None:
    async with open_cluster(base) as cluster:
        await cluster.leader()
        for n, node in enumerate(cluster.running):
            run_id = await cluster.start(CHAIN, node, x=n)
            for other in cluster.running:
                await other.member.runs.fresh()
                view = await cluster.end(other, run_id)
                assert view.status == "succeeded"
                assert view.outputs == {"result": 4 * n}
        await cluster.settled()


async def test_members_share_the_items_of_a_map(base: Path) -> None:
    async with open_cluster(base, slots=(("*", 4),)) as cluster:
        leader = await cluster.leader()
        await until(lambda: len(leader.member.host.engine.state.members) == 3)
        seen: set[str] = set()
        run_id = await cluster.start(MAP, leader)
        async with trio.open_nursery() as nursery:

            async def look() -> None:
                while True:
                    for step in leader.member.host.engine.state.steps.values():
                        seen.add(step.member)
                    await trio.sleep(0.01)

            nursery.start_soon(look)
            view = await cluster.end(leader, run_id)
            nursery.cancel_scope.cancel()
        assert view.status == "succeeded"
        assert seen >= {"a", "b", "c"}


@pytest.mark.parametrize("operation", ["remove", "voter", "executor", "transfer", "drain"])
async def test_there_is_one_error_for_a_member_that_nobody_knows(base: Path, operation: str) -> None:
    """It was a matter of the operation whether it was wrong usage (exit code 2) or a failure (1)."""
    async with open_cluster(base) as cluster:
        changes = (await cluster.leader()).member.changes
        roles = ("voter", "executor")
        asked = changes.set_role("x", operation) if operation in roles else getattr(changes, operation)("x")
        with trio.fail_after(60), pytest.raises(UsageError, match="there is no member x") as caught:
            await asked
        assert caught.value.exit_code == 2
        assert caught.value.hint == "see `graft member ls`"


async def test_a_removal_whose_answer_was_lost_is_none_of_a_stranger(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The member asks the next leader, for whom there is no such member any more."""
    async with open_cluster(base) as cluster:
        leader = await cluster.leader()
        other, removed = (node for node in cluster.running if node is not leader)
        post = other.member.changes._post
        ask, lost = post.ask, []

        async def lossy(*arguments: Any) -> Answer:
            answer = await ask(*arguments)
            if lost:
                return answer
            lost.append(answer)
            return evolve(answer, refused="no_answer")

        monkeypatch.setattr(post, "ask", lossy)
        with trio.fail_after(60):
            await other.member.changes.remove(removed.id)
        assert lost[0].refused == ""
        assert removed.id not in {each.id for each in leader.member.configuration.members}


@pytest.mark.parametrize("operation", ["remove", "demote", "transfer", "version"])
async def test_a_minority_refuses_to_change_the_cluster_before_clients_give_up(
    base: Path, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They asked for 30 seconds, and whoever wanted another leader for as long as there was none."""
    monkeypatch.setattr("graft.cluster.changes.QUORUM_SECONDS", 0.5)
    monkeypatch.setattr("graft.cluster.changes.CHANGE_SECONDS", 3600)
    async with open_cluster(base) as cluster:
        leader = await cluster.leader()
        dead = [node for node in cluster.running if node is not leader]
        for node in dead:
            await node.kill()
        await until(lambda: leader.member.host.door.leader is None)
        changes = leader.member.changes
        asked = {
            "remove": lambda: changes.remove(dead[0].id),
            "demote": lambda: changes.set_role(dead[0].id, "executor"),
            "transfer": lambda: changes.transfer(None),
            "version": lambda: changes.raise_version(0),
        }
        with trio.fail_after(60), pytest.raises(NoQuorum, match="no leader was found"):
            await asked[operation]()


async def test_a_minority_refuses_and_says_so(base: Path) -> None:
    async with open_cluster(base) as cluster:
        leader = await cluster.leader()
        run_id = await cluster.start(CHAIN, leader, x=1)
        await cluster.end(leader, run_id)
        for node in cluster.running:
            if node is not leader:
                await node.kill()
        with pytest.raises(NoQuorum):
            await leader.member.runs.fresh(seconds=2)
        assert leader.member.runs.status(run_id) == "succeeded", "what it knows can still be read"


async def test_the_leader_dies_and_its_runs_go_on(base: Path) -> None:
    """Its attempt is lost when its lease has ended, and is done by another; what was recorded is not done again."""
    async with open_cluster(base) as cluster:
        leader = await cluster.leader()
        await until(lambda: len(leader.member.host.engine.state.members) == 3)
        gate = base / "gate"
        runs = [await cluster.start(GATE, leader, path=str(gate)) for _ in range(6)]
        await until(lambda: starts(gate) == 6)
        owned = [step for step in leader.member.host.engine.state.steps.values() if step.member == leader.id]
        assert owned, "the leader has some of the work"
        await leader.kill()
        other = await cluster.leader(node.id for node in cluster.running)
        await until(lambda: starts(gate) == 6 + len(owned))
        open_gate(gate)
        for run_id in runs:
            view = await cluster.end(other, run_id)
            assert view.status == "succeeded"
        assert starts(gate) == 6 + len(owned), "a healthy member's work was not begun again"
        await leader.restart()
        await cluster.leader()
        await until(lambda: all(node.member.host.engine.state.members["a"].live for node in cluster.running))
        await cluster.settled()


async def test_an_election_cancels_nobody(base: Path) -> None:
    async with open_cluster(base) as cluster:
        leader = await cluster.leader()
        await until(lambda: len(leader.member.host.engine.state.members) == 3)
        gate = base / "gate"
        runs = [await cluster.start(GATE, leader, path=str(gate)) for _ in range(6)]
        await until(lambda: starts(gate) == 6)
        await leader.member.changes.transfer(None)
        other = await until(lambda: next((n for n in cluster.running if n.member.host.leads and n is not leader), None))
        await trio.sleep(2 * cluster.times.silence)
        open_gate(gate)
        for run_id in runs:
            assert (await cluster.end(other, run_id)).status == "succeeded"
        assert starts(gate) == 6


async def test_a_member_joins_catches_up_and_takes_work(base: Path) -> None:
    """Also by a snapshot: the log that it would need is gone."""
    async with open_cluster(base, on_disk=True, slots=(("*", 2),)) as cluster:
        leader = await cluster.leader()
        done = [await cluster.start(CHAIN, leader, x=n) for n in range(100)]
        for run_id in done:
            await cluster.end(leader, run_id)
        gate = base / "gate"
        runs = [await cluster.start(GATE, leader, path=str(gate)) for _ in range(8)]
        await until(lambda: starts(gate) == 6)  # as many as three members have slots for
        leader.member.host.door.compact(leader.member.host.door.applied)
        await until(lambda: leader.member.host.door.status().first > 100)
        node = cluster.add("d")
        node.offer = leader.offer
        await node.start(())
        await leader.member.changes.join("d", node.member.incarnation, "voter", "d:1")
        await until(lambda: starts(gate) == 8)  # load moves to the member that joined
        await until(lambda: any(m.id == "d" and m.role == "voter" for m in leader.member.configuration.members))
        open_gate(gate)
        for run_id in runs:
            assert (await cluster.end(node, run_id)).status == "succeeded"
        assert node.member.runs.run_view(done[0]).outputs == {"result": 0}
        await cluster.settled()


async def test_a_snapshot_takes_the_place_of_what_a_member_missed(base: Path) -> None:
    async with open_cluster(base, on_disk=True) as cluster:
        leader = await cluster.leader()
        await until(lambda: len(leader.member.host.engine.state.members) == 3)
        gone = next(node for node in cluster.running if node is not leader)
        watched = await cluster.start(GATE, leader, path=str(base / "gate"))
        await gone.member.runs.fresh()
        cluster.network.isolate(gone.id)
        for n in range(100):
            await cluster.end(leader, await cluster.start(CHAIN, leader, x=n))
        leader.member.host.door.compact(leader.member.host.door.applied)
        await until(lambda: leader.member.host.door.status().first > 100)
        cluster.network.heal()
        await until(lambda: gone.member.host.door.applied > 100)
        open_gate(base / "gate")
        assert (await cluster.end(gone, watched)).status == "succeeded", "who waited before the snapshot is told"
        await cluster.settled()


async def test_a_wiped_member_comes_back_as_another_server(base: Path) -> None:
    async with open_cluster(base) as cluster:
        leader = await cluster.leader()
        await until(lambda: len(leader.member.host.engine.state.members) == 3)
        lost = next(node for node in cluster.running if node is not leader)
        await lost.kill()
        cluster.network.heal()
        node = cluster.add(lost.id)
        await node.start(())
        with pytest.raises(Rejected, match="is alive") as caught:
            await leader.member.changes.join(node.id, node.member.incarnation, "voter", "x:1")
        assert caught.value.reason == "incarnation_in_use"
        await until(lambda: not leader.member.host.engine.state.members[lost.id].live)
        await leader.member.changes.join(node.id, node.member.incarnation, "voter", "x:1")
        await until(lambda: any(m.id == node.id and m.role == "voter" for m in leader.member.configuration.members))
        assert (await cluster.end(node, await cluster.start(CHAIN, node, x=1))).status == "succeeded"
        await cluster.settled()


async def test_nothing_new_starts_on_a_member_that_is_drained(base: Path) -> None:
    async with open_cluster(base) as cluster:
        leader = await cluster.leader()
        await until(lambda: len(leader.member.host.engine.state.members) == 3)
        await leader.member.changes.drain("b")
        gate = base / "gate"
        runs = [await cluster.start(GATE, leader, path=str(gate)) for _ in range(9)]
        await until(lambda: starts(gate) == 9)
        assert {step.member for step in leader.member.host.engine.state.steps.values()} == {"a", "c"}
        open_gate(gate)
        for run_id in runs:
            await cluster.end(leader, run_id)
        await leader.member.changes.drain("b", undo=True)
        assert not leader.member.host.engine.state.members["b"].draining


async def test_a_member_without_a_lease_stops_its_attempts(base: Path) -> None:
    """Cut off, it may not know that its work was given to others; when it is back it takes part anew."""
    async with open_cluster(base) as cluster:
        leader = await cluster.leader()
        await until(lambda: len(leader.member.host.engine.state.members) == 3)
        gate = base / "gate"
        runs = [await cluster.start(GATE, leader, path=str(gate)) for _ in range(6)]
        await until(lambda: starts(gate) == 6)
        cut = next(node for node in cluster.running if node is not leader)
        before = cut.member.host.incarnation
        owned = [step for step in leader.member.host.engine.state.steps.values() if step.member == cut.id]
        assert owned
        cluster.network.isolate(cut.id)
        await until(lambda: not cut.member.host.running)
        await until(lambda: starts(gate) == 6 + len(owned))
        cluster.network.heal()
        await until(lambda: cut.member.host.incarnation != before)
        await until(lambda: leader.member.host.engine.state.members[cut.id].live)
        open_gate(gate)
        for run_id in runs:
            assert (await cluster.end(cut, run_id)).status == "succeeded"
        assert starts(gate) == 6 + len(owned)
        await cluster.settled()


async def test_roles_change_and_a_version_that_not_all_understand_is_refused(base: Path) -> None:
    async with open_cluster(base) as cluster:
        leader = await cluster.leader()
        await until(lambda: len(leader.member.host.engine.state.members) == 3)
        other = next(node for node in cluster.running if node is not leader)
        await leader.member.changes.set_role(other.id, "executor")
        roles = {each.id: each.role for each in leader.member.configuration.members}
        assert roles[other.id] == "executor"
        with pytest.raises(UsageError, match=r"never promoted(.|\n)*graft member rm"):
            await other.member.changes.set_role(other.id, "voter")
        with pytest.raises(UsageError, match=f"{other.id} is an executor, which cannot lead"):
            await other.member.changes.transfer(other.id)
        before = leader.member.host.door.status().version
        with pytest.raises(Rejected) as caught:
            await other.member.changes.raise_version(7)
        assert caught.value.reason == "unsupported"
        await other.member.changes.raise_version(0)
        assert leader.member.host.door.status().version == before


async def test_what_a_removed_member_runs_is_given_to_others_when_its_lease_has_ended(base: Path) -> None:
    """Not before: it may go on until then, and two would run the same step at once. And it gets nothing new."""
    async with open_cluster(base) as cluster:
        leader = await cluster.leader()
        await until(lambda: len(leader.member.host.engine.state.members) == 3)
        gate = base / "gate"
        runs = [await cluster.start(GATE, leader, path=str(gate)) for _ in range(6)]
        await until(lambda: starts(gate) == 6)
        state = leader.member.host.engine.state
        gone = next(node for node in cluster.running if node is not leader)
        owned = [step for step in state.steps.values() if step.member == gone.id]
        assert owned
        await leader.member.changes.remove(gone.id)
        while starts(gate) == 6:
            running = gone.member.host.running
            await trio.sleep(0.01)
        assert not running, "its steps began elsewhere while it ran them"
        await until(lambda: gone.id not in state.members)
        gone.member.host.new_incarnation()
        with pytest.raises(Rejected) as caught:
            await gone.member.submitter.request(gone.member.host.registration(), 1)
        assert caught.value.reason in ("not_a_member", "no_quorum")
        other = next(node for node in cluster.running if node not in (leader, gone))
        with pytest.raises(Rejected) as caught:
            await other.member.submitter.request(gone.member.host.registration(), 5)
        assert caught.value.reason == "not_a_member"
        open_gate(gate)
        for run_id in runs:
            assert (await cluster.end(leader, run_id)).status == "succeeded"
        assert gone.id not in state.members


async def test_an_attempt_that_has_just_ended_is_not_begun_again_by_a_snapshot(base: Path) -> None:
    """The state of the snapshot does not know yet that it ended: its end is on the way to the leader."""
    async with open_cluster(base, times=LeaseTimes(lease=20)) as cluster:
        leader = await cluster.leader()
        await until(lambda: len(leader.member.host.engine.state.members) == 3)
        gate = base / "gate"
        runs = [await cluster.start(GATE, leader, path=str(gate)) for _ in range(6)]
        await until(lambda: starts(gate) == 6)
        node = next(node for node in cluster.running if node is not leader and node.member.host.running)
        await cluster.settled()
        await until(lambda: node.store.bounds().applied == leader.member.host.door.applied)
        cluster.network.isolate(node.id)
        open_gate(gate)
        await until(lambda: not node.member.host.running)
        assert node.member.lease.may_start()
        node.member.host.reset()
        await trio.sleep(0.1)
        cluster.network.heal()
        for run_id in runs:
            assert (await cluster.end(node, run_id)).status == "succeeded"
        assert starts(gate) == 6
        assert not node.member.host._settling


async def test_a_leader_that_was_just_elected_is_asked_again_for_a_change(base: Path) -> None:
    """It has not heard of the others yet, and takes them for out of reach."""
    async with open_cluster(base) as cluster:
        leader = await cluster.leader()
        changes, refused = leader.member.changes, 0
        change = leader.member.host.door.change_members

        async def hasty(wanted: Any) -> None:
            nonlocal refused
            refused += 1
            if refused < 3:
                raise Rejected("the cluster refused it", reason="quorum_unreachable")
            await change(wanted)

        leader.member.host.door.change_members = hasty  # type: ignore[method-assign, assignment]
        gone = next(node.id for node in cluster.running if node is not leader)
        await changes.remove(gone)
        assert gone not in [each.id for each in leader.member.configuration.members]
        refused = -1000
        with pytest.raises(Rejected) as caught:
            await changes.remove(leader.id)
        assert caught.value.reason == "quorum_unreachable"
