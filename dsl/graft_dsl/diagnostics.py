"""What is wrong with a flow, told to its author: where, what was wanted, what is there, and what to write instead.

A `Report` collects the problems of one source while it is compiled; places are worked out only when there are any, as
finding the columns of a key costs more than compiling. `render` is the text of the terminal, in the style of Rust and
Elm: one paragraph a problem, the source line, a caret below it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol

from attrs import define, evolve, field, frozen

from graft_dsl.suggest import closest

Severity = Literal["error", "warning"]
Part = Literal["key", "value"]
At = Any
"""Where something was written: a handle that only its `Source` understands (the TOML reader's is a key path)."""

NoteAt = tuple[str, At, Part, "Source | None"] | str
"""A note before it is placed: a text, or a text with the place it is about (source None: that of the problem)."""

MAX_TOLD = 100  # problems of one file that are told; of the others only the number
MAX_KEPT = 10 * MAX_TOLD  # problems among which the first ones are looked for
MAX_SUGGESTIONS = 2 * MAX_TOLD  # errors after which no suggestion is looked for
MORE = "GR008"
WINDOW = 110  # characters of a source line that are shown


@frozen
class Place:
    """Line and columns count from 1, in characters; `end_column` is the first column after the marked text."""

    file: str
    line: int
    column: int
    end_column: int
    source_line: str = ""


class Source(Protocol):
    """Where declarations came from."""

    @property
    def name(self) -> str: ...

    def place(self, at: At, part: Part, span: tuple[int, int] | None) -> Place:
        """`span`: offsets within the text that `at` names, or None for the whole of it."""
        ...


@frozen
class Note:
    """More about a problem. With a place, its line is shown too."""

    message: str
    place: Place | None = None


@frozen
class Diagnostic:
    """One problem of one file. See `Place` for how lines and columns count."""

    code: str
    message: str
    file: str
    line: int
    column: int
    end_column: int
    source_line: str = ""
    wanted: str | None = None
    got: str | None = None
    suggestion: str | None = None
    notes: tuple[Note, ...] = ()
    severity: Severity = "error"
    label: str | None = None  # a few words beside the caret


@frozen
class _Found:
    code: str
    message: str
    at: At
    part: Part
    span: tuple[int, int] | None
    wanted: str | None
    got: str | None
    suggestion: str | None
    notes: tuple[NoteAt, ...]
    severity: Severity
    label: str | None


@define
class Report:
    """The problems of one source, in the order in which they were found.

    `found` holds the first MAX_KEPT of them: a file of a million mistakes must not take the memory for a million.
    """

    source: Source
    found: list[_Found] = field(factory=list)
    errors: int = 0
    uncounted: int = 0  # problems that are not in `found`

    @property
    def full(self) -> bool:
        """Whether another problem would only be counted."""
        return len(self.found) >= MAX_KEPT

    def error(
        self,
        code: str,
        message: str,
        at: At,
        *,
        part: Part = "value",
        span: tuple[int, int] | None = None,
        wanted: str | None = None,
        got: str | None = None,
        suggestion: str | None = None,
        notes: Iterable[NoteAt] = (),
        severity: Severity = "error",
        label: str | None = None,
    ) -> None:
        """Record a problem."""
        self.errors += severity == "error"
        if self.full:
            self.uncounted += 1
            return
        self.found.append(_Found(code, message, at, part, span, wanted, got, suggestion, tuple(notes), severity, label))

    def closest(self, name: str, known: Iterable[str]) -> str | None:
        """What `name` was meant to be. Nobody reads the suggestions of a thousand errors, and they take time."""
        return None if self.errors > MAX_SUGGESTIONS else closest(name, known)

    def warning(self, code: str, message: str, at: At, **more: Any) -> None:
        self.error(code, message, at, severity="warning", **more)

    def diagnostics(self) -> list[Diagnostic]:
        """The problems by place, repeats left out: the first MAX_TOLD of them, and one that says how many there are."""
        made = {self._diagnostic(found): None for found in self.found}
        by_place = sorted(made, key=lambda each: (each.line, each.column, each.code, each.message))
        hidden = len(by_place) - MAX_TOLD + self.uncounted
        if hidden <= 0:
            return by_place
        severity: Severity = "error" if self.errors else "warning"
        next_one = by_place[min(MAX_TOLD, len(by_place) - 1)]
        more = evolve(
            next_one,
            code=MORE,
            message=f"and {hidden:,} more problems; the next one is here",
            severity=severity,
            wanted=None,
            got=None,
            suggestion=None,
            notes=(),
            label=None,
        )
        return [*by_place[:MAX_TOLD], more]

    def _diagnostic(self, found: _Found) -> Diagnostic:
        place = self.source.place(found.at, found.part, found.span)
        notes = tuple(
            Note(note)
            if isinstance(note, str)
            else Note(note[0], (note[3] or self.source).place(note[1], note[2], None))
            for note in found.notes
        )
        return Diagnostic(
            code=found.code,
            message=found.message,
            file=place.file,
            line=place.line,
            column=place.column,
            end_column=place.end_column,
            source_line=place.source_line,
            wanted=found.wanted,
            got=found.got,
            suggestion=found.suggestion,
            notes=notes,
            severity=found.severity,
            label=found.label,
        )


_STYLES = {"error": "1;31", "warning": "1;33", "frame": "1;34", "help": "1;32", "plain": "1"}


def render(diagnostics: Sequence[Diagnostic], color: bool = False) -> str:
    """All problems as text for a terminal, and a last line that counts them."""

    def paint(text: str, style: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if color and text else text

    blocks = [_render_one(each, paint) for each in diagnostics]
    return "\n\n".join([*blocks, paint(_summary(diagnostics), "plain")])


def _summary(diagnostics: Sequence[Diagnostic]) -> str:
    told = [each for each in diagnostics if each.code != MORE]
    errors = sum(each.severity == "error" for each in told)
    counts = [(errors, "error"), (len(told) - errors, "warning")]
    text = " and ".join(f"{count} {word}{'s' * (count != 1)}" for count, word in counts if count)
    first = next((each.code for each in told if each.severity == "error"), None)
    more = " of many" if len(told) < len(diagnostics) else ""
    return f"{text or 'no problems'}{more}" + (f"; `graft explain {first}` says more" if first else "")


def _render_one(each: Diagnostic, paint: Any) -> str:
    places = [note.place.line for note in each.notes if note.place]
    gutter = len(str(max([each.line, *places])))
    bar = " " * gutter + paint(" |", "frame")
    head = paint(f"{each.severity}[{each.code}]", each.severity) + paint(f": {_clean(each.message)}", "plain")
    place = Place(each.file, each.line, each.column, each.end_column, each.source_line)
    lines = [head, *_excerpt(place, gutter, paint, each.severity, each.label)]
    facts = (("wanted", each.wanted), ("got", each.got), ("help", each.suggestion))
    said = [(word, text) for word, text in facts if text]
    if said or any(note.place is None for note in each.notes):
        lines.append(bar)
    for word, text in said:
        style = "help" if word == "help" else "plain"
        lines += _fact(gutter, word, text, paint, style)
    for note in each.notes:
        lines += _fact(gutter, "note", note.message, paint, "plain")
        if note.place is not None:
            lines += _excerpt(note.place, gutter, paint, "frame")
    return "\n".join(lines)


def _fact(gutter: int, word: str, text: str, paint: Any, style: str) -> list[str]:
    first, *rest = map(_clean, text.split("\n"))
    indent = " " * (gutter + 3 + len(word) + 2)
    return [f"{' ' * gutter} {paint('=', 'frame')} {paint(word, style)}: {first}", *(indent + line for line in rest)]


def _excerpt(place: Place, gutter: int, paint: Any, style: str, label: str | None = None) -> list[str]:
    arrow = " " * gutter + paint("-->", "frame") + f" {_clean(place.file)}:{place.line}:{place.column}"
    if not place.source_line.strip():
        return [arrow]
    line, start, end = _window(place)
    line = "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line)
    pad = "".join("\t" if c == "\t" else " " * _width(c) for c in line[:start])
    carets = "^" * max(1, sum(_width(c) for c in line[start:end])) + (f" {label}" if label else "")
    return [
        arrow,
        " " * gutter + paint(" |", "frame"),
        paint(f"{place.line:>{gutter}} |", "frame") + f" {line}",
        " " * gutter + paint(" |", "frame") + f" {pad}{paint(carets, style)}",
    ]


def _window(place: Place) -> tuple[str, int, int]:
    """The part of a long line that holds the marked text, and the offsets of that text in it."""
    line, start, end = place.source_line, place.column - 1, place.end_column - 1
    if len(line) <= WINDOW:
        return line.rstrip(), start, end
    first = max(0, min(start - WINDOW // 3, len(line) - WINDOW))
    shown = line[first : first + WINDOW].rstrip()
    left, right = ("…" if first else ""), ("…" if first + WINDOW < len(line) else "")
    shift = len(left) - first
    return left + shown + right, start + shift, min(end + shift, len(left) + len(shown))


def _clean(text: str) -> str:
    """`text` without characters that would do something to a terminal, or turn the direction of the line."""
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
