"""Commands are called in this process, through the same door as the installed script; see `test_process.py` for the
few things that need a process of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from graft.cli import main
from tests.support.commands import Ended, Graft


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No colour, a fixed width, a directory of its own."""
    for name in ("NO_COLOR", "FORCE_COLOR", "GRAFT_TRACEBACK", "GRAFT_DATA", "CI", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def graft(capsys: pytest.CaptureFixture[str]) -> Graft:
    def call(*argv: str) -> Ended:
        capsys.readouterr()
        code = main(argv)
        shown = capsys.readouterr()
        return Ended(code, shown.out, shown.err)

    return call


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        return path

    return write_file
