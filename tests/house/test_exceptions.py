"""Exceptions of libraries are caught by classes that their next release still has.

msgspec tells of bytes that are not UTF-8 with a UnicodeDecodeError before 0.23 and with a DecodeError since: both are
ValueErrors, and so is every other complaint of a decoder. Handlers that name a narrower class missed one of the two.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOO_NARROW = {"DecodeError", "MsgspecError", "EncodeError"}


def caught(file: Path) -> list[str]:
    """`msgspec.X` for every class of msgspec that a handler of `file` names, with its line."""
    handlers = (each for each in ast.walk(ast.parse(file.read_text())) if isinstance(each, ast.ExceptHandler))
    named = [(handler.lineno, each) for handler in handlers if handler.type for each in ast.walk(handler.type)]
    return [
        f"{file.relative_to(ROOT)}:{line}: {each.attr}"
        for line, each in named
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id == "msgspec"
    ]


def test_what_a_decoder_raises_is_caught_as_valueerror() -> None:
    found = [each for room in ("graft", "dsl") for file in (ROOT / room).rglob("*.py") for each in caught(file)]
    assert found, "no handler names msgspec at all: does this test still look?"
    assert [each for each in found if each.rpartition(" ")[2] in TOO_NARROW] == []
