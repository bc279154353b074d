"""Every code is documented by a file that gives it and by the same file put right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from graft.errors import InvalidFlow
from graft_dsl.codes import CODES, Code, explain
from graft_dsl.compiling import compile_file
from graft_dsl.diagnostics import Diagnostic
from tests.support.signatures import fake_signatures

SHOWN = [code for code in CODES.values() if code.bad is not None]


def diagnostics(code: Code, text: str, where: Path) -> tuple[Diagnostic, ...]:
    (where / "flow.toml").write_text(text, encoding=code.encoding)
    for name, content in code.files.items():
        (where / name).write_text(content)
    try:
        return compile_file(where / "flow.toml", python=fake_signatures).warnings
    except InvalidFlow as error:
        return tuple(each for each in error.diagnostics if isinstance(each, Diagnostic))


@pytest.mark.parametrize("code", SHOWN, ids=lambda code: code.code)
def test_the_bad_example_gives_the_code_and_nothing_else(code: Code, tmp_path: Path) -> None:
    found = diagnostics(code, code.bad or "", tmp_path)
    assert {each.code for each in found} == {code.code}


@pytest.mark.parametrize("code", SHOWN, ids=lambda code: code.code)
def test_the_good_example_compiles_without_a_word(code: Code, tmp_path: Path) -> None:
    assert diagnostics(code, code.good or "", tmp_path) == ()


def test_every_code_that_the_sources_name_is_documented() -> None:
    import graft_dsl

    sources = Path(graft_dsl.__file__).parent.rglob("*.py")
    named = {code for source in sources for code in re.findall(r'"(GR\d{3})"', source.read_text())}
    assert named == set(CODES)


def test_explain_shows_both_files() -> None:
    text = explain("gr015")
    assert "timeout = 30" in text
    assert "timeout = '30s'" in text
    with pytest.raises(KeyError):
        explain("GR999")


def test_codes_without_an_example_are_the_ones_no_text_can_give() -> None:
    assert {code.code for code in CODES.values() if code.bad is None} == {"GR003", "GR005", "GR008", "GR403"}
