"""The codec of plans: what is written is read back, byte for byte; what is not a plan is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graft.errors import PlanError, PlanFormatUnknown
from graft.plan import FORMAT, Block, Node, Plan, ValueAction, decode, encode, plan_hash
from tests.support.plan_strategies import plans

PLAN = Plan("hello", (Block("flow", "hello", (Node("a", ValueAction(("const", 1))),)),))


@settings(max_examples=60)
@given(plans())
def test_a_plan_is_read_back(plan: Plan) -> None:
    data = encode(plan)
    again = decode(data)
    assert repr(again) == repr(plan)
    assert encode(again) == data
    assert plan_hash(again) == plan_hash(plan)
    hash(again)  # all of it is immutable


@settings(max_examples=40)
@given(plans())
def test_the_bytes_are_canonical_json(plan: Plan) -> None:
    data = encode(plan)
    document = json.loads(data)
    assert document["format"] == FORMAT
    expected = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert json.loads(expected) == document
    assert list(document["plan"]) == sorted(document["plan"])
    assert b'": ' not in data.replace(b'\\": ', b"") or '": ' in repr(plan)


def test_the_identity_does_not_depend_on_the_process() -> None:
    code = (
        "from tests.plan.test_codec import PLAN; from graft.plan import plan_hash; import sys;"
        "sys.stdout.write(plan_hash(PLAN))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {plan_hash(PLAN)}


def test_1_and_true_are_different_plans() -> None:
    def with_value(value: Any) -> Plan:
        return Plan("a", (Block("flow", "a", (Node("n", ValueAction(("const", value))),)),))

    assert len({plan_hash(with_value(value)) for value in (1, True, 1.0, "1")}) == 4
    assert decode(encode(with_value(True))).root.nodes[0].action.value == ("const", True)  # type: ignore[union-attr]


def test_a_newer_format_is_named() -> None:
    document = json.loads(encode(PLAN)) | {"format": FORMAT + 1}
    with pytest.raises(
        PlanFormatUnknown, match=f"format {FORMAT + 1}; this version of Graft reads formats up to {FORMAT}"
    ):
        decode(json.dumps(document).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"3",
        b"{}",
        b'{"format": 1}',
        b'{"format": "1", "plan": {}}',
        b'{"format": 1, "plan": []}',
        b'{"format": 1, "plan": {"blocks": []}}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"format": 1, "plan": ' + b'{"a":' * 5000,
    ],
    ids=range(12),
)
def test_what_is_no_plan_is_refused(data: bytes) -> None:
    with pytest.raises(PlanError, match="not a plan"):
        decode(data)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in _places(each, (*path, key)))]


@settings(max_examples=150)
@given(plans(max_blocks=2), st.data())
def test_a_changed_document_is_refused_or_still_a_plan(plan: Plan, data: st.DataObject) -> None:
    document = json.loads(encode(plan))
    *path, last = data.draw(st.sampled_from([place for place in _places(document) if place]))
    owner = document
    for key in path:
        owner = owner[key]
    if data.draw(st.booleans()):
        del owner[last]
    else:
        owner[last] = data.draw(st.sampled_from([None, 0, -1, "x", [], {}, True, 1.5, [["const", 1]]]))
    try:
        changed = decode(json.dumps(document).encode())
    except PlanError:
        return
    assert decode(encode(changed)) == changed


@pytest.mark.parametrize("field", ["name", "blocks", "version", "doc", "labels"])
def test_a_missing_and_an_unknown_field_are_refused(field: str) -> None:
    document = json.loads(encode(PLAN))
    del document["plan"][field]
    with pytest.raises(PlanError, match=field):
        decode(json.dumps(document).encode())
    document = json.loads(encode(PLAN))
    document["plan"][field + "x"] = 1
    with pytest.raises(PlanError, match=field + "x"):
        decode(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("name",), 5, "Expected `str`, got `int` - at `Plan.name`"),
        (("blocks", 0, "kind"), "loop", "Invalid enum value 'loop' - at `Block.kind`"),
        (("blocks", 0, "timeout_ms"), "5m", "Expected `int | null`, got `str` - at `Block.timeout_ms`"),
        (("blocks", 0, "nodes", 0, "join"), "some", "Invalid enum value 'some' - at `Node.join`"),
        (("blocks", 0, "nodes", 0, "needs"), ["a", 3], "Expected `str`, got `int` - at `Node.needs[1]`"),
        (("blocks", 0, "nodes", 0, "needs"), "a", "Expected `array`, got `str` - at `Node.needs`"),
        (
            ("blocks", 0, "nodes", 0, "action"),
            {"kind": "value", "value": 3},
            "Expected `array`, got `int` - at `ValueAction.value`",
        ),
        (("blocks", 0, "nodes", 0, "action"), {"kind": "eval"}, "there is no 'eval'"),
        (("blocks",), [], "block 0 is not a flow"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused(place: tuple[Any, ...], value: Any, message: str) -> None:
    document = json.loads(encode(PLAN))
    owner = document["plan"]
    for key in place[:-1]:
        owner = owner[key]
    owner[place[-1]] = value
    with pytest.raises(PlanError, match=re.escape(message)):
        decode(json.dumps(document).encode())
