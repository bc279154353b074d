"""All that one member knows, and the effects it is about to order. The other files of this room act on it.

Rejected: one class with a hundred methods (etcd's `raft`, 2,100 lines), and one object a role (state that outlives a
role has to be carried across). Here the state is one record and the rules are functions by concern.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from .buggify import Hook
from .config import Config
from .effects import DropHeld, Effect, Persist, ReportRole, Send, Stop
from .log import Log
from .messages import Message
from .outbox import WAITS, waits
from .progress import Progress
from .records import Configuration, HardState, Recovered, SnapshotMeta, record
from .view import View

if TYPE_CHECKING:
    from .membership import Leaver
    from .reads import ReadRound, Waiting
    from .repair import Ask
    from .replacing import Replacement
    from .snapshots import Arrival
    from .transfer import Transfer

Tracer = Callable[[str, str], None]
"""Told `(what, details)` of every decision worth a line."""


@record
class ReadPurpose:
    """Why a ReadEntries is under way: `apply`, `send` (to follower `id`) or `repair` (answer to `id`)."""

    kind: str
    first: int
    last: int
    id: str = ""
    reversions: int = 0  # of the log, when the read was ordered


class State:
    """See the groups below. Indices and terms are 0 for none; times are seconds on the shell's clock."""

    __slots__ = (
        "applied",
        "applied_durable",
        "applying",
        "applying_bytes",
        "applying_sizes",
        "arrival",
        "broadcast_commit",
        "buggify",
        "change_request",
        "commit",
        "config",
        "configuration_committed",
        "configurations",
        "confirmed_round",
        "departing",
        "effects",
        "election_deadline",
        "entropy",
        "follower_reads",
        "grace_until",
        "handover",
        "hard_dirty",
        "heartbeat_due",
        "id",
        "leader",
        "leader_contact",
        "lease_from_round",
        "lease_until",
        "log",
        "next_read",
        "next_read_batch",
        "now",
        "outbox",
        "progress",
        "quorum_contact",
        "read_round",
        "reading_apply",
        "reads_waiting",
        "recovery_request",
        "repair",
        "replacement",
        "replicate_wanted",
        "reported",
        "role",
        "round",
        "round_times",
        "snapshots",
        "starved_at",
        "stopped",
        "switching",
        "synced",
        "taking_snapshot",
        "term",
        "term_start",
        "ticket",
        "told_to_stand",
        "tracer",
        "transfer",
        "transfer_tainted",
        "uncommitted",
        "uncommitted_bytes",
        "under_read",
        "version",
        "version_request",
        "versions",
        "view",
        "vote",
        "vote_ticket",
        "votes",
    )

    def __init__(
        self,
        config: Config,
        recovered: Recovered,
        entropy: Callable[[], int],
        now: float,
        tracer: Tracer | None,
        buggify: Hook | None = None,
    ) -> None:
        hard = recovered.hard_state
        self.config = config
        self.id = config.id
        self.entropy = entropy
        self.now = now
        self.tracer = tracer
        self.buggify = buggify  # None in production
        self.stopped = ""  # why, once it has stopped

        # hard state (figure 2: persistent state on all servers)
        self.term = hard.term
        self.vote = hard.vote
        self.log = Log(recovered.first, recovered.last, hard.runs, config.max_window_bytes, recovered.corrupt)
        self.configurations: list[tuple[int, Configuration]] = list(hard.configurations)
        self.versions: list[tuple[int, int]] = list(hard.versions)
        self.hard_dirty = False  # something of it changed since the last Persist

        # volatile state on all servers
        self.role = "follower"
        self.leader: str | None = None  # of this term, if known
        self.commit = recovered.applied
        self.applied = recovered.applied  # the state machine has it
        self.applied_durable = recovered.applied  # and it is synced
        self.applying = recovered.applied  # newest entry that was handed to the state machine
        self.applying_sizes: deque[tuple[int, int]] = deque()  # (last index, bytes) handed over and not applied
        self.applying_bytes = 0
        self.reading_apply = False
        self.view = View(*self.configurations[-1], config.id, config.incarnation)
        self.configuration_committed = recovered.applied  # configurations up to here were reported as committed
        self.version = next(v for i, v in reversed(self.versions) if i <= recovered.applied)

        # elections
        self.election_deadline = now
        self.leader_contact = float("-inf")  # when a leader was last heard of: the promise not to vote starts there
        self.grace_until = float("-inf")  # no votes before (lease reads, after a restart)
        self.votes: dict[str, bool] = {}
        self.told_to_stand: tuple[int, str | None] = (0, None)  # the last term in which a leader asked me to, and who
        self.vote_ticket = 0  # the write that holds my vote for myself

        # writes
        self.ticket = 0  # of the newest write that was ordered
        self.synced = 0  # of the newest that is synced
        self.next_read = 0
        self.under_read: dict[int, ReadPurpose] = {}

        # leader
        self.progress: dict[str, Progress] = {}
        self.departing: dict[str, Leaver] = {}  # removed members that are followed until they know it
        self.term_start = 0  # index of this term's no-op
        self.heartbeat_due = now
        self.starved_at = float("-inf")  # when it last got time again, having heard of a quorum before
        self.quorum_contact = now  # start of the newest round that a quorum answered
        self.round = 0
        self.confirmed_round = 0
        self.round_times: deque[tuple[int, float]] = deque(maxlen=256)  # (round, when it began), ascending
        self.lease_from_round = 0  # rounds before it do not count for the lease
        self.lease_until: float | None = None
        self.transfer: Transfer | None = None
        self.handover: Transfer | None = None  # a transfer whose outcome the former leader waits to hear of
        self.transfer_tainted = False  # a TimeoutNow went out in this term: no lease any more
        self.uncommitted: deque[tuple[int, int]] = deque()  # (index, bytes) of own proposals
        self.uncommitted_bytes = 0
        self.replicate_wanted = False  # the log grew: send to all followers at the end of this call
        self.broadcast_commit = False  # the commit index grew: tell followers that get nothing else
        self.change_request: int | None = None
        self.replacement: Replacement | None = None  # a change that waits for those who come
        self.version_request: tuple[int, int] | None = None  # (request, index)
        self.recovery_request: tuple[int, int] | None = None

        # reads
        self.reads_waiting: list[Waiting] = []  # not yet in a round
        self.read_round: ReadRound | None = None
        self.follower_reads: dict[int, tuple[tuple[int, ...], float]] = {}  # batch -> (requests, sent at)
        self.next_read_batch = entropy()  # answers to a batch of an earlier process must not fit one of this

        # snapshots and repair
        self.snapshots: list[SnapshotMeta] = []  # exported ones, oldest first
        self.taking_snapshot: int | None = None  # `at_least` of the TakeSnapshot under way
        self.switching = 0  # ticket of the newest switch to a snapshot
        self.arrival: Arrival | None = None  # the snapshot that arrives here
        self.repair: Ask | None = None

        # what this call orders
        self.effects: list[Effect] = []
        self.outbox: list[Message] = []
        self.reported: tuple[str, int, str | None] = (self.role, self.term, self.leader)

    # ---- ordering effects ----------------------------------------------------------------------------------------

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    def send(self, message: Message) -> None:
        """Sent when this call ends, behind its write if the message has to wait for one."""
        self.outbox.append(message)

    def trace(self, what: str, details: str) -> None:
        if self.tracer is not None:
            self.tracer(what, details)

    def takes(self, point: str) -> bool:
        """Whether to take the unlikely way here (`graft.raft.buggify`). Never in production."""
        return self.buggify is not None and self.buggify(point)

    def stop(self, reason: str) -> None:
        self.stopped = reason
        self.effects.append(Stop(reason))

    def set_term(self, term: int) -> None:
        """A later term begins: no vote yet, and no promise of an older term may still leave."""
        assert term > self.term, (term, self.term)
        self.term = term
        self.vote = None
        self.vote_ticket = 0
        self.leader = None
        self.hard_dirty = True
        self.outbox = [message for message in self.outbox if type(message) not in WAITS]
        self.effects.append(DropHeld())

    def hard_state(self) -> HardState:
        return HardState(self.term, self.vote, self.log.runs(), tuple(self.configurations), tuple(self.versions))

    def next_ticket(self) -> int:
        self.ticket += 1
        if self.hard_dirty and self.vote == self.id and self.vote_ticket == 0:
            self.vote_ticket = self.ticket
        self.hard_dirty = False
        self.log.runs_changed = False
        return self.ticket

    def order_write(self) -> None:
        """One Persist for all that changed in this call."""
        log = self.log
        if not (
            self.hard_dirty
            or log.handed != log.last
            or log.runs_changed
            or log.truncated_from is not None
            or log.repaired
        ):
            return
        hard = self.hard_state() if self.hard_dirty or log.runs_changed else None
        ticket = self.next_ticket()
        repaired = tuple(log.repaired)
        if repaired:
            log.mending.update((entry.index, ticket) for entry in repaired)
            log.repaired.clear()
        entries = log.take_unwritten(ticket)
        self.effects.append(Persist(ticket, entries, log.truncated_from, hard, repaired))
        log.truncated_from = None

    def order_sends(self) -> None:
        last = self.ticket if self.ticket > self.synced else 0
        for message in self.outbox:
            self.effects.append(Send(message, last if last and waits(self, message) else 0))
        self.outbox.clear()

    def report_role(self) -> None:
        now = (self.role, self.term, self.leader)
        if now != self.reported:
            self.reported = now
            self.effects.append(ReportRole(*now))
