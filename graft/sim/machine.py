"""The replicated state of a simulated run: registers with compare-and-set, and the answers that were given.

A stand-in for the engine, small enough to be seen through, with the property that matters for Raft: a command carries
a natural key (its id), the answer is kept with the state and in snapshots, and a command that comes again is answered
and not applied again. `state_hash` is an incremental sum of record hashes, as in the engine. What a command changes
are rows of a store, as in the engine too: a process that starts reads its state from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import blake2b
from typing import Literal

from attrs import frozen

from graft.interfaces import Change

Kind = Literal["write", "cas"]
_MASK = (1 << 64) - 1
REGISTERS, ANSWERS = "values", "keys"  # tables of the store


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
    """One member's copy. `decoded` may be shared by the members of a run, to parse each command once. `changes`: what
    was changed and not yet taken to be written."""

    __slots__ = ("_answers", "_decoded", "_registers", "changes", "state_hash")

    def __init__(self, decoded: dict[bytes, Command] | None = None) -> None:
        self._registers: dict[str, int] = {}
        self._answers: dict[str, bool] = {}
        self._decoded: dict[bytes, Command] = {} if decoded is None else decoded
        self.changes: list[Change] = []
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
            self.changes.append((REGISTERS, command.key.encode(), b"%d" % command.value))
        self.changes.append((ANSWERS, command.id.encode(), b"%d" % answer))
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
        self._have(dict(registers), dict(answers))

    def read_rows(self, registers: Iterable[tuple[bytes, bytes]], answers: Iterable[tuple[bytes, bytes]]) -> None:
        """Replace the state by what the two tables of a store hold."""
        self._have(
            {key.decode(): int(value) for key, value in registers},
            {id.decode(): value == b"1" for id, value in answers},
        )

    def rows(self) -> list[Change]:
        """The whole state as rows."""
        rows: list[Change] = [(REGISTERS, key.encode(), b"%d" % value) for key, value in self._registers.items()]
        return rows + [(ANSWERS, id.encode(), b"%d" % answer) for id, answer in self._answers.items()]

    def _have(self, registers: dict[str, int], answers: dict[str, bool]) -> None:
        self._registers, self._answers = registers, answers
        total = sum([_hash("r", key, value) for key, value in registers.items()])
        total += sum([_hash("a", id, int(answer)) for id, answer in answers.items()])
        self.state_hash = total & _MASK


def _hash(table: str, key: str, value: int) -> int:
    return int.from_bytes(blake2b(f"{table} {key} {value}".encode(), digest_size=8).digest(), "big")
