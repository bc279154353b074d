"""Driving an engine by hand: a log, a table of records like a store's, restarts, and what effects are unanswered."""

from __future__ import annotations

import msgspec

from graft.engine import Applied, CancelAttempt, Decide, Engine, Happened, RunEnded, StartAttempt, invariants
from graft.engine.commands import (
    RULES,
    AttemptSettled,
    CancelRun,
    Command,
    Decided,
    Decision,
    DrainMember,
    ForgetMember,
    MemberDown,
    PauseRun,
    RegisterMember,
    RegisterPlan,
    RetryRun,
    SetClusterConfig,
    StartRun,
    TimersDue,
    UnpauseRun,
    decode_command,
    encode_command,
)
from graft.engine.engine import HASH_KEY
from graft.engine.lifecycle import FINAL
from graft.engine.records import (
    BY_TABLE,
    NONE,
    OF_RUN,
    REMOVED,
    ClusterConfig,
    encode_record,
    id_key,
    row_hash,
    run_key,
)
from graft.engine.state import MASK
from graft.plan import Block, ErrorRecord, ForEach, Node, Plan, PythonAction, RunAction, decode, encode
from graft.plan.records import GroupAction

MEMBER = "m"


def task(name: str, **options: object) -> Node:
    return Node(name, PythonAction("shop:step"), **options)  # type: ignore[arg-type]


def flow(*nodes: Node, blocks: tuple[Block, ...] = (), **options: object) -> Plan:
    return Plan("flow", (Block("flow", "flow", nodes, **options), *blocks))  # type: ignore[arg-type]


def group(name: str, *nodes: Node, **options: object) -> Block:
    return Block("group", name, nodes, **options)  # type: ignore[arg-type]


