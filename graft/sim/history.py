"""What clients saw: operations on registers, each with the time it was sent and the time its answer came.

An operation without an answer is *pending*: it may have taken effect at any time after it was sent, or never. An
operation that was refused for certain (nobody will ever apply it) does not belong in a history.

A client that hears nothing sends the same operation again, maybe to another member, under the same id. It must be
applied once. So all attempts at one write are one operation: sent when the first was sent, finished when the first
answer came; two different answers to one id are a violation by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from attrs import evolve, frozen

Kind = Literal["read", "write", "cas"]
Value = str | int | bool | None


@frozen(slots=True)
class Operation:
    """One operation of one client, or one attempt at it.

    `result`: the value for a read, True for a write, whether it swapped for a compare-and-set; no meaning while
    `returned` is None. Times are integers that only compare; `invoked < returned`.
    """

    id: str
    client: int
    key: str
    kind: Kind
    invoked: int
    returned: int | None = None
    value: Value = None  # what a write or compare-and-set writes
    expected: Value = None  # what a compare-and-set wants to find
    result: Value = None

    def __str__(self) -> str:
        call = {
            "read": f"read {self.key}",
            "write": f"write {self.key}={self.value}",
            "cas": f"cas {self.key}: {self.expected} -> {self.value}",
        }[self.kind]
        end = "…" if self.returned is None else f"{self.returned} = {self.result}"
        return f"{self.id} client {self.client} [{self.invoked}, {end}] {call}"


class ContradictoryAnswers(Exception):
    """Two attempts of one operation were answered differently: it was applied twice."""

    def __init__(self, first: Operation, second: Operation) -> None:
        super().__init__(f"one operation, two answers:\n  {first}\n  {second}")
        self.first = first
        self.second = second


def merge_attempts(attempts: Iterable[Operation]) -> list[Operation]:
    """One operation per id, Reads are not merged: each attempt looked for itself.

    Raises `ContradictoryAnswers`, and ValueError when one id names two different requests.
    """
    reads: list[Operation] = []
    merged: dict[str, Operation] = {}
    for attempt in sorted(attempts, key=lambda o: (o.invoked, o.id)):
        first = merged.get(attempt.id)
        if first is not None:
            _check_same_request(first, attempt)
        if attempt.kind == "read":
            reads.append(attempt)
        merged[attempt.id] = attempt if first is None else _merge(first, attempt)
    return [*reads, *(o for o in merged.values() if o.kind != "read")]


def _check_same_request(first: Operation, again: Operation) -> None:
    if any(getattr(first, name) != getattr(again, name) for name in ("client", "key", "kind", "value", "expected")):
        raise ValueError(f"one id for two requests:\n  {first}\n  {again}")


def _merge(first: Operation, again: Operation) -> Operation:
    if again.returned is None or first.kind == "read":
        return first
    if first.returned is None:
        return evolve(first, returned=again.returned, result=again.result)
    if first.result != again.result:
        raise ContradictoryAnswers(first, again)
    return first if first.returned <= again.returned else evolve(first, returned=again.returned)
