"""The plan of a run: everything that is drawn before it begins, as data that can be printed, shrunk and replayed.

Swarm testing (Groce et al., ISSTA 2012): each seed first draws *which kinds* of fault are on, then when they strike.
A run in which everything happens at once hides the bugs that need one thing to happen undisturbed.

A `Fault` carries dice of its own, so that taking one out of the plan leaves all others as they are.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import asdict, evolve, field, frozen

from graft.raft import Config
from graft.raft.buggify import POINTS
from graft.sim.entropy import Entropy, stream
from graft.sim.network import SHAPES, Rates

SECOND = 1_000_000


@frozen
class Fault:
    """Something that strikes at `at_us` and, where that means anything, ends `for_us` later."""

    kind: str
    at_us: int
    for_us: int
    dice: int

    def entropy(self) -> Entropy:
        return stream(self.dice, self.kind)


@frozen
class Plan:
    """One run. Times in microseconds unless named otherwise; rates in thousandths."""

    seed: int
    voters: int = 3
    learners: int = 0
    spares: int = 2  # machines that are not members yet
    safety_us: int = 8 * SECOND
    max_events: int = 2_500  # of the safety phase
    faults: tuple[Fault, ...] = ()

    rates: Rates = field(factory=Rates)
    disk_us: int = 500  # mean of a sync
    apply_us: int = 2_000  # at most, until entries that were handed over are applied
    torn: int = 0  # of the crashes that meet a turn
    snapshot_fails: int = 0
    skew_us: int = 0  # clocks begin so far apart at most
    drift_ppm: int = 0

    clients: int = 3
    keys: int = 3
    think_us: int = 60_000  # mean, between an answer and the next question
    patience_us: int = 1_200_000  # a client asks another member after so long
    attempts: int = 6
    lost_replies: int = 0
    duplicated: int = 0  # requests that reach two members
    echoes: int = 0  # requests that come once more, long after they were answered

    election_seconds: float = 0.3
    heartbeat_seconds: float = 0.06
    pre_vote: bool = True
    check_quorum: bool = True
    lease_reads: bool = False
    max_clock_drift: float = 0.1
    retain: int = 10_000
    append_entries: int = 1024
    inflight: int = 64
    chunk_bytes: int = 256 * 1024
    window_bytes: int = 8 * 1024 * 1024
    held_bytes: int = 512 * 1024 * 1024  # of log kept for who is sent a snapshot, …
    silence_seconds: float = 30.0  # … and is heard of

    inflight_bytes: int = 4 * 1024 * 1024
    uncommitted_bytes: int = 32 * 1024 * 1024
    apply_bytes: int = 1024 * 1024
    append_bytes: int = 256 * 1024
    pending_reads: int = 10_000

    programs: str = "1"  # versions of the programs that the members begin with, in turn
    buggify: int = 0  # how often a point that is on takes the unlikely way
    points: tuple[str, ...] = ()  # those that are on

    @property
    def rpc_seconds(self) -> float:
        return self.election_seconds * 1.5

    def config(self, id: str, incarnation: int, program: int = 1) -> Config:
        return Config(
            id=id,
            incarnation=incarnation,
            max_version=program,
            election_timeout_seconds=self.election_seconds,
            heartbeat_seconds=self.heartbeat_seconds,
            rpc_timeout_seconds=self.rpc_seconds,
            pre_vote=self.pre_vote,
            check_quorum=self.check_quorum,
            lease_reads=self.lease_reads,
            max_clock_drift=self.max_clock_drift,
            max_append_entries=self.append_entries,
            max_inflight_messages=self.inflight,
            max_inflight_bytes=self.inflight_bytes,
            max_uncommitted_bytes=self.uncommitted_bytes,
            max_apply_bytes=self.apply_bytes,
            max_append_bytes=self.append_bytes,
            max_pending_reads=self.pending_reads,
            snapshot_chunk_bytes=self.chunk_bytes,
            retain_entries=self.retain,
            purge_step_entries=max(1, self.retain // 4),
            max_window_bytes=self.window_bytes,
            max_held_bytes=self.held_bytes,
            hold_silence_seconds=self.silence_seconds,
        )

    def dumps(self) -> str:
        """One line of JSON, without what has its default."""
        plain = Plan(self.seed)
        kept = {name: value for name, value in asdict(self, recurse=False).items() if value != getattr(plain, name)}
        kept["seed"] = self.seed
        if "rates" in kept:
            kept["rates"] = asdict(self.rates)
        if "faults" in kept:
            kept["faults"] = [[f.kind, f.at_us, f.for_us, f.dice] for f in self.faults]
        return json.dumps(kept, separators=(",", ":"))


def loads(text: str) -> Plan:
    """What `Plan.dumps` gave. Raises ValueError or TypeError for anything else."""
    values: dict[str, Any] = json.loads(text)
    if "rates" in values:
        values["rates"] = Rates(**values["rates"])
    values["faults"] = tuple(Fault(*parts) for parts in values.get("faults", ()))
    values["points"] = tuple(values.get("points", ()))
    return Plan(**values)


# kind -> (shortest, longest) in milliseconds. The kinds are carried out by `graft.sim.chaos`.
KINDS: dict[str, dict[str, tuple[int, int]]] = {
    "partition": dict.fromkeys(SHAPES, (200, 2500)),
    "net": {
        "clog": (100, 1_500),
        "deaf": (200, 2_000),
        "storm": (200, 1_500),
        "flap": (300, 2_000),
        "echo": (500, 3_000),
    },
    "disk": {
        "slow": (200, 2_000),
        "full": (200, 1_500),
        "eio": (0, 0),
        "fsync": (0, 0),
        "rot": (0, 0),
        "misdirected": (0, 0),
        "rolled_back": (100, 1_500),
    },
    "clock": {"jump": (0, 0), "jump_back": (0, 0), "drift": (300, 3_000)},
    "process": {
        "crash": (20, 400),
        "outage": (1_500, 5_000),
        "crash_loop": (300, 1_500),
        "crash_at_effect": (20, 400),
        "crash_at_sync": (20, 400),
        "crash_at_apply": (20, 400),
        "crash_in_recovery": (20, 400),
        "all_at_once": (20, 300),
        "pause": (50, 4_000),
        "bridge_crash": (10, 120),
        "wipe": (0, 0),
    },
    "membership": {
        "grow": (0, 0),
        "shrink": (0, 0),
        "replace": (0, 0),
        "demote": (0, 0),
        "remove_leader": (0, 0),
        "remove_partitioned": (400, 2_000),
        "two_requests": (0, 0),
        "transfer": (0, 0),
        "campaign": (0, 0),
        "compact": (0, 0),
        "compact_in_change": (0, 0),
    },
    "version": {"upgrade": (20, 400), "downgrade": (20, 400), "roll": (20, 200), "enable": (0, 0)},
    "load": {"burst": (100, 600), "quiet": (300, 1_500)},
}


GAPS: dict[str, dict[str, tuple[int, int]]] = {
    "process": {"crash_at_order": (20, 400), "crash_at_write": (20, 400), "crash_at_word": (20, 400)},
    "membership": {"change_cut_off": (300, 1_500), "transfer_cut_off": (300, 1_500)},
    "version": {"enable_cut_off": (300, 1_500)},
    "clock": {"lease_end": (300, 1_500)},
}
"""Kinds as in `KINDS`, of which a third of the runs has one, two or three. They have a stream of their own: what a seed
draws of the others stays as it is."""


def span(group: str, kind: str) -> tuple[int, int]:
    """How long such a fault lasts: the shortest and the longest, in milliseconds."""
    return (KINDS[group] | GAPS.get(group, {}))[kind]


def draw(seed: int, **fixed: Any) -> Plan:
    """The plan of a seed. `fixed`: fields of it that are not left to the dice."""
    dice, plain = stream(seed, "plan"), Plan(seed)
    kinds = _swarm(dice)
    rates = _rates(dice)
    election = 0.3 if rates.delay_us <= 5_000 or dice.chance(100) else rates.delay_us * 12 / 1_000_000
    plan = Plan(
        seed=seed,
        election_seconds=election,
        heartbeat_seconds=election / dice.choice((5, 5, 2)),
        pre_vote=not dice.chance(80),
        check_quorum=not dice.chance(80),
        patience_us=int(election * 1_000_000) * dice.choice((300, 1_000, 3_000)) // 1_000,
        voters=dice.choice((3, 3, 3, 5, 5, 4, 7)),
        learners=int(dice.chance(200)),
        rates=rates,
        disk_us=dice.choice((200, 1_000, 5_000, 20_000)),
        torn=dice.choice((0, 480)),
        snapshot_fails=dice.choice((0, 0, 200)),
        skew_us=dice.choice((0, 10_000_000)),
        drift_ppm=dice.choice((0, 200, 40_000)),
        clients=dice.between(2, 5),
        keys=dice.between(1, 4),
        think_us=dice.choice((10_000, 40_000, 150_000)),
        lost_replies=dice.choice((0, 0, 100)),
        duplicated=dice.choice((0, 0, 150)),
        lease_reads=dice.chance(250),
        retain=dice.choice((10_000, 20, 2)),
        append_entries=dice.choice((1024, 3, 1)),
        inflight=dice.choice((64, 4, 1)),
        chunk_bytes=dice.choice((256 * 1024, 300, 60)),
        window_bytes=dice.choice((8 * 1024 * 1024, 400)),
        echoes=dice.choice((0, 0, 200)),
        programs=dice.choice(("1", "1", "2", "12", "112")),
        buggify=dice.choice((0, 0, 20, 250)),
        points=tuple(point for point in POINTS if dice.chance(500)),
    )
    plan = evolve(plan, **fixed)
    if plan.lease_reads:
        # Leases rest on check-quorum; and a stale one is seen only by who asks at the right moment.
        plan = evolve(plan, check_quorum=True, clients=5, think_us=min(plan.think_us, 40_000))
        kinds = _for_leases(kinds, dice)
    plan = evolve(plan, faults=_schedule(plan, kinds, dice))
    # Drawn last: all else of a seed's plan is what it was before these were drawn.
    held: dict[str, Any] = {
        "held_bytes": dice.choice((plain.held_bytes, plain.held_bytes, 2_000, 200, 0)),
        "silence_seconds": dice.choice((plain.silence_seconds, plain.silence_seconds, election, 0.0)),
    }
    later = held | _budgets(plain)
    plan = evolve(plan, **{name: value for name, value in later.items() if name not in fixed})
    return evolve(plan, faults=_in_order([*plan.faults, *_gaps(plan)]))


def _budgets(plain: Plan) -> dict[str, Any]:
    """How much may be outstanding: mostly as in production, where a run never comes near it."""
    dice = stream(plain.seed, "budgets")
    return {
        "apply_us": dice.choice((plain.apply_us, plain.apply_us, plain.apply_us, 100_000)),
        "inflight_bytes": dice.choice((plain.inflight_bytes, plain.inflight_bytes, 600, 150)),
        "uncommitted_bytes": dice.choice((plain.uncommitted_bytes, plain.uncommitted_bytes, 2_000, 500)),
        "apply_bytes": dice.choice((plain.apply_bytes, plain.apply_bytes, 400, 100)),
        "append_bytes": dice.choice((plain.append_bytes, plain.append_bytes, 200)),
        "pending_reads": dice.choice((plain.pending_reads, plain.pending_reads, 3)),
    }


def _gaps(plan: Plan) -> list[Fault]:
    dice = stream(plan.seed, "gaps")
    if not dice.chance(350):
        return []
    every = [(group, kind) for group, kinds in GAPS.items() for kind in kinds]
    kinds = [kind for kind in dice.sample(every, dice.between(1, 3)) if plan.lease_reads or kind[0] != "clock"]
    return [_fault(plan, *dice.choice(kinds), dice) for _ in range(dice.between(3, 10) if kinds else 0)]


def _for_leases(kinds: list[tuple[str, str]], dice: Entropy) -> list[tuple[str, str]]:
    """Lease reads are promised only while clocks keep their declared drift and do not step. What they must survive is
    a pause longer than the lease, and a follower that forgets its promise."""
    special = [("process", "pause"), ("process", "bridge_crash")]
    if dice.chance(400):
        return [dice.choice(special)]
    steps = ("jump", "jump_back")
    return [kind for kind in kinds if kind[1] not in steps] + [kind for kind in special if dice.chance(500)]


def _swarm(dice: Entropy) -> list[tuple[str, str]]:
    """Which kinds may strike, as (class, kind). Half of the runs take each class in three of five cases and each kind
    of it in half; the other half take one to three kinds from anywhere, which then strike again and again."""
    if dice.chance(500):
        groups = sorted(KINDS)
        chosen = [dice.choice(groups) for _ in range(dice.between(1, 3))]
        return [(group, dice.choice(sorted(KINDS[group]))) for group in chosen]
    kinds = []
    for group in sorted(KINDS):
        on = dice.chance(600)
        kinds += [(group, kind) for kind in sorted(KINDS[group]) if dice.chance(500) and on]
    return kinds


def _rates(dice: Entropy) -> Rates:
    return Rates(
        drop=dice.choice((0, 0, 20, 100, 300)),
        duplicate=dice.choice((0, 0, 50, 500)),
        delay_us=dice.choice((500, 500, 5_000, 30_000, 100_000)),
        queue=dice.choice((1_000_000, 1_000_000, 20, 2)),
    )


def add_faults(plan: Plan, kind: str, count: int) -> Plan:
    """The plan with so many more faults of that kind; its own stay as they are."""
    group, _, name = kind.partition(".")
    dice = stream(plan.seed, "more", kind)
    more = [_fault(plan, group, name, dice) for _ in range(count)]
    return evolve(plan, faults=_in_order([*plan.faults, *more]))


def _schedule(plan: Plan, kinds: list[tuple[str, str]], dice: Entropy) -> tuple[Fault, ...]:
    return _in_order([_fault(plan, *dice.choice(kinds), dice) for _ in range(dice.between(6, 30) if kinds else 0)])


def _fault(plan: Plan, group: str, kind: str, dice: Entropy) -> Fault:
    low, high = span(group, kind)
    at = dice.between(300_000, plan.safety_us)
    return Fault(f"{group}.{kind}", at, dice.between(low, high) * 1_000, dice.u64() >> 16)


def _in_order(faults: list[Fault]) -> tuple[Fault, ...]:
    return tuple(sorted(faults, key=lambda f: (f.at_us, f.kind)))
