"""`graft fmt`: one way to lay out a flow file. Changes white space and nothing else.

* The `=` of keys that follow each other stand below each other, and so do the comments behind them.
* At most one empty line; none at the beginning; a line break at the end.
* Lists and inline tables stay on one line where the author wrote them so; otherwise each item has its own line.
* Comments, the order of keys, and how a text is quoted stay as they are.

The result is compared with the original before it is given out: formatting never changes what a document says.
"""

from __future__ import annotations

import tomli

from graft.errors import InvalidFlow
from graft_dsl.diagnostics import Report, render
from graft_dsl.places import TomlSource
from graft_dsl.toml_document import parse_document
from graft_dsl.toml_syntax import Blank, Comment, Header, Item, Key, Pair, Value, scan

INDENT = "  "
MAX_COMMENT_COLUMN = 100


def format_text(text: str, *, filename: str = "flow.toml") -> str:
    """`text` laid out. Formatting twice gives the same as once.

    Raises InvalidFlow when the text is not TOML.
    """
    source = TomlSource(filename, text.removeprefix("\ufeff").replace("\r\n", "\n"))
    report = Report(source)
    document = parse_document(source, report)
    if document is None or report.errors:
        diagnostics = report.diagnostics()
        raise InvalidFlow(render(diagnostics), tuple(diagnostics))
    made = _Layout(source.text).document(list(scan(source.text)))
    assert repr(tomli.loads(made)) == repr(document), "formatting changed what the document says"
    return made


class _Layout:
    """Lays out one document. `run` holds the pairs that are aligned with each other: (keys, value, comment)."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines: list[str] = []
        self.run: list[tuple[str, str, str]] = []

    def document(self, items: list[Item]) -> str:
        for item in items:
            match item:
                case Pair():
                    self.pair(item)
                case Comment() if not item.own_line:
                    self.trailing(item)
                case _:
                    self.flush()
                    self.other(item)
        self.flush()
        while self.lines and not self.lines[-1]:
            self.lines.pop()
        return "\n".join(self.lines) + "\n" if self.lines else ""

    def pair(self, pair: Pair) -> None:
        value = self.value(pair.value, "")
        self.run.append((_keys(pair.keys), value, ""))
        if "\n" in value:
            self.flush()

    def trailing(self, comment: Comment) -> None:
        if self.run:
            keys, value, _ = self.run[-1]
            self.run[-1] = (keys, value, comment.text)
        else:
            self.lines[-1] += f"  {comment.text}"

    def other(self, item: Item) -> None:
        if isinstance(item, Header):
            opening, closing = ("[[", "]]") if item.array else ("[", "]")
            self.lines.append(f"{opening}{_keys(item.keys)}{closing}")
        elif isinstance(item, Comment):
            self.lines.append(item.text)
        elif isinstance(item, Blank) and self.lines and self.lines[-1]:
            self.lines.append("")

    def flush(self) -> None:
        """Write the run, aligned."""
        width = max((len(keys) for keys, _, _ in self.run), default=0)
        made = [(f"{keys:<{width}} = {value}", comment) for keys, value, comment in self.run]
        for start, end in _commented(made):
            column = max(len(line) for line, _ in made[start:end]) + 2
            for number in range(start, end):
                line, comment = made[number]
                gap = column - len(line) if column <= MAX_COMMENT_COLUMN else 2
                made[number] = (f"{line}{' ' * gap}{comment}", "")
        self.lines += [line for line, _ in made]
        self.run.clear()

    def value(self, value: Value, indent: str) -> str:
        """The text of a value whose line is indented by `indent`. One frame a level, as the scanner has."""
        if value.kind == "scalar":
            return self.text[value.start : value.end].rstrip()
        opening, closing = "[]" if value.kind == "array" else "{}"
        inner = indent + INDENT if value.multiline else indent
        parts: list[str] = []
        for item in value.items:
            if isinstance(item, Value):
                parts.append(self.value(item, inner) + ",")
            elif isinstance(item, Pair):
                parts.append(f"{_keys(item.keys)} = {self.value(item.value, inner)},")
            elif item.own_line or not parts:
                parts.append(item.text)
            else:
                parts[-1] += f"  {item.text}"
        if not parts:
            return opening + closing
        if value.multiline:
            lines = "".join(f"\n{inner}{part}" for part in parts)
            return f"{opening}{lines}\n{indent}{closing}"
        pad = " " if value.kind == "table" else ""
        return f"{opening}{pad}{' '.join(parts).removesuffix(',')}{pad}{closing}"


def _keys(keys: list[Key]) -> str:
    return ".".join(key.text for key in keys)


def _commented(lines: list[tuple[str, str]]) -> list[tuple[int, int]]:
    """Ranges of neighbouring lines that all have a comment."""
    found: list[tuple[int, int]] = []
    for number, (_, comment) in enumerate(lines):
        if comment and found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        elif comment:
            found.append((number, number + 1))
    return found
