"""Clients: they ask, get impatient, ask somebody else, and remember everything.

A client has one question open at a time. A write keeps its id over all attempts, so however often it arrives it must
take effect once. When the attempts are used up the question stays unknown for ever: it goes into the history as
pending. What was refused by every member that got it never happened and leaves the history.

The wire between client and member is not the cluster's network: it delays a little, loses answers and doubles requests
at rates of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, evolve

from graft.sim.desk import Answer
from graft.sim.entropy import stream
from graft.sim.history import Operation
from graft.sim.machine import Command

if TYPE_CHECKING:
    from graft.sim.member import Member
    from graft.sim.world import World

MAX_PENDING_A_KEY = 5


@define
class _Question:
    operation: Operation
    command: bytes | None  # None: a read
    attempts: int = 0
    open: int = 0  # attempts that have neither been refused nor answered
    asked: str | None = None  # who was asked last
    over: bool = False


class Client:
    """`history` is shared by all clients of a run."""

    def __init__(self, world: World, number: int, history: list[Operation], *, limit: int | None = None) -> None:
        self.world = world
        self.number = number
        self.history = history
        self.dice = stream(world.plan.seed, "client", number)
        self.pace = 1000  # thousandths of the think time
        self.done = 0
        self.limit = limit
        self._serial = 0
        self._known: dict[str, int | None] = {}
        self._leader: str | None = None
        self._open: _Question | None = None

    # -- asking ----------------------------------------------------------------------------------------------------

    def think(self) -> None:
        """Ask the next question after a while."""
        mean = self.world.plan.think_us * self.pace // 1000
        self.world.heap.after(1_000 + self.dice.exponential(mean), self.ask)

    def ask(self) -> None:
        world = self.world
        if world.clients_stopped or (self.limit is not None and self.done >= self.limit):
            return
        self._open = self._question()
        self._attempt(self._open)

    def close(self) -> None:
        """The run is over: a write that nobody answered stays unknown."""
        question = self._open
        if question is not None and not question.over and question.operation.kind != "read":
            self.history.append(question.operation)

    def _question(self) -> _Question:
        self._serial += 1
        world, dice = self.world, self.dice
        id, key = f"c{self.number}.{self._serial}", f"k{dice.below(world.plan.keys)}"
        kind = dice.below(100)
        if kind < 40 or world.pending.get(key, 0) >= MAX_PENDING_A_KEY:
            return _Question(Operation(id, self.number, key, "read", world.now()), None)
        value = self.number * 100_000 + self._serial
        if kind < 70:
            operation = Operation(id, self.number, key, "write", world.now(), value=value)
            return _Question(operation, Command(id, "write", key, value).encode())
        expected = self._known.get(key)
        operation = Operation(id, self.number, key, "cas", world.now(), value=value, expected=expected)
        return _Question(operation, Command(id, "cas", key, value, expected).encode())

    def _attempt(self, question: _Question) -> None:
        """Send the question once more, to the leader as far as known or to anyone."""
        world, plan = self.world, self.world.plan
        if question.over:
            return
        if question.attempts >= plan.attempts:
            self._give_up(question)
            return
        question.attempts += 1
        running = world.reachable()
        target = world.members.get(self._leader or "")
        if target is None or target not in running or question.attempts > 1 or self.dice.chance(250):
            target = self.dice.choice(running) if running else None
        if target is not None:
            if question.asked not in (None, target.id):
                world.fired["client.elsewhere"] += 1
            question.asked = target.id
            self._send(question, target)
            if self.dice.chance(plan.duplicated):
                world.fired["client.duplicate"] += 1
                self._send(question, self.dice.choice(running))
        world.heap.after(plan.patience_us, self._impatient, question, question.attempts)

    def _send(self, question: _Question, target: Member) -> None:
        question.open += 1
        needed = self.world.ledger.acknowledged  # every attempt at a read must see what was acknowledged before it
        self.world.heap.after(100 + self.dice.exponential(1_000), self._arrive, question, target, needed)

    def _arrive(self, question: _Question, target: Member, needed: int) -> None:
        if target.alive:
            target.later(0, self._served, question, target, needed)

    def _served(self, question: _Question, target: Member, needed: int) -> None:
        def reply(answer: Answer) -> None:
            if self.dice.chance(self.world.plan.lost_replies):
                self.world.fired["client.lost_reply"] += 1
            else:
                self.world.heap.after(100 + self.dice.exponential(1_000), self._answered, question, answer)

        if question.command is None:
            lease = self.world.plan.lease_reads and self.dice.chance(700)
            target.desk.read(question.operation.key, needed, lease, reply)
        else:
            target.desk.write(question.command, reply)

    # -- hearing ---------------------------------------------------------------------------------------------------

    def _answered(self, question: _Question, answer: Answer) -> None:
        if answer.outcome == "done":
            self._finished(question, answer)
            return
        if answer.outcome == "refused":
            question.open -= 1
        if not question.over:
            self._leader = answer.leader
            delay = 5_000 + self.dice.exponential(30_000)
            self.world.heap.after(delay, self._retry, question, question.attempts)

    def _finished(self, question: _Question, answer: Answer) -> None:
        """An answer. A late one to a question that is over still counts: two of them must agree."""
        operation, world = question.operation, self.world
        if operation.kind != "read":
            world.ledger.acknowledged = max(world.ledger.acknowledged, answer.index)
            self.history.append(evolve(operation, returned=world.now(), result=answer.value))
            world.acknowledged_ids.add(operation.id)
        elif not question.over:
            self.history.append(evolve(operation, returned=world.now(), result=answer.value))
            self._known[operation.key] = answer.value
        if not question.over:
            if operation.kind != "read" and answer.value:
                self._known[operation.key] = operation.value  # type: ignore[assignment]
            question.over = True
            self.done += 1
            self._echo(question)
            self.think()

    def _echo(self, question: _Question) -> None:
        """A write comes once more, long after it was answered: from a proxy, or from a client that lost its memory.
        Graft has no sessions that could have been thrown away meanwhile; what a command made carries its key."""
        if question.command is not None and self.dice.chance(self.world.plan.echoes):
            self.world.heap.after(self.dice.between(300_000, 4_000_000), self._ask_again, question)

    def _ask_again(self, question: _Question) -> None:
        running = self.world.reachable()
        if running and not self.world.healing:
            self.world.fired["client.echo"] += 1
            self._send(question, self.world.leader() or self.dice.choice(running))

    def _retry(self, question: _Question, attempt: int) -> None:
        if attempt == question.attempts:
            self._attempt(question)

    def _impatient(self, question: _Question, attempt: int) -> None:
        if attempt == question.attempts and not question.over:
            self.world.fired["client.timeout"] += 1
            self._leader = None
            self._attempt(question)

    def _give_up(self, question: _Question) -> None:
        question.over = True
        operation = question.operation
        if operation.kind != "read" and question.open:
            self.history.append(operation)
            key = operation.key
            self.world.pending[key] = self.world.pending.get(key, 0) + 1
        self.think()
