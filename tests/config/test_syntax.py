"""Trees and lines of TOML, YAML and JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from graft.config.syntax import MAX_NODES, BadSyntax, parse

SAME = {
    "toml": 'node_id = "a"\n\n[transport]\nlisten_port = 7401\n[resources]\nslots = { run = 4 }\n',
    "yaml": "node_id: a\n\ntransport:\n  listen_port: 7401\nresources:\n  slots: { run: 4 }\n",
    "json": '{"node_id": "a",\n\n"transport": {\n"listen_port": 7401},\n"resources":\n{"slots": {"run": 4}}}',
}


@pytest.mark.parametrize("format_", SAME)
def test_the_three_formats_give_one_tree_with_lines(format_: str) -> None:
    parsed = parse(SAME[format_], format_)
    assert parsed.tree == {"node_id": "a", "transport": {"listen_port": 7401}, "resources": {"slots": {"run": 4}}}
    assert parsed.lines["node_id",] == 1
    assert parsed.lines["transport", "listen_port"] == 4
    assert parsed.lines["resources", "slots", "run"] == 6


def test_a_toml_statement_of_several_lines_counts_from_its_first() -> None:
    text = 'a = [\n  1,\n\n  2]\nb = """\n[not.a.table]\nc = 1\n"""\n[t]\n# comment\n\nd.e = 1\n[t.u]\nf = 1\n'
    lines = parse(text, "toml").lines
    assert lines == {
        ("a",): 1, ("b",): 5, ("t",): 9, ("t", "d"): 12, ("t", "d", "e"): 12, ("t", "u"): 13, ("t", "u", "f"): 14,
    }  # fmt: skip


def test_yaml_follows_the_core_schema_of_1_2() -> None:
    text = "a: no\nb: 22:30\nc: 010\nd: 0o10\ne: 2026-03-01\nf: '7'\ng: 1e3\nh: ~\ni: 1_000\nj: true\nk: |\n  1\n"
    assert parse(text, "yaml").tree == {
        "a": "no", "b": "22:30", "c": 10, "d": 8, "e": "2026-03-01", "f": "7", "g": 1000.0, "h": None, "i": "1_000",
        "j": True, "k": "1\n",
    }  # fmt: skip


BAD = [
    ("toml", "a = 1\nb = \n", 2, "it is no TOML"),
    ("toml", "a = 1\na = 2\n", 2, "it is no TOML"),
    ("yaml", "a: 1\nb: [1\n", 3, "it is no YAML"),
    ("yaml", "a: 1\n\na: 2\n", 3, "the key `a` stands twice"),
    ("yaml", "a: !!python/object:os.system x\n", 1, "is not allowed"),
    ("yaml", "a: 1\n---\nb: 1\n", 3, "expected one document"),
    ("yaml", "a: 1\n? [b, c]\n: 1\n", 2, "expected a name as key"),
    ("yaml", "- 1\n", 1, "expected a table of settings"),
    ("json", '{"a": 1,\n"b" 2}', 2, "it is no JSON"),
    ("json", '{"a": 1, "a": 2}', 0, "the key `a` stands twice"),
    ("json", '{"a": NaN}', 0, "NaN is no JSON value"),
    ("json", "[1]", 1, "expected a table of settings"),
]


@pytest.mark.parametrize(("format_", "text", "line", "message"), BAD)
def test_bad_text_is_refused_with_its_line(format_: str, text: str, line: int, message: str) -> None:
    with pytest.raises(BadSyntax) as caught:
        parse(text, format_)
    assert message in caught.value.message
    assert caught.value.line == line


def test_aliases_are_counted_where_they_are_used() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    with pytest.raises(BadSyntax, match="too many values"):
        parse(text, "yaml")
    assert MAX_NODES < 10**9


def test_an_alias_that_holds_itself_is_refused() -> None:
    with pytest.raises(BadSyntax, match="too many values, or nests too deep"):
        parse("a: &a [*a]\n", "yaml")


def test_deep_nesting_is_refused_in_every_format() -> None:
    for format_, text in (
        ("json", '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"),
        ("yaml", "a: " + "[" * 3000 + "]" * 3000),
        ("toml", "a = " + "[" * 3000 + "]" * 3000),
    ):
        with pytest.raises(BadSyntax):
            parse(text, format_)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=6)
TREES: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    NAMES,
    st.recursive(
        st.booleans() | st.integers(-(2**53), 2**53) | NAMES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=5,
)


def paths(tree: Any, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    if isinstance(tree, dict):
        return {each for name, value in tree.items() for each in {(*path, name), *paths(value, (*path, name))}}
    if isinstance(tree, list):
        return {each for index, value in enumerate(tree) for each in paths(value, (*path, str(index)))}
    return set()


@given(TREES, st.sampled_from([None, 1]))
def test_every_key_of_any_json_has_a_line(tree: dict[str, Any], indent: int | None) -> None:
    text = json.dumps(tree, indent=indent)
    parsed = parse(text, "json")
    assert parsed.tree == tree
    assert set(parsed.lines) == paths(tree)
    rows = text.split("\n")
    for path, line in parsed.lines.items():
        assert json.dumps(path[-1]) in rows[line - 1]


WORDS = st.text("abc", min_size=1, max_size=3)
TABLES = st.dictionaries(WORDS, st.dictionaries(WORDS, st.integers() | st.lists(st.integers(), max_size=3)), max_size=4)


@given(TABLES)
def test_every_key_of_any_toml_has_the_line_that_it_stands_on(tables: dict[str, dict[str, Any]]) -> None:
    rows = []
    for name, table in tables.items():
        rows += ["# [no.table]", f"[{name}]"]
        rows += [f"{key} = {value}".replace(",", ",\n ") for key, value in table.items()]
    text = "\n".join(rows)
    parsed = parse(text, "toml")
    assert parsed.tree == tomli.loads(text) == tables
    lines = text.split("\n")
    for path, line in parsed.lines.items():
        assert lines[line - 1].startswith((f"{path[-1]} =", f"[{path[-1]}]"))
