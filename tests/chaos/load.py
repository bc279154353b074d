"""A steady load of small runs, whose steps leave evidence of every execution in one file.

A line of evidence is one `write` of less than 4 KiB to a file that is open for appending: lines of several processes do
not mix. What the client was told is remembered: an acknowledged start must exist for ever, an acknowledged end must
stay one, whichever member is asked.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import trio
from attrs import Factory, define, frozen

from graft.client.client import Client, fresh_id
from graft.engine.lifecycle import FINAL
from graft.errors import GraftError, Rejected, UnknownRun, Unreachable
from graft.plan import Plan
from graft_dsl import compile_text
from tests.chaos.fleet import Fleet, wall_ms

MODULE: Final = """
import os
import time

import trio


def _line(path, what, ctx, serial):
    member = os.environ["CHAOS_MEMBER"]
    text = f"{what} {ctx.run_id} {ctx.step} {member} {serial} {time.time() * 1000:.3f}\\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


def _serial():
    return os.urandom(6).hex()


async def work(ctx, path, seconds, value):
    serial = _serial()
    _line(path, "began", ctx, serial)
    await trio.sleep(seconds)
    _line(path, "ended", ctx, serial)
    return value + 1


def blocking(ctx, path, seconds, value):
    serial = _serial()
    _line(path, "began", ctx, serial)
    time.sleep(seconds)
    _line(path, "ended", ctx, serial)
    return value + 1
"""

PARAMS: Final = """
[params]
path = { type = "string" }
seconds = { type = "float" }
"""


def _step(name: str, target: str, value: str, more: str = "") -> str:
    with_ = f'path = "${{ params.path }}", seconds = "${{ params.seconds }}", value = {value}'
    return f'[nodes.{name}]\npython = "chaossteps:{target}"\nwith = {{ {with_} }}\n{more}'


def flow_texts() -> dict[str, str]:
    """What is run: chains, maps and a diamond. All end with 4 as their output."""
    chain = [_step("n0", "work", "0")]
    chain += [_step(f"n{i}", "work" if i % 2 else "blocking", f'"${{ n{i - 1}.out }}"') for i in range(1, 4)]
    chain.append('[outputs]\nresult = "${ n3.out }"\n')
    fan = [_step("each", "work", '"${ item }"', f'for_each = "${{ range(6) }}"\nmax_parallel = {MAP_LIMIT}\n')]
    fan.append('[outputs]\nresult = "${ each.out[3] }"\n')
    diamond = [_step("top", "work", "0"), _step("left", "blocking", '"${ top.out }"')]
    diamond += [_step("right", "work", '"${ top.out }"'), _step("last", "work", '"${ left.out + right.out - 1 }"')]
    diamond.append('[outputs]\nresult = "${ last.out }"\n')
    return {"chain": "".join(chain), "fan": "".join(fan), "diamond": "".join(diamond)}


MAP_LIMIT: Final = 3
RESULT: Final = 4


@frozen
class Execution:
    """One time that a step's code ran: when it began and ended (wall ms), `ended` None when it did not get there."""

    run_id: str
    step: str
    member: str
    began: float
    ended: float | None


@define
class Told:
    """What the client knows of a run. `asked`, `started`, `ended`: wall ms; None: it was not told."""

    flow: str
    asked: float
    started: float | None = None
    ended: float | None = None
    status: str = ""


@define(eq=False)
class Load:
    """`run` starts a run every `1 / rate` seconds until it is cancelled, and looks at every end from all members."""

    fleet: Fleet
    base: Path
    rate: float
    seed: int
    seconds: float = 0.05  # that a step takes, at most
    runs: dict[str, Told] = Factory(dict)
    problems: list[str] = Factory(list)
    plans: dict[str, Plan] = Factory(dict)
    reads: int = 0  # of ends, from single members
    _readers: dict[str, Client] = Factory(dict)

    def __attrs_post_init__(self) -> None:
        self.base.mkdir(parents=True, exist_ok=True)
        (self.base / "chaossteps.py").write_text(MODULE)
        for name, text in flow_texts().items():
            whole = f'graft = 1\nname = "{name}"\n{PARAMS}{text}'
            self.plans[name] = compile_text(whole, filename=f"{name}.toml", base=self.base).plan

    @property
    def evidence_file(self) -> Path:
        return self.base / "evidence"

    async def run(self, finished: trio.Event) -> None:
        """Until `finished`; returns when all that was begun has come to an end."""
        dice = random.Random(self.seed)
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(self.fleet.client())
            for id in self.fleet.processes:
                self._readers[id] = await stack.enter_async_context(self.fleet.client(id, patience_seconds=0))
            async with trio.open_nursery() as nursery:
                while not finished.is_set():
                    flow = dice.choice(sorted(self.plans))
                    nursery.start_soon(self._one, client, flow, round(dice.uniform(0, self.seconds), 3))
                    with trio.move_on_after(dice.expovariate(self.rate)):
                        await finished.wait()

    async def _one(self, client: Client, flow: str, seconds: float) -> None:
        run_id = fresh_id(flow)
        told = self.runs[run_id] = Told(flow, wall_ms())
        params = {"path": str(self.evidence_file), "seconds": seconds}
        try:
            await client.start(self.plans[flow], params, base=self.base, run_id=run_id)
            told.started = wall_ms()
            view = await client.wait(run_id)
        except (Unreachable, Rejected) as error:
            told.status = f"given up: {error.message}"  # the end shows what became of it
            return
        told.status, told.ended = view.status, wall_ms()
        await self._see_end_everywhere(run_id)

    async def _see_end_everywhere(self, run_id: str) -> None:
        """A linearizable read after an acknowledged end sees the end, whoever answers."""
        for id, client in self._readers.items():
            if not self.fleet.runs(id):
                continue
            with trio.move_on_after(2):
                try:
                    found = (await client.summary(run_id)).status
                except UnknownRun:
                    found = "unknown"
                except GraftError:
                    continue  # it cannot answer now, and says so
                self.reads += 1
                if found not in FINAL:
                    self.problems.append(f"{run_id} had ended, and {id} said that it is {found}")

    def evidence(self) -> list[Execution]:
        """Every execution, in the order of their beginnings."""
        began: dict[str, tuple[str, str, str, float]] = {}
        ended: dict[str, float] = {}
        if self.evidence_file.exists():
            for line in self.evidence_file.read_text().splitlines():
                what, run_id, step, member, serial, at = line.split()
                if what == "began":
                    began[serial] = (run_id, step, member, float(at))
                else:
                    ended[serial] = float(at)
        return [Execution(*fields, ended.get(serial)) for serial, fields in began.items()]

    def executions(self) -> Mapping[tuple[str, str], list[Execution]]:
        found: defaultdict[tuple[str, str], list[Execution]] = defaultdict(list)
        for execution in self.evidence():
            found[execution.run_id, execution.step].append(execution)
        return found
