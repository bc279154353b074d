"""How a command ends badly: the message, the exit code, and never a traceback."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from graft.cli.failure import report
from graft.errors import GraftError, InvalidFlow, StoreHeld, UsageError

CASES: list[tuple[BaseException, int, str]] = [
    (GraftError("it broke"), 1, "error: it broke\n"),
    (UsageError("no such thing", hint="try this\nor that"), 2, "error: no such thing\n  try this\n  or that\n"),
    (StoreHeld("held by process 12", pid=12, hint="wait"), 1, "error: held by process 12\n  wait\n"),
    (InvalidFlow("error[GR001]: bad\n --> f.toml:1:1\n"), 2, "error[GR001]: bad\n --> f.toml:1:1\n"),
    (click.UsageError("Missing argument"), 2, "error: Missing argument\n"),
    (click.exceptions.Exit(5), 5, ""),
    (SystemExit(3), 3, ""),
    (KeyboardInterrupt(), 130, "interrupted\n"),
    (BaseExceptionGroup("group", [KeyboardInterrupt()]), 130, "interrupted\n"),
    (ExceptionGroup("one", [ExceptionGroup("two", [GraftError("deep")])]), 1, "error: deep\n"),
    (ExceptionGroup("two", [GraftError("one"), UsageError("two")]), 2, "error: one\nerror: two\n"),
    (GraftError("a \x1b[2Jb\x07"), 1, "error: a \\x1b[2Jb\\x07\n"),
]


@pytest.mark.parametrize(("error", "code", "text"), CASES, ids=[repr(error) for error, _, _ in CASES])
def test_errors_that_are_expected(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, text: str
) -> None:
    assert report(error) == code
    assert capsys.readouterr() == ("", text)


def test_an_error_in_colour(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    report(GraftError("it broke"))
    assert capsys.readouterr().err == "\x1b[31;1merror:\x1b[0m it broke\n"


def raised(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as caught:
        return caught


def test_an_unexpected_error_goes_to_a_crash_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert report(raised(KeyError("x\ny"))) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "graft: internal error: KeyError: 'x\\ny'"
    (crash,) = tmp_path.glob("graft-crash-*.txt")
    assert f"please report it with the file {crash}" in second
    assert "Traceback (most recent call last)" in crash.read_text()
    assert crash.stat().st_mode & 0o077 == 0


def test_an_unexpected_error_beside_expected_ones_is_a_crash(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ExceptionGroup("both", [GraftError("fine"), raised(ZeroDivisionError("division by zero"))])) == 1
    assert capsys.readouterr().err.startswith("graft: internal error: ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "logs/a.log"), "No space left on device: logs/a.log"),
        (MemoryError(), "out of memory"),
    ],
)
def test_what_the_system_refused_is_no_bug(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, error: Exception, said: str
) -> None:
    assert report(raised(error)) == 1
    (crash,) = tmp_path.glob("graft-crash-*.txt")
    assert capsys.readouterr().err == f"error: {said}\n  the system refused it; the details are in {crash}\n"


def test_the_traceback_is_shown_when_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRAFT_TRACEBACK", "1")
    assert report(raised(KeyError("x"))) == 1
    assert capsys.readouterr().err.startswith("Traceback (most recent call last)")
    assert not list(tmp_path.glob("graft-crash-*.txt"))


def test_a_crash_file_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    assert report(raised(KeyError("x"))) == 1
    assert "please report it (GRAFT_TRACEBACK=1" in capsys.readouterr().err
