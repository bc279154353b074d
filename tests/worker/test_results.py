"""Results as JSON."""

from __future__ import annotations

import datetime as dt
import json
import pathlib
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.worker.failures import StepFailure, shorten
from graft.worker.results import decode_json, encode_result


@attrs.frozen
class Trip:
    took: dt.timedelta
    path: pathlib.Path
    tags: frozenset[str] = frozenset()


class Row(msgspec.Struct):
    cells: dict[Any, Any]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ((1, 2), [1, 2]),
        ({"a": None}, {"a": None}),
        ({1: "P1D"}, {"1": "P1D"}),
        (Trip(dt.timedelta(hours=1.5), pathlib.Path("a/b")), {"took": 5400.0, "path": "a/b", "tags": []}),
        ([dt.timedelta(days=-1)], [-86400.0]),
        (dt.datetime(2024, 2, 29, tzinfo=dt.UTC), "2024-02-29T00:00:00Z"),
        (2**100, 2**100),
    ],
)
def test_what_json_has_for_it(value: Any, wanted: Any) -> None:
    assert json.loads(encode_result(value, None, 1000)) == wanted


@pytest.mark.parametrize(
    ("value", "title"),
    [
        (float("inf"), "the result is not a finite number, which JSON cannot hold"),
        ({"a": [None, {"b": float("nan")}]}, "the result.a[1].b is not a finite number, which JSON cannot hold"),
        (Trip(dt.timedelta(1), print), "the result.path is a builtin_function_or_method that has no JSON form"),  # type: ignore[arg-type]
        ({"a": [{(1, 2): 3}]}, "the result.a[0] has the key (1, 2), a tuple: keys are text in JSON"),
        ({None: 3}, "the result has the key None, a NoneType: keys are text in JSON"),
        ({True: 3}, "the result has the key True, a bool: keys are text in JSON"),
        ({"1": "a", 1: "b"}, "the result has keys that become the same text: '1' and 1"),
        ([{"x": ({1.5: 0, "1.5": 0},)}], "the result[0].x[0] has keys that become the same text: 1.5 and '1.5'"),
        (
            {dt.date(2024, 1, 1): 0, "2024-01-01": 1},
            "the result has keys that become the same text: datetime.date(2024, 1, 1) and '2024-01-01'",
        ),
        (Row({1: 2, "1": 3}), "the result.cells has keys that become the same text: 1 and '1'"),
        (Row({"a": float("nan")}), "the result.cells.a is not a finite number, which JSON cannot hold"),
        (["\ud800"], "the result[0] is a str that has no JSON form"),
        ((x for x in ()), "the result is a generator that has no JSON form"),
    ],
)
def test_what_it_does_not_have(value: Any, title: str) -> None:
    with pytest.raises(StepFailure) as caught:
        encode_result(value, None, 1000)
    assert (caught.value.type, caught.value.title) == ("output_schema", title)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_json_values_come_back_as_they_are(value: Any) -> None:
    assert json.loads(encode_result(value, None, 1 << 20)) == value


KEYS = st.dictionaries(st.text("12.5", max_size=3) | st.integers(0, 12) | st.sampled_from([1.5, 2.5, 1e300]), st.none())


@given(st.lists(KEYS))
def test_no_value_of_a_table_is_lost(value: list[dict[Any, None]]) -> None:
    kept = [len({str(key) for key in table}) == len(table) for table in value]
    try:
        found = json.loads(encode_result(value, None, 1 << 20))
    except StepFailure:
        assert not all(kept)
    else:
        assert all(kept)
        assert list(map(len, found)) == list(map(len, value))


@given(st.text(max_size=300), st.integers(10, 100))
def test_shorten(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert short == text if len(text) <= limit else len(short) < limit + 50


NOT_JSON = {
    b'{"a": "\xff"}': "it is not UTF-8 text: byte 7",
    b'{"\xff": 1}': "it is not UTF-8 text: byte 2",
    b"\xff": "it is not UTF-8 text: byte 0",
    b'{"a": 1,}\xff': "it is not UTF-8 text: byte 9",
    b'{"a": 1 2}': "it is not JSON: expecting ',' delimiter at line 1, column 9",
    b"[" * 501: "it is JSON that nests deeper than 500 levels",
    b" ": "it is empty, not JSON",
}


@pytest.mark.parametrize("raised", [None, msgspec.DecodeError, UnicodeDecodeError])
@pytest.mark.parametrize("data", NOT_JSON)
def test_what_is_not_json_is_told_alike_whatever_msgspec_raises(
    monkeypatch: pytest.MonkeyPatch, data: bytes, raised: type[Exception] | None
) -> None:
    """Which of the two it raises for bytes that are not UTF-8 changed in 0.23."""

    def decode(data: bytes) -> Any:
        if raised is UnicodeDecodeError:
            raise UnicodeDecodeError("utf-8", data, 0, 1, "in other words")
        raise msgspec.DecodeError("in other words")

    if raised is not None:
        monkeypatch.setattr(msgspec.json, "decode", decode)
    with pytest.raises(StepFailure) as caught:
        decode_json(data, "it")
    assert (caught.value.type, caught.value.title) == ("output_schema", NOT_JSON[data])
