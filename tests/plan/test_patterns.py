"""Patterns of params: Python says what is right on what both know, and no value takes more than linear time."""

from __future__ import annotations

import re
import warnings
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graft.plan.patterns import MAX_LENGTH, PatternError, TooMuchWork, compile_pattern

CHARACTERS = st.sampled_from(list("abzAB019 _-.\n\té€"))
TEXTS = st.text(CHARACTERS, max_size=8)
CLASSES = st.sampled_from(
    [
        r"\d",
        r"\w",
        r"\s",
        r"\D",
        r"\W",
        r"\S",
        "[a-z]",
        "[^a-z]",
        r"[\w.-]",
        r"[^\s\d]",
        r"[\W_]",
        r"[A\-]",
        "[é€]",
        ".",
    ]
)
ATOMS = CLASSES | CHARACTERS.map(re.escape) | st.sampled_from([r"\x61", r"\u20ac", r"\t", r"\n", "^", "$"])


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    grouped = inner.map("({})".format) | inner.map("(?:{})".format)
    repeats = st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}", "{0}", "*?", "+?", "??"])
    return (
        st.lists(inner, max_size=3).map("".join)
        | st.lists(inner, min_size=1, max_size=3).map("|".join)
        | st.tuples(grouped, repeats).map("".join)
    )


@settings(max_examples=1000)
@given(st.recursive(ATOMS, larger, max_leaves=6), TEXTS)
def test_what_matches_is_what_matches_in_python(text: str, value: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # `\Z` is what `$` means here: a pattern's end is not before a line break.
        known = re.compile(re.sub(r"(?<!\\)\$", r"\\Z", text), re.ASCII)
    assert compile_pattern(text).matches(value) == (known.fullmatch(value) is not None)


@given(st.text(max_size=20) | st.from_regex(r"[a\\()\[\]{}*+?|^$.,0-9-]{0,12}", fullmatch=True), TEXTS)
def test_any_text_is_a_pattern_or_is_refused(text: str, value: str) -> None:
    with suppress(PatternError):
        compile_pattern(text).matches(value)


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("^[a-z]+$", "main", True),
        ("^[a-z]+$", "main\n", False),
        ("[a-z]+", "main7", False),
        ("[a-z]+", "7main", False),
        ("a|ab", "ab", True),
        ("^a|b$", "b", True),
        ("(^a$|b)c?", "bc", True),
        ("", "", True),
        ("", "x", False),
        (".", "\n", False),
        (".*", "one\ntwo", False),
        ("(?i)main", "MAIN", True),
        (r"\d+", "٣", False),
        (r"\w+", "é", False),
        ("(?P<year>[0-9]{4})-(?<day>[0-9]{2})", "2026-03", True),
        ("(a*)*", "aaa", True),
        ("(|a)+", "", True),
    ],
)
def test_the_whole_value_is_matched(pattern: str, value: str, fits: bool) -> None:
    assert compile_pattern(pattern).matches(value) is fits


@pytest.mark.parametrize(
    ("pattern", "position", "told"),
    [
        (r"(a)\1", 3, "back references"),
        ("a(?=b)", 1, "look-around"),
        ("(?<!x)a", 0, "look-around"),
        (r"a\b", 1, "whole value"),
        (r"\p{L}+", 0, "Unicode"),
        ("a**", 2, "two repeats"),
        ("a++", 2, "two repeats"),
        ("*a", 0, "nothing to repeat"),
        ("^*", 1, "nothing to repeat"),
        ("a{,3}", 1, "not a count"),
        ("a{3,1}", 1, "greater"),
        ("{x}", 0, "nothing to repeat"),
        ("(a", 0, "never closed"),
        ("a)", 1, "closes nothing"),
        ("[a", 0, "never closed"),
        ("[]a]", 1, "empty class"),
        ("[z-a]", 1, "backwards"),
        (r"[\d-z]", 1, "between two characters"),
        ("[[:alpha:]]", 1, "another way"),
        ("[a&&b]", 2, "another way"),
        (r"\q", 0, "there is no"),
        ("a\\", 1, "at the end"),
        ("a(?i)b", 1, "at the beginning"),
        ("(?s)a", 0, "groups are"),
        ("x" * (MAX_LENGTH + 1), MAX_LENGTH, "longer than"),
        ("((a{999}){999}){999}", 0, "too large"),
        ("(" * 60 + ")" * 60, 50, "deeper"),
    ],
)
def test_what_is_refused_says_why(pattern: str, position: int, told: str) -> None:
    with pytest.raises(PatternError, match=told) as caught:
        compile_pattern(pattern)
    assert caught.value.position == position


@pytest.mark.parametrize("pattern", ["(a+)+", "(a|a)*", "(a|aa)+", "(a*)*b?", "a{0,500}a{500}", "([a-z]+)*[a-z]"])
def test_no_pattern_backtracks(pattern: str) -> None:
    """Each of them takes Python's own engine more than years for this value."""
    assert compile_pattern(pattern).matches("a" * 600 + "!") is False


def test_the_work_for_one_value_is_bounded() -> None:
    pattern = compile_pattern("(a|b)*a(a|b){400}")
    value = "".join(Random(7).choices("ab", k=60_000))
    with pytest.raises(TooMuchWork):
        pattern.matches(value)
