"""What a leader knows of one follower, and how much it may send (thesis 10.2.1; the states are etcd's).

    probe      where the logs agree is not known: one message at a time
    replicate  it is known: messages are sent ahead, up to a window of messages and bytes
    snapshot   what comes next is no longer in the log: chunks of a snapshot are sent

::

    probe --accepted--> replicate --rejected | timed out--> probe
    probe | replicate --behind the log--> snapshot --installed--> probe

No state can wait for ever: whatever was sent is sent again when no answer came for `rpc_timeout_seconds`.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

from .records import SnapshotMeta

State = Literal["probe", "replicate", "snapshot"]

TRANSITIONS: dict[tuple[State, str], State] = {
    ("probe", "accepted"): "replicate",
    ("replicate", "rejected"): "probe",
    ("replicate", "timed_out"): "probe",
    ("probe", "behind"): "snapshot",
    ("replicate", "behind"): "snapshot",
    ("snapshot", "installed"): "probe",
    ("snapshot", "abandoned"): "probe",
}


class Progress:
    """Invariant: `match < next`; `inflight` is empty unless replicating; `snapshot` is None unless in `snapshot`.

    Fields of the three states live together, because a slot costs less than an object a follower and state.
    """

    __slots__ = (
        "asked_at",
        "caught_up",
        "chunk_acked",
        "chunk_next",
        "chunk_rewound",
        "chunks",
        "commit_told",
        "forgot_at",
        "forgotten",
        "heard_at",
        "held_since",
        "id",
        "inflight",
        "inflight_bytes",
        "lease_round",
        "match",
        "match_at",
        "match_round",
        "max_version",
        "next",
        "probed",
        "reading",
        "round",
        "round_started",
        "round_target",
        "snapshot",
        "state",
        "waiting_since",
    )

    def __init__(self, id: str, next_index: int, now: float) -> None:
        self.id = id
        self.state: State = "probe"
        self.match = 0  # newest entry known to be synced there; never goes back within a term, but by `forgetting`
        self.match_at = now  # when `match` last grew
        self.match_round = 0  # newest round of this leader when it learned of `match`
        self.forgot_at: float | None = None  # it has lost what it acknowledged: when that was last reported
        self.forgotten = 0  # what `match` was then
        self.next = next_index  # what to send next
        self.heard_at = float("-inf")  # its last answer
        self.commit_told = 0  # commit index of the last message
        self.probed = False  # probe: one is on its way
        self.inflight: deque[tuple[int, int]] = deque()  # replicate: (last index, bytes) of unanswered messages
        self.inflight_bytes = 0
        self.waiting_since = now  # of the oldest thing unanswered, or of the last progress
        self.asked_at = now  # last time that a lost message was looked for
        self.reading = 0  # id of a ReadEntries that is under way for it; 0: none
        self.round = 0  # newest round of heartbeats that it answered
        self.lease_round = 0  # the same, of answers that carry the lease promise
        self.max_version = 0  # 0: not known
        # catching up (thesis 4.2.1)
        self.round_target = 0
        self.round_started = now
        self.caught_up = False
        # snapshot
        self.held_since: int | None = None  # bytes that the log had taken in when it needed one; None: see `retention`
        self.snapshot: SnapshotMeta | None = None  # None: waiting for it to be taken
        self.chunk_acked = 0  # bytes that are staged there
        self.chunk_next = 0  # next byte to send
        self.chunks = 0  # chunks (or the question where to resume) on their way or being read
        self.chunk_rewound = False  # already went back to `chunk_acked` since it moved

    def move(self, cause: str, now: float) -> None:
        """Change state by the table; an illegal change is a KeyError."""
        self.state = TRANSITIONS[self.state, cause]
        self.inflight.clear()
        self.inflight_bytes = 0
        self.probed = False
        self.snapshot = None
        self.waiting_since = now
        if self.state == "probe":
            self.next = self.match + 1

    def sent(self, last: int, size: int, now: float) -> None:
        """An append that ends at `last` was sent."""
        if self.state == "probe":
            self.probed = True
            self.waiting_since = now
            return
        if not self.inflight:
            self.waiting_since = now
        self.inflight.append((last, size))
        self.inflight_bytes += size
        self.next = last + 1

    def accepted(self, match: int, now: float) -> bool:
        """An append was accepted up to `match`; True if that is news."""
        news = match > self.match
        if news:
            self.match = match
            self.match_at = now
            self.next = max(self.next, match + 1)
        inflight = self.inflight
        while inflight and inflight[0][0] <= match:
            self.inflight_bytes -= inflight.popleft()[1]
            self.waiting_since = now
        return news

    def is_full(self, max_messages: int, max_bytes: int) -> bool:
        return len(self.inflight) >= max_messages or self.inflight_bytes >= max_bytes

    def is_waiting(self) -> bool:
        """Something was sent that wants an answer."""
        if self.state == "replicate":
            return bool(self.inflight)
        return self.probed if self.state == "probe" else self.snapshot is not None

    def timed_out(self, now: float, timeout: float) -> bool:
        """True if an answer is overdue. Without this a lost message wedges replication for ever."""
        return self.is_waiting() and now - self.waiting_since >= timeout
