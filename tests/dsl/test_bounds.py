"""Limits of the interpreter, of TOML and of timers are told as diagnostics with their places, wherever they are met."""

from __future__ import annotations

import pytest

from fuzz.targets import flow_file
from graft.errors import InvalidFlow
from graft.plan.quantities import MAX_INT64, MIN_INT64
from graft_dsl import Diagnostic, compile_text, format_text

DIGITS = "9" * 4301  # one more than Python reads

PLACES = {
    "the top": "x = {}\n[nodes.a]\nvalue = 1",
    "the version": "graft = {}\n[nodes.a]\nvalue = 1",
    "a value": "[nodes.a]\nvalue = {}",
    "inside of a value": "[nodes.a]\nvalue = {{ deep = [1, {{ x = {} }}] }}",
    "a default": "[params.p]\ntype = 'int'\ndefault = {}\n[nodes.a]\nvalue = 1",
    "a limit": "[params.p]\ntype = 'float'\nmax = {}\n[nodes.a]\nvalue = 1",
    "the values": "[params.p]\nvalues = [{}]\n[nodes.a]\nvalue = 1",
    "a count": "[nodes.a]\nrun = 'true'\nretry = {{ attempts = {} }}",
    "a factor": "[nodes.a]\nrun = 'true'\nretry = {{ factor = {} }}",
    "a tolerance": "[nodes.a]\nrun = 'true'\nfor_each = [1]\ntolerate = {}",
    "slots": "[nodes.a]\nrun = 'true'\nfor_each = [1]\nmax_parallel = {}",
    "a duration": "[nodes.a]\nsleep = {}",
    "an error type": "[nodes.a]\nrun = 'true'\nretry = {{ on = [{}] }}",
    "a variable": "[nodes.a]\nrun = 'true'\nenv = {{ N = {} }}",
    "the items": "[nodes.a]\nfor_each = [{}]\nvalue = 1",
    "an argument": "[nodes.a]\nexec = ['echo', {}]",
    "a header": "[nodes.a]\nhttp = {{ url = 'http://x', headers = {{ n = {} }} }}",
    "the default of a kind": "[defaults.http]\nquery = {{ n = {} }}\n[nodes.a]\nvalue = 1",
    "the simulation": "[nodes.a]\nvalue = 1\n[sim]\nmembers = {}",
}
NUMBERS = [
    str(MAX_INT64 + 1),
    str(MIN_INT64 - 1),
    "1" + "0" * 400,
    DIGITS,
    "1_" * 5000 + "1",
    "0x" + "f" * 5000,
    "0o" + "7" * 50,
    "0b" + "1" * 65,
]


def told(text: str) -> list[Diagnostic]:
    with pytest.raises(InvalidFlow) as caught:
        compile_text(text)
    return [each for each in caught.value.diagnostics if isinstance(each, Diagnostic)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:12])
def test_an_integer_of_more_than_64_bits_is_told_where_it_stands(place: str, number: str) -> None:
    text = PLACES[place].format(number)
    found = next(each for each in told(text) if each.code == "GR030")
    assert text.split("\n")[found.line - 1][found.column - 1 :].startswith(number)


@pytest.mark.parametrize("number", [str(MAX_INT64), str(MIN_INT64), "0x7fff_ffff_ffff_ffff"])
def test_64_bits_are_read(number: str) -> None:
    compile_text(f"[nodes.a]\nvalue = {number}")


@pytest.mark.parametrize("number", [str(MAX_INT64 + 1), DIGITS])
def test_formatting_tells_them_too(number: str) -> None:
    with pytest.raises(InvalidFlow, match="GR030"):
        format_text(f"[nodes.a]\nvalue = {number}\n")


def test_keys_texts_and_comments_may_have_any_number_of_digits() -> None:
    compile_text(f"# {DIGITS}\n[nodes.a]\nvalue = {{ {DIGITS} = '{DIGITS}' }}")


def test_the_rest_of_the_file_is_checked_too() -> None:
    assert {each.code for each in told(f"[nodes.a]\nvalue = {MAX_INT64 + 1}\nretrys = 3")} == {"GR010", "GR030"}


DEEP = 100_000
HOSTILE = {
    "lists": "[nodes.a]\nvalue = " + "[" * DEEP,
    "closed lists": "[nodes.a]\nvalue = " + "[" * DEEP + "]" * DEEP,
    "tables": "[nodes.a]\nvalue = " + "{a=" * DEEP,
    "brackets in a text": "[nodes.a]\nvalue = ['" + "[" * DEEP + "']" + "\nretrys = 1",
    "dotted keys": "a." * DEEP + "b = 1",
    "a long header": "[" + "a." * DEEP + "b]",
    "groups": "\n".join(f"[{'nodes.g.' * n}nodes.a]\nvalue = 1" for n in range(1, 100)),
    "an expression": '[nodes.a]\nvalue = "${ ' + "(" * DEEP + ' }"',
    "operators": '[nodes.a]\nvalue = "${ ' + "-" * DEEP + '1 }"',
    "fields": '[nodes.a]\nvalue = "${ run' + ".a" * 4000 + ' }"',
    "digits": '[nodes.a]\nvalue = "${ ' + DIGITS + ' }"',
    "a float": '[nodes.a]\nvalue = "${ 1e999 }"',
    "an infinite number": "[nodes.a]\nvalue = 1e400",
    "a type": "[params.p]\ntype = '" + "list[" * 700 + "int" + "]" * 700 + "'\n[nodes.a]\nvalue = 1",
    "an enum": f"[params.p]\ntype = 'enum[{DIGITS[:4000]}]'\n[nodes.a]\nvalue = 1",
    "a year": "[nodes.a]\nvalue = 10000-01-01",
    "a month": "[nodes.a]\nvalue = 2026-13-01",
    "a duration": "[nodes.a]\nsleep = '999999999999999w'",
    "a duration of a param": "[params.p]\ntype = 'duration'\ndefault = '999999999999999w'\n[nodes.a]\nvalue = 1",
    "a size": "[params.p]\ntype = 'bytes'\ndefault = '999999999999999TiB'\n[nodes.a]\nvalue = 1",
    "an exponent": "[nodes.a]\nsleep = '1e30s'",
    "no time": "[nodes.a]\nrun = 'true'\ntimeout = '0s'",
    "nearly no time": "[nodes.a]\nrun = 'true'\ntotal_timeout = '0.4ms'",
    "no time for a run": "timeout = '0s'\n[nodes.a]\nrun = 'true'",
    "a factor": "[nodes.a]\nrun = 'true'\nretry = { factor = 1e308 }",
    "no number": "[nodes.a]\nrun = 'true'\nretry = { factor = nan }",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_limits_are_diagnostics(name: str) -> None:
    assert told(HOSTILE[name])
    flow_file(HOSTILE[name].encode())


@pytest.mark.parametrize(("name", "line", "column"), [("lists", 2, 409), ("tables", 2, 1209)])
def test_what_nests_too_deep_is_told_where_it_does(name: str, line: int, column: int) -> None:
    (found,) = told(HOSTILE[name])
    assert (found.code, found.line, found.column) == ("GR007", line, column)


@pytest.mark.parametrize("key", ["sleep = '0s'\n[nodes.b]\nvalue = 1", "run = 'true'\nretry = { initial = '0s' }"])
def test_no_time_is_fine_where_it_makes_sense(key: str) -> None:
    compile_text(f"[nodes.a]\n{key}")
