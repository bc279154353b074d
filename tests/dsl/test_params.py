"""From what a person gives to the values of a run."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from attrs import evolve

from graft.errors import InvalidParams
from graft.plan import Plan
from graft.plan.limits import limit_problems
from graft_dsl import coerce_params, compile_text

PARAMS = """
[params]
name = { type = "string", pattern = "^[a-z]+$", max = 5, doc = "who" }
count = { type = "int", default = 3, min = 1, max = 10 }
size = { type = "bytes", default = "10MiB" }
pause = { type = "duration", default = "1m 30s", max = "1h" }
day = { type = "date", default = 2026-03-01 }
level = { type = "enum", values = ["low", "high"], default = "low" }
tags = { type = "list[string]", default = ["a"], min = 1 }
any = { type = "any", default = 1 }
token = { type = "string", secret = true, default = "x", pattern = "^x.*" }
maybe = { type = "int?", default = 1 }
[nodes.a]
value = 1
"""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_text(PARAMS).plan


def problems(plan: Plan, **raw: Any) -> list[str]:
    with pytest.raises(InvalidParams) as caught:
        coerce_params(plan, raw)
    return caught.value.message.split("\n")[1:]


def test_defaults(plan: Plan) -> None:
    assert coerce_params(plan, {"name": "ann"}) == {
        "name": "ann",
        "count": 3,
        "size": 10 * 1024 * 1024,
        "pause": 90.0,
        "day": "2026-03-01",
        "level": "low",
        "tags": ["a"],
        "any": 1,
        "token": "x",
        "maybe": 1,
    }


@pytest.mark.parametrize("value", ["ann\n", "ann bo", "7ann", ""])
def test_a_pattern_has_to_match_the_whole_value(plan: Plan, value: str) -> None:
    assert "does not match the pattern" in problems(plan, name=value)[0]


def test_a_pattern_of_an_old_plan_is_told_and_not_tried(plan: Plan) -> None:
    """Plans that were compiled before patterns had bounds may hold what is refused now."""
    old = evolve(plan.root.params[0], pattern=r"(?=x)(a+)+\1")
    assert "cannot be used" in limit_problems(old, "a" * 50)[0]
    slow = evolve(plan.root.params[0], pattern="(a|b)*a(a|b){400}", max=None)
    assert "too long" in limit_problems(slow, "".join(Random(7).choices("ab", k=60_000)))[0]


def test_texts_of_the_command_line(plan: Plan) -> None:
    raw = {
        "name": "bo",
        "count": "7",
        "size": "1kB",
        "pause": "5m",
        "tags": "x, y",
        "any": '{"a": [1]}',
        "maybe": "null",
    }
    found = coerce_params(plan, raw)
    assert (found["count"], found["size"], found["pause"]) == (7, 1000, 300.0)
    assert (found["tags"], found["any"], found["maybe"]) == (["x", "y"], {"a": [1]}, None)


def test_values_of_a_file_stay_what_they_are(plan: Plan) -> None:
    assert coerce_params(plan, {"name": "bo", "any": "5"}, from_text=False)["any"] == "5"
    assert coerce_params(plan, {"name": "bo", "any": "5"})["any"] == 5
    assert coerce_params(plan.root.params, {"name": "bo", "tags": ["q"]})["tags"] == ["q"]


def test_all_problems_at_once(plan: Plan) -> None:
    found = problems(plan, count="many", nmae="x", level="mid", day="yesterday")
    assert found == [
        "  - there is no param `nmae`; did you mean `name`?",
        "  - `name` is missing (string): who",
        "  - `count`: expected int, got 'many'",
        "  - `day`: expected date such as 2026-03-01, got 'yesterday'",
        "  - `level`: expected one of 'low', 'high', got 'mid'",
    ]


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ({"name": "ANN"}, "`name`: `ANN` does not match the pattern `^[a-z]+$`"),
        ({"name": "abcdef"}, "`name`: its length must be at most 5, and is 6"),
        ({"name": "a", "count": 0}, "`count`: it must be at least 1, and is 0"),
        ({"name": "a", "count": True}, "`count`: expected int, got bool"),
        ({"name": "a", "pause": "2h"}, "`pause`: it must be at most 3600, and is 7200"),
        ({"name": "a", "tags": []}, "`tags`: its length must be at least 1, and is 0"),
        ({"name": "a", "zzz": 1}, "there is no param `zzz`; the params are"),
    ],
)
def test_limits(plan: Plan, raw: dict[str, Any], problem: str) -> None:
    (found,) = problems(plan, **raw)
    assert found.startswith(f"  - {problem}")


def test_the_value_of_a_secret_param_is_not_told(plan: Plan) -> None:
    (found,) = problems(plan, name="a", token="hunter2")
    assert "hunter2" not in found


def test_the_place_of_a_flow_without_params() -> None:
    with pytest.raises(InvalidParams, match="the flow has none"):
        coerce_params(compile_text("[nodes.a]\nvalue = 1\n").plan, {"x": 1})
