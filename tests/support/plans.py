"""Small plans and views of runs, made by hand."""

from __future__ import annotations

from typing import Any

from graft.cluster.views import EventView, RunView, StepView
from graft.plan import (
    Block,
    ErrorRecord,
    FlowAction,
    ForEach,
    GroupAction,
    Node,
    Plan,
    RunAction,
    SleepAction,
    ValueAction,
)

SECOND = 1000
START = 1_700_000_000_000  # wall ms


def task(name: str, *needs: str, **more: Any) -> Node:
    return Node(name, RunAction("true"), needs=needs, **more)


def value(name: str, *needs: str) -> Node:
    return Node(name, ValueAction(("const", 1)), needs=needs)


def mapped(name: str, *needs: str, **more: Any) -> Node:
    return Node(name, RunAction("true"), needs=needs, for_each=ForEach(("list",)), **more)


def sleep(name: str, *needs: str) -> Node:
    return Node(name, SleepAction(("const", 1000)), needs=needs)


def group(name: str, block: int, *needs: str) -> Node:
    return Node(name, GroupAction(block), needs=needs)


def flow_node(name: str, block: int, *needs: str, **more: Any) -> Node:
    return Node(name, FlowAction(block), needs=needs, **more)


def plan_of(*nodes: Node, blocks: tuple[Block, ...] = (), name: str = "shop", **more: Any) -> Plan:
    return Plan(name, (Block("flow", name, nodes, **more), *blocks))


def step(path: str, status: str = "succeeded", **more: Any) -> StepView:
    node = path.rpartition("/")[2].partition("[")[0]
    return StepView(path, node, more.pop("kind", "run"), status, **more)


def run_of(plan: Plan, *steps: StepView, status: str = "running", **more: Any) -> RunView:
    fields: dict[str, Any] = {
        "run_id": "shop-1",
        "name": plan.name,
        "status": status,
        "reason": "",
        "generation": 1,
        "params": {},
        "started_at": START,
        "ended_at": None if status == "running" else START + 3200,
        "paused": "",
        "outputs": None,
        "error": None,
        "plan": plan,
        "plan_hash": "0" * 64,
        "flow_base": "/",
        "steps": steps,
        "counts": {},
        "waiting": None,
    }
    return RunView(**(fields | more))


class History:
    """Makes events with growing numbers, a tenth of a second apart."""

    def __init__(self) -> None:
        self.seq = 0

    def event(self, path: str, what: str, reason: str = "", attempt: int = 1) -> EventView:
        self.seq += 1
        return EventView(self.seq, "shop-1", START + 100 * self.seq, path, what, reason, attempt)


def error(node: str, type_: str = "exit.1", title: str = "it exited with 1", **more: Any) -> ErrorRecord:
    return ErrorRecord(type_, title, node=node, attempt=1, **more)
