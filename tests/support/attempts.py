"""A worker with a kitchen around it: run one node, get its outcome."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field

from graft.expressions import ProgramCache
from graft.plan import Node, PythonAction, RunAction, Secret
from graft.worker import Assignment, HostedWorker, LogStore, Outcome, Worker

MIB = 1024 * 1024

everywhere = pytest.mark.parametrize("place", ["here", "hosted"], indirect=True)
"""For a test of what a `Worker` and a `HostedWorker` must do alike."""


def const(value: Any) -> Any:
    """The tree of a literal JSON value."""
    if isinstance(value, dict):
        return ("dict", *((("const", key), const(each)) for key, each in value.items()))
    if isinstance(value, list):
        return ("list", *map(const, value))
    return ("const", value)


@define
class Bench:
    """`await bench.run(command)` and friends: one attempt, from `start` to its settled outcome."""

    worker: Worker | HostedWorker
    base: Path
    values: dict[str, Any] = field(factory=dict)
    secrets: dict[str, Secret] = field(factory=dict)
    programs: ProgramCache = field(factory=ProgramCache)
    max_result_bytes: int = MIB
    settled: list[tuple[Assignment, Outcome]] = field(factory=list)
    tokens: Any = field(factory=lambda: itertools.count(1))

    @property
    def logs(self) -> LogStore:
        return self.worker.logs

    def assign(self, action: Any, *, run_no: int = 1, attempt: int = 1, path: str = "step", **node: Any) -> Assignment:
        return Assignment(
            run_id="r1",
            key=(run_no, 0, 0),
            token=next(self.tokens),
            attempt=attempt,
            path=path,
            node=Node(path.split("[")[0], action, **node),
            lookup=self.values.__getitem__,
            secrets=self.secrets,
            base=self.base,
            idempotency_key="key-1",
            programs=self.programs,
            max_result_bytes=self.max_result_bytes,
        )

    def start(self, assignment: Assignment) -> Pending:
        pending = Pending(self, assignment)
        self.worker.start(assignment, pending.settle)
        return pending

    async def do(self, action: Any, **node: Any) -> Outcome:
        return await self.start(self.assign(action, **node)).wait()

    async def run(self, command: str, **action: Any) -> Outcome:
        """`env` and `stdin` are given as plain values."""
        for name in action.keys() & {"env", "stdin"}:
            action[name] = const(action[name])
        return await self.do(RunAction(command, **action))

    async def call(self, target: str, /, *, isolation: Any = "thread", **arguments: Any) -> Outcome:
        return await self.do(PythonAction(target, const(arguments), isolation))

    def log(self, path: str = "step") -> list[str]:
        """`out hello` …"""
        return [f"{line.stream}{'+' if line.continues else ''} {line.text}" for line in self.logs.read("r1", path)]


@define
class Pending:
    bench: Bench
    assignment: Assignment
    ended: trio.Event = field(factory=trio.Event)
    outcome: Outcome | None = None

    def settle(self, assignment: Assignment, outcome: Outcome) -> None:
        assert self.outcome is None, "settled twice"
        assert assignment is self.assignment
        self.outcome = outcome
        self.bench.settled.append((assignment, outcome))
        self.ended.set()

    async def wait(self, seconds: float = 30) -> Outcome:
        with trio.fail_after(seconds):
            await self.ended.wait()
        assert self.outcome is not None
        return self.outcome

    def cancel(self) -> None:
        self.bench.worker.cancel(self.assignment.key, self.assignment.token)
