"""What members ask each other over their stream, beside Raft's messages: one question, one answer.

Letters may be lost, repeated and late like messages; whoever asks asks again, so what is asked must be safe to do
twice. `incarnation` is that of the asking process (drawn at its start): an answer to an earlier one is nobody's.
"""

from __future__ import annotations

from graft.raft.records import record


@record
class Ask:
    """`number` is the asker's own; `kind` says who answers and what `body` (msgpack) means."""

    source: str
    target: str
    incarnation: int
    number: int
    kind: str
    body: bytes


@record
class Answer:
    """To `number` of `incarnation` of `target`. `refused`: why it was not done; `leader`: who may do it."""

    source: str
    target: str
    incarnation: int
    number: int
    body: bytes = b""
    refused: str = ""
    text: str = ""
    leader: str = ""


Letter = Ask | Answer
