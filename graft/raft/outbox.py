"""Which messages wait for the disk. A promise may leave only when what it promises would survive a crash (S10, S11).

Everything else leaves at once: a leader's appends while it still writes them itself (thesis 10.2.1), heartbeats and
their answers, refusals, pre-votes. A request for votes waits, because it claims a term and the end of a log: a
candidate that lost both in a crash might stand again in the same term with a shorter log, and be elected by grants
for the longer one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .messages import AppendReply, Message, RequestVote, SnapshotReply, VoteReply

if TYPE_CHECKING:
    from .state import State


def vote_waits(s: State, reply: VoteReply) -> bool:
    """A vote is synced before it is told; a pre-vote or a refusal promises nothing (S10)."""
    return reply.granted and not reply.pre_vote


def append_waits(s: State, reply: AppendReply) -> bool:
    """Entries are synced before they are acknowledged (S11)."""
    return reply.success and reply.match > s.log.durable


def snapshot_waits(s: State, reply: SnapshotReply) -> bool:
    return reply.installed and reply.match > s.log.durable


def request_waits(s: State, request: RequestVote) -> bool:
    return not request.pre_vote


WAITS: dict[type[Any], Callable[[State, Any], bool]] = {
    VoteReply: lambda s, m: vote_waits(s, m),
    AppendReply: lambda s, m: append_waits(s, m),
    SnapshotReply: lambda s, m: snapshot_waits(s, m),
    RequestVote: lambda s, m: request_waits(s, m),
}


def waits(s: State, message: Message) -> bool:
    rule = WAITS.get(type(message))
    return rule is not None and rule(s, message)
