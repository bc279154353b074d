"""What authors bring from other tools and editors is told in their words, with what to write here."""

from __future__ import annotations

from pathlib import Path

import pytest

from graft.errors import InvalidFlow
from graft_dsl import Diagnostic, compile_file, compile_text
from graft_dsl.habits import ADVICE, CHARACTERS, EXAMPLES, SYNONYMS, UNTIL
from graft_dsl.keys import KINDS, LATER_KEYS, LATER_KINDS, LATER_TOP, LATER_VALUES, MODIFIERS, TOP

NODE = "[params.x]\ntype = 'string'\n[nodes.a]\nvalue = 'x'\n[nodes.b]\n"


def told(text: str) -> list[Diagnostic]:
    try:
        return [each for each in compile_text(text).warnings if isinstance(each, Diagnostic)]
    except InvalidFlow as error:
        return [each for each in error.diagnostics if isinstance(each, Diagnostic)]


def test_every_key_that_is_to_come_says_what_to_do_until_then() -> None:
    assert UNTIL.keys() == {*LATER_KINDS, *LATER_KEYS, *LATER_TOP, *LATER_VALUES}


def test_the_tables_hold_keys_of_other_tools_only() -> None:
    ours = {*KINDS, *MODIFIERS}
    assert set(SYNONYMS.values()) <= {*ours, *TOP}
    assert EXAMPLES.keys() <= SYNONYMS.keys()
    assert not ADVICE.keys() & (ours | SYNONYMS.keys() | LATER_KEYS.keys() | LATER_KINDS.keys())


@pytest.mark.parametrize("key", [key for key, name in SYNONYMS.items() if name in MODIFIERS or name in KINDS])
def test_a_synonym_beats_a_key_that_only_looks_alike(key: str) -> None:
    found = next(each for each in told(f"[nodes.a]\n{key} = 1") if each.code == "GR010")
    assert SYNONYMS[key] in (found.suggestion or "")


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("retries = 3", "retry = { attempts = 3 }"),
        ("Retries = 3", "retry = { attempts = 3 }"),
        ("depends-on = 'a'", 'needs = ["fetch"]'),
        ("while = 'true'", "there is no loop yet"),
        ("schedule = '@daily'", "cron or a systemd timer"),
        ("image = 'debian'", "docker run"),
        ("priority = 3", "until then: `needs`"),
        ("effect = 'once'", "until then: leave it out"),
    ],
)
def test_keys_of_other_tools(key: str, suggestion: str) -> None:
    (found,) = told(f"[nodes.a]\nrun = 'true'\n{key}")
    assert suggestion in (found.suggestion or "")


@pytest.mark.parametrize(
    ("value", "code", "suggestion"),
    [
        ("value = '${{ params.x }}'", "GR110", "`${ params.x }`"),
        ("value = '${{params.x}} and more'", "GR110", "`${ params.x }`"),
        ("value = 1\nwhen = '{{ params.x }}'", "GR110", "`${ params.x }`"),
        ("value = ['{{ params.x }}']", "GR211", "`${ params.x }`"),
        ("run = 'true'\nenv = { X = '{{params.x}}' }", "GR211", "`${ params.x }`"),
        ("run = 'echo {{ params.x }}'", "GR211", 'env = { VALUE = "${ params.x }" }'),
        ("exec = ['echo', '{{ item }}']", "GR211", "`${ item }`"),
        ("value = \"${ split(params.x, '\\n') }\"", "GR101", r"write `\\n`"),
        ("value = \"${ f'{params.x}\\n' }\"", "GR101", r"write `\\n`"),
        ("value = '''${ split(params.x, '\\') }'''", "GR101", "a backslash is written"),
        ("for_each = [1]\ntolerate = '33.4%'\nvalue = 1", "GR014", '"33%"'),
        ("for_each = [1]\ntolerate = '250 %'\nvalue = 1", "GR014", '"100%"'),
        ("run = 'true'\ntimeout = '0s'", "GR014", "leave the key out"),
    ],
)
def test_values_of_other_tools(value: str, code: str, suggestion: str) -> None:
    (found,) = told(NODE + value)
    assert (found.code, suggestion in (found.suggestion or "")) == (code, True), found


@pytest.mark.parametrize(
    "value",
    [
        "value = \"${ {'a': 1} }\"",
        "value = \"${{'a': 1}}\"",
        "run = \"docker ps --format '{{.Names}}'\"",
        "run = 'echo {{a,b},c}'",
        "value = '{{ .Values.x }}'",
    ],
)
def test_braces_that_are_meant_pass(value: str) -> None:
    assert told(NODE + value) == []


@pytest.mark.parametrize("char", sorted(CHARACTERS.keys() - {"\r"}))
@pytest.mark.parametrize("text", ["[nodes.a]\n{}run = 'x'", "[nodes.a]\nrun {}= 'x'", "[nodes.a]\nrun = {}x"])
def test_a_character_that_was_not_meant_is_named(text: str, char: str) -> None:
    (found,) = told(text.format(char))
    what, instead = CHARACTERS[char]
    assert (found.code, found.suggestion) == ("GR001", instead)
    assert what in found.message
    assert found.source_line[found.column - 1] == char


@pytest.mark.parametrize("char", sorted(CHARACTERS.keys() - {"\r", "…"}))
def test_in_an_expression_too(char: str) -> None:
    (found,) = told(f"[nodes.a]\nvalue = '''${{ 1 {char}+ 2 }}'''")
    assert (found.code, found.suggestion) == ("GR101", CHARACTERS[char][1])


def test_inside_of_texts_any_character_is_fine() -> None:
    every = "".join(CHARACTERS.keys() - {"\r"})
    assert told(f"[nodes.a]\nvalue = '''{every}'''\n[nodes.b]\nvalue = '''${{ len('{every}') }}'''") == []


def test_utf_16_is_named(tmp_path: Path) -> None:
    path = tmp_path / "flow.toml"
    path.write_text("[nodes.a]\nvalue = 1\n", encoding="utf-16")
    with pytest.raises(InvalidFlow, match="UTF-16"):
        compile_file(path)
