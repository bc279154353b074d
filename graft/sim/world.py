"""One run: build the cluster of a plan, let the faults strike, then heal a quorum and ask for everything back.

Phase one, safety: every promise is checked after every event. Phase two, liveness: a core quorum is healed, all else
stays broken as it is, for ever; within a bounded time there must be one leader, one configuration, identical members,
fresh writes and reads served and nothing left in a queue. (Chaos that is the same everywhere never finds the livelock
of one permanent asymmetric partition.)
"""

from __future__ import annotations

import traceback
from collections import Counter
from typing import Any

from attrs import frozen

from graft.raft.effects import ReportMembership
from graft.raft.events import CompactionRequested
from graft.raft.messages import AppendReply, HeartbeatReply, ReadIndexReply, SnapshotReply, VoteReply
from graft.raft.records import Configuration
from graft.raft.records import Member as Server
from graft.sim.chaos import strike
from graft.sim.clients import Client
from graft.sim.clocks import MemberClock
from graft.sim.drill import drill
from graft.sim.entropy import stream
from graft.sim.faults import Plan
from graft.sim.heap import Heap
from graft.sim.history import Operation
from graft.sim.invariants import Identity, Ledger, Violation, voter_sets
from graft.sim.linearize import Verdict, check
from graft.sim.machine import Command
from graft.sim.member import Member
from graft.sim.network import Network
from graft.sim.operator import Operator
from graft.sim.trace import Record, Trace

_ANSWERS = (VoteReply, AppendReply, HeartbeatReply, SnapshotReply, ReadIndexReply)
LIVENESS_TIMEOUTS = 300  # election timeouts until everything must be well again
TOO_BUSY = 100_000  # events of a run: somebody talks without end
STABLE_TIMEOUTS = 4  # so long the leader stays once all is well
SHORT_OUTAGES = frozenset({"eio"})  # reasons to stop after which the same disk is good


