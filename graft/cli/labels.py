"""Steps that no member can run, because none has the labels of their `runs_on`: said at once, and with what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from graft.cli.looks import Piece

if TYPE_CHECKING:
    from graft.cluster.views import StepView
    from graft.plan import Plan

UNPLACEABLE = "unplaceable: "  # how the engine begins the reason of such a step
ANY = "*"
MAX_NAMED = 5


def is_unplaceable(step: StepView) -> bool:
    return step.status == "waiting" and step.reason.startswith(UNPLACEABLE)


def lacking(plan: Plan, members: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The labels that no member has, by the node that asks for them. `members`: the labels of each."""
    found = {}
    for block in plan.blocks:
        for node in (*block.nodes, *block.finals):
            if node.runs_on and not any(_has(labels, node.runs_on) for labels in members):
                found[node.name] = label_text(node.runs_on)
    return found


def _has(labels: Mapping[str, str], asked: tuple[tuple[str, str], ...]) -> bool:
    return all(name in labels and value in (ANY, labels[name]) for name, value in asked)


def label_text(asked: tuple[tuple[str, str], ...]) -> str:
    return " and ".join(name if value == ANY else f"{name}={value}" for name, value in asked)


def warning(lacks: Mapping[str, str]) -> Iterator[list[Piece]]:
    """What is said when a run starts, before its first step."""
    for node, labels in list(lacks.items())[:MAX_NAMED]:
        yield [(node, "bold"), (f" will wait: it runs only on a member with {labels}, and none has that", "yellow")]
    if len(lacks) > MAX_NAMED:
        yield [(f"… and {len(lacks) - MAX_NAMED} more nodes", "yellow")]
    yield from advice()


def advice() -> Iterator[list[Piece]]:
    yield [("  start a member that has it (`resources.labels` in its settings), and the step goes on by itself", "dim")]
    yield [("  a `graft run` alone has no labels: `--server` gives a run to a cluster that has them", "dim")]
