"""Random walks over a small cluster: reorder, lose, repeat, crash, cut, change members, damage entries.

A quick net under the core's own tests, with invariants of its own, kept simple: the simulator (`graft.sim`) is the
thorough one. One seed is one walk; `walk` raises AssertionError when a promise is broken.
"""

from __future__ import annotations

from collections.abc import Callable

from graft.raft import Config, Kind
from graft.raft import effects as fx
from graft.raft import events as ev
from tests.raft.cluster import Cluster, dice

IDS = ("a", "b", "c", "d", "e")


class Walk:
    def __init__(self, seed: int) -> None:
        self.next = dice(seed)
        count = self.below(3) + 3
        founders = IDS[:count] if self.below(3) else IDS[: max(3, count - 1)]
        retain = self.below(12)
        config = Config(
            "",
            retain_entries=retain,
            max_held_bytes=(0, 300, 1 << 20)[retain % 3],
            purge_step_entries=1,
            max_inflight_messages=1 + self.below(4),
            max_append_entries=1 + self.below(4),
            max_append_bytes=150,
            max_window_bytes=self.below(2000),
            max_apply_bytes=200,
            snapshot_chunk_bytes=1 + self.below(40),
            lease_reads=self.below(3) == 0,
            pre_vote=self.below(4) > 0,
        )
        self.cluster = Cluster(*founders, joining=IDS[len(founders) : 5], config=config)
        self.leaders: dict[int, str] = {}
        self.committed: dict[int, tuple[int, bytes]] = {}
        self.states: dict[int, tuple[str, ...]] = {}
        self.acknowledged = 0  # length of the longest state that any reader may rely on
        self.reads: dict[int, int] = {}
        self.damage = self.below(3) == 0
        self.noise = self.below(40)
        self.words = 0
        self.lost = False
        self.seen: dict[str, int] = {}

    def below(self, n: int) -> int:
        return self.next() % n

    def pick(self) -> str:
        return IDS[self.below(5)]

    # ---- steps ----

    def step(self) -> None:
        cluster = self.cluster
        dice_value = self.below(100)
        if dice_value < 55 and cluster.wire:
            message = cluster.wire.pop(self.below(min(len(cluster.wire), 8)))
            fate = self.below(100)
            if fate < 5:
                cluster.wire.append(message)
            if fate >= self.noise // 2:
                cluster.pass_on(message)
        elif dice_value < 68:
            cluster.now += self.below(40) / 1000
            cluster.wake()
        else:
            ACTIONS[self.below(len(ACTIONS))](self)
        if len(cluster.wire) > 60:
            del cluster.wire[: len(cluster.wire) - 60]
        self.check()

    def propose(self) -> None:
        self.words += 1
        for id in IDS:
            if self.cluster.leader(id) and self.cluster[id].alive:
                self.cluster.propose(id, f"w{self.words}")

    def disk(self) -> None:
        server = self.cluster[self.pick()]
        if server.alive:
            server.auto_disk = self.below(3) > 0
            server.sync(self.cluster.now, None if server.auto_disk else 1 + self.below(2))
            server.sync_state(self.cluster.now)
            self.cluster.collect()

    def apply(self) -> None:
        server = self.cluster[self.pick()]
        if server.alive:
            server.auto_apply = self.below(4) > 0
            server.apply(self.cluster.now, 1 + self.below(3))
            self.cluster.collect()

    def crash(self) -> None:
        id = self.pick()
        server = self.cluster[id]
        if server.alive and self.below(3) == 0:
            server.crash()
            if self.damage and self.below(2) and sum(s.damaged != set() for s in self.cluster.servers.values()) == 0:
                configuration = server.disk_hard.configurations[-1][1]
                spare = not configuration.outgoing and sum(m.role == "voter" for m in configuration.members) > 1
                alive = [i for i in server.disk_log if i > server.disk_applied and spare]
                if alive:
                    server.damaged.add(alive[self.below(len(alive))])
        elif not server.alive:
            self.cluster.restart(id)

    def cut(self) -> None:
        a, b = self.pick(), self.pick()
        if self.below(2):
            self.cluster.heal()
        elif a != b:
            self.cluster.cut.add((a, b))
            if self.below(2):
                self.cluster.cut.add((b, a))

    def change(self) -> None:
        id, leader = self.pick(), self.any_leader()
        if leader is None:
            return
        configuration = self.cluster[leader].raft.state.view.configuration
        member = next((m for m in configuration.members if m.id == id), None)
        voters = sum(m.role == "voter" for m in configuration.members)
        if member is None:
            if any(gone == id for gone, _ in configuration.retired):
                return
            change = ev.Change("add", id, 1, "executor" if self.below(3) == 0 else "voter")
        elif member.role == "voter" and voters > 2:
            change = ev.Change("remove" if self.below(3) == 0 else "demote", id)
        else:
            change = ev.Change("promote" if member.role == "learner" else "remove", id)
        self.cluster.requests += 1
        self.cluster.tell(leader, ev.MembershipChangeRequested(self.cluster.requests, (change,)))

    def transfer(self) -> None:
        leader = self.any_leader()
        if leader is not None:
            self.cluster.requests += 1
            self.cluster.tell(leader, ev.TransferRequested(self.cluster.requests))

    def read(self) -> None:
        id = self.pick()
        if self.cluster[id].alive:
            self.cluster.requests += 1
            self.reads[self.cluster.requests] = self.acknowledged
            self.cluster.tell(id, ev.ReadRequested(self.cluster.requests, lease=self.below(2) == 0))

    def campaign(self) -> None:
        self.cluster.tell(self.pick(), ev.CampaignRequested())

    def any_leader(self) -> str | None:
        return next((id for id in IDS if self.cluster.leader(id) and self.cluster[id].alive), None)

    # ---- promises ----

    def check(self) -> None:
        for id, server in self.cluster.servers.items():
            s = server.raft.state
            if not server.alive:
                continue
            if s.stopped:
                # The last voter's only copy rotted: nothing can be promised, and stopping is right.
                assert "is damaged" in s.stopped, s.stopped
                assert s.view.sole
                self.lost = True
                continue
            if s.role == "leader":
                assert self.leaders.setdefault(s.term, id) == id, f"S1: two leaders in term {s.term}"
                for index, entry in self.committed.items():
                    if index >= s.log.first and entry[0] < s.term and index > s.log.last:
                        raise AssertionError(f"S3: {id} leads term {s.term} without entry {index}")
            for index in range(max(s.log.first, s.log.window_first), s.commit + 1):
                entry = s.log.window[index - s.log.window_first]
                known = self.committed.setdefault(index, (entry.term, entry.data))
                assert known == (entry.term, entry.data), f"S5: {id} committed another entry {index}"
            state = tuple(server.state)
            assert self.states.setdefault(server.applied, state) == state, f"S4: {id} at {server.applied}"
            self.acknowledged = max(self.acknowledged, server.applied if s.role == "leader" else 0)
            for answer in server.answers:
                if isinstance(answer, fx.AnswerRead):
                    for request in answer.requests:
                        want = self.reads.pop(request, 0)
                        assert answer.index >= want, f"S16: {id} reads at {answer.index}, {want} was acknowledged"
            server.answers = []

    def recover(self) -> None:
        """Heal all; the cluster must come to rest with one leader that commits, and equal members."""
        cluster = self.cluster
        cluster.heal()
        for id, server in cluster.servers.items():
            if not server.alive:
                cluster.restart(id)
            server.auto_disk = server.auto_apply = True
            server.sync(cluster.now)
            server.apply(cluster.now)
        cluster.collect()
        for _ in range(60):
            cluster.advance(0.2, step=0.02)
            self.check()
            leader = self.any_leader()
            if leader is not None and self.settled(leader):
                break
        leader = self.any_leader()
        assert leader is not None, f"liveness: nobody leads: {cluster.roles()}"
        word = f"final{self.words}"
        accepted = cluster.propose(leader, word)
        assert isinstance(accepted, fx.AcceptProposal), accepted
        cluster.advance(3.0, step=0.02)
        self.check()
        members = [m.id for m in cluster[leader].raft.state.view.configuration.members]
        for id in members:
            assert word in cluster[id].state, f"liveness: {id} misses the last word; {cluster[id].raft.status()}"
            assert not cluster[id].raft.state.log.corrupt, f"{id} is still damaged"
        assert not cluster[leader].raft.state.view.configuration.outgoing, "liveness: still joint"

    def settled(self, leader: str) -> bool:
        s = self.cluster[leader].raft.state
        return s.commit == s.log.last and not s.view.configuration.outgoing and s.transfer is None


ACTIONS: list[Callable[[Walk], None]] = [
    Walk.propose,
    Walk.propose,
    Walk.propose,
    Walk.propose,
    Walk.disk,
    Walk.disk,
    Walk.apply,
    Walk.crash,
    Walk.crash,
    Walk.cut,
    Walk.change,
    Walk.transfer,
    Walk.read,
    Walk.read,
    Walk.campaign,
]


def walk(seed: int, steps: int = 600) -> Walk:
    w = Walk(seed)
    for _ in range(steps):
        w.step()
        if w.lost:
            return w
    w.recover()
    return w


assert Kind.COMMAND == 1
