"""What reaches the core. Facts are in the past tense; requests of clients and operators end in `Requested`.

`request` numbers are chosen by the shell, are never reused within a process, and come back in the effect that answers.
"""

from __future__ import annotations

from .messages import Message
from .records import Configuration, Entry, record


@record
class DeadlinePassed:
    """The time that `next_deadline()` named has come. Harmless when it has not."""


@record
class Starved:
    """The loop that tells this member could not run for `seconds` until now: what others sent meanwhile is still to be
    told. A silence that it did not listen to proves nothing (see `election.starved`). No answer."""

    seconds: float


@record
class MessageReceived:
    message: Message


@record
class Persisted:
    """Every `Persist` up to `ticket` is synced. `applied`: the synced state machine covers the log up to there.

    Both may repeat or stay behind what was told before; 0 says nothing.
    """

    ticket: int = 0
    applied: int = 0


@record
class PersistFailed:
    """A write or its sync failed: what the disk holds is unknown. The core stops for good."""

    reason: str


@record
class EntriesRead:
    """Answers `ReadEntries` with the same `read`.

    `entries` begin at its `first` and may be fewer than asked, but at least one unless `corrupt` is set. `corrupt` is
    the index of the first entry that failed its checksum; the entries before it are good.
    """

    read: int
    entries: tuple[Entry, ...]
    corrupt: int | None = None


@record
class CorruptionFound:
    """A scrub found that the stored entry at `index` fails its checksum."""

    index: int


@record
class Applied:
    """The state machine has applied the log up to `index` (perhaps not yet synced)."""

    index: int


@record
class SnapshotTaken:
    """Answers `TakeSnapshot`: the state at applied `index` is exported as `id` (`size` bytes, `checksum` of the whole
    as text). Equal ids promise equal bytes: a name that no other member and no other process would choose."""

    id: str
    index: int
    size: int
    checksum: str = ""


@record
class SnapshotFailed:
    """Answers `TakeSnapshot` (`id` empty) or `WriteChunk`: it could not be done, or the checksum of the whole file is
    wrong. What was staged under `id` is gone."""

    id: str
    reason: str


@record
class ChunkRead:
    """Answers `ReadChunk`. `data` None: the snapshot is no longer there, or is damaged."""

    id: str
    target: str
    offset: int
    data: bytes | None


@record
class ChunkWritten:
    """Answers `WriteChunk`: bytes before `next_offset` of snapshot `id` are staged and synced. When that is the whole
    size the file's checksum was found right."""

    id: str
    next_offset: int


@record
class Proposed:
    """A client's command. Answered by `AcceptProposal` or `RefuseProposal` in the same call."""

    request: int
    data: bytes


@record
class ReadRequested:
    """Answered by `AnswerRead` or `RefuseRead`. `lease`: a lease read is good enough (if the configuration allows)."""

    request: int
    lease: bool = False


@record
class Change:
    """One wish of a membership change.

    `op`: `add` (role voter: it begins as a learner and is promoted when caught up; learner: the same; executor),
    `promote` (a learner that has caught up, now), `demote` (voter -> executor), `remove`. `incarnation` is needed for
    `add` only; elsewhere 0 means whichever it is.
    """

    op: str
    id: str
    incarnation: int = 0
    role: str = "voter"


@record
class MembershipChangeRequested:
    """All `changes` in one step. Answered by `AnswerRequest` when the new configuration is committed and in force
    (a voter that is added is then a learner).

    With a voter that is added and anybody removed or demoted there are two steps: the first takes the additions as
    learners, the second does all else when they have caught up (see `replacing`). The answer comes after the second.
    """

    request: int
    changes: tuple[Change, ...]


@record
class TransferRequested:
    """Hand leadership to `target`, None: to whoever is best. Answered by `AnswerRequest`."""

    request: int
    target: str | None = None


@record
class CampaignRequested:
    """Stand for election now, unless a leader was heard of lately. No answer."""


@record
class CompactionRequested:
    """Forget the log up to `index`, as far as the synced state machine allows. No answer."""

    index: int


@record
class VersionRequested:
    """Raise the cluster's version. Refused unless every member is known to understand it. `AnswerRequest`."""

    request: int
    version: int


@record
class QuorumRecoveryRequested:
    """The operator declares that the quorum is lost for ever and that this member alone is the cluster from now on.

    Every entry in its log becomes committed. The others must never come back under their old incarnations. Refused
    while a leader is heard of, and unless `configuration` has this member as its only voter. `AnswerRequest`.
    """

    request: int
    configuration: Configuration


Event = (
    DeadlinePassed
    | Starved
    | MessageReceived
    | Persisted
    | PersistFailed
    | EntriesRead
    | CorruptionFound
    | Applied
    | SnapshotTaken
    | SnapshotFailed
    | ChunkRead
    | ChunkWritten
    | Proposed
    | ReadRequested
    | MembershipChangeRequested
    | TransferRequested
    | CampaignRequested
    | CompactionRequested
    | VersionRequested
    | QuorumRecoveryRequested
)
