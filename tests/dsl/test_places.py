"""Where things stand: the scanner against tomli, and columns inside of texts."""

from __future__ import annotations

from typing import Any

import pytest
import tomli
from hypothesis import example, given

from graft_dsl.places import Offset, PathIndex, TomlSource
from graft_dsl.toml_syntax import offsets
from tests.support.flow_documents import documents


def paths(value: Any, path: tuple[Any, ...] = ()) -> set[tuple[Any, ...]]:
    found = {path} if path else set()
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        found |= paths(each, (*path, key))
    return found


@given(documents())
@example('a.b = [{ c = [1, { "d e" = 2 }] }]\n[[x]]\ny = 1\n[[x]]\n[x.z]\nw = {}\n')
def test_every_path_of_a_document_has_a_place_and_no_other(text: str) -> None:
    try:
        document = tomli.loads(text)
    except tomli.TOMLDecodeError:
        return
    index = PathIndex()
    index.read(text.replace("\r\n", "\n"))
    assert set(index.values) == paths(document)
    assert not index.repeated


@given(documents())
def test_the_text_of_a_scalar_is_at_its_place(text: str) -> None:
    try:
        document = tomli.loads(text)
    except tomli.TOMLDecodeError:
        return
    index = PathIndex()
    index.read(text)
    for path in paths(document):
        value: Any = document
        for part in path:
            value = value[part]
        if not isinstance(value, (dict, list)):
            start, end = index.values[path]
            assert repr(tomli.loads(f"x = {text[start:end]}")["x"]) == repr(value)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ('"plain"', "plain"),
        ("'lit\\n'", "lit\\n"),
        ('"a\\tb\\u00e9c\\U0001F600d\\x41"', "a\tbéc\U0001f600dA"),
        ('"""\n  two\nlines"""', "  two\nlines"),
        ('"""join \\\n   ed"""', "join ed"),
        ("'''\nx''y'''", "x''y"),
        ('""', ""),
    ],
)
def test_each_character_of_a_text_has_its_offset(raw: str, value: str) -> None:
    found = offsets(raw)
    assert tomli.loads(f"x = {raw}")["x"] == value
    assert len(found) == len(value) + 1
    for number, char in enumerate(value):
        if raw[found[number]] != "\\":
            assert raw[found[number]] == char
    assert found == sorted(found)


def test_columns_count_characters_and_lines_end_at_line_breaks() -> None:
    source = TomlSource("f.toml", 'a = "x"\n"ö".b = """\nüü ${ y }\nz"""\n')
    place = source.place(("ö", "b"), "value", (6, 7))
    assert (place.line, place.column, place.end_column, place.source_line) == (3, 7, 8, "üü ${ y }")
    place = source.place(("ö", "b"), "value", None)
    assert (place.line, place.column, place.end_column) == (2, 9, 12)
    place = source.place(("ö", "b"), "key", None)
    assert (place.line, place.column, place.end_column) == (2, 5, 6)


def test_what_is_not_there_is_placed_at_what_is_around_it() -> None:
    source = TomlSource("f.toml", "[a]\nb = 1\n")
    assert source.place(("a", "c", "d"), "value", None).column == 2
    assert source.place((), "value", None).line == 1
    assert source.place(Offset(99, 100), "value", None).line == 3


def test_a_header_wins_over_a_mention_before_it() -> None:
    source = TomlSource("f.toml", "[a.b]\nx = 1\n[a]\ny = 2\n")
    assert source.place(("a",), "key", None).line == 3
