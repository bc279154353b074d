"""Values that are written in a flow, against the limits of the sub-flow's params that they are for."""

from __future__ import annotations

from pathlib import Path

import pytest

from graft.errors import InvalidFlow
from graft_dsl import Diagnostic, compile_text

PICK = """
[params]
size = { type = "string", values = ["small", "large"], default = "small" }
tag = { type = "string", pattern = "[a-z]+", default = "x" }
count = { type = "int", min = 1, max = 10, default = 1 }
names = { type = "list[string]", min = 1, default = ["a"] }
pause = { type = "duration", max = "1h", default = "1m" }
level = { type = "enum", values = ["low", "high"], default = "low" }
[nodes.a]
value = 1
"""


def codes(given: str, where: Path) -> list[str]:
    (where / "pick.toml").write_text(PICK)
    text = f"[params.n]\ntype = 'int'\n[nodes.a]\nflow = 'pick.toml'\nwith = {{ {given} }}"
    try:
        compile_text(text, base=where)
    except InvalidFlow as error:
        return [each.code for each in error.diagnostics if isinstance(each, Diagnostic)]
    return []


@pytest.mark.parametrize(
    "given",
    [
        "size = 'huge'",
        "tag = 'x1'",
        'tag = "x\\n"',
        "count = 0",
        "count = 11",
        "count = '${ 10 + 1 }'",
        "names = []",
        "names = '${ [] }'",
        "pause = '61m'",
    ],
)
def test_what_is_outside_of_the_limits_is_told(given: str, tmp_path: Path) -> None:
    assert codes(given, tmp_path) == ["GR308"]


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    assert codes("size = 'huge', count = 0, tag = ''", tmp_path) == ["GR308"] * 3


def test_a_wrong_type_is_told_once(tmp_path: Path) -> None:
    assert codes("count = 'many'", tmp_path) == ["GR303"]


@pytest.mark.parametrize(
    "given",
    ["size = 'large'", "tag = 'abc'", "count = 10", "count = '${ params.n }'", "names = ['b']", "pause = '1h'"],
)
def test_what_is_inside_or_not_known_yet_passes(given: str, tmp_path: Path) -> None:
    assert codes(given, tmp_path) == []
