"""How deep a JSON text nests: against the value it was made from, and for bytes that are no JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.plan.nesting import nests_deeper

TEXT = st.text(alphabet=st.sampled_from('[]{}"\\,:ab\n é'))
VALUES = st.recursive(
    st.none() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_it_is_the_depth_of_the_value(value: Any, ascii: bool, indent: int | None) -> None:
    data = json.dumps(value, ensure_ascii=ascii, indent=indent).encode()
    deepest = depth(value)
    assert not nests_deeper(data, deepest)
    assert deepest == 0 or nests_deeper(data, deepest - 1)


@given(st.lists(st.sampled_from([b"[", b"]", b"{", b'"', b"\\", b"\xff", b"x"])).map(b"".join), st.integers(0, 5))
def test_any_bytes_have_an_answer(data: bytes, levels: int) -> None:
    assert nests_deeper(data, levels) in (True, False)


@pytest.mark.parametrize(
    "data", [b"[" * 1_000_000, b'"' + b"\\[" * 500_000, b"[]" * 500_000], ids=["deep", "text", "flat"]
)
def test_long_texts(data: bytes) -> None:
    assert nests_deeper(data, 500) is data.startswith(b"[[")