@frozen
class Result:
    """What came of a plan. `rule` is empty when every promise held."""

    plan: Plan
    rule: str
    text: str
    events: int
    trace_hash: str
    fired: dict[str, int]
    virtual_us: int
    records: tuple[Record, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.rule


def run(plan: Plan, *, keep_trace: int | None = 0) -> Result:
    """Run a plan to its end or to the first broken promise. `keep_trace`: how many of the last records to keep."""
    world = World(plan, keep_trace)
    rule = text = ""
    try:
        world.run()
    except Violation as violation:
        rule, text = violation.rule, violation.text
    except (AssertionError, LookupError, ValueError):  # a ValueError: the store refuses a turn that contradicts the log
        rule, text = "crash", traceback.format_exc()
    digest = world.trace.hexdigest()
    records = tuple(world.trace.records())
    return Result(plan, rule, text, world.events, digest, dict(world.fired), world.heap.now_us, records)


class World:
    """`healing`: the second phase has begun. `core`: the ids that it relies on."""

    def __init__(self, plan: Plan, keep_trace: int | None = 0) -> None:
        self.plan = plan
        self.heap = Heap()
        self.trace = Trace(keep_trace)
        self.fired: Counter[str] = Counter()
        self.ledger = Ledger()
        self.events = 0
        self.decoded: dict[bytes, Command] = {}
        self.pending: dict[str, int] = {}
        self.history: list[Operation] = []
        self.acknowledged_ids: set[str] = set()
        self.clients_stopped = False
        self.healing = False
        self.compacts_in_change = False  # at the next joint configuration, on everyone
        self.core: list[str] = []
        dice = stream(plan.seed, "network")
        self.network = Network(self.heap, dice, self._deliver, self.fired, is_answer=_is_answer)
        self.network.rates = plan.rates
        self.members: dict[str, Member] = {}
        self.clients = [Client(self, number, self.history) for number in range(1, plan.clients + 1)]
        self.operator = Operator(self)
        self._found()

    def _found(self) -> None:
        plan, dice = self.plan, stream(self.plan.seed, "clock")
        count = plan.voters + plan.learners + plan.spares
        ids = [chr(ord("a") + number) for number in range(count)]
        servers = tuple(Server(id, 1) for id in ids[: plan.voters])
        executors = tuple(Server(id, 1, "executor") for id in ids[plan.voters : plan.voters + plan.learners])
        founding = Configuration(servers + executors)
        for number, id in enumerate(ids):
            clock = MemberClock(dice.below(plan.skew_us + 1) + 1, dice.between(-plan.drift_ppm, plan.drift_ppm))
            member = self.members[id] = Member(self, id, clock)
            member.found(founding if number < plan.voters + plan.learners else Configuration())

    # -- what the parts ask --------------------------------------------------------------------------------------

    def now(self) -> int:
        return self.heap.now_us

    def note(self, *parts: Any) -> None:
        self.trace.add((self.heap.now_us, *parts))

    def running(self) -> list[Member]:
        return [self.members[id] for id in sorted(self.members) if self.members[id].alive]

    def reachable(self) -> list[Member]:
        """Where clients may turn to."""
        return self.running()

    def leaders(self) -> list[Member]:
        """All who think that they lead."""
        return [m for m in self.running() if m.leading]

    def leader(self) -> Member | None:
        """Who leads the latest term, if anyone."""
        return max(self.leaders(), key=lambda m: m.watch.term, default=None)

    def configurations(self) -> list[Configuration]:
        """Every configuration that anyone still has on its disk: each may yet decide something."""
        found: list[Configuration] = []
        for member in self.members.values():
            if member.identity in self.ledger.promises:
                for _, configuration in member.image.hard_state.configurations:
                    if configuration.members and configuration not in found:
                        found.append(configuration)
        return found

    def can_lose(self, member: Member) -> bool:
        """Every set of voters keeps a majority of whole disks without this one, and no change is under way that may
        make another set."""
        if self.operator.is_waiting():
            return False
        for voters in self.voter_sets():
            broken = sum(id == member.id or self._is_broken((id, incarnation)) for id, incarnation in voters)
            if 2 * (len(voters) - broken) <= len(voters):
                return False
        return True

    def is_whole(self) -> bool:
        """No voter's disk is lost or damaged: the membership may be changed without asking for the impossible."""
        return not any(self._is_broken(identity) for voters in self.voter_sets() for identity in voters)

    def voter_sets(self) -> list[list[Identity]]:
        """Every set of voters that may yet decide something. Learners are promoted without anybody's asking, so they
        make sets too."""
        found: list[list[Identity]] = []
        for configuration in self.configurations():
            learners = [(m.id, m.incarnation) for m in configuration.members if m.role == "learner"]
            sets = voter_sets(configuration)
            found += [voters for voters in (*sets, sets[0] + learners) if voters not in found]
        return found

    def _is_broken(self, identity: Identity) -> bool:
        """Its disk is lost, damaged, or about to be."""
        member = self.members[identity[0]]
        return identity in self.ledger.lost or bool(member.image.corrupt) or member.trouble.fail == "fsync"

    def newest_version(self) -> int:
        """The newest version of the cluster that is in anybody's log, committed or not."""
        found = 1
        for member in self.members.values():
            found = max(found, member.image.hard_state.versions[-1][1])
            if member.alive:
                found = max(found, member.raft.state.versions[-1][1])
        return found

    def membership_moved(self, member: Member, effect: ReportMembership) -> None:
        """A member's configuration changed. Perhaps a fault waited for that."""
        if self.compacts_in_change and effect.configuration.joint and not effect.committed:
            self.compacts_in_change = False
            self.fired["membership.compact_in_change"] += 1
            for each in self.running():
                each.later(0, each.handle, CompactionRequested(each.image.applied))

    def member_stopped(self, member: Member) -> None:
        """A core stopped by itself."""
        reason = member.stopped
        if "this program understands" in reason and member.program < self.newest_version():
            self.fired["stopped.version"] += 1
            member.program = self.newest_version()
            member.restart_after(200_000)
            return
        self.fired[f"stopped.{reason.split(':')[0]}"] += 1
        if "fsync" in reason:
            member.disk_lost()
        elif any(word in reason for word in SHORT_OUTAGES):
            member.restart_after(200_000)
        else:
            raise Violation("stop", f"{member.identity} stopped: {reason}")

    def _deliver(self, source: str, target: str, message: Any) -> None:
        self.members[target].receive(message)

    # -- the run -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        plan, heap = self.plan, self.heap
        for id in sorted(self.members)[: plan.voters + plan.learners]:
            heap.after(1_000, self.members[id].start)
        for client in self.clients:
            client.think()
        self.operator.begin()
        for fault in plan.faults:
            heap.at(fault.at_us, strike, self, fault)
        while heap.now_us < plan.safety_us and self.events < plan.max_events:
            if not heap.step():
                raise Violation("liveness", "nothing can happen any more")
        self._heal()
        self._settle()
        drill(self)
        self._settle_again()
        self._final_checks()

    def found_and_elect(self) -> Member:
        """Start the founders and let them elect a leader that nobody disturbs. Returns it."""
        for id in sorted(self.members)[: self.plan.voters + self.plan.learners]:
            self.heap.after(1_000, self.members[id].start)
        self.core = sorted(self.members)
        while True:
            self.heap.run_until(self.heap.now_us + 20_000)
            leader = self.leader()
            if leader is not None and not any(member.behind(leader) for member in self.members.values()):
                return leader

    def _heal(self) -> None:
        """Choose a quorum of every configuration, make it whole, and leave everyone else as they are."""
        self.healing = True
        self.operator.working = False
        self.clients_stopped = True
        self.core = self._choose_core()
        self.note("heal", *self.core)
        self.network.heal_all(self.core)
        for member in self.members.values():
            member.trouble.full = False  # the driver stops a member whose disk stays full: that is an outage
        for id in self.core:
            self.members[id].heal()

    def _choose_core(self) -> list[str]:
        """Without check-quorum a leader that hears nobody leads for ever: then everybody has to be healed."""
        dice = stream(self.plan.seed, "core")
        leave = 700 if self.plan.check_quorum and self.plan.pre_vote else 0
        core = [id for id in sorted(self.members) if self.members[id].identity in self.ledger.promises]
        for id in dice.sample(core, len(core)):
            rest = [other for other in core if other != id]
            if dice.chance(leave) and self._enough(rest):
                core = rest
        return core

    def _enough(self, core: list[str]) -> bool:
        """The core has a majority of every set of voters, and a good copy of all that is damaged in it."""
        whole = {self.members[id].identity for id in core} - self.ledger.lost
        for voters in self.voter_sets():
            if 2 * sum(identity in whole for identity in voters) <= len(voters):
                return False
        damaged = {index for id in core for index in self.members[id].image.corrupt}
        return not damaged or len(core) == len(self.members)

    def _settle(self) -> None:
        """Run until all is well, at most for so long."""
        plan, heap = self.plan, self.heap
        probes = [Client(self, number, self.history, limit=4) for number in (901, 902)]
        self.clients_stopped = False
        for client in self.clients:
            client.limit = 0
        for probe in probes:
            probe.ask()
        end = heap.now_us + int(LIVENESS_TIMEOUTS * plan.election_seconds * 1_000_000)
        calm_us = int(STABLE_TIMEOUTS * plan.election_seconds * 1_000_000)
        reign, since = (0, ""), heap.now_us
        while True:
            heap.run_until(heap.now_us + 20_000)
            problem = self._problem(probes)
            leader = self.leader()
            now_reign = (0, "") if leader is None else (leader.watch.term, leader.id)
            if now_reign != reign:
                reign, since = now_reign, heap.now_us
            if not problem:
                # Nobody disturbs the leader any more. One outside the core may well fall by its own troubles; and
                # without check-quorum a removed member does disturb (section 6 of the paper).
                calm = heap.now_us - since >= calm_us
                if calm or reign[1] not in self.core or not plan.check_quorum:
                    return
                problem = f"the leader changes all the time, now it is {reign[1]} in term {reign[0]}"
            if heap.now_us >= end or self.events > TOO_BUSY:
                text = f"{LIVENESS_TIMEOUTS} election timeouts" if heap.now_us >= end else f"{self.events} events"
                raise Violation("liveness", f"after {text}: {problem}")

    def _settle_again(self) -> None:
        """After a burst too everything is back at its base line."""
        end = self.heap.now_us + int(LIVENESS_TIMEOUTS * self.plan.election_seconds * 1_000_000)
        problem = self._problem([])
        while problem:
            self.heap.run_until(self.heap.now_us + 20_000)
            problem = self._problem([])
            if self.heap.now_us >= end or self.events > TOO_BUSY:
                raise Violation("liveness", f"after a burst of questions: {problem}")

    def _problem(self, probes: list[Client]) -> str:
        """What is not well yet; empty when all is."""
        for probe in probes:
            if probe.done < 4:
                return f"client {probe.number} had {probe.done} of its questions answered"
        core = [self.members[id] for id in self.core]
        leader = self.leader()
        if leader is None:
            return "nobody leads"
        index, configuration = leader.watch.configurations[-1]
        if configuration.joint or index > leader.watch.commit:
            return f"the change of membership at {index} does not end"
        voters = {(m.id, m.incarnation) for m in configuration.members}
        for member in core:
            # A leader outside the core may be cut off from one of the core for ever, and lead well all the same.
            if member.identity in voters and self.network.is_whole(leader.id, member.id):
                problem = member.behind(leader) or member.oracles.budgets.left_over()
                if problem:
                    return problem
        return self._unpromoted(leader, configuration)

    def _unpromoted(self, leader: Member, configuration: Configuration) -> str:
        """Who is to be a voter and is well becomes one."""
        for waiting in configuration.members:
            member = self.members[waiting.id]
            well = member.alive and member.incarnation == waiting.incarnation and {member.id, leader.id} <= {*self.core}
            if waiting.role == "learner" and well:
                return f"{waiting.id} is still a learner"
        return ""

    def _final_checks(self) -> None:
        leader = self.leader()
        assert leader is not None
        missing = self.acknowledged_ids - leader.machine.applied_ids()
        if missing:
            raise Violation("durability", f"acknowledged and gone: {sorted(missing)}")
        for client in self.clients:
            client.close()
        report = check(self.history)
        if report.verdict is Verdict.VIOLATION:
            raise Violation("linearizability", str(report))
        if report.verdict is Verdict.UNDECIDED:
            self.fired["undecided"] += 1


def _is_answer(message: Any) -> bool:
    return isinstance(message, _ANSWERS)
