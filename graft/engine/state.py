"""The engine's state: live records, the indexes over them, and what one apply changed.

Records are the truth. Indexes (queue, ledger, timers, live children) are derived and rebuilt from the records when a
store is opened or an apply was undone, so nothing may depend on the order in which they were filled: whoever walks
over one sorts it first.

Only live records stay in memory: a final step leaves with the next `drain`, a final run with all that belongs to it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from graft.engine.effects import Change, Effect, Happened
from graft.engine.graph import BlockGraph, Line, PlanGraph, is_task
from graft.engine.lifecycle import FINAL, RUN, SCOPE, STEP
from graft.engine.placement import UNPLACEABLE, Placement
from graft.engine.records import (
    BY_TABLE,
    NONE,
    Member,
    Meta,
    Record,
    Run,
    Scope,
    Step,
    decode_record,
    digest,
    encode_record,
    events_key,
    record_hash,
    row_hash,
    value_key,
)
from graft.ids import ScopeKey, StepKey
from graft.plan import Node, Retry
from graft.queues import ReadyQueue
from graft.resources import Ledger

_pack = msgspec.msgpack.Encoder().encode

# A status that an event shows only when the step stays in it beyond the apply, or has a reason to tell.
TRANSIENT: Final = frozenset({"pending", "ready", "queued"})

HASH_KEY: Final = b"hash"  # in the `meta` table: the state hash, so that opening a store does not read every record
MASK: Final = (1 << 64) - 1


class IllegalMove(AssertionError):
    """A transition that the tables of `graft.engine.lifecycle` do not have: a bug of the engine."""


Timer = tuple[int, int, int, int]  # (when, run, scope, ordinal); ordinal NONE is the scope's own deadline
Event = tuple[int, int, str, str, int]


class State:
    """See the module's docstring. `keep` holds final records in memory, for invariants under test."""

    def __init__(self, *, keep: bool = False) -> None:
        self.keep = keep
        self.meta = Meta()
        self.runs: dict[int, Run] = {}
        self.scopes: dict[ScopeKey, Scope] = {}
        self.steps: dict[StepKey, Step] = {}
        self.members: dict[str, Member] = {}
        self.plans: dict[str, PlanGraph] = {}
        self.known_ids: dict[bytes, int] = {}  # keys of run ids that a command named, as loaded or made
        self.removed: set[int] = set()  # runs that left rows behind
        self.hash = 0

        # Indexes
        self.keys_of_run: dict[int, set[tuple[int, ...]]] = {}  # keys of its scopes and steps
        self.queue: ReadyQueue[Line, StepKey] = ReadyQueue()
        self.placement = Placement()
        self.zones: dict[str, str] = {}  # by member
        self.ledger = Ledger()
        self.default_retry: Retry | None = None
        self.children: dict[ScopeKey, dict[int, None]] = {}  # live steps of a scope
        self.attempts: dict[str, dict[StepKey, None]] = {}  # member -> steps whose attempt it has
        self.timers: list[Timer] = []  # engine time
        self.wakes: list[Timer] = []  # wall time

        # The apply under way
        self.epoch = 0
        self.index = 0
        self.agenda: deque[tuple[str, Any]] = deque()
        self.effects: list[Effect] = []
        self._journal: list[tuple[Record, tuple[Any, ...] | None]] = []
        self._events: dict[int, list[Event]] = {}
        self._latest: dict[StepKey, int] = {}
        self._history: dict[int, list[Event]] = {}

        # The turn under way
        self._dirty: dict[Record, None] = {}
        self._writes: list[Change] = []

    @property
    def cluster_rules(self) -> bool:
        """Whether the rules hold that came with clusters: a configuration was logged.

        A log from before has none, and gives the state that it always gave: lines by kind, tokens that begin again
        with each generation, no memory of past incarnations.
        """
        return self.meta.config is not None

    # Records

    def edit(self, record: Record) -> None:
        """Must be called before `record` is changed in this apply."""
        if record.epoch != self.epoch:
            record.epoch = self.epoch
            self._journal.append((record, type(record).fields_of(record)))

    def add(self, record: Record) -> None:
        record.epoch = self.epoch
        self._journal.append((record, None))
        self._index_record(record)

    def delete(self, record: Record) -> None:
        self.edit(record)
        record.deleted = True
        self._unindex_record(record)

    def _table(self, record: Record) -> tuple[dict[Any, Any], Any]:
        match record:
            case Step():
                return self.steps, (record.run, record.scope, record.ordinal)
            case Scope():
                return self.scopes, (record.run, record.no)
            case Run():
                return self.runs, record.no
            case Member():
                return self.members, record.id
        raise TypeError(record)

    def _index_record(self, record: Record) -> None:
        table, key = self._table(record)
        table[key] = record
        if isinstance(record, (Step, Scope)):
            self.keys_of_run.setdefault(record.run, set()).add(key)

    def _unindex_record(self, record: Record) -> None:
        table, key = self._table(record)
        table.pop(key, None)
        if isinstance(record, (Step, Scope)) and record.run in self.keys_of_run:
            self.keys_of_run[record.run].discard(key)

    def run_of(self, record: Step | Scope) -> Run:
        return self.runs[record.run]

    def scope_of(self, step: Step) -> Scope:
        return self.scopes[step.run, step.scope]

    def graph_of(self, scope: Scope) -> BlockGraph:
        return self.plans[self.runs[scope.run].plan].blocks[scope.block]

    def node_of(self, step: Step) -> Node:
        scope = self.scopes[step.run, step.scope]
        nodes = self.plans[self.runs[step.run].plan].blocks[scope.block].nodes
        return nodes[scope.node if scope.kind == "map" else step.ordinal]

    def line_of(self, step: Step) -> Line:
        scope = self.scopes[step.run, step.scope]
        lines = self.plans[self.runs[step.run].plan].blocks[scope.block].lines
        return lines[scope.node if scope.kind == "map" else step.ordinal]

    def retry_of(self, step: Step) -> Retry | None:
        """How a step is tried again: as its node says, else as the cluster is configured."""
        return self.node_of(step).retry or self.default_retry

    def parent_of(self, scope: Scope) -> Step | None:
        return self.steps[scope.run, scope.parent_scope, scope.parent_ordinal] if scope.parent_scope != NONE else None

    # Moves

    def move(self, step: Step, move: str, reason: str = "") -> None:
        """Move a step along the table `STEP`, keep its reason, and tell it."""
        target = STEP[step.status].get(move)
        if target is None:
            raise IllegalMove(f"step {step.run}/{step.scope}/{step.ordinal} is {step.status}: no move {move!r}")
        self.edit(step)
        step.status = target
        step.reason = reason
        self.tell(step.run, step.scope, step.ordinal, target, reason, step.attempt)

    def move_scope(self, scope: Scope, move: str) -> None:
        target = SCOPE[scope.status].get(move)
        if target is None:
            raise IllegalMove(f"scope {scope.run}/{scope.no} is {scope.status}: no move {move!r}")
        self.edit(scope)
        scope.status = target

    def move_run(self, run: Run, move: str, reason: str = "") -> None:
        target = RUN[run.status].get(move)
        if target is None:
            raise IllegalMove(f"run {run.id} is {run.status}: no move {move!r}")
        self.edit(run)
        run.status = target
        run.reason = reason
        self.tell(run.no, 0, NONE, target, reason, run.generation)

    def tell(self, run: int, scope: int, ordinal: int, what: str, reason: str, number: int) -> None:
        """Add an event to the run's history. A step that only passes through a status in this apply is told once."""
        events = self._events.setdefault(run, [])
        key = (run, scope, ordinal)
        at = self._latest.get(key)
        if at is not None and events[at][2] in TRANSIENT and not events[at][3]:
            events[at] = (scope, ordinal, what, reason, number)
            return
        self._latest[key] = len(events)
        events.append((scope, ordinal, what, reason, number))

    # Values, timers, queue

    def write(self, table: str, key: bytes, value: bytes | None) -> None:
        self._writes.append((table, key, value))

    def delete_row(self, table: str, key: bytes, value: bytes) -> None:
        """Delete a stored row whose record, if it is one, is not in memory."""
        self._writes.append((table, key, None))
        if table in BY_TABLE:
            self.hash = (self.hash - row_hash(table, key, value)) & MASK

    def write_value(self, run: int, scope: int, ordinal: int, slot: int, value: bytes) -> int:
        """Store a value; its digest belongs into the record that owns it."""
        self._writes.append(("values", value_key(run, scope, ordinal, slot), value))
        return digest(value)

    def set_timer(self, when: int, run: int, scope: int, ordinal: int) -> None:
        heapq.heappush(self.timers, (when, run, scope, ordinal))

    def set_wake(self, when: int, run: int, scope: int, ordinal: int) -> None:
        heapq.heappush(self.wakes, (when, run, scope, ordinal))

    def pop_due(self, heap: list[Timer], now: int) -> list[Timer]:
        """Take the timers that are due, in order, each once."""
        due: list[Timer] = []
        while heap and heap[0][0] <= now:
            timer = heapq.heappop(heap)
            if not due or due[-1] != timer:
                due.append(timer)
        return due

    # One apply: `open`, then one or more sections (`begin` … `commit` or `rollback`), then `close`

    def open(self, index: int) -> None:
        self.index = index
        self._history = {}
        self._dirty[self.meta] = None  # every command moves the clocks

    def close(self) -> list[Effect]:
        """Write the history of every run that was touched; the effects that tell it."""
        return [self._append_history(run_no, tuple(events)) for run_no, events in self._history.items()]

    def begin(self) -> None:
        self.epoch += 1
        self._journal.clear()
        self._events.clear()
        self._latest.clear()
        self.effects = []
        self._mark = len(self._writes)

    def commit(self) -> list[Effect]:
        """Keep what this section changed; its effects."""
        for record, _ in self._journal:
            self._dirty[record] = None
        for run_no, events in self._events.items():
            self._history.setdefault(run_no, []).extend(events)
        return self.effects

    def _append_history(self, run_no: int, events: tuple[Event, ...]) -> Happened:
        run = self.runs[run_no]
        data = _pack((self.meta.clock, events))
        self.write("events", events_key(run_no, self.index), data)
        run.events = digest(run.events.to_bytes(8, "big") + data)
        self._dirty[run] = None
        return Happened(run_no, run.id, self.index, self.meta.clock, events)

    def rollback(self) -> None:
        """Undo this section, and build the indexes anew: exceptions are rare, so it may cost O(live)."""
        for record, image in reversed(self._journal):
            if image is None:
                self._unindex_record(record)
                continue
            for name, value in zip(type(record).field_names, image, strict=True):
                setattr(record, name, value)
            if record is not self.meta:
                record.deleted = False
                self._index_record(record)
        del self._writes[self._mark :]
        self.agenda.clear()
        self.reindex()

    # One turn

    def drain(self) -> list[Change]:
        """What changed since the last drain, encoded. Final records leave the memory."""
        changes = self._writes
        self._writes = []
        for record in self._dirty:
            self._drain_record(record, changes)
        self._dirty.clear()
        changes.append((Meta.table, HASH_KEY, self.hash.to_bytes(8, "big")))
        return changes

    def _drain_record(self, record: Record, changes: list[Change]) -> None:
        if record.deleted:
            if record.hash:
                changes.append((record.table, record.key(), None))
            fresh = 0
        else:
            data = encode_record(record)
            changes.append((record.table, record.key(), data))
            fresh = record_hash(record, data)
        self.hash = (self.hash + fresh - record.hash) & MASK
        record.hash = fresh
        if not self.keep and not record.deleted:
            self._evict(record)

    def _evict(self, record: Record) -> None:
        if isinstance(record, Step) and record.status in FINAL:
            scope = self.scopes.get((record.run, record.scope))
            if scope is None or self._all_edges_ended(scope, record):
                self._unindex_record(record)
        elif isinstance(record, Scope) and record.status == "ended" and record.no != 0:
            self._unindex_record(record)
            self.children.pop((record.run, record.no), None)
        elif isinstance(record, Run) and record.status in FINAL:
            self.forget_run(record.no)

    def _all_edges_ended(self, scope: Scope, step: Step) -> bool:
        """Whether nothing can happen any more that would look for this final step."""
        if scope.kind == "map":
            return True
        graph, i = self.graph_of(scope), step.ordinal
        ended = step.ok + step.bad + step.skipped + step.afters + step.catches
        return ended >= graph.needs[i] + graph.afters[i] + graph.catches[i] and i not in graph.raced

    def forget_run(self, no: int) -> None:
        self.runs.pop(no, None)
        for key in self.keys_of_run.pop(no, ()):
            keyed: tuple[dict[Any, Any], ...] = (self.steps,) if len(key) == 3 else (self.scopes, self.children)
            for each in keyed:
                each.pop(key, None)

    # Loading

    def load(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Take stored records (`(table, value)`) in. At a start, call `reindex` after the last.

        What is in memory, or was deleted in this turn, is newer than what the store has. What a removed run left
        behind is only to be swept.
        """
        gone = {(record.table, record.key()) for record in self._dirty if record.deleted}
        for table, data in rows:
            record = decode_record(table, data)
            record.hash = record_hash(record, data)
            if isinstance(record, Meta):
                self.meta = record
                continue
            if isinstance(record, (Step, Scope)) and record.run in self.removed:
                continue
            live, key = self._table(record)
            if key not in live and (table, record.key()) not in gone:
                self._index_record(record)

    def use_config(self) -> None:
        """Derive from the logged configuration what placement and retries look at."""
        config = self.meta.config
        if config is None:
            self.default_retry = None
            self.ledger.set_quotas(0, {}, 0)
            return
        self.ledger.set_quotas(config.total, dict(config.kinds), config.default_kind)
        self.default_retry = None
        if config.retry_attempts > 1:
            self.default_retry = Retry(attempts=config.retry_attempts, initial_ms=config.retry_backoff_ms)

    def reindex(self) -> None:
        self.queue, self.ledger, self.placement = ReadyQueue(), Ledger(), Placement()
        self.use_config()
        self.children, self.attempts = {key: {} for key in self.scopes}, {}
        self.timers, self.wakes = [], []
        self.zones = {member.id: member.zone for member in self.members.values()}
        for member in self.members.values():
            self.attempts[member.id] = {}
            if member.live:
                self.ledger.open(member.id, dict(member.slots))
        for scope in self.scopes.values():
            if scope.deadline and scope.status != "ended":
                self.set_timer(scope.deadline, scope.run, scope.no, NONE)
        for step in self.steps.values():
            if step.status not in FINAL:
                self._reindex_step(step)

    def _reindex_step(self, step: Step) -> None:
        key = (step.run, step.scope, step.ordinal)
        self.children[step.run, step.scope][step.ordinal] = None
        if step.member:
            self.attempts.setdefault(step.member, {})[key] = None
            member = self.members.get(step.member)
            if member is not None and member.live and member.incarnation == step.incarnation:
                self.ledger.take(step.member, self.node_of(step).kind)
        if step.status == "queued":
            self.enter_queue(step)
        elif self.is_stranded(step):
            self.placement.strand(self.line_of(step), key)
        if step.due:
            self.set_timer(step.due, *key)
        if step.deadline:
            self.set_timer(step.deadline, *key)
        if step.wake:
            self.set_wake(step.wake, *key)

    def enter_queue(self, step: Step) -> None:
        """Let a queued step compete for a slot, unless its run is paused."""
        if not self.runs[step.run].paused:
            self.queue.push(self.line_of(step), (step.run, step.scope, step.ordinal), step.position)

    @staticmethod
    def is_stranded(step: Step) -> bool:
        """Whether a step waits because no live member can run it."""
        return step.status == "waiting" and step.reason.startswith(UNPLACEABLE)

    def live_runs(self) -> list[Run]:
        return [run for _, run in sorted(self.runs.items()) if run.status not in FINAL]

    def steps_of_run(self, run: int) -> list[Step]:
        """The steps of a run that are in memory, by key."""
        return [self.steps[key] for key in sorted(self.keys_of_run.get(run, ())) if len(key) == 3]

    def scopes_of_run(self, run: int) -> list[Scope]:
        return [self.scopes[key] for key in sorted(self.keys_of_run.get(run, ())) if len(key) == 2]

    def live_children(self, scope: Scope) -> list[Step]:
        return [self.steps[scope.run, scope.no, i] for i in sorted(self.children.get((scope.run, scope.no), ()))]

    def is_attempt(self, step: Step) -> bool:
        """Whether the step's work is an attempt of its own, not a scope."""
        return step.child == NONE and is_task(self.node_of(step))


__all__ = ["BY_TABLE", "HASH_KEY", "Event", "IllegalMove", "State", "Timer"]