class Driven:
    """An engine with invariants checked after every apply, its log, and its records as a store would hold them."""

    def __init__(self, *, slots: tuple[tuple[str, int], ...] = (("*", 1000),), check: bool = True) -> None:
        self.slots = slots
        self.check = check
        self.now = self.wall = 1_000_000
        self.incarnation = 0  # the last one drawn, over all members
        self.incarnations: dict[str, int] = {}  # live ones
        self.log: list[bytes] = []
        self.stored: dict[tuple[str, bytes], bytes] = {}
        self.engine = Engine(strict=True)
        self.attempts: dict[tuple[int, int, int], StartAttempt] = {}
        self.cancels: list[CancelAttempt] = []
        self.decides: list[Decide] = []
        self.ended: dict[str, str] = {}
        self.told: dict[tuple[int, int, int], tuple[str, str, int]] = {}  # the last event of each step and run

    # The driver's part

    def apply(self, command: Command) -> Applied:
        data = encode_command(command)
        assert decode_command(data) == command
        self.log.append(data)
        applied = load_and_apply(self.engine, self.stored, len(self.log), command)
        for effect in applied.effects:
            match effect:
                case Happened():
                    assert (effect.index, effect.wall) == (len(self.log), self.engine.state.meta.clock)
                    self.told |= {
                        (effect.run, *event[:2]): event[2:] for event in effect.events if event[2] != "caught"
                    }
                case StartAttempt():
                    assert effect.incarnation == self.incarnations.get(effect.member), f"{effect} on a dead incarnation"
                    assert effect.key not in self.attempts, f"{effect} while an attempt is out"
                    self.attempts[effect.key] = effect
                case CancelAttempt():
                    self.cancels.append(effect)
                case Decide():
                    self.decides.append(effect)
                case RunEnded():
                    self.ended[effect.run_id] = effect.status
        if any(isinstance(effect, StartAttempt) for effect in applied.effects):
            self._check_limits()
        if self.check:
            invariants.check(self.engine.state)
            self._check_history()
        return applied

    def _check_history(self) -> None:
        """The last event of each step and run says what its record says."""
        state = self.engine.state
        for key, step in state.steps.items():
            if step.status != "pending":
                what, reason, attempt = self.told[key]
                assert what == step.status, f"{step} was told as {what}"
                if step.status not in FINAL and not state.is_stranded(step):
                    assert (reason, attempt) == (step.reason, step.attempt), f"{step} was told with {reason} {attempt}"
        for run in state.runs.values():
            what, reason, generation = self.told[run.no, 0, NONE]
            status = "paused" if run.paused else run.status
            assert what == status or (what, run.paused) == ("resumed", ""), f"{run} was told as {what}"
            assert generation == run.generation, f"{run} was told with another generation"
            assert what != run.status or reason == run.reason, f"{run} was told with the reason {reason}"

    def _check_limits(self) -> None:
        """Promise 5, counted here from the attempts that were started and not answered."""
        state = self.engine.state
        kinds = [state.node_of(state.steps[key]).kind for key in self.attempts]
        config = state.meta.config or ClusterConfig()
        assert not config.total or len(kinds) <= config.total, f"{len(kinds)} attempts at once in the cluster"
        for kind in set(kinds):
            limit = dict(config.kinds).get(kind, config.default_kind)
            assert not limit or kinds.count(kind) <= limit, f"{kinds.count(kind)} {kind} attempts in the cluster"

    def drain(self) -> None:
        store(self.engine, self.stored)
        check_stored(self.engine, self.stored)

    def restart(self) -> None:
        """Crash after everything was stored, load again, register a new incarnation."""
        self.reload()
        self.register()

    def stamp(self) -> dict[str, int]:
        return {"now": self.now, "wall": self.wall}

    # Commands

    def register(
        self, member: str = MEMBER, slots: tuple[tuple[str, int], ...] | None = None, **offer: object
    ) -> Applied:
        """Register a new incarnation of a member: what its earlier one had out is lost."""
        self.incarnation += 1
        self._lose(member)
        self.incarnations[member] = self.incarnation
        slots = self.slots if slots is None else slots
        offer = {"rules": RULES} | offer
        return self.apply(RegisterMember(member, self.incarnation, slots, **offer, **self.stamp()))  # type: ignore[arg-type]

    def _lose(self, member: str) -> dict[tuple[int, int, int], StartAttempt]:
        self.incarnations.pop(member, None)
        lost = {key: effect for key, effect in self.attempts.items() if effect.member == member}
        for key in lost:
            del self.attempts[key]
        return lost

    def down(self, member: str = MEMBER) -> Applied:
        """Declare the live incarnation of a member down."""
        incarnation = self.incarnations[member]
        self._lose(member)
        return self.apply(MemberDown(member, incarnation, **self.stamp()))

    def forget(self, member: str = MEMBER) -> Applied:
        self._lose(member)
        return self.apply(ForgetMember(member, **self.stamp()))

    def drain_member(self, member: str = MEMBER, draining: bool = True, incarnation: int = 0) -> Applied:
        return self.apply(DrainMember(member, draining, incarnation, **self.stamp()))

    def configure(self, **config: object) -> Applied:
        return self.apply(SetClusterConfig(ClusterConfig(**config), **self.stamp()))  # type: ignore[arg-type]

    def reload(self) -> None:
        """Throw the engine away and load another from what is stored, as after a crash or a snapshot of it."""
        self.drain()
        before, index = self.engine.state_hash(), self.engine.applied
        self.engine = load(self.stored, index)
        if self.check:
            invariants.check(self.engine.state)
        assert self.engine.state_hash() == before
        outstanding = self.engine.outstanding()
        starts = {effect.key: effect for effect in outstanding if isinstance(effect, StartAttempt)}
        assert starts == self.attempts
        self.decides = [effect for effect in outstanding if isinstance(effect, Decide)]

    def start(self, plan: Plan, run_id: str = "r") -> Applied:
        data = encode(plan)
        hash = self.apply(RegisterPlan(data, **self.stamp())).result
        return self.apply(StartRun(run_id, hash, b"{}", **self.stamp()))

    def settle(self, key: tuple[int, int, int], status: str = "succeeded", **more: object) -> Applied:
        effect = self.attempts.pop(key)
        value = b"1" if status == "succeeded" else None
        error = more.pop("error", None)
        if status in ("failed", "timed_out") and error is None:
            error = ErrorRecord("exit.1" if status == "failed" else "timeout", "it broke")
        return self.apply(
            AttemptSettled(*key, token=effect.token, status=status, value=value, error=error, **more, **self.stamp())  # type: ignore[arg-type]
        )

    def decide(self, effect: Decide, what: str = "go", **more: object) -> Applied:
        self.decides.remove(effect)
        run, scope, ordinal = effect.key
        decision = Decision(scope, ordinal, what, **more)  # type: ignore[arg-type]
        return self.apply(Decided(run, effect.generation, (decision,), **self.stamp()))

    def items(self, effect: Decide, count: int) -> Applied:
        return self.decide(effect, "items", data=msgspec.json.encode((None, list(range(count)))), number=count)

    def timers(self, milliseconds: int) -> Applied:
        self.now += milliseconds
        self.wall += milliseconds
        return self.apply(TimersDue(**self.stamp()))

    def cancel(self, run: int = 1, scope: int = NONE, ordinal: int = NONE) -> Applied:
        return self.apply(CancelRun(run, scope, ordinal, **self.stamp()))

    def pause(self, run: int = 1) -> Applied:
        return self.apply(PauseRun(run, "person", **self.stamp()))

    def unpause(self, run: int = 1, paused_at: int = -1) -> Applied:
        return self.apply(UnpauseRun(run, paused_at, **self.stamp()))

    def retry(self, run: int = 1, scope: int = NONE, ordinal: int = NONE) -> Applied:
        return self.apply(RetryRun(run, scope, ordinal, **self.stamp()))

    # Looking

    def statuses(self, run: int = 1, scope: int = 0) -> dict[str, str]:
        """Status by node name of one scope's steps, from the stored records."""
        self.drain()
        seen = load(self.stored, len(self.log), final=True).state
        steps = [step for step in seen.steps_of_run(run) if step.scope == scope]
        record = seen.scopes[run, scope]
        if record.kind == "map":
            return {str(step.ordinal): step.status for step in steps}
        names = [node.name for node in seen.graph_of(record).nodes]
        return {names[step.ordinal]: step.status for step in steps}

    def key(self, name: str, run: int = 1, scope: int = 0) -> tuple[int, int, int]:
        state = self.engine.state
        return (run, scope, state.graph_of(state.scopes[run, scope]).ordinals[name])


