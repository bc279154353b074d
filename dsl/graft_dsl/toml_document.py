"""From text to a TOML document, or to the reason why it is none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import tomli

from graft.plan.quantities import MAX_INT64, MIN_INT64
from graft_dsl.diagnostics import At, NoteAt, Report
from graft_dsl.habits import strange
from graft_dsl.places import Offset, TomlSource
from graft_dsl.suggest import quoted
from graft_dsl.toml_syntax import STRING

MAX_BRACKETS = 400  # what tomli reads
_SKIPPED = STRING.pattern + r"|#[^\n]*+"
_MAY_BE_LARGE = re.compile(r"[0-9A-Fa-f_]{16}")  # hexadecimal digits of more than 64 bits; octal and binary have more
_UNREADABLE = re.compile(rf"{_SKIPPED}|(?P<number>[0-9][0-9_]{{4000,}}+)")
_BRACKET = re.compile(rf"{_SKIPPED}|[\[\]{{}}]")


def parse_document(source: TomlSource, report: Report) -> dict[str, Any] | None:
    """The document, or None after reporting why it is not TOML, or holds what no part of Graft can carry."""
    try:
        document = tomli.loads(source.text)
        if _MAY_BE_LARGE.search(source.text):
            _report_large_integers(document, report)
        return document
    except RecursionError:
        report.error("GR007", "the file nests too deep", Offset(*_too_deep(source.text)))
    except tomli.TOMLDecodeError as error:
        repeated = source.index.repeated
        if repeated and repeated[0][1][0] <= error.pos:  # tomli stops at the first mistake
            _report_repeated(source, report, repeated)
        else:
            _report_syntax(source, report, error)
    except ValueError:
        _report_unreadable_integer(source, report)
    return None


def _report_large_integers(document: dict[str, Any], report: Report) -> None:
    """Report integers of more than 64 bits, and put 1 in their places, so that the rest of the file is checked too.

    TOML has no such integers, and not every part of Graft could carry them.
    """
    stack: list[tuple[tuple[str | int, ...], Any]] = [((), document)]
    while stack:
        path, inside = stack.pop()
        for key, value in list(inside.items() if isinstance(inside, dict) else enumerate(inside)):
            if isinstance(value, (dict, list)):
                stack.append(((*path, key), value))
            elif type(value) is int and not MIN_INT64 <= value <= MAX_INT64:
                inside[key] = 1
                _report_large(report, (*path, key))


def _report_unreadable_integer(source: TomlSource, report: Report) -> None:
    """Report the first integer with more digits than Python reads; tomli does not say where it is."""
    numbers = (found for found in _UNREADABLE.finditer(source.text) if found["number"])
    found = next(numbers, None)
    _report_large(report, Offset(*found.span()) if found is not None else ())


def _report_large(report: Report, at: At) -> None:
    report.error(
        "GR030",
        "this integer has more than 64 bits",
        at,
        wanted=f"a whole number from {MIN_INT64} to {MAX_INT64}",
        suggestion="write it as a text if nothing is computed with it",
    )


def _too_deep(text: str) -> tuple[int, int]:
    """Where brackets nest deeper than tomli reads; the beginning when it is dotted keys that do."""
    depth = 0
    for found in _BRACKET.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > MAX_BRACKETS:
            return found.span()
    return 0, 1


def _report_repeated(source: TomlSource, report: Report, repeated: Iterable[tuple[At, tuple[int, int]]]) -> None:
    repeated = list(repeated)
    paths = {path for path, _ in repeated}
    for path, span in repeated:
        if any(path[:length] in paths for length in range(1, len(path))):
            continue  # the whole table is there twice
        notes: list[NoteAt] = [("the first one is here", path, "key", None)]
        report.error("GR002", f"{quoted('.'.join(map(str, path)))} is set twice", Offset(*span), notes=notes)


def _report_syntax(source: TomlSource, report: Report, error: tomli.TOMLDecodeError) -> None:
    message = error.msg[:1].lower() + error.msg[1:]
    start = min(error.pos, len(source.text))
    found = strange(source.text, start)
    if found is not None and not source.text[start : found[2]].strip(" \t"):
        what, instead, at = found
        report.error("GR001", f"not TOML: this is {what}", Offset(at, at + 1), suggestion=instead)
        return
    line = source.text[source.text.rfind("\n", 0, start) + 1 :].partition("\n")[0].strip()
    report.error("GR001", f"not TOML: {message}", Offset(start, start + 1), suggestion=_syntax_help(error.msg, line))


def _syntax_help(message: str, line: str) -> str | None:
    value = line.partition("=")[2].strip()
    if (
        "Invalid value" in message
        and value[:1].isalpha()
        and value.split("#")[0].strip().lower() in ("true", "false", "yes", "no")
    ):
        return "booleans are written `true` and `false`"
    if "Invalid value" in message and (value[:1].isalpha() or value[:1] in "$/.~"):
        return "a text stands between quotes"
    if "Expected '='" in message and ":" in line:
        return "TOML writes `key = value`"
    if ("newline" in message.lower() or "Illegal character" in message) and line.count('"') % 2:
        return 'a quote is missing at the end; a text over several lines stands between `"""`'
    if "key part" in message and line[:1] and not line.partition("=")[0].isascii():
        return 'a key with other letters than A to Z stands between quotes: "é" = 1'
    if "Unescaped '\\'" in message or "escape" in message.lower():
        return "between single quotes a backslash is only a backslash: 'C:\\dir'"
    return None
