"""The live view's model: what an event changes, which rows are chosen, and that a frame does not grow with the run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.cli.board import Board, Row, label_of, row_pieces
from graft.cli.tree import tree_lines
from graft.plan import Block, Plan
from tests.support.plans import START, History, error, flow_node, group, mapped, plan_of, run_of, sleep, step, task

BLOCKS = (Block("group", "ship", (task("label"), task("handover", "label"))),)
PLAN = plan_of(task("fetch"), mapped("pick", "fetch"), group("ship", 1, "pick"), blocks=BLOCKS)


def board_after(*events: tuple[Any, ...], plan: Plan = PLAN) -> Board:
    board, history = Board(plan), History()
    for event in events:
        board.apply(history.event(*event))
    return board


def text(rows: list[Row], now: int = START + 10_000) -> list[str]:
    return ["".join(piece for piece, _ in row_pieces(row, now, 12)) for row in rows]


def test_a_run_from_its_first_event_to_its_last() -> None:
    board = board_after(("", "running"), ("fetch", "running"))
    assert text(board.rows(10)) == ["● fetch     9.8s", "· pick", "· ship"]
    history = History()
    history.seq = 2
    board.apply(history.event("fetch", "succeeded"))
    board.apply(history.event("pick", "running"))
    board.line("pick").total = 3
    for item in ("pick[0]", "pick[1]", "pick[2]"):
        board.apply(history.event(item, "running"))
    board.apply(history.event("pick[1]", "succeeded"))
    assert text(board.rows(10)) == [
        "✓ fetch     100ms",
        "● pick 1/3  9.6s",
        "  ● pick[0]  9.5s",
        "  ● pick[2]  9.3s",
        "· ship",
    ]


def test_failures_and_retries_say_why() -> None:
    board = board_after(
        ("fetch", "running"),
        ("fetch", "backing_off", "http.503: unavailable"),
        ("pick", "running"),
        ("pick[0]", "failed", "exit.1"),
        ("pick[1]", "running"),
    )
    assert text(board.rows(10)) == [
        "↻ fetch     9.9s  http.503: unavailable",
        "● pick 0/2, 1 failed  9.7s",
        "  ✗ pick[0]  exit.1",
        "  ● pick[1]  9.5s",
        "· ship",
    ]


def test_a_failure_that_was_caught_is_no_alarm() -> None:
    board = board_after(("fetch", "running"), ("fetch", "failed", "exit.1"), ("fetch", "caught", "by pick"))
    pieces = row_pieces(board.rows(10)[0], START + 10_000, 12)
    assert "".join(piece for piece, _ in pieces) == "✗ fetch     100ms  exit.1, caught by pick"
    assert {style for _, style in pieces} == {"", "yellow", "dim"}


def test_a_second_attempt_is_counted() -> None:
    board = board_after(("fetch", "running", "", 2))
    assert text(board.rows(10))[0] == "● fetch     9.9s  attempt 2"


def test_steps_of_groups_and_flows_stand_below_them() -> None:
    plan = plan_of(
        group("ship", 1),
        flow_node("sub", 2),
        blocks=(BLOCKS[0], Block("flow", "sub", (mapped("each"),))),
    )
    board = board_after(
        ("ship", "running"),
        ("ship/label", "running"),
        ("sub", "running"),
        ("sub/each", "running"),
        ("sub/each[a/b]", "running"),
        plan=plan,
    )
    assert [(row.depth, row.line.path) for row in board.rows(10) if row.line] == [
        (0, "ship"),
        (1, "ship/label"),
        (1, "ship/handover"),
        (0, "sub"),
        (1, "sub/each"),
        (2, "sub/each[a/b]"),
    ]
    assert board.line("sub/each[a/b]").node is board.line("sub/each").node


@pytest.mark.parametrize("limit", [3, 5, 12])
def test_what_does_not_fit_is_counted(limit: int) -> None:
    plan = plan_of(*(task(f"n{i}") for i in range(1000)))
    events = [(f"n{i}", "succeeded") for i in range(500)]
    events += [(f"n{i}", "running") for i in range(500, 520)] + [("n600", "failed", "exit.1")]
    rows = board_after(*events, plan=plan).rows(limit)
    assert len(rows) == limit
    assert rows[0].line is not None
    assert rows[0].line.path == "n600"
    shown = Counter(row.line.status for row in rows if row.line)
    shown.update(dict(rows[-1].more))
    assert shown == {"succeeded": 500, "running": 20, "failed": 1, "pending": 479}


def test_a_frame_looks_at_few_lines_of_a_large_run() -> None:
    """10,000 steps, all running or queued: choosing rows must not walk them."""
    board = board_after(("pick", "running"), *((f"pick[{i}]", "running") for i in range(10_000)))
    touched = 0
    lines = board.line("pick").active

    class Counting(dict):  # type: ignore[type-arg]
        def values(self):  # type: ignore[no-untyped-def]
            nonlocal touched
            for each in super().values():
                touched += 1
                yield each

    board.line("pick").active = Counting(lines)
    rows = board.rows(30)
    assert len(rows) <= 30
    assert touched <= 40


statuses = st.sampled_from(["queued", "running", "succeeded", "failed", "backing_off", "waiting", "cancelled"])
paths = st.sampled_from(["fetch", "pick", "pick[0]", "pick[1]", "pick[2]", "ship", "ship/label", "ship/handover"])


@given(st.lists(st.tuples(paths, statuses), max_size=40), st.integers(1, 12))
def test_counts_and_tables_agree_with_the_lines(events: list[tuple[str, str]], limit: int) -> None:
    board = board_after(*events)
    for line in [board.root, *map(board.line, ("pick", "ship"))]:
        assert +line.counts == Counter(child.status for child in line.children.values())
        assert list(line.bad.values()) == [c for c in line.bad.values() if c.status == "failed"]
        assert {c.path for c in line.children.values() if c.status == "failed"} == line.bad.keys()
    assert len(board.rows(limit)) <= limit


@pytest.mark.parametrize(
    ("events", "timers_count", "idle"),
    [
        ([("a", "running"), ("nap", "waiting")], True, False),
        ([("a", "waiting", "gave up"), ("nap", "succeeded")], True, True),
        ([("a", "waiting", "gave up"), ("nap", "waiting")], True, False),
        ([("a", "waiting", "gave up"), ("nap", "waiting")], False, True),
        ([("a", "succeeded"), ("nap", "waiting")], False, True),
        ([("a", "backing_off"), ("nap", "succeeded")], False, False),
        ([("a", "queued")], False, False),
        ([("a", "queued"), ("", "paused", "internal")], False, True),
        ([("a", "running"), ("", "paused", "internal")], False, False),
        ([("a", "queued"), ("", "paused", "internal"), ("", "resumed")], False, False),
        ([], False, False),
    ],
)
def test_when_only_waiting_steps_remain(events: list[tuple[str, ...]], timers_count: bool, idle: bool) -> None:
    board = board_after(*events, plan=plan_of(task("a"), sleep("nap")))
    assert board.is_idle(timers_count=timers_count) is idle


def test_the_board_of_a_view_is_that_of_its_events() -> None:
    view = run_of(
        PLAN,
        step("fetch", started_at=START + 200, ended_at=START + 300, attempt=1),
        step(
            "pick",
            "running",
            started_at=START + 400,
            map_total=3,
            map_done=1,
            children=(step("pick[0]", "succeeded"), step("pick[1]", "failed", error=error("pick[1]"))),
        ),
        step("ship", "pending", kind="nodes"),
    )
    assert text(Board.of(view).rows(10)) == [
        "✓ fetch     100ms",
        "● pick 1/3, 1 failed  9.6s",
        "  ✗ pick[1]  exit.1: it exited with 1",
        "· ship",
    ]


def test_a_large_map_is_folded_in_the_tree_unless_all_is_asked_for() -> None:
    items = tuple(step(f"pick[{i}]", "failed" if i == 7 else "succeeded") for i in range(20))
    view = run_of(PLAN, step("fetch"), step("pick", "failed", children=items, map_total=20, map_done=20), step("ship"))
    lines = ["".join(piece for piece, _ in line) for line in tree_lines(Board.of(view), START)]
    assert lines == ["✓ fetch", "✗ pick 19/20, 1 failed", "  ✗ pick[7]", "  … 19 succeeded", "✓ ship"]
    assert len(tree_lines(Board.of(view), START, everything=True)) == 23


def test_label_of_a_map_that_has_not_begun() -> None:
    assert label_of(Board(PLAN).line("pick")) == "pick"
