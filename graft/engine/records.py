"""The engine's live records: what is replicated, hashed and stored, one small record a run, scope, step and member.

Records are mutable, but only through `State.edit`, which keeps the image from before the change. They are stored as
msgpack arrays of their fields in order, after a version number: new fields go to the end, with a default. Results,
params and items are not in the records: they are values, named here by their digest, so that a record's hash covers
them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from hashlib import blake2b
from operator import attrgetter
from typing import Any, ClassVar, Final

import attrs
import msgspec
from attrs import define, field, frozen

from graft.plan import ErrorRecord

VERSION: Final = 1
INTERRUPTED: Final = "interrupted"  # why a run is paused: the process that ran it is gone
STORE_FULL: Final = "store_full"  # why a run is paused: its cluster is short of room
NONE: Final = 0xFFFFFFFF  # the ordinal that means "the scope itself"

# Slots of the `values` table.
OUT: Final = 0  # result of a step; under ordinal NONE: outputs of the run
PARAMS: Final = 1  # params of a flow's scope (ordinal NONE)
ITEMS: Final = 2  # items of a map's scope (ordinal NONE)

REMOVED: Final = b"removed"
"""What stands in the `live` table beside a run that was removed and left rows behind; nothing, for a run that lives."""

OF_RUN: Final = ("steps", "scopes", "values", "events")
"""The tables whose keys begin with the number of a run, beside `runs`, in the order in which they are swept."""

_run_key = struct.Struct(">Q").pack
_scope_key = struct.Struct(">QI").pack
_step_key = struct.Struct(">QII").pack
_value_key = struct.Struct(">QIIB").pack


def run_key(run: int) -> bytes:
    return _run_key(run)


def scope_key(run: int, scope: int) -> bytes:
    return _scope_key(run, scope)


def step_key(run: int, scope: int, ordinal: int) -> bytes:
    return _step_key(run, scope, ordinal)


def value_key(run: int, scope: int, ordinal: int, slot: int) -> bytes:
    return _value_key(run, scope, ordinal, slot)


def events_key(run: int, index: int) -> bytes:
    return _run_key(run) + _run_key(index)


def closed_idle(idle: tuple[tuple[int, int], ...], clock: int) -> tuple[tuple[int, int], ...]:
    """The pauses of a run (`Run.idle`), of which the last one is over by now."""
    if not idle or idle[-1][1]:
        return idle
    began = idle[-1][0]
    return (*idle[:-1], (began, max(clock, began)))


def id_key(run_id: str) -> bytes:
    """Key of a run id in the `keys` table."""
    return blake2b(run_id.encode(), digest_size=16).digest()


def digest(data: bytes) -> int:
    """64 bits that stand for `data`; 0 stands for nothing."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big") or 1


@frozen
class ClusterConfig:
    """Limits and defaults of the whole cluster, as logged. 0 or nothing means: no limit, no default.

    Limits bound what starts: lowering one stops nothing that runs. A kind that `kinds` does not name has the limit
    `default_kind`. Stored as a table by field name, so that fields may be added.
    """

    total: int = 0  # attempts at once in the cluster
    kinds: tuple[tuple[str, int], ...] = ()  # attempts at once by kind of node
    default_kind: int = 0
    max_runs: int = 0  # live runs at once: a start beyond it is refused
    attempt_timeout_ms: int = 0  # of an attempt whose node has no `timeout`
    retry_attempts: int = 0  # tries of a node that has no `retry`
    retry_backoff_ms: int = 1000  # first backoff of these
    min_version: int = 0  # members of a lower one get nothing new


@define(eq=False)
class Record:
    """`epoch` is the apply that last edited it; `hash` its share in the state hash, 0 while it is not stored."""

    table: ClassVar[str]
    fields_of: ClassVar[Callable[[Any], tuple[Any, ...]]]
    field_names: ClassVar[tuple[str, ...]]
    first_fields: ClassVar[int | None] = None  # how many fields the first version had, where later ones added some

    epoch: int = field(default=0, init=False)
    hash: int = field(default=0, init=False)
    deleted: bool = field(default=False, init=False)

    def key(self) -> bytes:
        raise NotImplementedError


