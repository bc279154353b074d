"""The replicated state of a simulated run: registers with compare-and-set, and the answers that were given.

A stand-in for the engine, small enough to be seen through, with the property that matters for Raft: a command carries
a natural key (its id), the answer is kept with the state and in snapshots, and a command that comes again is answered
and not applied again. `state_hash` is an incremental sum of record hashes, as in the engine.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Literal

from attrs import frozen

Kind = Literal["write", "cas"]
_MASK = (1 << 64) - 1


@frozen(slots=True)
class Command:
    """`id` is unique for ever: client and serial."""

    id: str
    kind: Kind
    key: str
    value: int
    expected: int | None = None

    def encode(self) -> bytes:
        return (
            f"{self.id} {self.kind} {self.key} {self.value} {'-' if self.expected is None else self.expected}".encode()
        )


def decode(data: bytes) -> Command:
    """Raises ValueError for what no `encode` made."""
    id, kind, key, value, expected = data.decode().split(" ")
    if kind not in ("write", "cas"):
        raise ValueError(f"not a command: {data!r}")
    return Command(id, kind, key, int(value), None if expected == "-" else int(expected))  # type: ignore[arg-type]


class Machine:
    """One member's copy. `decoded` may be shared by the members of a run, to parse each command once."""

    __slots__ = ("_answers", "_decoded", "_registers", "state_hash")

    def __init__(self, decoded: dict[bytes, Command] | None = None) -> None:
        self._registers: dict[str, int] = {}
        self._answers: dict[str, bool] = {}
        self._decoded: dict[bytes, Command] = {} if decoded is None else decoded
        self.state_hash = 0

    def apply(self, data: bytes) -> bool:
        """Apply one command, once; a command that was applied before gets the answer it got then."""
        command = self._decoded.get(data)
        if command is None:
            command = self._decoded[data] = decode(data)
        answer = self._answers.get(command.id)
        if answer is not None:
            return answer
        old = self._registers.get(command.key)
        answer = command.kind == "write" or old == command.expected
        if answer:
            if old is not None:
                self.state_hash -= _hash("r", command.key, old)
            self._registers[command.key] = command.value
            self.state_hash += _hash("r", command.key, command.value)
        self._answers[command.id] = answer
        self.state_hash = (self.state_hash + _hash("a", command.id, int(answer))) & _MASK
        return answer

    def read(self, key: str) -> int | None:
        return self._registers.get(key)

    def applied_ids(self) -> set[str]:
        return set(self._answers)

    def dump(self) -> bytes:
        """The whole state, the answers included, in one canonical form."""
        return json.dumps([sorted(self._registers.items()), sorted(self._answers.items())]).encode()

    def load(self, data: bytes) -> None:
        """Replace the state by what `dump` gave."""
        registers, answers = json.loads(data)
        self._registers = dict(registers)
        self._answers = dict(answers)
        total = sum(_hash("r", key, value) for key, value in registers)
        total += sum(_hash("a", id, int(answer)) for id, answer in answers)
        self.state_hash = total & _MASK


def _hash(table: str, key: str, value: int) -> int:
    return int.from_bytes(blake2b(f"{table} {key} {value}".encode(), digest_size=8).digest(), "big")
