"""Sealed values: the same for the same, of no use elsewhere, and nothing without a key."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.errors import ExpressionError, StorageError, UsageError
from graft.security.sealing import Sealer, make_key_file

KEY = "k" * 32
VALUES = st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists)


@given(VALUES, st.text())
def test_what_was_sealed_comes_out_again(value: object, about: str) -> None:
    sealed = Sealer(KEY).seal(value, about)
    assert Sealer(KEY).seal(value, about) == sealed, "a start that is repeated is known for the same"
    assert Sealer(KEY).open(sealed, about) == value


def test_a_seal_holds_for_one_key_and_one_purpose() -> None:
    sealed = Sealer(KEY).seal("hunter2hunter2", "r1\0token")
    assert "hunter2" not in str(sealed)
    for other, about in ((Sealer("o" * 32), "r1\0token"), (Sealer(KEY), "r2\0token"), (Sealer(), "r1\0token")):
        with pytest.raises(ExpressionError, match="cannot be opened"):
            other.open(sealed, about)


def test_what_was_kept_before_there_were_seals_is_read_as_it_is() -> None:
    assert Sealer(KEY).open("clear", "r1\0token") == "clear"
    assert Sealer(KEY).open({"a": 1}, "r1\0token") == {"a": 1}


def test_the_key_of_a_directory(tmp_path: Path) -> None:
    file = tmp_path / "secrets.key"
    with pytest.raises(UsageError, match="no key"):
        Sealer(file=file).seal("x", "a")
    assert not file.exists()
    sealed = Sealer(file=file, makes=True).seal("x", "a")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Sealer(file=file, makes=True).seal("x", "a") == sealed
    assert Sealer(KEY, file).open(sealed, "a") == "x", "a member that was a `graft run` before"
    with pytest.raises(UsageError, match="no key"):
        Sealer(file=file).seal("x", "a")  # other members could not open it
    assert Sealer(KEY, file).seal("x", "a") == Sealer(KEY).seal("x", "a")
    text = file.read_text()
    assert make_key_file(file) == text.strip(), "a key that is there is never replaced"
    assert [each.name for each in tmp_path.iterdir()] == ["secrets.key"]


def test_a_key_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "secrets.key").mkdir()
    with pytest.raises(StorageError, match=r"secrets\.key"):
        Sealer(file=tmp_path / "secrets.key", makes=True).seal("x", "a")
