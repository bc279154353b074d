"""The fuzz targets run, with input that is random and input that is nearly right."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS
from graft.expressions import render
from graft.plan import encode
from tests.support.plan_strategies import plans, types
from tests.support.trees import trees


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=60)
@given(data=st.binary(max_size=60) | st.text(st.sampled_from("[]{}()ab.'\"f$:,0 +"), max_size=30).map(str.encode))
def test_random_bytes(name: str, data: bytes) -> None:
    TARGETS[name](data)


@settings(max_examples=40)
@given(trees())
def test_expressions_and_templates(tree: object) -> None:
    text = render(tree)  # type: ignore[arg-type]
    TARGETS["expression"](text.encode())
    TARGETS["template"](f"a ${{{text}}} b".encode())


@settings(max_examples=20)
@given(plans(max_blocks=2), st.integers(0, 2000), st.sampled_from([b"", b"0", b"]", b"null,"]))
def test_plans_and_damaged_plans(plan: object, at: int, mark: bytes) -> None:
    data = encode(plan)  # type: ignore[arg-type]
    TARGETS["plan"](data)
    at %= len(data)
    TARGETS["plan"](data[:at] + mark + data[at + 1 :])


@settings(max_examples=40)
@given(types)
def test_types(type_: object) -> None:
    from graft.plan.types import render_type

    TARGETS["type_text"](render_type(type_).encode())