@define(eq=False)
class Run(Record):
    """One execution of a plan. Invariant: `status` is final exactly when the root scope has ended."""

    table = "runs"
    first_fields = 17

    no: int = 0
    id: str = ""
    name: str = ""
    plan: str = ""  # hash
    base: str = ""  # directory that relative paths refer to
    status: str = "running"
    generation: int = 1  # a person's retry of a final run opens the next one
    reason: str = ""
    paused: str = ""  # why nothing new starts: "", INTERRUPTED, "person", "internal", STORE_FULL
    paused_at: int = 0  # engine time
    started_wall: int = 0
    ended_wall: int = 0
    next_scope: int = 1
    request: int = 0  # digest of what was asked for: a second start with the same id must ask for the same
    events: int = 0  # rolling digest of its history
    out: int = 0
    error: ErrorRecord | None = None
    near: str = ""  # the member that ran its last step, where there is a choice of members
    idle: tuple[tuple[int, int], ...] = ()  # when it was paused (clock, ms): from, to; to is 0 while it is

    def key(self) -> bytes:
        return _run_key(self.no)


@define(eq=False)
class Scope(Record):
    """A durable nursery. A scope of kind `map` runs node `node` of `block` once an item; `body` runs `block`.

    Invariant: `open` counts its steps that are recorded and not final; `remaining` the nodes (items) of the phase
    that have not ended. `todo`, after a reopening, lists the items that still have to be made, instead of
    `made` .. `total`.
    """

    table = "scopes"

    run: int = 0
    no: int = 0
    kind: str = "body"  # body | map
    block: int = 0
    node: int = NONE
    parent_scope: int = NONE
    parent_ordinal: int = NONE
    status: str = "running"
    outcome: str = ""  # what it will end with, once that is known
    reason: str = ""
    open: int = 0
    remaining: int = 0
    failed: int = 0
    total: int = 0  # items
    made: int = 0  # items made so far
    slots: int = 0  # items at once, 0 is no limit
    tolerate: int = 0
    deadline: int = 0  # engine time, 0 is none
    params: int = 0
    items: int = 0
    errors: tuple[ErrorRecord, ...] = ()
    todo: tuple[int, ...] | None = None

    def key(self) -> bytes:
        return _scope_key(self.run, self.no)


@define(eq=False)
class Step(Record):
    """One instance of a node. Its path follows from its scope and ordinal.

    Invariant: `member` is set exactly while an attempt is out (`running` or `cancelling` of a task).
    `attempt` counts tries of the step's own code, `token` every start, so it also tells attempts apart that were lost;
    above its low 32 bits stands the generation in which the step was made, from 0.
    """

    table = "steps"
    first_fields = 27

    run: int = 0
    scope: int = 0
    ordinal: int = 0
    status: str = "pending"
    reason: str = ""
    attempt: int = 0
    token: int = 0
    lost: int = 0
    member: str = ""
    incarnation: int = 0
    child: int = NONE  # the scope it opened
    ending: str = ""  # while cancelling: what the end will be called
    ok: int = 0  # needs that succeeded
    bad: int = 0
    skipped: int = 0
    afters: int = 0  # ordering edges that ended
    catches: int = 0  # catch edges that ended without a catch
    position: int = 0  # place in the queue
    due: int = 0  # engine time: the backoff ends
    deadline: int = 0  # engine time: total_timeout
    wake: int = 0  # wall time: the sleep ends
    started_wall: int = 0
    ended_wall: int = 0
    out: int = 0  # digest of its result
    contained: bool = False  # its failure was caught, or the flow goes on after it
    neutral: bool = False  # loser of an any_succeeded
    error: ErrorRecord | None = None
    ran_on: str = ""  # the member of its last attempt

    def key(self) -> bytes:
        return _step_key(self.run, self.scope, self.ordinal)


@define(eq=False)
class Member(Record):
    """A registered member. `slots` limits its attempts by kind; `*` is the limit over all.

    `past` are its last incarnations before this one, newest first: a late registration of one of them is refused.
    """

    table = "members"
    first_fields = 4

    id: str = ""
    incarnation: int = 0
    slots: tuple[tuple[str, int], ...] = ()
    live: bool = True
    address: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    node_types: tuple[str, ...] = ()  # none: all built-in ones
    zone: str = ""
    version: int = 0
    draining: bool = False  # an operator's word: lasts until it is taken back
    stopping: bool = False  # this incarnation's own word
    past: tuple[int, ...] = ()

    def key(self) -> bytes:
        return self.id.encode()


