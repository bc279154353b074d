"""From text to a TOML document, or to the reason why it is none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tomli

from graft_dsl.diagnostics import At, NoteAt, Report
from graft_dsl.places import Offset, TomlSource
from graft_dsl.suggest import quoted


def parse_document(source: TomlSource, report: Report) -> dict[str, Any] | None:
    """The document, or None after reporting why it is not TOML."""
    try:
        return tomli.loads(source.text)
    except RecursionError as error:
        report.error(
            "GR007", "the file nests too deep", (), notes=[str(error)] if str(error).startswith("TOML") else []
        )
    except tomli.TOMLDecodeError as error:
        repeated = source.index.repeated
        if repeated and repeated[0][1][0] <= error.pos:  # tomli stops at the first mistake
            _report_repeated(source, report, repeated)
        else:
            _report_syntax(source, report, error)
    return None


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
