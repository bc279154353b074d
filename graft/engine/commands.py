"""What stands in the log: every command that changes the workflow state, and its codec.

Every command carries the engine time and the wall time at which its proposer made it (`now`, `wall`, ms); the engine
clamps both so that they never go back. The wire form is a msgpack array: version, tag, fields in order. A tag never
changes its meaning; new fields go to the end, with a default.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, ClassVar, Final

import attrs
import msgspec
from attrs import field, frozen

from graft.engine.records import ClusterConfig, config_from, error_from
from graft.plan import ErrorRecord

VERSION: Final = 1
RULES: Final = 1
"""The newest rules of replay that this program knows. A registration brings those of its program into force, so that a
log from before gives the state that it always gave. 1: steps and events name members, runs remember their pauses."""


@frozen
class Command:
    tag: ClassVar[int]

    now: int = field(kw_only=True, default=0)
    wall: int = field(kw_only=True, default=0)


@frozen
class RegisterPlan(Command):
    """Keep a plan. Doing it twice is harmless."""

    tag = 1
    plan: bytes  # canonical JSON


@frozen
class StartRun(Command):
    """Start a run. The same `run_id` with the same request again gives the run that exists.

    `given` holds results of root nodes that are taken over instead of running them; `excluded` are root nodes that are
    skipped.
    """

    tag = 2
    run_id: str
    plan: str  # hash of a registered plan
    params: bytes  # JSON table
    base: str = ""
    given: tuple[tuple[int, bytes], ...] = ()
    excluded: tuple[int, ...] = ()


@frozen
class RegisterMember(Command):
    """A process started, or what it offers changed. Attempts of its earlier incarnations are lost.

    Doing it twice with the same incarnation is harmless. Refused for an incarnation that was followed by another one
    or declared down: such a process draws a new one.
    """

    tag = 3
    member: str
    incarnation: int
    slots: tuple[tuple[str, int], ...]
    address: str = ""  # "host:port" of its peers' and clients' door
    labels: tuple[tuple[str, str], ...] = ()  # what `runs_on` asks for
    node_types: tuple[str, ...] = ()  # kinds of steps it can run; none named: all built-in ones
    zone: str = ""
    version: int = 0  # of what it understands; `ClusterConfig.min_version` asks for one
    rules: int = 0


@frozen
class AttemptSettled(Command):
    """An attempt ended. `dice` is a u32 for the jitter of a backoff; `value` is JSON."""

    tag = 4
    run: int
    scope: int
    ordinal: int
    token: int
    status: str  # succeeded | failed | skipped (the error says why) | timed_out | cancelled | lost
    dice: int = 0
    value: bytes | None = None
    error: ErrorRecord | None = None
    retry_after_ms: int | None = None


@frozen
class Decision:
    """What expressions of one step (or the outputs of a scope: ordinal NONE) gave.

    `what`: `go`, `skip`, `fail` (error), `value` (data: JSON), `sleep` (number: ms), `items` (data: JSON list of
    items, number: how many), `params` (data: JSON table), `outputs` (data: JSON table).
    """

    scope: int
    ordinal: int
    what: str
    data: bytes | None = None
    number: int = 0
    reason: str = ""
    error: ErrorRecord | None = None


@frozen
class Decided(Command):
    """Decisions of one run. Ignored when the run has another generation by now."""

    tag = 5
    run: int
    generation: int
    decisions: tuple[Decision, ...]


@frozen
class TimersDue(Command):
    """Time has passed: fire every timer that is due at `now` or `wall`."""

    tag = 6


@frozen
class CancelRun(Command):
    """Cancel a run (scope NONE) or one step of it.

    With a `generation` it is refused when the run has another one by now: asking twice does not reach a later one.
    """

    tag = 7
    run: int
    scope: int
    ordinal: int
    reason: str = "cancelled by a person"
    generation: int = 0


@frozen
class PauseRun(Command):
    """Start nothing new in a run; what runs goes on. Its engine-time deadlines stand still.

    `since` is when it came to a stop (ms since the Unix epoch), where that was before the command; 0: it is now.
    """

    tag = 8
    run: int
    reason: str
    since: int = 0


@frozen
class UnpauseRun(Command):
    """Let a paused run go on: its queued steps compete again, its deadlines are moved by the time it stood still.

    With a `paused_at` it is refused when the run has been paused anew since: asking twice does not undo a later pause.
    """

    tag = 9
    run: int
    paused_at: int = -1  # of the pause that is meant (`Run.paused_at`); -1: of whichever there is


@frozen
class RetryRun(Command):
    """Open the next generation of a final run, or give a parked step of a live one a new budget.

    `scope`/`ordinal` name a step to begin from (with all that follows it); NONE: everything that did not succeed.
    `generation` is that which is tried again, as in `CancelRun`.
    """

    tag = 10
    run: int
    scope: int
    ordinal: int
    generation: int = 0


@frozen
class MemberDown(Command):
    """The lease of a member's incarnation ended: its slots are free and its attempts lost, each once.

    Refused unless `incarnation` is the live one.
    """

    tag = 11
    member: str
    incarnation: int


@frozen
class DrainMember(Command):
    """Place nothing new on a member; what runs goes on. `draining = False` takes it back.

    With an `incarnation` (a process that is about to stop) it ends with that incarnation, and is refused unless that
    is the live one; with 0 (an operator) it lasts until it is taken back.
    """

    tag = 12
    member: str
    draining: bool
    incarnation: int = 0


@frozen
class ForgetMember(Command):
    """The member was removed from the cluster: its attempts are lost, its record goes."""

    tag = 13
    member: str


@frozen
class SetClusterConfig(Command):
    """Limits and defaults of the whole cluster, all of them: what is not named has its default."""

    tag = 14
    config: ClusterConfig


@frozen
class SetClockOffset(Command):
    """The system clock was set: from now on `wall` + `offset` (ms) is the time that people are shown.

    `wall` itself, which sleeps wait for, does not jump.
    """

    tag = 15
    offset: int


@frozen
class RemoveRuns(Command):
    """Remove runs that have ended: they are gone at once, with their ids. What they left is swept (`SweepRun`).

    `runs` are pairs of a number and the generation that is meant: a run that was opened again since is left alone, as
    is one that has not ended. The result names those that were removed; one that is gone already is not among them.
    """

    tag = 16
    runs: tuple[tuple[int, int], ...]


@frozen
class SweepRun(Command):
    """Delete up to `limit` rows that a removed run left behind. The result says whether that was all."""

    tag = 17
    run: int
    limit: int


@frozen
class DropPlans(Command):
    """Drop plans that no run uses, as somebody saw who looked at all runs before run `next_run`.

    Refused when a run was started since: it may use one of them.
    """

    tag = 18
    plans: tuple[str, ...]  # hashes
    next_run: int


COMMANDS: Final[tuple[type[Command], ...]] = (
    RegisterPlan,
    StartRun,
    RegisterMember,
    AttemptSettled,
    Decided,
    TimersDue,
    CancelRun,
    PauseRun,
    UnpauseRun,
    RetryRun,
    MemberDown,
    DrainMember,
    ForgetMember,
    SetClusterConfig,
    SetClockOffset,
    RemoveRuns,
    SweepRun,
    DropPlans,
)
CLUSTER_VERSION: Final = 2
"""The newest cluster version that this program understands (`graft.raft.versions`)."""

SINCE: Final[dict[type[Command], int]] = {SetClockOffset: 2, RemoveRuns: 2, SweepRun: 2, DropPlans: 2}
"""The cluster version that a command came with, where that is not the first: no older program can read it."""

SKIPS_SINCE: Final = 2
"""The cluster version from which attempts settle as `skipped`. Older programs take that for a failure."""

BY_TAG: Final = {command.tag: command for command in COMMANDS}
_names: Final = {command: tuple(a.name for a in attrs.fields(command)) for command in (*COMMANDS, Decision)}
_fields: Final[dict[type, Callable[[Any], tuple[Any, ...]]]] = {
    # attrgetter of one name gives no tuple; every command has at least `now` and `wall`.
    record: attrgetter(*names)
    for record, names in _names.items()
}
_encoder: Final = msgspec.msgpack.Encoder(
    enc_hook=lambda value: bytes(value)  # pragma: no cover - nothing else is in a command
)
_decode: Final = msgspec.msgpack.Decoder().decode


def encode_command(command: Command) -> bytes:
    values = _fields[type(command)](command)
    if isinstance(command, Decided):
        values = tuple(
            tuple(map(_fields[Decision], value)) if name == "decisions" else value
            for name, value in zip(_names[Decided], values, strict=True)
        )
    return _encoder.encode((VERSION, command.tag, *values))


def decode_command(data: bytes) -> Command:
    """Raises ValueError for what is not a command of a known version and tag."""
    try:
        version, tag, *values = _decode(data)
        if version > VERSION or tag not in BY_TAG:
            raise ValueError(f"command version {version} tag {tag} is unknown to this version of Graft")
        cls = BY_TAG[tag]
        fields = dict(zip(_names[cls], values, strict=False))
        return cls(**{name: _restore(name, value) for name, value in fields.items()})
    except (ValueError, TypeError) as error:
        raise ValueError(f"not a command: {error}") from error


def _restore(name: str, value: Any) -> Any:
    if name == "error":
        return error_from(value)
    if name == "decisions":
        return tuple(
            Decision(**{key: _restore(key, each) for key, each in zip(_names[Decision], row, strict=False)})
            for row in value
        )
    if name == "config":
        return config_from(value)
    if name in _PAIRS:
        return tuple(map(tuple, value))
    return tuple(value) if name in _LISTS else value


_PAIRS: Final = frozenset({"given", "slots", "labels", "runs"})
_LISTS: Final = frozenset({"excluded", "node_types", "plans"})