def store(engine: Engine, stored: dict[tuple[str, bytes], bytes]) -> None:
    for table, key, value in engine.drain():
        if value is None:
            stored.pop((table, key), None)
        else:
            stored[table, key] = value


def check_stored(engine: Engine, stored: dict[tuple[str, bytes], bytes]) -> None:
    """After a drain every record in memory is stored as it is, and the state hash is that of the records."""
    state = engine.state
    for table in (state.runs, state.scopes, state.steps, state.members):
        for record in table.values():
            assert stored.get((record.table, record.key())) == encode_record(record), f"{record} is not stored"
    rows = (row_hash(*at, value) for at, value in stored.items() if at[0] in BY_TABLE and at[1] != HASH_KEY)
    assert sum(rows) & MASK == engine.state_hash(), "the state hash is not that of the records"


def load(stored: dict[tuple[str, bytes], bytes], applied: int, *, final: bool = False) -> Engine:
    """An engine as a process would load it; with `final`, all runs and not only the live ones."""
    engine = Engine(strict=True, keep=final)
    for (table, key), value in stored.items():
        if table == "plans":
            engine.load_plan(key.hex(), decode(value))
    live = {key for (table, key), mark in stored.items() if table == "live" and mark != REMOVED}
    removed = {key for (table, key), mark in stored.items() if table == "live" and mark == REMOVED}
    engine.load_removed(int.from_bytes(key, "big") for key in removed)
    rows = []
    for (table, key), value in sorted(stored.items()):
        of_run = table in ("runs", "scopes", "steps") and (final or key[:8] in live)
        if of_run or table == "members" or (table, key) == ("meta", b"engine"):
            rows.append((table, value))
    engine.load(rows)
    engine.restore(applied, int.from_bytes(stored.get(("meta", HASH_KEY), b"\0"), "big"))
    return engine


def load_and_apply(engine: Engine, stored: dict[tuple[str, bytes], bytes], index: int, command: Command) -> Applied:
    """What a driver does: load what the engine wants, then apply."""
    for want in engine.wants(command):
        if want.what == "id":
            # A run id that is not drained yet is still in the engine's memory, so the store is right here.
            engine.load_id(want.key, int.from_bytes(stored.get(("keys", want.key), b"\0"), "big"))
        elif want.what == "plan":
            if (data := stored.get(("plans", bytes.fromhex(want.key)))) is not None:
                engine.load_plan(want.key, decode(data))
        elif want.what == "record":
            store(engine, stored)
            if (data := stored.get(("runs", run_key(want.key)))) is not None:
                engine.load([("runs", data)])
        elif want.what == "rows":
            store(engine, stored)
            run, limit = want.key
            rows = [
                (table, at, stored[table, at])
                for table in OF_RUN
                for of, at in sorted(stored)
                if of == table and at[:8] == run_key(run)
            ]
            engine.load_rows(rows[:limit])
        elif ("runs", run_key(want.key)) in stored:
            key = run_key(want.key)
            engine.load(
                (table, value)
                for (table, at), value in sorted(stored.items())
                if table in ("runs", "scopes", "steps") and at[:8] == key
            )
    return engine.apply(index, command)


__all__ = [
    "Driven",
    "ForEach",
    "GroupAction",
    "RunAction",
    "check_stored",
    "flow",
    "group",
    "id_key",
    "load",
    "load_and_apply",
    "store",
    "task",
]
