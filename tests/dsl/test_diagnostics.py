"""How diagnostics look."""

from __future__ import annotations

import re
from typing import Any

import pytest
import tomli

from graft.errors import InvalidFlow
from graft_dsl import Diagnostic, compile_text, render
from graft_dsl.diagnostics import Note, Place
from graft_dsl.suggest import closest, listed, quoted
from graft_dsl.units import parse_duration, parse_percent, render_duration, suggest_duration


def message(text: str) -> str:
    with pytest.raises(InvalidFlow) as caught:
        compile_text(text)
    return caught.value.message


def test_one_problem_in_full() -> None:
    assert message('[nodes.fetch]\nrun = "true"\n[nodes.b]\nneeds = ["fetsh"]\nrun = "true"\n') == (
        "error[GR201]: `b` needs `fetsh`, but there is no such node\n"
        " --> flow.toml:4:10\n"
        "  |\n"
        '4 | needs = ["fetsh"]\n'
        "  |          ^^^^^^^\n"
        "  |\n"
        "  = help: did you mean `fetch`?\n"
        "\n"
        "1 error; `graft explain GR201` says more"
    )


def test_tabs_and_wide_characters_keep_the_caret_below() -> None:
    text = '[nodes.a]\n\tneeds = ["漢字", "b"] # x\n\trun = "x"\n'
    lines = message(text).split("\n")
    carets = [line for line in lines if "^" in line]
    assert carets[0] == "  | \t         ^^^^^^"
    assert carets[1] == "  | \t                 ^^^"


def test_long_lines_show_the_part_that_matters() -> None:
    pad = "x" * 3000
    text = f'[nodes.a]\nrun = "x"\nenv = {{ A = "{pad}", B = "${{ parms.x }}", C = "{pad}" }}\n'
    lines = message(text).split("\n")
    shown = next(line for line in lines if line.startswith("3 |"))
    caret = next(line for line in lines if "^" in line)
    assert len(shown) < 130
    assert shown[caret.index("^") : caret.rindex("^") + 1] == "parms"


def test_colors_only_when_asked() -> None:
    found = Diagnostic("GR201", "text", "f.toml", 1, 1, 2, "x", notes=(Note("n", Place("f.toml", 1, 1, 2, "x")),))
    assert "\x1b" not in render([found])
    colored = render([found], color=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == render([found])
    assert colored != render([found])


def test_errors_and_warnings_are_counted() -> None:
    one = Diagnostic("GR208", "w", "f", 1, 1, 2, severity="warning")
    two = Diagnostic("GR201", "e", "f", 1, 1, 2)
    assert render([one]).endswith("1 warning")
    assert render([one, two, two]).endswith("2 errors and 1 warning; `graft explain GR201` says more")


def test_diagnostics_are_in_the_order_of_the_file() -> None:
    text = "[nodes.a]\nrun = 5\nzz = 1\ntimeout = 1\n[outputs]\nx = '${ nope }'\n"
    with pytest.raises(InvalidFlow) as caught:
        compile_text(text)
    assert [each.line for each in caught.value.diagnostics if isinstance(each, Diagnostic)] == [2, 3, 4, 6]


@pytest.mark.parametrize(
    ("text", "millis"),
    [("500ms", 500), ("1.5h", 5_400_000), ("2d", 172_800_000), ("1h 30m", 5_400_000), ("0s", 0), ("1w", 604_800_000)],
)
def test_durations(text: str, millis: int) -> None:
    assert parse_duration(text) == millis
    assert parse_duration(render_duration(millis)) == millis


@pytest.mark.parametrize(
    "text", ["", "5", "s", "1x", "5 minutes", "-1s", "1s,", "1e3s", "٣s", "9999999999999999999s", "200000w"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_duration(text)


def test_suggestions_for_durations() -> None:
    assert suggest_duration("30") == "30s"
    assert suggest_duration("5 minutes") == "5m"
    assert suggest_duration("10 millis") == "10ms"
    assert suggest_duration("soon") is None


def test_percentages() -> None:
    assert [parse_percent(text) for text in ("10%", " 5 % ", "100%", "101%", "10", "x%")] == [
        10,
        5,
        100,
        None,
        None,
        None,
    ]


def test_the_closest_name() -> None:
    assert closest("fetsh", ["price", "fetch"]) == "fetch"
    assert closest("FETCH_ORDER", ["fetch-order"]) == "fetch-order"
    assert closest("zzz", ["fetch"]) is None
    assert closest("x" * 10_000, ["x" * 9_999]) is None


def test_names_in_messages_are_one_line_and_short() -> None:
    assert quoted("a\nb\x1b") == "`a\\nb\\x1b`"
    assert len(quoted("x" * 500)) <= 62
    assert listed(["a", "b", "c"]) == "`a`, `b` or `c`"
    assert listed([str(i) for i in range(30)]).endswith("and 22 more")


REPEATED = {
    "a key": 'name = "a"\nname = "b"\n',
    "a table": "[nodes.a]\n[nodes.a]\n",
    "a key of an inline table": "params = { a = 1, a = 2 }\n",
    "before a mistake": 'name = "a"\nname = "b"\n[nodes.x]\nrun = ?\n',
}


@pytest.mark.parametrize("text", REPEATED.values(), ids=REPEATED)
def test_a_repeated_key_is_told_whatever_tomli_says(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its place says what tomli stopped at, not its words, which a release may change."""
    real = tomli.loads

    def loads(text: str) -> dict[str, Any]:
        try:
            return real(text)
        except tomli.TOMLDecodeError as error:
            raise tomli.TOMLDecodeError("in other words", error.doc, error.pos) from None

    monkeypatch.setattr(tomli, "loads", loads)
    assert message(text).startswith("error[GR002]")
    assert message("run = ?\n" + text).startswith("error[GR001]")