@define(eq=False)
class Meta(Record):
    """The engine's own counters and clocks."""

    table = "meta"
    first_fields = 5

    next_run: int = 1
    next_position: int = 1
    now: int = 0  # engine time in ms
    wall: int = 0  # highest wall time told
    term_offset: int = 0
    config: ClusterConfig | None = None  # None: never set
    clock_offset: int = 0  # ms by which the clock that people read is ahead of `wall`
    rules: int = 0  # see `graft.engine.commands.RULES`

    def key(self) -> bytes:
        return b"engine"

    @property
    def clock(self) -> int:
        """What people are shown as the time: ms since the Unix epoch. It may go back, `wall` never does."""
        return self.wall + self.clock_offset


RECORDS: Final[tuple[type[Record], ...]] = (Run, Scope, Step, Member, Meta)
BY_TABLE: Final[dict[str, type[Record]]] = {record.table: record for record in RECORDS}
_BASE: Final = {a.name for a in attrs.fields(Record)}
for _record in RECORDS:
    _record.field_names = tuple(a.name for a in attrs.fields(_record) if a.name not in _BASE)
    _record.fields_of = attrgetter(*_record.field_names)

# The defaults of the fields that were added later. They are left out at the end of a stored record while they hold
# these, so that a log that knows nothing of them gives the bytes, and the state hash, that it always gave.
_ADDED: Final[dict[type[Record], tuple[Any, ...]]] = {
    record: tuple(a.default for a in attrs.fields(record) if a.name not in _BASE)[record.first_fields :]
    for record in RECORDS
    if record.first_fields is not None
}

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode


def encode_record(record: Record) -> bytes:
    values = type(record).fields_of(record)
    added = _ADDED.get(type(record))
    return _pack((VERSION, *(values if added is None else _trimmed(values, added))))


def _trimmed(values: tuple[Any, ...], added: tuple[Any, ...]) -> tuple[Any, ...]:
    end = len(values)
    for default in reversed(added):
        if values[end - 1] != default:
            break
        end -= 1
    return values[:end]


def decode_record(table: str, data: bytes) -> Record:
    """The record of stored bytes. Fields that an older version did not have get their defaults."""
    version, *values = _unpack(data)
    assert version <= VERSION, f"a record of {table} has version {version}, this Graft reads up to {VERSION}"
    cls = BY_TABLE[table]
    made: Any = cls(**dict(zip(cls.field_names, values, strict=False)))
    if isinstance(made, (Run, Step)):
        made.error = error_from(made.error)
        if isinstance(made, Run):
            made.idle = tuple((since, until) for since, until in made.idle)
    elif isinstance(made, Scope):
        made.errors = tuple(error for each in made.errors if (error := error_from(each)) is not None)
        made.todo = None if made.todo is None else tuple(made.todo)
    elif isinstance(made, Member):
        made.slots = tuple((kind, limit) for kind, limit in made.slots)
        made.labels = tuple((name, value) for name, value in made.labels)
        made.node_types, made.past = tuple(made.node_types), tuple(made.past)
    elif isinstance(made, Meta):
        made.config = config_from(made.config)
    return made  # type: ignore[no-any-return]


def error_from(value: Any) -> ErrorRecord | None:
    """An `ErrorRecord` from its decoded table."""
    if value is None or isinstance(value, ErrorRecord):
        return value
    causes = tuple(error for each in value.get("cause", ()) if (error := error_from(each)) is not None)
    return ErrorRecord(**{**value, "cause": causes})


def config_from(value: Any) -> ClusterConfig | None:
    """A `ClusterConfig` from its decoded table. Raises TypeError for what is none."""
    if value is None or isinstance(value, ClusterConfig):
        return value
    if not isinstance(value, dict):
        raise TypeError(f"a cluster configuration is a table, got {type(value).__name__}")
    known = {name: each for name, each in value.items() if name in _CONFIG}
    return ClusterConfig(**{**known, "kinds": tuple(map(tuple, known.get("kinds", ())))})


_CONFIG: Final = frozenset(a.name for a in attrs.fields(ClusterConfig))


def record_hash(record: Record, data: bytes) -> int:
    """The share of a stored record in the state hash: 64 bits over table, key and value."""
    return row_hash(record.table, record.key(), data)


def row_hash(table: str, key: bytes, data: bytes) -> int:
    """The same of the row that it is stored as."""
    h = blake2b(data, digest_size=8, key=table.encode())
    h.update(key)
    return int.from_bytes(h.digest(), "big")
