"""Durations, values, errors and tables as text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.cli import looks
from graft.cli.looks import duration, iso, leaf_errors, pretty, value_text
from graft.cli.records import every_step, exit_code
from graft.cli.table import table
from graft.cli.terminal import Paint, clip, has_color, plain_text, shown, speaks_unicode
from graft.engine.lifecycle import FINAL, STEP
from graft.plan import ErrorRecord
from tests.support.plans import error, plan_of, run_of, step, task


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (-5, "0ms"),
        (0, "0ms"),
        (999, "999ms"),
        (999.6, "1.0s"),
        (59_949, "59.9s"),
        (59_950, "1m 00s"),
        (3_599_499, "59m 59s"),
        (3_599_500, "1h 00m"),
        (86_400_000, "1d 0h"),
        (10 * 86_400_000 + 5 * 3_600_000, "10d 5h"),
    ],
)
def test_duration(milliseconds: float, text: str) -> None:
    assert duration(milliseconds) == text


def test_iso() -> None:
    assert iso(1_700_000_000_007) == "2023-11-14T22:13:20.007Z"
    assert iso(None) is None


def test_every_status_of_the_engine_has_a_look() -> None:
    assert looks.STATUSES.keys() == STEP.keys() | {"uncertain"}
    assert set(looks.IMPORTANCE) == looks.STATUSES.keys()
    assert looks.FINAL == FINAL


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=10), inner, max_size=6),
    max_leaves=40,
)


@given(values)
def test_a_pretty_value_is_the_same_value(value: Any) -> None:
    assert json.loads(pretty(value)) == value
    assert "\n" not in value_text(value)
    assert len(value_text(value)) <= 60


@pytest.mark.parametrize("depth", [50, 400, 100_000])
def test_a_value_that_nests_deep_is_shown_as_far_as_it_can_be(depth: int) -> None:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    shown = json.loads(pretty({"x": value, "y": 2}))
    assert shown == (looks.TOO_DEEP if depth > 900 else {"x": value, "y": 2})


def lines_of(record: ErrorRecord, **more: bool) -> list[str]:
    return ["".join(text for text, _ in line) for line in looks.error_lines(record, **more)]


def test_an_error_with_what_caused_it() -> None:
    record = error(
        "ship",
        "group",
        "2 errors",
        cause=(
            error("ship/a", "http.503", "Service Unavailable", detail="line one\nline two"),
            ErrorRecord("python.ValueError", "ValueError: bad", node="ship/b", attempt=3),
        ),
    )
    assert lines_of(record) == [
        "ship  group: 2 errors",
        "  └ ship/a  http.503: Service Unavailable",
        "        line one",
        "        line two",
        "  └ ship/b  python.ValueError: bad  (attempt 3)",
    ]
    assert [leaf.node for leaf in leaf_errors(record)] == ["ship/a", "ship/b"]
    assert [leaf.node for leaf in leaf_errors(record.cause[0])] == ["ship/a"]


def test_an_error_cannot_write_to_the_terminal() -> None:
    record = error("a", "exit.1", "bad \x1b]0;title\x07", detail="\x1b[2J" + "x\n" * 240)
    text = "\n".join(lines_of(record))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "… 40 lines left out" in text


@given(st.text())
def test_plain_text_has_no_controls(text: str) -> None:
    assert not [c for c in plain_text(text) if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160]


@pytest.mark.parametrize("columns", [20, 40, 200])
def test_a_table_fits(columns: int) -> None:
    rows = [[("shop-1abc", ""), ("a-rather-long-name-of-a-flow", "bold"), ("failed", "red")]]
    lines = ["".join(text for text, _ in line) for line in table(("RUN", "FLOW", "STATUS"), rows, columns, give_way=1)]
    assert max(map(len, lines)) <= max(columns, len("shop-1abc") + 8 + len("failed") + 4)
    assert lines[0].split() == ["RUN", "FLOW", "STATUS"]


def test_clip() -> None:
    assert clip("abcdef", 6) == "abcdef"
    assert clip("abcdefg", 6) == "abcde…"


class Stream:
    def __init__(self, encoding: str = "utf-8", terminal: bool = True) -> None:
        self.encoding, self.terminal = encoding, terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("environment", "terminal", "wanted"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, False, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_when_there_is_colour(environment: dict[str, str], terminal: bool, wanted: bool) -> None:
    assert has_color(Stream(terminal=terminal), environment) is wanted  # type: ignore[arg-type]


def test_paint_and_symbols() -> None:
    assert shown(Paint(True)("x", "red", "bold")) == "\x1b[31;1mx\x1b[0m"
    assert Paint(False)("x", "red") == "x"
    assert speaks_unicode(Stream("utf-8"))  # type: ignore[arg-type]
    assert not speaks_unicode(Stream("latin-1"))  # type: ignore[arg-type]
    assert not speaks_unicode(None)


def test_every_step_goes_depth_first_without_recursion() -> None:
    deep = step("a")
    for _ in range(5000):
        deep = step("a", children=(deep, step("b")))
    assert sum(1 for _ in every_step((deep,))) == 10_001
    view = run_of(plan_of(task("a")), step("a", children=(step("a[0]"), step("a[1]"))), step("b"))
    assert [each.path for each in every_step(view.steps)] == ["a", "a[0]", "a[1]", "b"]


@pytest.mark.parametrize(
    ("status", "steps", "code"),
    [
        ("succeeded", [], 0),
        ("failed", [], 1),
        ("cancelled", [], 4),
        ("timed_out", [], 5),
        ("running", ["waiting", "succeeded"], 3),
        ("running", ["waiting", "uncertain"], 7),
    ],
)
def test_exit_codes(status: str, steps: list[str], code: int) -> None:
    view = run_of(plan_of(task("a")), *(step(f"s{i}", each) for i, each in enumerate(steps)), status=status)
    assert exit_code(view) == code
