"""From a key path to line and column of a TOML document.

A path is the tuple of keys and array indexes that leads to a value: `("nodes", "fetch", "env", "ID")`. The index is
built by the first question, so a flow without problems never pays for it.
"""

from __future__ import annotations

from bisect import bisect_right

from attrs import define, field, frozen

from graft_dsl.diagnostics import Part, Place
from graft_dsl.toml_syntax import Header, Key, Pair, SyntaxStopped, Value, offsets, scan

Path = tuple[str | int, ...]
Span = tuple[int, int]

MAX_DEPTH = 80  # deeper than anything the checks look into; bounds what a hostile document makes us remember


@frozen
class Offset:
    """A handle for what no key path leads to: `text[start:end]`."""

    start: int
    end: int


@define
class TomlSource:
    """A TOML document that places diagnostics. `text` has `\\n` line ends."""

    name: str
    text: str
    _lines: list[int] | None = field(default=None, init=False)
    _index: PathIndex | None = field(default=None, init=False)
    _last_line: tuple[int, str] = field(default=(-1, ""), init=False)
    _last_text: tuple[Span, list[int]] = field(default=((0, 0), []), init=False)

    def place(self, at: Path | Offset, part: Part, span: tuple[int, int] | None) -> Place:
        """The place of a path; of its closest ancestor that stands in the document, if it does not itself."""
        if isinstance(at, Offset):
            return self.at_offset(at.start, at.end)
        index = self.index
        at = tuple(at)
        while at and at not in index.values:
            at, part, span = at[:-1], "key", None
        if not at:
            return self.at_offset(0, 0)
        start, end = index.keys[at] if part == "key" and at in index.keys else index.values[at]
        if span is not None and self.text[start : start + 1] in "\"'":
            start, end = _within(self._offsets((start, end)), start, span)
        return self.at_offset(start, end)

    @property
    def index(self) -> PathIndex:
        if self._index is None:
            self._index = PathIndex()
            self._index.read(self.text)
        return self._index

    def _offsets(self, of: Span) -> list[int]:
        """`offsets` of a text; of the last one without looking again: a long text may hold many problems."""
        if self._last_text[0] != of:
            self._last_text = (of, offsets(self.text[of[0] : of[1]]))
        return self._last_text[1]

    def _line(self, number: int, first: int, last: int) -> str:
        """A line; the last one that was asked for is shared, as many problems may be on one line."""
        if self._last_line[0] != number:
            self._last_line = (number, self.text[first:last])
        return self._last_line[1]

    def at_offset(self, start: int, end: int) -> Place:
        """The place of `text[start:end]`, or of its part on the first line."""
        if self._lines is None:
            self._lines = [0, *(i + 1 for i, char in enumerate(self.text) if char == "\n")]
        start = min(start, len(self.text))
        line = bisect_right(self._lines, start) - 1
        first = self._lines[line]
        last = self._lines[line + 1] - 1 if line + 1 < len(self._lines) else len(self.text)
        end = max(min(end, last), start)
        column, end_column = start - first + 1, max(end - first + 1, start - first + 2)
        return Place(self.name, line + 1, column, end_column, self._line(line, first, last))


def _within(found: list[int], offset: int, span: tuple[int, int]) -> Span:
    start = found[min(span[0], len(found) - 1)]
    end = found[min(max(span[1], span[0] + 1), len(found) - 1)]
    return offset + start, offset + max(end, start + 1)


@define
class PathIndex:
    """Spans of all keys and values by path; of repeated keys the first, the others are in `repeated`."""

    keys: dict[Path, Span] = field(factory=dict)
    values: dict[Path, Span] = field(factory=dict)
    repeated: list[tuple[Path, Span]] = field(factory=list)
    _defined: dict[Path, str] = field(factory=dict)
    _counts: dict[Path, int] = field(factory=dict)

    def read(self, text: str) -> None:
        """Index `text`, up to the first place where it is not TOML."""
        table: Path = ()
        try:
            for item in scan(text):
                if isinstance(item, Header):
                    table = self._header(item)
                elif isinstance(item, Pair):
                    self._pair(table, item)
        except (SyntaxStopped, RecursionError):
            return

    def _header(self, header: Header) -> Path:
        path: Path = ()
        for number, key in enumerate(header.keys[:MAX_DEPTH], 1):
            path = (*path, key.name)
            last = number == len(header.keys)
            if last and header.array:
                self._counts[path] = self._counts.get(path, -1) + 1
            elif last:
                self._define(path, key, "table")
            self._remember(path, key, (key.start, key.end))
            if last and self._defined.get(path) == "table" and (path, (key.start, key.end)) not in self.repeated[-1:]:
                self.keys[path] = self.values[path] = (key.start, key.end)  # not where `[a.b]` mentioned it first
            if path in self._counts:
                path = (*path, self._counts[path])
                self._remember(path, key, (key.start, key.end))
        return path

    def _pair(self, table: Path, pair: Pair) -> None:
        path = self._dotted(table, pair)
        stack = [(path, pair.value)]
        while stack:
            path, value = stack.pop()
            self.values[path] = (value.start, value.end)
            if len(path) > MAX_DEPTH:
                continue
            number = 0
            for item in value.items:
                if isinstance(item, Value):
                    stack.append(((*path, number), item))
                    number += 1
                elif isinstance(item, Pair):
                    stack.append((self._dotted(path, item), item.value))

    def _dotted(self, table: Path, pair: Pair) -> Path:
        path = table
        for key in pair.keys[: MAX_DEPTH - 1]:
            path = (*path, key.name)
            self._remember(path, key, (key.start, key.end))
        self._define(path, pair.keys[-1], "value")
        return path

    def _define(self, path: Path, key: Key, how: str) -> None:
        if path in self._defined:
            self.repeated.append((path, (key.start, key.end)))
        self._defined.setdefault(path, how)

    def _remember(self, path: Path, key: Key, span: Span) -> None:
        self.keys.setdefault(path, (key.start, key.end))
        self.values.setdefault(path, span)
